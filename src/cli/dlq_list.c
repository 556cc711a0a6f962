/* haul dlq list: dead letters one by one, or grouped by what they failed of. */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/dlq_groups.h"
#include "cli/filter.h"
#include "cli/table.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     100000 /* all of them are held in memory */
#define LOOKED_MAX    100000 /* dead letters, where a filter leaves the grouping to us */
#define LOOKED_TEXT   "100000"
#define PAGE_MAX      1000

struct args {
    struct filter filter;
    bool group;
};

static const struct opt options[] = {
    {"group", 'g', OPT_FLAG, offsetof(struct args, group), NULL, 0, 0, "one line for all that failed of one cause"},
    FILTER_OPTIONS_ANY(args, filter),
    {"limit", 'n', OPT_INT, offsetof(struct args, filter.limit), "N", 1, LIMIT_MAX,
     "at most so many (default 50): the newest jobs, or the largest groups"},
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
        AUTO_FREE char *cause = dlq_cause(g);
        table_cell(t, cause ? cause : "");
    }
    if (json_array_size(groups) == 0)
        fprintf(stderr, "no dead letters\n");
    else
        table_print(t, stdout, 0);
    table_free(t);
}

/* Of the server, which keeps them: by type, or all. Errors are printed. */
static int kept_groups(struct cli *cli, const char *query, size_t limit, json_t *groups, bool *ret_more,
                       bool *ret_complete)
{
    AUTO_FREE char *cursor = NULL;
    *ret_more = true;
    while (*ret_more && json_array_size(groups) < limit) {
        json_t *doc = NULL, *group;
        struct buf path;
        size_t i;
        buf_init(&path, 16384);
        buf_printf(&path, "/v1/dlq?limit=%zu%s", MIN(limit - json_array_size(groups), (size_t)PAGE_MAX), query);
        if (cursor)
            buf_printf(&path, "&cursor=%s", cursor);
        int status = cli_call(cli, "GET", buf_str(&path), NULL, &doc, "dlq");
        buf_release(&path);
        if (status != EXIT_OK)
            return status;
        json_array_foreach (json_object_get(doc, "groups"), i, group)
            json_array_append(groups, group);
        const char *next = json_string_value(json_object_get(doc, "next_cursor"));
        *ret_complete = json_is_true(json_object_get(doc, "complete"));
        *ret_more = next != NULL;
        free(cursor);
        cursor = next ? strdup(next) : NULL;
        json_decref(doc);
    }
    return EXIT_OK;
}

/* By any other condition: of what a walk through the dead letters finds. */
static int found_groups(struct cli *cli, const char *query, size_t limit, json_t *groups, bool *ret_more,
                        bool *ret_complete)
{
    AUTO_FREE char *cursor = NULL;
    struct groups g = {.by_fingerprint = json_object()};
    int status = filter_walk(cli, query, "failed", LOOKED_MAX, groups_take, &g, &cursor);
    json_t *sorted = status == EXIT_OK ? groups_sorted(&g) : NULL;
    for (size_t i = 0; i < json_array_size(sorted) && i < limit; i++)
        json_array_append(groups, json_array_get(sorted, i));
    *ret_more = json_array_size(sorted) > limit;
    *ret_complete = !cursor;
    json_decref(sorted);
    json_decref(g.by_fingerprint);
    return status;
}

static int list_groups(struct cli *cli, const struct filter *f, const char *query, int64_t limit)
{
    json_t *groups = json_array();
    struct filter others = *f;
    bool more = false, complete = true;
    others.task_type = NULL;
    size_t n = limit > 0 ? (size_t)limit : LIMIT_DEFAULT;
    int status = (filter_empty(&others) ? kept_groups : found_groups)(cli, query, n, groups, &more, &complete);
    if (status == EXIT_OK && cli->json) {
        json_t *doc = json_pack("{s:O,s:b,s:b}", "groups", groups, "more", (int)more, "complete", (int)complete);
        print_json(doc);
        json_decref(doc);
    } else if (status == EXIT_OK) {
        print_groups(groups);
        if (more)
            fprintf(stderr, "there are more groups; --limit N shows them\n");
    }
    if (status == EXIT_OK && !complete)
        fprintf(stderr, "%s\n",
                filter_empty(&others) ? "dead letters of before an upgrade are still being entered: ask again"
                                      : "only the newest dead letters were looked at (" LOOKED_TEXT ")");
    json_decref(groups);
    return status;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    struct buf query;
    int status = filter_query(&command_dlq_list, &a->filter, &query);
    if (status == EXIT_OK)
        status = a->group ? list_groups(cli, &a->filter, buf_str(&query), a->filter.limit)
                          : list_jobs(cli, buf_str(&query), a->filter.limit);
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
