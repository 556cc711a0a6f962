/* haul dlq list: dead letters one by one, or grouped by what they failed of. */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/dlq_groups.h"
#include "cli/filter.h"
#include "cli/table.h"

#define LIMIT_DEFAULT 50
#define LIMIT_SINGLE  100000 /* all of them are held in memory */

struct args {
    struct filter filter;
    bool group;
};

static const struct opt options[] = {
    {"group", 'g', OPT_FLAG, offsetof(struct args, group), NULL, 0, 0, "one line for all that failed of one cause"},
    FILTER_OPTIONS_ANY(args, filter),
    {"limit", 'n', OPT_INT, offsetof(struct args, filter.limit), "N", 1, INT32_MAX,
     "at most so many, the newest (default 50); with --group: so many are looked at (default 100000)"},
};

static void print_jobs(const json_t *jobs, const char *cursor)
{
    struct table *t = table_new("JOB|*TYPE|FINGERPRINT|FAILED|*CAUSE");
    size_t i;
    json_t *job;
    usec now = now_wall();
    json_array_foreach (jobs, i, job) {
        AUTO_FREE char *cause = dlq_cause(job);
        char ago[32];
        table_cell(t, jtext(job, "job_id"));
        table_cell(t, jtext(job, "task_type"));
        table_cell(t, jtext(job, "fingerprint"));
        ago_format(jtext(job, "finished_at"), now, ago);
        table_cell(t, ago);
        table_cell(t, cause ? cause : "");
    }
    if (json_array_size(jobs) == 0)
        fprintf(stderr, "no dead letters\n");
    else
        table_print(t, stdout, 0);
    if (cursor)
        fprintf(stderr, "there are more; --limit N shows them\n");
    table_free(t);
}

static int keep(void *arg, json_t *job)
{
    json_array_append(arg, job);
    return EXIT_OK;
}

static int list_jobs(struct cli *cli, const char *query, int64_t limit)
{
    AUTO_FREE char *cursor = NULL;
    json_t *jobs = json_array();
    int status = filter_walk(cli, query, "failed", limit > 0 ? limit : LIMIT_DEFAULT, keep, jobs, &cursor);
    if (status == EXIT_OK && cli->json) {
        json_t *doc = json_pack("{s:O,s:s?}", "jobs", jobs, "next_cursor", cursor);
        print_json(doc);
        json_decref(doc);
    } else if (status == EXIT_OK) {
        print_jobs(jobs, cursor);
    }
    json_decref(jobs);
    return status;
}

static void print_groups(const json_t *groups)
{
    struct table *t = table_new(">JOBS|FINGERPRINT|*TYPE|FIRST|LAST|JOB|*CAUSE");
    size_t i;
    json_t *g;
    usec now = now_wall();
    json_array_foreach (groups, i, g) {
        char ago[32];
        table_cellf(t, "%lld", (long long)jint(g, "jobs"));
        table_cell(t, jtext(g, "fingerprint"));
        table_cell(t, jtext(g, "task_type"));
        ago_format(jtext(g, "first_failed_at"), now, ago);
        table_cell(t, ago);
        ago_format(jtext(g, "last_failed_at"), now, ago);
        table_cell(t, ago);
        table_cell(t, jtext(g, "job_id"));
        table_cell(t, jtext(g, "cause"));
    }
    if (json_array_size(groups) == 0)
        fprintf(stderr, "no dead letters\n");
    else
        table_print(t, stdout, 0);
    table_free(t);
}

static int list_groups(struct cli *cli, const char *query, int64_t limit)
{
    AUTO_FREE char *cursor = NULL;
    struct groups g = {.by_fingerprint = json_object()};
    int status = filter_walk(cli, query, "failed", limit > 0 ? limit : DLQ_LOOK_DEFAULT, groups_take, &g, &cursor);
    if (status == EXIT_OK) {
        json_t *groups = groups_sorted(&g);
        json_t *doc =
            json_pack("{s:O,s:I,s:b}", "groups", groups, "looked_at", (json_int_t)g.looked_at, "complete", !cursor);
        if (cli->json)
            print_json(doc);
        else
            print_groups(groups);
        json_decref(doc);
        json_decref(groups);
    }
    if (status == EXIT_OK && cursor)
        fprintf(stderr, "only the newest %lld dead letters were looked at; --limit N looks further\n",
                (long long)g.looked_at);
    json_decref(g.by_fingerprint);
    return status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    struct buf query;
    if (!a->group && a->filter.limit > LIMIT_SINGLE)
        return cli_usage(&command_dlq_list, "--limit is at most %d without --group", LIMIT_SINGLE);
    int status = filter_query(&command_dlq_list, &a->filter, &query);
    if (status == EXIT_OK)
        status = (a->group ? list_groups : list_jobs)(cli, buf_str(&query), a->filter.limit);
    buf_release(&query);
    return status;
}

const struct command command_dlq_list = {
    .name = "dlq",
    .sub = "list",
    .args = "",
    .summary = "List dead letters: the jobs that failed for good.",
    .detail = "Dead letters of one cause have one fingerprint, whatever numbers, ids and paths their messages name.\n"
              "Examples:\n"
              "  haul dlq list --group --created-after 2d\n"
              "  haul dlq list --type transcode_v1 --limit 100",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run,
};
