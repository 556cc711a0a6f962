/* haul jobs list */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/filter.h"
#include "cli/table.h"

#define LIMIT_DEFAULT 50

struct args {
    struct filter filter;
};

static const struct opt options[] = {
    FILTER_OPTIONS(args, filter),
    {"limit", 'n', OPT_INT, offsetof(struct args, filter.limit), "N", 1, 100000, "at most so many (default 50)"},
};

static void row(struct table *t, const json_t *job, usec now)
{
    const json_t *progress = json_object_get(job, "progress");
    const char *status = jtext(job, "status");
    char ago[32];
    table_cell(t, jtext(job, "job_id"));
    table_cell(t, jtext(job, "task_type"));
    table_cell(t, jtext(job, "queue"));
    table_cell_colour(t, status, status_colour(status));
    if (json_is_object(progress))
        table_cellf(t, "%d%%", (int)jreal(progress, "percent"));
    else
        table_cell(t, "-");
    table_cellf(t, "%lld", (long long)jint(job, "attempt"));
    ago_format(jtext(job, "created_at"), now, ago);
    table_cell(t, ago);
}

static int keep(void *arg, json_t *job)
{
    json_array_append(arg, job);
    return EXIT_OK;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct filter *f = &((const struct args *)args)->filter;
    AUTO_FREE char *cursor = NULL;
    struct buf query;
    json_t *all = json_array();
    int status = filter_query(&command_jobs_list, f, &query);
    if (status == EXIT_OK)
        status =
            filter_walk(cli, buf_str(&query), f->status, f->limit > 0 ? f->limit : LIMIT_DEFAULT, keep, all, &cursor);
    buf_release(&query);
    if (status == EXIT_OK && cli->json) {
        json_t *doc = json_pack("{s:O,s:s?}", "jobs", all, "next_cursor", cursor);
        print_json(doc);
        json_decref(doc);
    } else if (status == EXIT_OK) {
        struct table *t = table_new("JOB|*TYPE|*QUEUE|STATUS|>DONE|>ATTEMPT|CREATED");
        size_t i;
        json_t *job;
        json_array_foreach (all, i, job)
            row(t, job, now_wall());
        if (json_array_size(all) == 0)
            fprintf(stderr, "no jobs\n");
        else
            table_print(t, stdout, 0);
        if (cursor)
            fprintf(stderr, "there are more; --limit N shows them\n");
        table_free(t);
    }
    json_decref(all);
    return status;
}

const struct command command_jobs_list = {
    .name = "jobs",
    .sub = "list",
    .args = "",
    .summary = "List jobs, newest first ('haul jobs' does too).",
    .detail = "Examples:\n"
              "  haul jobs list --status failed --created-after 2d\n"
              "  haul jobs list --type transcode_v1 --label customer=acme --label urgent",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run,
};
