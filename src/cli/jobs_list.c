/* haul jobs list */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/table.h"

struct args {
    const char *status, *task_type, *queue;
    int64_t limit;
};

static const struct opt options[] = {
    {"status", 0, OPT_TEXT, offsetof(struct args, status), "STATUS", 0, 0,
     "pending, running, success, failed or cancelled"},
    {"task-type", 't', OPT_TEXT, offsetof(struct args, task_type), "NAME", 0, 0, "jobs of this task type"},
    {"queue", 'q', OPT_TEXT, offsetof(struct args, queue), "NAME", 0, 0, "jobs of this queue"},
    {"limit", 'n', OPT_INT, offsetof(struct args, limit), "N", 1, 100000, "at most so many (default 50)"},
};

static void path_filter(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(b, "&%s=", name);
    url_add(b, value);
}

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

/* Pages until `limit` jobs are in `all`. */
static int pages(struct cli *cli, const struct args *a, json_t *all, char **ret_cursor)
{
    int64_t left = a->limit > 0 ? a->limit : 50;
    AUTO_FREE char *cursor = NULL;
    while (left > 0) {
        struct buf path;
        json_t *doc = NULL;
        buf_init(&path, 8192);
        buf_printf(&path, "/v1/jobs?limit=%lld", (long long)MIN(left, (int64_t)1000));
        path_filter(&path, "status", a->status);
        path_filter(&path, "task_type", a->task_type);
        path_filter(&path, "queue", a->queue);
        path_filter(&path, "cursor", cursor);
        int status = path.failed ? cli_usage(&command_jobs_list, "the filters are too long")
                                 : cli_call(cli, "GET", path.data, NULL, &doc, "jobs list");
        buf_release(&path);
        if (status != EXIT_OK)
            return status;
        json_t *jobs = json_object_get(doc, "jobs");
        left -= (int64_t)json_array_size(jobs);
        json_array_extend(all, jobs);
        free(cursor);
        const char *next = json_string_value(json_object_get(doc, "next_cursor"));
        cursor = next && json_array_size(jobs) > 0 ? strdup(next) : NULL;
        json_decref(doc);
        if (!cursor)
            break;
    }
    *ret_cursor = TAKE_PTR(cursor);
    return EXIT_OK;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    AUTO_FREE char *cursor = NULL;
    json_t *all = json_array();
    int status = pages(cli, args, all, &cursor);
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
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run,
};
