/* GET /v1/jobs/{job_id}/log: an attempt's log, whole, in part, or as it grows. */
#include "api/log_range.h"
#include "api/request.h"
#include "api/routes.h"

#define TEXT_TYPE       "text/plain; charset=utf-8"
#define DIRECT_MAX      (1024 * 1024) /* up to here the answer has a length; beyond it is streamed, never held whole */
#define FOLLOW_RETRY_MS 250           /* promised: live logs within 2 s */

struct log_call {
    struct api *api;
    struct http_request *req;
    struct uuid job_id;
    int64_t attempt; /* 0: the latest */
    bool follow;
};

struct log_stream {
    struct api *api;
    struct uuid job_id;
    uint32_t attempt; /* 0: none yet */
    int64_t at, end;  /* end -1: until the attempt ends */
};

/* The first attempt may be yet to come. @return false when it never will. */
static bool stream_attempt(struct log_stream *s, int64_t *ret)
{
    struct arena *arena = arena_new(API_ANSWER_MAX);
    struct job job;
    *ret = -1;
    if (arena && s->api->store_driver->job_get(s->api->store, API_PROJECT, &s->job_id, arena, &job, NULL) == ERR_OK) {
        s->attempt = job.attempt;
        *ret = job.attempt > 0 || job.status == JOB_PENDING ? 0 : -1;
    }
    arena_free(arena);
    return s->attempt > 0;
}

static int64_t stream_read(void *arg, void *buf, size_t max)
{
    struct log_stream *s = arg;
    int64_t total = 0, nothing = 0;
    size_t n = 0;
    bool ended = false;
    struct err err;
    if (s->attempt == 0 && !stream_attempt(s, &nothing))
        return nothing == 0 && atomic_load(&s->api->draining) ? -1 : nothing;
    if (s->end >= 0 && (int64_t)max > s->end - s->at)
        max = (size_t)(s->end - s->at);
    if (max == 0)
        return -1;
    err_clear(&err);
    int rc = s->api->store_driver->log_read(s->api->store, &s->job_id, s->attempt, s->at, buf, max, &n, &total, &ended,
                                            &err);
    if (rc)
        return err_repeatable(err.code) || rc == ERR_TIMEOUT ? 0 : -2;
    s->at += (int64_t)n;
    if (n > 0)
        return (int64_t)n;
    return ended || s->end >= 0 || atomic_load(&s->api->draining) ? -1 : 0;
}

static void stream(struct log_call *l, int status, uint32_t attempt, int64_t at, int64_t end)
{
    struct log_stream *s = calloc(1, sizeof(*s));
    if (!s) {
        struct err err;
        no_memory(&err);
        reply_err(l->req, &err);
        return;
    }
    *s = (struct log_stream){.api = l->api, .job_id = l->job_id, .attempt = attempt, .at = at, .end = end};
    reply_stream(l->req, status, TEXT_TYPE,
                 (struct http_stream){.read = stream_read, .free = free, .arg = s, .retry_ms = FOLLOW_RETRY_MS});
}

static int read_part(struct log_call *l, uint32_t attempt, int64_t at, char *p, size_t n, size_t *ret_n,
                     struct err *err)
{
    size_t done = 0;
    while (done < n) {
        size_t got = 0;
        int64_t total = 0;
        bool ended = false;
        int rc = l->api->store_driver->log_read(l->api->store, &l->job_id, attempt, at + (int64_t)done, p + done,
                                                n - done, &got, &total, &ended, err);
        if (rc)
            return rc;
        if (got == 0)
            break;
        done += got;
    }
    *ret_n = done;
    return ERR_OK;
}

static void direct(struct log_call *l, int status, uint32_t attempt, int64_t at, int64_t end)
{
    struct err err;
    size_t n = 0;
    char *p = malloc((size_t)(end - at) + 1);
    err_clear(&err);
    if (!p ? no_memory(&err) : read_part(l, attempt, at, p, (size_t)(end - at), &n, &err))
        reply_err(l->req, &err);
    else
        reply_text(l->req, status, TEXT_TYPE, p, n);
    free(p);
}

static void send(struct log_call *l, uint32_t attempt, int64_t total)
{
    int64_t from = 0, end = total;
    enum range_kind kind = range_parse(http_header(l->req, "Range"), total, &from, &end);
    char range[96];
    http_set_header(l->req, "Accept-Ranges", "bytes");
    if (kind == RANGE_BAD) {
        struct err err;
        snprintf(range, sizeof(range), "bytes */%lld", (long long)total);
        http_set_header(l->req, "Content-Range", range);
        err_set(&err, ERR_RANGE, 0, "the log has %lld bytes", (long long)total);
        reply_err(l->req, &err);
        return;
    }
    if (kind == RANGE_PART) {
        snprintf(range, sizeof(range), "bytes %lld-%lld/%lld", (long long)from, (long long)end - 1, (long long)total);
        http_set_header(l->req, "Content-Range", range);
    }
    if (end - from <= DIRECT_MAX)
        direct(l, kind == RANGE_PART ? 206 : 200, attempt, from, end);
    else
        stream(l, kind == RANGE_PART ? 206 : 200, attempt, from, end);
}

static void task(void *arg)
{
    struct log_call *l = arg;
    struct job job;
    struct err err;
    err_clear(&err);
    int rc = l->api->store_driver->job_get(l->api->store, API_PROJECT, &l->job_id, http_arena(l->req), &job, &err);
    if (!rc && l->attempt > job.attempt)
        rc = err_set(&err, ERR_NOT_FOUND, 0, "the job has %u attempts, no attempt %lld", job.attempt,
                     (long long)l->attempt);
    if (rc) {
        reply_err(l->req, &err);
        return;
    }
    uint32_t attempt = l->attempt ? (uint32_t)l->attempt : job.attempt;
    if (l->follow) {
        stream(l, 200, attempt, 0, -1);
        return;
    }
    int64_t total = 0;
    if (attempt > 0) {
        char probe[1];
        size_t n = 0;
        bool ended = false;
        rc = l->api->store_driver->log_read(l->api->store, &l->job_id, attempt, 0, probe, sizeof(probe), &n, &total,
                                            &ended, &err);
    }
    if (rc)
        reply_err(l->req, &err);
    else
        send(l, attempt, total);
}

static int parse(struct http_request *req, struct log_call *l, struct err *err)
{
    static const char *const known[] = {"attempt", "follow", NULL};
    int64_t follow = 0;
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_job_id(req, &l->job_id, err);
    if (!rc)
        rc = req_query_int(req, "attempt", 0, 1, UINT32_MAX, &l->attempt, err);
    if (!rc)
        rc = req_query_int(req, "follow", 0, 0, 1, &follow, err);
    l->follow = follow == 1;
    return rc;
}

void log_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct log_call *l = arena_alloc(http_arena(req), sizeof(*l));
    if (!l ? no_memory(&err) : parse(req, l, &err)) {
        reply_err(req, &err);
        return;
    }
    l->api = api;
    l->req = req;
    req_run(req, api->reads, task, l);
}
