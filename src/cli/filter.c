/* Which jobs: conditions on the command line as a query, and the pages of what matches. */
#include "cli/filter.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/timefmt.h"
#include "base/uuid.h"
#include "cli/term.h"

#define QUERY_MAX 7000
#define PAGE_MAX  1000

bool fingerprint_valid(const char *s)
{
    return strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16;
}

bool filter_empty(const struct filter *f)
{
    return !f->status && !f->task_type && !f->queue && !f->created_after && !f->created_before && !f->fingerprint &&
           !f->failed_before && !f->text && f->labels.n == 0;
}

static bool status_known(const char *s)
{
    static const char *const known[] = {"pending", "running", "success", "failed", "cancelled"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], s) == 0)
            return true;
    return false;
}

static void add(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(b, "&%s=", name);
    url_add(b, value);
}

int filter_time(const struct command *cmd, const char *option, const char *text, usec now, usec *ret)
{
    struct err err = {0};
    return when_parse(text, option, now, WHEN_AGO, ret, &err) == ERR_OK ? EXIT_OK : cli_usage(cmd, "%s", err.msg);
}

static int add_time(const struct command *cmd, struct buf *b, const char *option, const char *name, const char *text,
                    usec now)
{
    char at[RFC3339_MAX];
    usec us;
    if (!text)
        return EXIT_OK;
    int status = filter_time(cmd, option, text, now, &us);
    if (status != EXIT_OK)
        return status;
    rfc3339_format(us, at);
    add(b, name, at);
    return EXIT_OK;
}

int filter_query(const struct command *cmd, const struct filter *f, struct buf *ret)
{
    usec now = now_wall();
    int status;
    buf_init(ret, QUERY_MAX);
    if (f->status && !status_known(f->status))
        return cli_usage(cmd, "--status must be pending, running, success, failed or cancelled, got '%.80s'",
                         f->status);
    add(ret, "task_type", f->task_type);
    add(ret, "queue", f->queue);
    add(ret, "text", f->text);
    for (size_t i = 0; i < f->labels.n; i++) {
        if (f->labels.items[i][0] == '\0' || f->labels.items[i][0] == '=')
            return cli_usage(cmd, "--label takes KEY or KEY=VALUE, got '%.80s'", f->labels.items[i]);
        add(ret, "label", f->labels.items[i]);
    }
    if ((status = add_time(cmd, ret, "--created-after", "created_after", f->created_after, now)) != EXIT_OK ||
        (status = add_time(cmd, ret, "--created-before", "created_before", f->created_before, now)) != EXIT_OK)
        return status;
    return ret->failed ? cli_usage(cmd, "the filters are too long: together at most %d bytes", QUERY_MAX) : EXIT_OK;
}

static int page(struct cli *cli, const char *query, const char *status, int64_t limit, const char *cursor, json_t **ret)
{
    struct buf path;
    buf_init(&path, QUERY_MAX + 1000);
    buf_printf(&path, "/v1/jobs?limit=%lld%s", (long long)limit, query);
    add(&path, "status", status);
    add(&path, "cursor", cursor);
    int rc = cli_call(cli, "GET", buf_str(&path), NULL, ret, "jobs list");
    buf_release(&path);
    return rc;
}

/* A search may go through much before it finds something: on a terminal it says how far back it is. @param id  a UUIDv7, made then */
static void searched_to(struct bar *b, const char *id)
{
    struct uuid uuid;
    char at[RFC3339_MAX], text[80];
    usec ms = 0;
    if (!uuid_parse(id, &uuid))
        return;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | uuid.b[i];
    rfc3339_format(ms * USEC_PER_MSEC, at);
    snprintf(text, sizeof(text), "searched back to %s", at);
    bar_line(b, -1, text);
}

static int no_way_on(void)
{
    struct err err = {0};
    err_set(&err, ERR_INTERNAL, 0, "the server's answer leads back to the same page");
    return cli_err(&err, "jobs list");
}

int filter_walk(struct cli *cli, const char *query, const char *status, int64_t limit,
                int (*take)(void *arg, json_t *job), void *arg, char **ret_cursor)
{
    AUTO_FREE char *cursor = NULL;
    struct bar bar = {.label = "jobs"};
    while (limit > 0) {
        json_t *doc = NULL, *job;
        size_t i;
        int rc = page(cli, query, status, MIN(limit, (int64_t)PAGE_MAX), cursor, &doc);
        if (rc != EXIT_OK) {
            bar_clear(&bar);
            return rc;
        }
        const json_t *jobs = json_object_get(doc, "jobs");
        json_array_foreach (jobs, i, job)
            if ((rc = take(arg, job)) != EXIT_OK)
                break;
        limit -= (int64_t)json_array_size(jobs);
        /* A page may be empty and still not be the last: the server looks through so much at a time. */
        const char *next = json_string_value(json_object_get(doc, "next_cursor"));
        bool stuck = next && cursor && strcmp(next, cursor) == 0;
        free(cursor);
        cursor = next ? strdup(next) : NULL;
        if (next && json_array_size(jobs) == 0)
            searched_to(&bar, next);
        else
            bar_clear(&bar);
        json_decref(doc);
        if (rc == EXIT_OK && stuck)
            rc = no_way_on();
        if (rc != EXIT_OK)
            return rc;
        if (!cursor)
            break;
    }
    if (ret_cursor)
        *ret_cursor = TAKE_PTR(cursor);
    return EXIT_OK;
}
