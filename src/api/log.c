/* GET /v1/jobs/{job_id}/log: an attempt's log, whole, in part, or as it grows. */
#include "http/range.h"
#include "api/log_text.h"
#include "api/request.h"
#include "api/routes.h"
#include "base/auto.h"

#define TEXT_TYPE       "text/plain; charset=utf-8"
#define DIRECT_MAX      (1024 * 1024) /* up to here the answer has a length; beyond it is streamed, never held whole */
#define FOLLOW_RETRY_MS 100           /* costs a look at a counter */

struct log_call {
    struct api *api;
    struct http_request *req;
    struct uuid job_id;
    int64_t attempt; /* 0: the latest */
    int64_t offset;  /* -1: none given */
    bool follow;
};

struct log_stream {
    struct log_text text; /* attempt 0: none yet */
    bool follow;
    struct log_look look;
};

/* The first attempt may be yet to come. @return 0 to look again, -1 when it never will. */
static int64_t first_attempt(struct log_stream *s)
{
    struct api *api = s->text.api;
    struct arena *arena = arena_new(API_ANSWER_MAX);
    struct job job;
    int64_t ret = 0;
    struct err err;
    err_clear(&err);
    if (arena && api->store_driver->job_get(api->store, API_PROJECT, &s->text.job_id, arena, &job, &err) == ERR_OK) {
        s->text.attempt = job.attempt;
        ret = job.attempt > 0 || job.status == JOB_PENDING ? 0 : -1;
    } else if (err.code == ERR_NOT_FOUND) {
        ret = -1;
    }
    arena_free(arena);
    return ret;
}

static int64_t stream_read(void *arg, void *buf, size_t max)
{
    struct log_stream *s = arg;
    struct err err;
    int64_t n = 0;
    bool draining = atomic_load(&s->text.api->draining);
    if (s->follow && !draining && log_quiet(&s->look, s->text.api, &s->text.job_id))
        return 0;
    if (s->text.attempt == 0)
        n = first_attempt(s);
    err_clear(&err);
    if (s->text.attempt > 0)
        n = log_text_read(&s->text, buf, max, &err);
    if (n == -2 && (err_repeatable(err.code) || err.code == ERR_TIMEOUT))
        n = 0;
    if (n != 0)
        s->look.at = 0;                 /* there may be more */
    return n == 0 && draining ? -2 : n; /* cut, not ended: who follows on asks the next server */
}

static void stream_free(void *arg)
{
    struct log_stream *s = arg;
    log_text_release(&s->text);
    free(s);
}

static void stream(struct log_call *l, int status, const struct log_text *text)
{
    struct log_stream *s = calloc(1, sizeof(*s));
    if (!s) {
        struct err err;
        no_memory(&err);
        reply_err(l->req, &err);
        return;
    }
    *s = (struct log_stream){.text = *text, .follow = l->follow};
    reply_stream(l->req, status, TEXT_TYPE,
                 (struct http_stream){.read = stream_read, .free = stream_free, .arg = s, .retry_ms = FOLLOW_RETRY_MS});
}

struct direct {
    struct log_call *l;
    struct log_text text;
    int status;
    int64_t size;
};

static void direct_task(void *arg)
{
    struct direct *d = arg;
    struct err err;
    int64_t done = 0, n = 0;
    size_t room = (size_t)d->size + LOG_TEXT_MIN;
    char *p = malloc(room);
    err_clear(&err);
    if (!p)
        n = (no_memory(&err), -2);
    while (n >= 0 && (n = log_text_read(&d->text, p + done, room - (size_t)done, &err)) > 0)
        done += n;
    log_text_release(&d->text);
    if (n == -2)
        reply_err(d->l->req, &err);
    else
        reply_text(d->l->req, d->status, TEXT_TYPE, p, (size_t)done);
    free(p);
}

/* A short answer has a length. A blob's bytes are read on the pool for them. */
static void direct(struct log_call *l, int status, const struct log_text *text, int64_t size, bool packed)
{
    struct direct *d = arena_alloc(http_arena(l->req), sizeof(*d));
    struct err err;
    if (!d) {
        no_memory(&err);
        reply_err(l->req, &err);
        return;
    }
    *d = (struct direct){.l = l, .text = *text, .status = status, .size = size};
    if (packed)
        req_run(l->req, l->api->bytes, direct_task, d);
    else
        direct_task(d);
}

