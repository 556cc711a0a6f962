/* haul jobs show: one job, its attempts and outputs. */
#include "base/auto.h"
#include "base/json.h"
#include "base/timefmt.h"
#include "cli/command.h"
#include "cli/spark.h"
#include "cli/table.h"

static void line_colour(const char *name, const char *value, enum colour c)
{
    if (!*value)
        return;
    AUTO_FREE char *safe = text_safe(value);
    fprintf(stdout, "%s%-16s%s%s%s%s\n", colour_begin(stdout, COLOUR_DIM), name, colour_end(stdout, COLOUR_DIM),
            colour_begin(stdout, c), safe ? safe : "", colour_end(stdout, c));
}

static void line(const char *name, const char *value)
{
    line_colour(name, value, COLOUR_NONE);
}

static void line_time(const char *name, const json_t *job, const char *key)
{
    char text[128], ago[32];
    const char *at = jtext(job, key);
    ago_format(at, now_wall(), ago);
    snprintf(text, sizeof(text), "%.64s%s%s%s", at, *ago ? " (" : "", ago, *ago ? ")" : "");
    line(name, text);
}

static void line_limit(const char *name, const json_t *job, const char *key)
{
    char limit[32];
    if (!json_is_number(json_object_get(job, key)))
        return;
    left_format((usec)(jreal(job, key) * 1e6), limit);
    line(name, limit);
}

