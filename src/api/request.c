/* Shared by all handlers: entering and leaving, query, body, token, replies. */
#include "api/request.h"
#include "base/log.h"
#include "base/protocol.h"
#include "base/text.h"
#include "base/timefmt.h"
#include <errno.h>
#include <limits.h>

void api_init(struct api *api)
{
    api->started_boot_us = api->clock.boot_us(api->clock.self);
    api->started_wall_us = api->clock.wall_us(api->clock.self);
    atomic_init(&api->draining, false);
    pthread_mutex_init(&api->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&api->idle, &attr);
    pthread_condattr_destroy(&attr);
    api->in_flight = 0;
    writers_init(&api->writers, api);
    blob_checks_init(&api->blob_checks, api->clock);
    boards_init(&api->boards, api);
    elsewhere_init(&api->elsewhere);
    atomic_init(&api->event_streams, 0);
    atomic_init(&api->reading_back, 0);
    api->epoch = rng_u64(api->rng);
    api->stopping = false;
    api->backing_up = false;
}

void api_release(struct api *api)
{
    boards_release(&api->boards);
    elsewhere_release(&api->elsewhere);
    blob_checks_release(&api->blob_checks);
    writers_release(&api->writers);
    pthread_cond_destroy(&api->idle);
    pthread_mutex_destroy(&api->lock);
}

void api_drain(struct api *api)
{
    atomic_store(&api->draining, true);
}

bool api_quiesce(struct api *api, usec limit_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(limit_us / USEC_PER_SEC);
    until.tv_nsec += (long)(limit_us % USEC_PER_SEC) * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&api->lock);
    api->stopping = true;
    while (api->in_flight > 0 && pthread_cond_timedwait(&api->idle, &api->lock, &until) != ETIMEDOUT) {
    }
    bool idle = api->in_flight == 0;
    pthread_mutex_unlock(&api->lock);
    return idle;
}

struct api *api_enter(struct http_request *req)
{
    struct api *api = http_app(req);
    pthread_mutex_lock(&api->lock);
    bool stopping = api->stopping;
    if (!stopping)
        api->in_flight++;
    pthread_mutex_unlock(&api->lock);
    if (!stopping)
        return api;
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "the server is stopping");
    http_reply_err(req, &err);
    return NULL;
}

static void leave(struct api *api)
{
    pthread_mutex_lock(&api->lock);
    if (--api->in_flight == 0)
        pthread_cond_broadcast(&api->idle);
    pthread_mutex_unlock(&api->lock);
}

void reply_err(struct http_request *req, const struct err *err)
{
    struct api *api = http_app(req);
    if (err_http(err->code) >= 500 && !err_repeatable(err->code))
        log_err(http_path(req), err);
    http_reply_err(req, err);
    leave(api);
}

void reply_json(struct http_request *req, int status, struct buf *body)
{
    struct api *api = http_app(req);
    if (body->failed) {
        buf_release(body);
        struct err err;
        err_set(&err, ERR_NO_MEMORY, 0, "the answer is too large for memory");
        reply_err(req, &err);
        return;
    }
    http_reply_json(req, status, body);
    leave(api);
}

void reply_empty(struct http_request *req, int status)
{
    struct api *api = http_app(req);
    http_reply_empty(req, status);
    leave(api);
}

void reply_text(struct http_request *req, int status, const char *content_type, const void *p, size_t n)
{
    struct api *api = http_app(req);
    http_reply_text(req, status, content_type, p, n);
    leave(api);
}

void reply_bytes(struct http_request *req, const char *content_type, const char *etag, const void *p, size_t n)
{
    struct api *api = http_app(req);
    http_reply_bytes(req, content_type, etag, p, n);
    leave(api);
}

void reply_file(struct http_request *req, struct http_file file, const char *content_type, const char *etag,
                int64_t modified_s, const char *filename, struct http_file_check check)
{
    struct api *api = http_app(req);
    http_reply_file(req, file, content_type, etag, modified_s, filename, check);
    leave(api);
}

void reply_stream(struct http_request *req, int status, const char *content_type, struct http_stream stream)
{
    struct api *api = http_app(req);
    http_reply_stream(req, status, content_type, stream);
    leave(api);
}

