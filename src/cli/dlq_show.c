/* haul dlq show: one dead letter, or all of one fingerprint. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "cli/dlq_groups.h"
#include "cli/filter.h"
#include "cli/table.h"

#define JOBS_SHOWN 20

struct args {
    int64_t limit;
};

static const struct opt options[] = {
    {"limit", 'n', OPT_INT, offsetof(struct args, limit), "N", 1, INT32_MAX,
     "so many dead letters are looked at for a fingerprint (default 100000)"},
};

struct found {
    const char *fingerprint;
    struct groups groups; /* the one */
    json_t *jobs;         /* the newest, JOBS_SHOWN at most */
    int64_t looked_at;
};

static int take(void *arg, json_t *job)
{
    struct found *f = arg;
    f->looked_at++;
    if (strcmp(jtext(job, "fingerprint"), f->fingerprint) != 0)
        return EXIT_OK;
    if (json_array_size(f->jobs) < JOBS_SHOWN)
        json_array_append(f->jobs, job);
    return groups_take(&f->groups, job);
}

static int not_found(const struct found *f, bool complete)
{
    struct err err = {0};
    if (complete)
        err_set(&err, ERR_NOT_FOUND, 0, "no dead letter has the fingerprint %s", f->fingerprint);
    else
        err_set(&err, ERR_NOT_FOUND, 0,
                "none of the newest %lld dead letters has the fingerprint %s; --limit N looks further",
                (long long)f->looked_at, f->fingerprint);
    return cli_err(&err, NULL);
}

static void line(const char *name, const char *value)
{
    AUTO_FREE char *safe = text_safe(value);
    printf("%s%-16s%s%s\n", colour_begin(stdout, COLOUR_DIM), name, colour_end(stdout, COLOUR_DIM), safe ? safe : "");
}

static void print(const struct found *f, const json_t *group)
{
    struct table *t = table_new("JOB|*QUEUE|>ATTEMPTS|FAILED|*CAUSE");
    char text[32];
    size_t i;
    json_t *job;
    snprintf(text, sizeof(text), "%lld", (long long)jint(group, "jobs"));
    line("fingerprint", f->fingerprint);
    line("task type", jtext(group, "task_type"));
    line("dead letters", text);
    line("first failed", jtext(group, "first_failed_at"));
    line("last failed", jtext(group, "last_failed_at"));
    line("cause", jtext(group, "cause"));
    fputc('\n', stdout);
    json_array_foreach (f->jobs, i, job) {
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

static int show_fingerprint(struct cli *cli, const char *fingerprint, int64_t limit)
{
    AUTO_FREE char *cursor = NULL;
    struct found f = {.fingerprint = fingerprint, .groups = {.by_fingerprint = json_object()}, .jobs = json_array()};
    int status = filter_walk(cli, "", "failed", limit > 0 ? limit : DLQ_LOOK_DEFAULT, take, &f, &cursor);
    json_t *group = json_object_get(f.groups.by_fingerprint, fingerprint);
    if (status == EXIT_OK && !group) {
        status = not_found(&f, !cursor);
    } else if (status == EXIT_OK) {
        if (cli->json) {
            json_object_set(group, "newest", f.jobs);
            json_object_set_new(group, "complete", json_boolean(!cursor));
            print_json(group);
        } else {
            print(&f, group);
        }
        if (cursor)
            fprintf(stderr, "only the newest %lld dead letters were looked at; --limit N looks further\n",
                    (long long)f.looked_at);
    }
    json_decref(f.groups.by_fingerprint);
    json_decref(f.jobs);
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
        return show_fingerprint(cli, argv[0], ((const struct args *)args)->limit);
    return cli_usage(&command_dlq_show, "'%.80s' is neither a fingerprint (16 hex digits) nor a job id (36 characters)",
                     argv[0]);
}

const struct command command_dlq_show = {
    .name = "dlq",
    .sub = "show",
    .args = "FINGERPRINT|JOB",
    .summary = "Show the dead letters of one cause, or one of them with its attempts and log.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