static void line_json(const char *name, const json_t *v)
{
    AUTO_FREE char *text = v ? json_text(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    line(name, text ? text : "");
}

static void line_checkpoint(const json_t *c)
{
    char text[160], size[32], ago[32], percent[32] = "";
    if (!json_is_object(c))
        return;
    bytes_format(jint(c, "bytes"), size);
    ago_format(jtext(c, "at"), now_wall(), ago);
    if (json_is_number(json_object_get(c, "percent")))
        snprintf(percent, sizeof(percent), "%.4g%% done, ", jreal(c, "percent"));
    snprintf(text, sizeof(text), "%sof attempt %lld (%s): %lld files, %s", percent, (long long)jint(c, "attempt"), ago,
             (long long)jint(c, "files"), size);
    line("checkpoint", text);
}

static void show_job(const json_t *job, const char *raw)
{
    char text[400];
    const char *status = jtext(job, "status");
    const json_t *progress = json_object_get(job, "progress"), *labels = json_object_get(job, "labels"), *in;
    size_t i;
    line("job", jtext(job, "job_id"));
    line("task type", jtext(job, "task_type"));
    line("queue", jtext(job, "queue"));
    line_colour("status", status, status_colour(status));
    line("waiting because", jtext(job, "waiting_reason"));
    if (strcmp(status, jtext(job, "outcome")) != 0)
        line("outcome", jtext(job, "outcome"));
    if (json_is_object(progress)) {
        const char *m = jtext(progress, "message");
        snprintf(text, sizeof(text), "%.4g%%%s%.300s", jreal(progress, "percent"), *m ? "  " : "", m);
        line("progress", text);
    }
    line_checkpoint(json_object_get(job, "checkpoint"));
    snprintf(text, sizeof(text), "%lld of at most %lld (retries %lld, interruptions %lld, losses %lld)",
             (long long)jint(job, "attempt"), (long long)jint(job, "max_attempts"), (long long)jint(job, "retries"),
             (long long)jint(job, "interruptions"), (long long)jint(job, "losses"));
    line("attempt", text);
    snprintf(text, sizeof(text), "%lld", (long long)jint(job, "priority"));
    line("priority", text);
    line_limit("timeout", job, "timeout_s");
    line_limit("no progress", job, "no_progress_timeout_s");
    line("dedup key", jtext(job, "dedup_key"));
    line("traceparent", jtext(job, "traceparent"));
    line("tracestate", jtext(job, "tracestate"));
    if (json_object_size(labels) > 0)
        line_json("labels", labels);
    /* As it was submitted: 1.10 stays 1.10. */
    const char *payload;
    size_t n_payload;
    if (json_raw_member(raw, strlen(raw), "payload", &payload, &n_payload)) {
        AUTO_FREE char *own = strndup(payload, n_payload);
        line("payload", own ? own : "");
    }
    line("payload ref", jtext(job, "payload_ref"));
    json_array_foreach (json_object_get(job, "inputs"), i, in) {
        snprintf(text, sizeof(text), "%.255s  %.64s", jtext(in, "name"), jtext(in, "ref"));
        line("input", text);
    }
    line_time("created", job, "created_at");
    if (strcmp(status, "pending") == 0)
        line_time("runs at", job, "run_at");
    if (strcmp(status, "pending") == 0 || jint(job, "attempt") == 0)
        line_time("start deadline", job, "start_deadline_at");
    line_time("started", job, "started_at");
    line_time("finished", job, "finished_at");
    line_time("cancel asked", job, "cancel_requested_at");
    line("result", jtext(job, "result_url"));
    line("fingerprint", jtext(job, "fingerprint"));
}

static void show_log(const json_t *job)
{
    const char *log = jtext(job, "error_log");
    if (!*log)
        return;
    printf("\n%serror log%s\n", colour_begin(stdout, COLOUR_DIM), colour_end(stdout, COLOUR_DIM));
    struct safe_stream s;
    safe_stream_init(&s, stdout);
    safe_stream_write(&s, log, strlen(log));
    safe_stream_end(&s);
    if (log[strlen(log) - 1] != '\n')
        fputc('\n', stdout);
}

static void show_attempts(const json_t *attempts)
{
    size_t i;
    json_t *a;
    if (json_array_size(attempts) == 0)
        return;
    struct table *t = table_new(">ATTEMPT|*WORKER|STARTED|>TOOK|OUTCOME|>CPU|>MEMORY|>REDONE|*ERROR");
    json_array_foreach (attempts, i, a) {
        char text[32], took[32] = "-";
        usec from, to;
        table_cellf(t, "%lld", (long long)jint(a, "attempt"));
        table_cell(t, *jtext(a, "worker_name") ? jtext(a, "worker_name") : jtext(a, "worker_id"));
        ago_format(jtext(a, "started_at"), now_wall(), text);
        table_cell(t, text);
        if (rfc3339_parse(jtext(a, "started_at"), &from) && rfc3339_parse(jtext(a, "ended_at"), &to))
            left_format(to - from, took);
        table_cell(t, took);
        const char *outcome = jtext(a, "outcome");
        table_cell_colour(t, *outcome ? outcome : "running",
                          !*outcome                         ? COLOUR_BLUE
                          : strcmp(outcome, "success") == 0 ? COLOUR_GREEN
                                                            : COLOUR_RED);
        table_cellf(t, "%.1fs", jreal(a, "cpu_s"));
        bytes_format(jint(a, "peak_memory_bytes"), text);
        table_cell(t, text);
        if (json_is_number(json_object_get(a, "redone")))
            table_cellf(t, "%.0f%%", jreal(a, "redone") * 100);
        else
            table_cell(t, "-");
        const char *error = jtext(a, "error");
        char first[200];
        snprintf(first, sizeof(first), "%.*s", (int)MIN(strcspn(error, "\n"), sizeof(first) - 1), error);
        table_cell(t, first);
    }
    fputc('\n', stdout);
    table_print(t, stdout, 0);
    table_free(t);
}

#define POINTS_MAX 1000

static void show_spark(const char *name, const double *values, size_t n, const char *words)
{
    char bars[SPARK_MAX], text[SPARK_MAX + 160];
    spark_format(values, n, bars);
    snprintf(text, sizeof(text), "%s  %s", bars, words);
    line(name, text);
}

/* The latest attempt's. Silent where nothing was measured, or where a server has no such thing. */
static void show_usage(struct cli *cli, const json_t *job)
{
    static double cpu[POINTS_MAX], memory[POINTS_MAX];
    char path[160], words[128], now[32], peak[32];
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL, *p;
    size_t i, n = 0;
    double most_cpu = 0, most_memory = 0;
    int status;
    struct haul_client *c = cli_client(cli, &status);
    struct haul_error herr;
    snprintf(path, sizeof(path), "/v1/jobs/%.64s/attempts/%lld/usage", jtext(job, "job_id"),
             (long long)jint(job, "attempt"));
    if (jint(job, "attempt") < 1 || !c || haul_call(c, "GET", path, NULL, NULL, 0, &text, &herr) != HAUL_OK ||
        json_parse(text, strlen(text), &doc, NULL) != ERR_OK)
        return;
    json_array_foreach (json_object_get(doc, "points"), i, p) {
        const json_t *of_cpu = json_object_get(p, "cpu"), *of_memory = json_object_get(p, "memory_bytes");
        if (n == POINTS_MAX)
            break;
        cpu[n] = MAX(jreal(of_cpu, "mean"), 0);
        memory[n++] = MAX(jreal(of_memory, "mean"), 0);
        most_cpu = MAX(most_cpu, jreal(of_cpu, "most"));
        most_memory = MAX(most_memory, jreal(of_memory, "most"));
    }
    if (n > 0) {
        snprintf(words, sizeof(words), "%.3g CPUs, at most %.3g", cpu[n - 1], most_cpu);
        show_spark("cpu over time", cpu, n, words);
        bytes_format((int64_t)memory[n - 1], now);
        bytes_format((int64_t)most_memory, peak);
        snprintf(words, sizeof(words), "%s, at most %s", now, peak);
        show_spark("memory", memory, n, words);
    }
    json_decref(doc);
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    char path[128];
    AUTO_FREE char *text = NULL;
    json_t *job = NULL, *attempts = NULL;
    if (!cli_job_id(&command_jobs_show, argv[0]))
        return EXIT_USAGE;
    snprintf(path, sizeof(path), "/v1/jobs/%s", argv[0]);
    int status = cli_call(cli, "GET", path, &text, &job, argv[0]);
    if (status == EXIT_OK && cli->json) {
        print_json_text(text); /* as the server wrote it: the payload's numbers stay as they were submitted */
    } else if (status == EXIT_OK) {
        snprintf(path, sizeof(path), "/v1/jobs/%s/attempts", argv[0]);
        status = cli_call(cli, "GET", path, NULL, &attempts, argv[0]);
        if (status == EXIT_OK) {
            show_job(job, text);
            show_usage(cli, job);
            show_attempts(json_object_get(attempts, "attempts"));
            show_log(job);
        }
    }
    json_decref(job);
    json_decref(attempts);
    return status;
}

const struct command command_jobs_show = {
    .name = "jobs",
    .sub = "show",
    .args = "ID",
    .summary = "Show a job, its attempts, what it used and why it failed.",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