int req_query_only(struct http_request *req, const char *const *known, struct err *err)
{
    const char *unknown = http_query_unknown(req, known);
    char names[256] = "";
    if (!unknown)
        return ERR_OK;
    for (size_t i = 0, n = 0; known[i] && n < sizeof(names); i++)
        n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i ? ", " : "", known[i]);
    return err_field(err, unknown, "unknown query parameter; known: %s", *names ? names : "none");
}

int req_query_none(struct http_request *req, struct err *err)
{
    static const char *const none[] = {NULL};
    return req_query_only(req, none, err);
}

int query_int(const char *text, const char *field, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (!((*text >= '0' && *text <= '9') || *text == '-') || *end || errno || v < min || v > max)
        return err_field(err, field, "must be a number from %lld to %lld", (long long)min, (long long)max);
    *ret = v;
    return ERR_OK;
}

int req_query_int(struct http_request *req, const char *key, int64_t absent, int64_t min, int64_t max, int64_t *ret,
                  struct err *err)
{
    const char *text = http_query(req, key);
    *ret = absent;
    return text ? query_int(text, key, min, max, ret, err) : ERR_OK;
}

int req_query_duration(struct http_request *req, const char *key, usec absent, usec max_us, usec *ret, struct err *err)
{
    const char *text = http_query(req, key);
    *ret = absent;
    if (!text)
        return ERR_OK;
    int rc = duration_parse(text, key, ret, err);
    if (rc)
        return rc;
    if (*ret > max_us) {
        char most[48];
        duration_format(max_us, most);
        return err_field(err, key, "must be at most %s", most);
    }
    return ERR_OK;
}

int req_job_id(struct http_request *req, struct uuid *ret, struct err *err)
{
    const char *text = http_param(req, "job_id");
    if (uuid_parse(text, ret))
        return ERR_OK;
    return err_set(err, ERR_NOT_FOUND, 0, "no job '%.64s'", text);
}

int token_of(const char *header, const char *path_attempt, struct token *ret, struct err *err)
{
    if (!header)
        return err_field(err, "Haul-Token", "is required: the token of the attempt");
    if (!token_parse(header, ret))
        return err_field(err, "Haul-Token", "is not a token");
    int64_t n = 0;
    if (query_int(path_attempt, "attempt", 1, UINT32_MAX, &n, NULL) != ERR_OK)
        return err_set(err, ERR_NOT_FOUND, 0, "no attempt '%.32s'", path_attempt);
    if ((uint32_t)n != ret->attempt)
        return err_set(err, ERR_STALE_TOKEN, 0, "the token belongs to attempt %u, not %lld", ret->attempt,
                       (long long)n);
    return ERR_OK;
}

int req_token(struct http_request *req, struct uuid *ret_job_id, struct token *ret, struct err *err)
{
    int rc = req_job_id(req, ret_job_id, err);
    return rc ? rc : token_of(http_header(req, "Haul-Token"), http_param(req, "n"), ret, err);
}

int req_json(struct http_request *req, bool required, json_t **ret, struct err *err)
{
    size_t n = 0;
    const char *body = http_body(req, &n);
    *ret = NULL;
    if (n == 0)
        return required ? err_set(err, ERR_MALFORMED, 0, "a JSON body is required") : ERR_OK;
    return json_parse(body, n, ret, err);
}

bool req_newer(struct http_request *req)
{
    int64_t number = 0;
    const char *text = http_header(req, HAUL_PROTOCOL_NAME);
    return text && query_int(text, HAUL_PROTOCOL_NAME, 1, INT64_MAX, &number, NULL) == ERR_OK && number > HAUL_PROTOCOL;
}

int worker_json_end(struct json_reader *r, bool newer)
{
    return newer ? r->code : json_reader_end(r);
}

int req_no_json(struct http_request *req, struct err *err)
{
    json_t *root = NULL;
    int rc = req_json(req, false, &root, err);
    if (rc || !root)
        return rc;
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    rc = json_reader_end(&r);
    json_decref(root);
    return rc;
}

int read_words(struct json_reader *r, const char *key, size_t max, struct arena *arena, const char **ret)
{
    const char *text = json_get_string(r, key, false, 1, max);

    if (text && !(*ret = arena_strdup(arena, text)))
        return r->code = no_memory(r->err);
    return r->code;
}

bool plain_name_valid(const char *s)
{
    return name_valid(s, JOB_NAME_MAX);
}

/* Makes an error stick that was found outside the reader. */
static int stick(struct json_reader *r, int code)
{
    r->code = code;
    return code;
}

