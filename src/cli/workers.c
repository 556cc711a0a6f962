/* haul workers list, drain, resume */
#include "base/auto.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "cli/command.h"
#include "cli/table.h"

static void row(struct table *t, const json_t *w)
{
    struct buf b;
    const char *state = jtext(w, "state"), *key;
    json_t *version;
    char seen[32];
    buf_init(&b, 64 << 10);
    json_object_foreach (json_object_get(w, "handlers"), key, version) {
        const char *v = json_string_value(version);
        buf_printf(&b, "%s%s%s%s", b.len ? " " : "", key, v && *v ? "@" : "", v ? v : "");
    }
    table_cell(t, jtext(w, "name"));
    table_cell(t, jtext(w, "host"));
    table_cell_colour(t, state, status_colour(state));
    table_cellf(t, "%lld/%lld", (long long)jint(w, "slots_busy"), (long long)jint(w, "slots_total"));
    const json_t *load = json_object_get(w, "load");
    char used[32], total[32];
    if (json_is_object(load)) {
        bytes_format(jint(load, "memory_bytes"), used);
        bytes_format(jint(load, "memory_total_bytes"), total);
        table_cellf(t, "%.1f/%lld", jreal(load, "cpu"), (long long)jint(load, "cpus"));
        table_cellf(t, "%s/%s", used, total);
    } else {
        table_cell(t, "-");
        table_cell(t, "-");
    }
    table_cell(t, jtext(w, "isolation"));
    table_cell(t, jtext(w, "version"));
    ago_format(jtext(w, "last_seen"), now_wall(), seen);
    table_cell(t, seen);
    table_cell(t, buf_str(&b));
    table_cell(t, jtext(w, "worker_id"));
    buf_release(&b);
}

static int list(struct cli *cli, const void *args, int argc, char **argv)
{
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL;
    int status = cli_call(cli, "GET", "/v1/workers", &text, &doc, "workers");
    if (status != EXIT_OK)
        return status;
    if (cli->json)
        print_json_text(text);
    else
        print_rows(json_object_get(doc, "workers"),
                   "*NAME|*HOST|STATE|>BUSY|>CPU|>MEMORY|ISOLATION|VERSION|SEEN|*HANDLERS|ID", row,
                   "no workers; 'haul worker' starts one");
    json_decref(doc);
    return EXIT_OK;
}

/* ---- drain, resume ---- */

static bool meant(const json_t *worker, const char *word)
{
    return strcmp(jtext(worker, "worker_id"), word) == 0 || strcmp(jtext(worker, "name"), word) == 0;
}

/* An id counts whoever has it; of a name there may be only one, those that are gone left aside. NULL: the error was printed. */
static const char *find(const struct command *cmd, const json_t *workers, const char *word, int *ret_exit)
{
    const json_t *w, *found = NULL;
    struct uuid id;
    size_t i, n = 0;

    if (uuid_parse(word, &id))
        return word;
    json_array_foreach (workers, i, w)
        if (meant(w, word) && strcmp(jtext(w, "state"), "gone") != 0) {
            found = w;
            n++;
        }
    if (n == 1)
        return jtext(found, "worker_id");
    *ret_exit = n ? cli_usage(cmd, "%zu workers have the name '%.80s': give the id of one, as 'haul workers' prints it",
                              n, word)
                  : cli_usage(cmd, "'%.80s' is neither a worker's id nor the name of one that lives", word);
    return NULL;
}

static int call(struct cli *cli, const char *id, const char *verb, const char *body, char **ret_text)
{
    struct haul_error herr;
    char path[128];

    snprintf(path, sizeof(path), "/v1/workers/%.36s/%s", id, verb);
    if (haul_call_repeated(cli->client, "POST", path, body, NULL, NULL, 3, ret_text, &herr) != HAUL_OK)
        return cli_haul_err(cli, &herr, NULL);
    return EXIT_OK;
}

static void tell(const struct cli *cli, const char *word, bool drain, const char *text)
{
    json_t *answer = json_loads(text, 0, NULL);
    const bool changed = json_is_true(json_object_get(answer, "changed"));

    if (cli->json)
        print_json_text(text);
    else if (drain)
        printf("%s %s\n", word, changed ? "gets no more jobs" : "was drained before");
    else
        printf("%s %s\n", word, changed ? "gets jobs again" : "was not drained");
    json_decref(answer);
}

/* One that is refused does not keep the others from it. */
static int each(struct cli *cli, const struct command *cmd, bool drain, int argc, char **argv)
{
    json_t *doc = NULL, *body = drain ? json_pack("{s:o*}", "by", cli_who()) : NULL;
    AUTO_FREE char *body_text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int status = cli_call(cli, "GET", "/v1/workers", NULL, &doc, NULL);

    for (int i = 0; doc && i < argc; i++) {
        AUTO_FREE char *text = NULL;
        int one = EXIT_OK;
        const char *id = find(cmd, json_object_get(doc, "workers"), argv[i], &one);
        if (id)
            one = call(cli, id, drain ? "drain" : "resume", body_text, &text);
        if (one == EXIT_OK)
            tell(cli, argv[i], drain, text);
        else
            status = one;
    }
    json_decref(body);
    json_decref(doc);
    return status;
}

static int drain_run(struct cli *cli, const void *args, int argc, char **argv)
{
    return each(cli, &command_workers_drain, true, argc, argv);
}

static int resume_run(struct cli *cli, const void *args, int argc, char **argv)
{
    return each(cli, &command_workers_resume, false, argc, argv);
}

const struct command command_workers_list = {
    .name = "workers",
    .sub = "list",
    .args = "",
    .summary = "List the workers that the server knows.",
    .run = list,
};
const struct command command_workers_drain = {
    .name = "workers",
    .sub = "drain",
    .args = "WORKER...",
    .summary = "Give a worker no more jobs; what it runs goes on.",
    .detail = "WORKER is an id, or a name that only one has. The worker stays and asks on; it is drained on every "
              "server, over restarts of\n"
              "its own and theirs, until it is resumed. 'haul worker stop', on its machine, ends it.",
    .min_args = 1,
    .max_args = -1,
    .run = drain_run,
};
const struct command command_workers_resume = {
    .name = "workers",
    .sub = "resume",
    .args = "WORKER...",
    .summary = "Give a drained worker jobs again.",
    .min_args = 1,
    .max_args = -1,
    .run = resume_run,
};
