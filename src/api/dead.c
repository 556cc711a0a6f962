/* GET /v1/dlq: dead letters, grouped by what they failed of. */
#include "api/dead.h"
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"
#include "base/auto.h"
#include "base/text.h"
#include "core/fingerprint.h"
#include <inttypes.h>

#define GROUPS_ARENA_MAX (64u * 1024 * 1024)

struct dead_call {
    struct api *api;
    struct http_request *req;
    struct dead_filter filter;
};

int fingerprint_read(const char *text, const char *field, uint64_t *ret, struct err *err)
{
    *ret = 0;
    if (text && !fingerprint_parse(text, ret))
        return err_field(err, field, "must be a fingerprint: 16 lower-case hex digits");
    return ERR_OK;
}

/* "214-3f1c0d7a9be24456": behind that group. */
static int read_cursor(const char *text, struct dead_filter *f, struct err *err)
{
    char jobs[24];
    size_t n = text ? strcspn(text, "-") : 0;
    if (!text)
        return ERR_OK;
    if (n > 0 && n < sizeof(jobs) && text[n]) {
        memcpy(jobs, text, n);
        jobs[n] = '\0';
        if (query_int(jobs, "cursor", 1, INT64_MAX, &f->before_jobs, NULL) == ERR_OK &&
            fingerprint_parse(text + n + 1, &f->before))
            return ERR_OK;
    }
    return err_field(err, "cursor", "must be the next_cursor of an earlier answer");
}

static int parse(struct http_request *req, struct dead_filter *f, struct err *err)
{
    static const char *const known[] = {"task_type", "fingerprint", "limit", "cursor", NULL};
    int64_t limit = 0;
    *f = (struct dead_filter){.project = API_PROJECT, .task_type = http_query(req, "task_type")};
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_query_int(req, "limit", 50, 1, 1000, &limit, err);
    if (!rc && f->task_type && !name_valid(f->task_type, JOB_NAME_MAX))
        rc = err_field(err, "task_type", "is not a name");
    if (!rc)
        rc = fingerprint_read(http_query(req, "fingerprint"), "fingerprint", &f->fingerprint, err);
    if (!rc)
        rc = read_cursor(http_query(req, "cursor"), f, err);
    f->limit = (unsigned)limit;
    return rc;
}

static void render_group(struct json_writer *w, const struct dead_group *g)
{
    jw_object(w, NULL);
    render_fingerprint(w, "fingerprint", g->fingerprint);
    jw_string(w, "task_type", g->task_type);
    jw_int(w, "jobs", g->jobs);
    jw_time(w, "first_failed_at", g->first_failed_at);
    jw_time(w, "last_failed_at", g->last_failed_at);
    render_uuid(w, "job_id", &g->job_id);
    jw_string(w, "outcome", outcome_name(g->outcome));
    jw_string(w, "error_log", g->error_log);
    jw_object_end(w);
}

static void render(struct json_writer *w, const struct dead_page *page)
{
    char cursor[48];
    jw_object(w, NULL);
    jw_array(w, "groups");
    for (size_t i = 0; i < page->n; i++)
        render_group(w, &page->groups[i]);
    jw_array_end(w);
    if (page->more)
        snprintf(cursor, sizeof(cursor), "%" PRId64 "-%016" PRIx64, page->groups[page->n - 1].jobs,
                 page->groups[page->n - 1].fingerprint);
    jw_string(w, "next_cursor", page->more ? cursor : NULL);
    jw_bool(w, "complete", page->complete);
    jw_object_end(w);
}

static int read_render(void *arg, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct dead_call *d = arg;
    struct dead_page page = {0};
    const int rc = d->api->store_driver->dead_groups(d->api->store, &d->filter, arena, &page, err);
    if (!rc)
        render(w, &page);
    return rc;
}

static void read_task(void *arg)
{
    struct dead_call *d = arg;
    read_answer(d->req, GROUPS_ARENA_MAX, read_render, d);
}

void dead_groups_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct dead_call *d = arena_alloc(http_arena(req), sizeof(*d));
    if (!d ? no_memory(&err) : parse(req, &d->filter, &err)) {
        reply_err(req, &err);
        return;
    }
    d->api = api;
    d->req = req;
    req_run(req, api->reads, read_task, d);
}
