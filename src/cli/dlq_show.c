/* haul dlq show: one dead letter, or all of one fingerprint. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "cli/dlq_groups.h"
#include "cli/filter.h"
#include "cli/table.h"

#define JOBS_SHOWN 20

static void line(const char *name, const char *value)
{
    AUTO_FREE char *safe = text_safe(value);
    printf("%s%-16s%s%s\n", colour_begin(stdout, COLOUR_DIM), name, colour_end(stdout, COLOUR_DIM), safe ? safe : "");
}

static void print(const json_t *group, const json_t *newest)
{
    struct table *t = table_new("JOB|*QUEUE|>ATTEMPTS|FAILED|*CAUSE");
    char text[32];
    size_t i;
    json_t *job;
    snprintf(text, sizeof(text), "%lld", (long long)jint(group, "jobs"));
    line("fingerprint", jtext(group, "fingerprint"));
    line("task type", jtext(group, "task_type"));
    line("dead letters", text);
    line("first failed", jtext(group, "first_failed_at"));
    line("last failed", jtext(group, "last_failed_at"));
    AUTO_FREE char *why = dlq_cause(group);
    line("cause", why ? why : "");
    fputc('\n', stdout);
    json_array_foreach (newest, i, job) {
        AUTO_FREE char *cause = dlq_cause(job);
        table_cell(t, jtext(job, "job_id"));
        table_cell(t, jtext(job, "queue"));
        table_cellf(t, "%lld", (long long)jint(job, "attempt"));
        ago_format(jtext(job, "finished_at"), now_wall(), text);
        table_cell(t, text);
        table_cell(t, cause ? cause : "");
    }
    table_print(t, stdout, 0);
    table_free(t);
    if (jint(group, "jobs") > JOBS_SHOWN)
        printf("and %lld more\n", (long long)(jint(group, "jobs") - JOBS_SHOWN));
    printf("\n'haul dlq show %s' tells all about one of them\n", jtext(group, "job_id"));
}

static int print_group(struct cli *cli, json_t *group, json_t *newest)
{
    if (cli->json) {
        json_object_set(group, "newest", newest);
        print_json(group);
    } else {
        print(group, newest);
    }
    return EXIT_OK;
}

static int show_fingerprint(struct cli *cli, const char *fingerprint)
{
    json_t *groups = NULL, *jobs = NULL;
    char path[80];
    snprintf(path, sizeof(path), "/v1/dlq?fingerprint=%s", fingerprint);
    int status = cli_call(cli, "GET", path, NULL, &groups, "dlq");
    json_t *group = json_array_get(json_object_get(groups, "groups"), 0);
    if (status == EXIT_OK && !group) {
        struct err err = {0};
        err_set(&err, ERR_NOT_FOUND, 0, "no dead letter has the fingerprint %s", fingerprint);
        status = cli_err(&err, NULL);
    }
    snprintf(path, sizeof(path), "/v1/jobs?fingerprint=%s&limit=%d", fingerprint, JOBS_SHOWN);
    if (status == EXIT_OK)
        status = cli_call(cli, "GET", path, NULL, &jobs, "jobs list");
    if (status == EXIT_OK)
        status = print_group(cli, group, json_object_get(jobs, "jobs"));
    json_decref(groups);
    json_decref(jobs);
    return status;
}

static int show_job(struct cli *cli, char *id)
{
    json_t *job = NULL;
    char path[80];
    snprintf(path, sizeof(path), "/v1/jobs/%.36s", id);
    int status = cli_call(cli, "GET", path, NULL, &job, id);
    if (status == EXIT_OK && strcmp(jtext(job, "status"), "failed") != 0) {
        struct err err = {0};
        err_set(&err, ERR_NOT_FOUND, 0, "job %s is no dead letter, it is %.20s; 'haul jobs show' shows it", id,
                jtext(job, "status"));
        status = cli_err(&err, NULL);
    }
    json_decref(job);
    return status == EXIT_OK ? command_jobs_show.run(cli, NULL, 1, &id) : status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    struct uuid id;
    if (uuid_parse(argv[0], &id))
        return show_job(cli, argv[0]);
    if (fingerprint_valid(argv[0]))
        return show_fingerprint(cli, argv[0]);
    return cli_usage(&command_dlq_show, "'%.80s' is neither a fingerprint (16 hex digits) nor a job id (36 characters)",
                     argv[0]);
}

const struct command command_dlq_show = {
    .name = "dlq",
    .sub = "show",
    .args = "FINGERPRINT|JOB",
    .summary = "Show the dead letters of one cause, or one of them with its attempts and log.",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