static void refuse_range(struct log_call *l, int64_t size)
{
    struct err err;
    char range[96];
    snprintf(range, sizeof(range), "bytes */%lld", (long long)size);
    http_set_header(l->req, "Content-Range", range);
    err_set(&err, ERR_RANGE, 0, "the log has %lld bytes", (long long)size);
    reply_err(l->req, &err);
}

/* A range is of the text. While it is being cut its bytes move: then the whole answers, which a client must expect. */
static enum http_range range_of(struct log_call *l, const struct log_part *log, int64_t *ret_from, int64_t *ret_end)
{
    int64_t size = log_text_size(log);
    *ret_from = 0;
    *ret_end = size;
    if (!log->ended && log->cut_to > log->cut_from)
        return HTTP_RANGE_ALL;
    http_set_header(l->req, "Accept-Ranges", "bytes");
    enum http_range kind = http_range_parse(http_header(l->req, "Range"), size, ret_from, ret_end);
    if (kind == HTTP_RANGE_PART) {
        char range[96];
        snprintf(range, sizeof(range), "bytes %lld-%lld/%lld", (long long)*ret_from, (long long)*ret_end - 1,
                 (long long)size);
        http_set_header(l->req, "Content-Range", range);
    }
    return kind;
}

static void send(struct log_call *l, struct log_text *text, const struct log_part *log)
{
    int64_t from, end;
    enum http_range kind = range_of(l, log, &from, &end);
    if (kind == HTTP_RANGE_BAD) {
        refuse_range(l, log_text_size(log));
        return;
    }
    log_text_seek(text, log, from, end);
    if (end - from <= DIRECT_MAX)
        direct(l, kind == HTTP_RANGE_PART ? 206 : 200, text, end - from, !uuid_is_nil(&log->blob_id));
    else
        stream(l, kind == HTTP_RANGE_PART ? 206 : 200, text);
}

/* From an offset: the handler's bytes are counted, not the text's. */
static void send_from(struct log_call *l, struct log_text *text, const struct log_part *log)
{
    if (l->offset > log->total) {
        refuse_range(l, log->total);
        return;
    }
    text->at = l->offset;
    text->end = log->total;
    stream(l, 200, text);
}

static void task(void *arg)
{
    struct log_call *l = arg;
    const struct store_driver *d = l->api->store_driver;
    struct job job;
    struct log_part log = {0};
    struct err err;
    err_clear(&err);
    int rc = d->job_get(l->api->store, API_PROJECT, &l->job_id, http_arena(l->req), &job, &err);
    if (!rc && l->attempt > job.attempt)
        rc = err_set(&err, ERR_NOT_FOUND, 0, "there is no attempt %lld; the latest is %u", (long long)l->attempt,
                     job.attempt);
    struct log_text text = {.api = l->api, .job_id = l->job_id, .left = INT64_MAX};
    if (!rc)
        text.attempt = l->attempt ? (uint32_t)l->attempt : job.attempt;
    if (!rc && text.attempt > 0)
        rc = d->log_read(l->api->store, &l->job_id, text.attempt, 0, NULL, 0, &log, &err);
    if (rc) {
        reply_err(l->req, &err);
    } else if (l->follow) {
        text.at = MAX(l->offset, 0);
        text.end = -1;
        stream(l, 200, &text);
    } else if (l->offset >= 0) {
        send_from(l, &text, &log);
    } else {
        send(l, &text, &log);
    }
}

static int parse(struct http_request *req, struct log_call *l, struct err *err)
{
    static const char *const known[] = {"attempt", "follow", "offset", NULL};
    int64_t follow = 0;
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_job_id(req, &l->job_id, err);
    if (!rc)
        rc = req_query_int(req, "attempt", 0, 1, UINT32_MAX, &l->attempt, err);
    if (!rc)
        rc = req_query_int(req, "follow", 0, 0, 1, &follow, err);
    if (!rc)
        rc = req_query_int(req, "offset", -1, 0, INT64_MAX - JOB_LOG_CHUNK_MAX, &l->offset, err);
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