int read_strings(struct json_reader *r, const char *key, size_t max_n, bool (*valid)(const char *s), const char *what,
                 struct arena *arena, const char *const **ret, size_t *ret_n)
{
    *ret = NULL;
    *ret_n = 0;
    json_t *array = json_get_value(r, key, false, JSON_ARRAY);
    if (!array)
        return r->code;
    size_t n = json_array_size(array);
    if (n > max_n)
        return stick(r, err_field(r->err, key, "must have at most %zu items", max_n));
    const char **items = arena_array(arena, n, sizeof(*items));
    if (!items)
        return stick(r, no_memory(r->err));
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(array, i);
        const char *s = json_string_value(item);
        char field[sizeof(r->where) + ERR_FIELD_MAX];
        snprintf(field, sizeof(field), "%s%s[%zu]", r->where, key, i);
        if (!s || strlen(s) != json_string_length(item) || !valid(s))
            return stick(r, err_field(r->err, field, "must be %s", what));
        for (size_t k = 0; k < i; k++)
            if (strcmp(items[k], s) == 0)
                return stick(r, err_field(r->err, field, "is there twice"));
        items[i] = arena_strdup(arena, s);
        if (!items[i])
            return stick(r, no_memory(r->err));
    }
    *ret = items;
    *ret_n = n;
    return ERR_OK;
}

int read_string_map(struct json_reader *r, const char *key, size_t max_n, size_t key_max, size_t value_max, bool names,
                    struct arena *arena, const char **ret)
{
    *ret = NULL;
    json_t *map = json_get_value(r, key, false, JSON_OBJECT);
    if (!map)
        return r->code;
    if (json_object_size(map) > max_n)
        return stick(r, err_field(r->err, key, "must have at most %zu entries", max_n));
    const char *k;
    json_t *v;
    json_object_foreach (map, k, v) {
        if (names ? !name_valid(k, key_max) : (!*k || strlen(k) > key_max))
            return stick(
                r, err_field(r->err, key, "keys must be %s of 1 to %zu bytes", names ? "names" : "text", key_max));
        bool fits = json_is_string(v) && json_string_length(v) <= value_max;
        if (fits && strlen(json_string_value(v)) == json_string_length(v))
            continue;
        char field[ERR_FIELD_MAX];
        snprintf(field, sizeof(field), "%s.%s", key, k);
        return stick(r, fits ? err_field(r->err, field, "must not contain U+0000")
                             : err_field(r->err, field, "must be a string of at most %zu bytes", value_max));
    }
    *ret = json_map_text(map, arena);
    return *ret ? ERR_OK : stick(r, no_memory(r->err));
}

static void call_decided(void *arg)
{
    struct call *c = arg;
    if (c->op.err.code == ERR_OK)
        c->answer(c);
    else if (c->refused)
        c->refused(c);
    else
        reply_err(c->req, &c->op.err);
}

/* The engine's thread, which all writes go through, has better things to do than to write answers. */
static void call_done(struct op *op)
{
    struct call *c = op->owner;
    http_run(c->req, call_decided, c);
}

void call_reuse(struct call *c, enum op_kind kind, void (*answer)(struct call *c))
{
    memset(&c->op, 0, sizeof(c->op));
    c->op.kind = kind;
    c->op.project = API_PROJECT;
    c->op.arena = http_arena(c->req);
    c->op.done = call_done;
    c->op.owner = c;
    c->answer = answer;
    c->refused = NULL;
}

struct call *call_new(struct api *api, struct http_request *req, enum op_kind kind, void (*answer)(struct call *c))
{
    struct call *c = arena_alloc(http_arena(req), sizeof(*c));
    if (!c) {
        struct err err;
        no_memory(&err);
        reply_err(req, &err);
        return NULL;
    }
    c->api = api;
    c->req = req;
    call_reuse(c, kind, answer);
    return c;
}

struct call *call_enter(struct http_request *req, enum op_kind kind, void (*answer)(struct call *c))
{
    struct api *api = api_enter(req);
    return api ? call_new(api, req, kind, answer) : NULL;
}

void call_offer(struct call *c)
{
    loop_offer(c->api->loop, &c->letter, &c->op);
}

void req_run(struct http_request *req, struct pool *pool, void (*fn)(void *arg), void *arg)
{
    struct err err;
    err_clear(&err);
    if (pool_run(pool, fn, arg, &err) != ERR_OK)
        reply_err(req, &err);
}
