/* GET /v1/jobs: a page of the jobs that a filter asks for. */
#include "api/dead.h"
#include "api/list.h"
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"
#include "base/auto.h"
#include "base/text.h"
#include "base/timefmt.h"
#include "core/search.h"

#define LIST_ARENA_MAX (192u * 1024 * 1024) /* 1000 jobs with everything at its largest */

struct list_call {
    struct api *api;
    struct http_request *req;
    struct job_filter filter;
};

static int list_render(void *arg, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct list_call *l = arg;
    const struct store_driver *d = l->api->store_driver;
    struct job_page page = {0};
    int rc = d->job_list(l->api->store, &l->filter, arena, &page, err);
    if (rc)
        return rc;
    jw_object(w, NULL);
    jw_array(w, "jobs");
    for (size_t i = 0; i < page.n; i++) {
        rc = render_job_brief(l->api, arena, w, NULL, &page.jobs[i], err);
        if (rc)
            return rc;
    }
    jw_array_end(w);
    render_uuid(w, "next_cursor", page.more ? &page.next : &(struct uuid){{0}});
    jw_object_end(w);
    return ERR_OK;
}

static void list_task(void *arg)
{
    struct list_call *l = arg;
    read_answer(l->req, LIST_ARENA_MAX, list_render, l);
}

bool label_split(const char *text, struct arena *arena, struct label_filter *ret)
{
    size_t n_key = strcspn(text, "=");
    const char *value = text[n_key] ? text + n_key + 1 : NULL;
    if (n_key < 1 || n_key > JOB_LABEL_KEY_MAX || (value && strlen(value) > JOB_LABEL_VALUE_MAX))
        return false;
    *ret = (struct label_filter){arena ? arena_strndup(arena, text, n_key) : NULL, value};
    return !arena || ret->key;
}

static int read_label(const char *text, struct arena *arena, struct label_filter *ret, struct err *err)
{
    if (!label_split(text, NULL, ret))
        return err_field(err, "label",
                         "must be key=value, or key for any value; a key has 1 to %d bytes, a value at most %d",
                         JOB_LABEL_KEY_MAX, JOB_LABEL_VALUE_MAX);
    return label_split(text, arena, ret) ? ERR_OK : no_memory(err);
}

static int read_labels(struct http_request *req, struct job_filter *f, struct err *err)
{
    const char *text;
    int rc = ERR_OK;
    for (size_t i = 0; !rc && (text = http_query_nth(req, "label", i)) != NULL; i++) {
        if (i == FILTER_LABELS_MAX)
            return err_field(err, "label", "at most %d may be asked for at once", FILTER_LABELS_MAX);
        rc = read_label(text, http_arena(req), &f->labels[f->n_labels++], err);
    }
    return rc;
}

static int read_instant(struct http_request *req, const char *key, usec *ret, struct err *err)
{
    const char *text = http_query(req, key);
    usec at = 0;
    if (!text)
        return ERR_OK;
    if (!rfc3339_parse(text, &at))
        return err_field(err, key, "must be an RFC 3339 time, as 2026-11-25T04:50:55Z (in a URL a + is written %%2B)");
    *ret = MAX(at, 1); /* nothing is older than that; 0 stands for none */
    return ERR_OK;
}

static int read_names(struct http_request *req, struct job_filter *f, struct err *err)
{
    const char *status = http_query(req, "status");
    enum job_status s = JOB_PENDING;
    if (status && !job_status_parse(status, &s))
        return err_field(err, "status", "must be pending, running, success, failed or cancelled");
    f->status = status ? (int)s : -1;
    f->task_type = http_query(req, "task_type");
    f->queue = http_query(req, "queue");
    if (f->task_type && !name_valid(f->task_type, JOB_NAME_MAX))
        return err_field(err, "task_type", "is not a name");
    if (f->queue && !name_valid(f->queue, JOB_NAME_MAX))
        return err_field(err, "queue", "is not a name");
    return ERR_OK;
}

/* Only a dead letter has one. */
static int read_fingerprint(struct http_request *req, struct job_filter *f, struct err *err)
{
    int rc = fingerprint_read(http_query(req, "fingerprint"), "fingerprint", &f->fingerprint, err);
    if (rc || !f->fingerprint)
        return rc;
    if (f->status >= 0 && f->status != JOB_FAILED)
        return err_field(err, "status", "only failed jobs have a fingerprint");
    f->status = JOB_FAILED;
    return ERR_OK;
}

static int read_text(struct http_request *req, struct job_filter *f, struct err *err)
{
    f->text = http_query(req, "text");
    if (f->text && (!*f->text || strlen(f->text) > SEARCH_TEXT_MAX || !utf8_valid(f->text, strlen(f->text))))
        return err_field(err, "text", "must be text (UTF-8) of 1 to %d bytes", SEARCH_TEXT_MAX);
    return ERR_OK;
}

int list_filter(struct http_request *req, struct job_filter *f, struct err *err)
{
    *f = (struct job_filter){.project = API_PROJECT};
    int rc = read_names(req, f, err);
    return rc ? rc : read_labels(req, f, err);
}

static bool labels_fit(const struct job_filter *f, const struct job *job)
{
    for (size_t i = 0; i < f->n_labels; i++)
        if (!job->labels || !labels_have(job->labels, f->labels[i].key, f->labels[i].value))
            return false;
    return true;
}

bool list_fits_but_status(const struct job_filter *f, const struct job *job)
{
    return (!f->task_type || strcmp(f->task_type, job->task_type) == 0) &&
           (!f->queue || strcmp(f->queue, job->queue) == 0) && labels_fit(f, job);
}

bool list_fits(const struct job_filter *f, const struct job *job)
{
    return (f->status < 0 || f->status == (int)job->status) && list_fits_but_status(f, job);
}

int list_parse(struct http_request *req, struct job_filter *f, struct err *err)
{
    static const char *const known[] = {"status",        "task_type",      "queue",       "label",
                                        "created_after", "created_before", "fingerprint", "text",
                                        "limit",         "cursor",         NULL};
    const char *cursor = http_query(req, "cursor");
    int64_t limit = 0;
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = list_filter(req, f, err);
    if (!rc)
        rc = req_query_int(req, "limit", 50, 1, 1000, &limit, err);
    if (!rc)
        rc = read_instant(req, "created_after", &f->created_after, err);
    if (!rc)
        rc = read_instant(req, "created_before", &f->created_before, err);
    if (!rc)
        rc = read_fingerprint(req, f, err);
    if (!rc)
        rc = read_text(req, f, err);
    if (!rc && cursor && !uuid_parse(cursor, &f->before))
        rc = err_field(err, "cursor", "must be the next_cursor of an earlier answer");
    f->limit = (unsigned)limit;
    return rc;
}

void jobs_list(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct list_call *l = arena_alloc(http_arena(req), sizeof(*l));
    if (!l ? no_memory(&err) : list_parse(req, &l->filter, &err)) {
        reply_err(req, &err);
        return;
    }
    l->api = api;
    l->req = req;
    req_run(req, api->reads, list_task, l);
}
