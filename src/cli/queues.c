/* haul queues list, pause, resume */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/table.h"
#include <pwd.h>
#include <unistd.h>

/* ---- list ---- */

static void count_cell(struct table *t, const json_t *queue, const char *key)
{
    if (json_is_null(json_object_get(queue, key)))
        table_cell(t, "?");
    else
        table_cellf(t, "%lld", (long long)jint(queue, key));
}

static void rate_cell(struct table *t, const json_t *queue, const char *key)
{
    char text[32];

    jrate_format(queue, key, text);
    table_cell(t, text);
}

static void row(struct table *t, const json_t *q)
{
    static const char *const rates[] = {"submitted_per_min", "succeeded_per_min", "failed_per_min"};
    static const char *const counts[] = {"pending", "ready", "running", "success", "failed"};
    const bool paused = json_is_string(json_object_get(q, "paused_at"));
    const char *by = jtext(q, "paused_by"), *reason = jtext(q, "paused_reason");
    char oldest[32] = "", since[32];

    table_cell(t, jtext(q, "queue"));
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        count_cell(t, q, counts[i]);
    if (jint(q, "ready") > 0)
        left_format((usec)(jreal(q, "oldest_ready_age_s") * USEC_PER_SEC), oldest);
    table_cell(t, oldest);
    for (size_t i = 0; i < ARRAY_LEN(rates); i++)
        rate_cell(t, q, rates[i]);
    table_cell_colour(t, paused ? "paused" : "open", paused ? COLOUR_YELLOW : COLOUR_NONE);
    ago_format(jtext(q, "paused_at"), now_wall(), since);
    table_cell(t, since);
    if (paused)
        table_cellf(t, "%s%s%s", by, *by && *reason ? ": " : "", reason);
    else
        table_cell(t, "");
}

static int list(struct cli *cli, const void *args, int argc, char **argv)
{
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL;
    int status = cli_call(cli, "GET", "/v1/queues", &text, &doc, "queues list");

    if (status != EXIT_OK)
        return status;
    if (cli->json)
        print_json_text(text);
    else
        print_rows(
            json_object_get(doc, "queues"),
            "*QUEUE|>WAITING|>READY|>RUNNING|>SUCCEEDED|>DEAD|>OLDEST|>IN/MIN|>OK/MIN|>FAIL/MIN|STATE|SINCE|*WHY", row,
            "no queues: no job was submitted yet");
    json_decref(doc);
    return EXIT_OK;
}

/* ---- pause, resume ---- */

struct args {
    const char *reason;
};

static const struct opt pause_options[] = {
    {"reason", 'r', OPT_TEXT, offsetof(struct args, reason), "TEXT", 0, 0,
     "why, for whoever wonders; kept until the queue is resumed"},
};

json_t *cli_who(void)
{
    struct passwd entry, *p = NULL;
    char host[65] = "", strings[4096], text[160];

    (void)getpwuid_r(geteuid(), &entry, strings, sizeof(strings), &p); /* p stays NULL on failure */
    gethostname(host, sizeof(host) - 1);
    snprintf(text, sizeof(text), "%.80s%s%s", p ? p->pw_name : "?", *host ? "@" : "", host);
    json_t *s = json_string(text);
    return s ? s : json_string("?"); /* a name that is no UTF-8 */
}

static int call(struct cli *cli, const char *queue, const char *verb, const json_t *body, char **ret_text)
{
    struct haul_error herr;
    struct buf path;
    int status = EXIT_OK;
    struct haul_client *c = cli_client(cli, &status);
    AUTO_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    if (!c)
        return status;
    buf_init(&path, 4096);
    buf_adds(&path, "/v1/queues/");
    url_add(&path, queue);
    buf_printf(&path, "/%s", verb);
    if (path.failed)
        status = cli_usage(NULL, "queues %s: the name is too long", verb);
    else if (haul_call_repeated(c, "POST", buf_str(&path), text, NULL, NULL, 3, ret_text, &herr) != HAUL_OK)
        status = cli_haul_err(cli, &herr, NULL);
    buf_release(&path);
    return status;
}

/* Each is told of; one that is refused does not keep the others from it. */
static int each(struct cli *cli, const char *verb, const json_t *body, int argc, char **argv)
{
    const char *done = *verb == 'p' ? "paused" : "resumed", *was = *verb == 'p' ? "was paused" : "was not paused";
    int status = EXIT_OK;

    for (int i = 0; i < argc; i++) {
        AUTO_FREE char *text = NULL;
        int one = call(cli, argv[i], verb, body, &text);
        if (one != EXIT_OK) {
            status = one;
        } else if (cli->json) {
            print_json_text(text);
        } else {
            json_t *answer = json_loads(text, 0, NULL);
            printf("%s %s\n", argv[i], json_is_true(json_object_get(answer, "changed")) ? done : was);
            json_decref(answer);
        }
    }
    return status;
}

static int pause_run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    json_t *body = json_pack("{s:o*,s:s*}", "by", cli_who(), "reason", a->reason);

    if (!body)
        return cli_usage(&command_queues_pause, "--reason must be UTF-8 text");
    int status = each(cli, "pause", body, argc, argv);
    json_decref(body);
    return status;
}

static int resume_run(struct cli *cli, const void *args, int argc, char **argv)
{
    return each(cli, "resume", NULL, argc, argv);
}

const struct command command_queues_list = {
    .name = "queues",
    .sub = "list",
    .args = "",
    .summary = "List queues: what waits, what runs, which are paused.",
    .detail = "IN/MIN, OK/MIN and FAIL/MIN are the jobs a minute that were submitted, succeeded and failed in the last "
              "five minutes,\n"
              "as the server that answers counted them since it began; '?': it has more queues and types than it tells "
              "apart.",
    .run = list,
};
const struct command command_queues_pause = {
    .name = "queues",
    .sub = "pause",
    .args = "QUEUE...",
    .summary = "Start no more jobs of a queue until it is resumed.",
    .detail = "Submissions are accepted, and what runs goes on. It holds on every server, and over restarts.",
    .options = pause_options,
    .n_options = ARRAY_LEN(pause_options),
    .min_args = 1,
    .max_args = -1,
    .run = pause_run,
};
const struct command command_queues_resume = {
    .name = "queues",
    .sub = "resume",
    .args = "QUEUE...",
    .summary = "Start jobs of a paused queue again.",
    .min_args = 1,
    .max_args = -1,
    .run = resume_run,
};
