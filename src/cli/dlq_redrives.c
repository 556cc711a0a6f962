/* haul dlq redrives, cancel: those that run on the server, and those that ran. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "cli/dlq_redrive.h"
#include "cli/table.h"

#define PAGE_MAX 1000

struct args {
    int64_t limit;
    bool follow;
};

static const struct opt options[] = {
    {"limit", 'n', OPT_INT, offsetof(struct args, limit), "N", 1, PAGE_MAX, "at most so many, the newest (default 20)"},
    {"follow", 'f', OPT_FLAG, offsetof(struct args, follow), NULL, 0, 0, "of one: show how far it is until it ends"},
};

static void add(struct buf *b, const char *name, const char *value)
{
    if (*value)
        buf_printf(b, "%s%s=%s", b->len ? " " : "", name, value);
}

/* What it takes, on a line. */
static void which(struct buf *b, const json_t *r)
{
    const json_t *f = json_object_get(r, "filter"), *label;
    char limit[24];
    size_t i;
    add(b, "group", jtext(f, "fingerprint"));
    add(b, "type", jtext(f, "task_type"));
    add(b, "queue", jtext(f, "queue"));
    json_array_foreach (json_object_get(f, "labels"), i, label)
        add(b, "label", json_string_value(label) ? json_string_value(label) : "");
    add(b, "created-after", jtext(f, "created_after"));
    add(b, "created-before", jtext(f, "created_before"));
    snprintf(limit, sizeof(limit), "%lld", (long long)jint(r, "limit"));
    add(b, "limit", jint(r, "limit") ? limit : "");
}

static void row(struct table *t, const json_t *r)
{
    struct buf b;
    char ago[32];
    const bool counted = json_is_integer(json_object_get(r, "matched"));
    buf_init(&b, 16384);
    which(&b, r);
    table_cell(t, jtext(r, "redrive_id"));
    table_cell(t, json_is_true(json_object_get(r, "dry_run")) ? "count" : jtext(r, "action"));
    table_cell(t, jtext(r, "state"));
    table_cellf(t, "%lld", (long long)jint(r, "done"));
    if (counted)
        table_cellf(t, "%lld", (long long)jint(r, "matched"));
    else
        table_cell(t, "");
    table_cell(t, jtext(r, "rate"));
    ago_format(jtext(r, "created_at"), now_wall(), ago);
    table_cell(t, ago);
    table_cell(t, b.failed ? "" : b.len ? buf_str(&b) : "all");
    buf_release(&b);
}

static void print(const json_t *redrives)
{
    print_rows(redrives, "REDRIVE|ACTION|STATE|>DONE|>MATCHED|RATE|MADE|*WHICH", row, "no redrives");
}

static int list(struct cli *cli, int64_t limit)
{
    json_t *doc = NULL;
    char path[64];
    snprintf(path, sizeof(path), "/v1/redrives?limit=%lld", limit > 0 ? (long long)limit : 20LL);
    int status = cli_call(cli, "GET", path, NULL, &doc, "dlq redrives");
    if (status == EXIT_OK && cli->json)
        print_json(doc);
    else if (status == EXIT_OK)
        print(json_object_get(doc, "redrives"));
    if (status == EXIT_OK && !cli->json && json_is_string(json_object_get(doc, "next_cursor")))
        fprintf(stderr, "there are more; --limit N shows them\n");
    json_decref(doc);
    return status;
}

static int one(struct cli *cli, const char *id, bool follow)
{
    json_t *redrive = NULL;
    char path[80];
    snprintf(path, sizeof(path), "/v1/redrives/%.36s", id);
    int status = cli_call(cli, "GET", path, NULL, &redrive, "dlq redrives");
    if (status == EXIT_OK && follow && (status = redrive_follow(cli, &redrive)) == EXIT_OK) {
        status = redrive_tell(cli, redrive);
    } else if (status == EXIT_OK && cli->json) {
        print_json(redrive);
    } else if (status == EXIT_OK) {
        json_t *single = json_pack("[O]", redrive);
        print(single);
        json_decref(single);
    }
    json_decref(redrive);
    return status;
}

static bool is_id(const struct command *cmd, const char *s)
{
    struct uuid id;
    if (uuid_parse(s, &id))
        return true;
    cli_usage(cmd, "'%.80s' is not a redrive's id: give all 36 characters, as 'haul dlq redrives' prints them", s);
    return false;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    if (argc == 0 && a->follow)
        return cli_usage(&command_dlq_redrives, "--follow takes the id of one redrive");
    if (argc == 0)
        return list(cli, a->limit);
    return is_id(&command_dlq_redrives, argv[0]) ? one(cli, argv[0], a->follow) : EXIT_USAGE;
}

static int run_cancel(struct cli *cli, const void *args, int argc, char **argv)
{
    json_t *redrive = NULL;
    char path[80];
    if (!is_id(&command_dlq_cancel, argv[0]))
        return EXIT_USAGE;
    snprintf(path, sizeof(path), "/v1/redrives/%.36s/cancel", argv[0]);
    int status = cli_call(cli, "POST", path, NULL, &redrive, "dlq cancel");
    if (status == EXIT_OK && cli->json)
        print_json(redrive);
    else if (status == EXIT_OK)
        printf("%s cancelled; %lld jobs were taken by then\n", argv[0], (long long)jint(redrive, "done"));
    json_decref(redrive);
    return status;
}

const struct command command_dlq_redrives = {
    .name = "dlq",
    .sub = "redrives",
    .args = "[REDRIVE]",
    .summary = "Show redrives: what 'dlq retry' and 'discard' have the server do.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .max_args = 1,
    .run = run,
};
const struct command command_dlq_cancel = {
    .name = "dlq",
    .sub = "cancel",
    .args = "REDRIVE",
    .summary = "End a redrive; what it has taken stays retried or discarded.",
    .min_args = 1,
    .max_args = 1,
    .run = run_cancel,
};
