/* Calls that carry JSON or text, and the error in an answer. */
#include "base/auto.h"
#include "base/err.h"
#include "base/json.h"
#include "base/protocol.h"
#include "base/rng.h"
#include "base/text.h"
#include "client/internal.h"
#include <errno.h>
#include <stdarg.h>

void error_clear(struct haul_error *err)
{
    if (err)
        *err = (struct haul_error){0};
}

int error_set(struct haul_error *err, enum haul_rc rc, const char *code, const char *fmt, ...)
{
    if (!err)
        return (int)rc;
    error_clear(err);
    err->rc = rc;
    snprintf(err->code, sizeof(err->code), "%s", code);
    err->repeatable = rc == HAUL_NETWORK;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    err->message[utf8_cut(err->message, strlen(err->message))] = '\0';
    return (int)rc;
}

static bool status_passing(int status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

static const char *member_text(const json_t *doc, const char *key)
{
    const char *s = json_string_value(json_object_get(doc, key));
    return s ? s : "";
}

void error_from_answer(struct haul_error *err, int status, const char *body, size_t n, int retry_after_s)
{
    if (!err)
        return;
    error_clear(err);
    err->rc = HAUL_REFUSED;
    err->status = status;
    err->retry_after_s = retry_after_s;
    err->repeatable = status_passing(status);
    json_t *doc = NULL;
    struct err ignored = {0};
    if (n > 0 && json_parse(body, n, &doc, &ignored) == ERR_OK && json_is_object(doc)) {
        const char *code = member_text(doc, "code"), *detail = member_text(doc, "detail"),
                   *title = member_text(doc, "title");
        const char *field = member_text(doc, "field");
        snprintf(err->code, sizeof(err->code), "%s", code);
        snprintf(err->field, sizeof(err->field), "%s", field);
        const char *text = *detail ? detail : title;
        size_t len = strlen(text);
        if (len >= sizeof(err->message))
            len = utf8_cut(text, sizeof(err->message) - 1);
        memcpy(err->message, text, len);
        err->message[len] = '\0';
        /* A code this client knows says it better than the status does. */
        if (*code && err_from_name(code) != ERR_INTERNAL)
            err->repeatable = err_repeatable(err_from_name(code));
    }
    json_decref(doc);
    if (!err->code[0])
        snprintf(err->code, sizeof(err->code), "http_%d", status);
    if (!err->message[0])
        snprintf(err->message, sizeof(err->message), "the server answered with HTTP status %d and no explanation",
                 status);
}

bool error_passing(const struct haul_error *err)
{
    return err->rc == HAUL_NETWORK || (err->rc == HAUL_REFUSED && err->repeatable);
}

void backoff_sleep(unsigned n, int retry_after_s)
{
    int64_t ms = 200;
    for (unsigned i = 1; i < n && ms < 5000; i++)
        ms *= 2;
    ms = MIN(ms, 5000);
    /* Half of it is random, so that clients cut off together do not come back together. */
    ms = ms / 2 + (int64_t)(rng_u64(rng_real()) % (uint64_t)(ms / 2 + 1));
    ms = MAX(ms, (int64_t)MIN(retry_after_s, 30) * 1000);
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

void haul_client_timeout(struct haul_client *c, int64_t timeout_ms)
{
    c->timeout_ms = timeout_ms > 0 ? timeout_ms : CALL_TIMEOUT_MS;
}

static void header_value_keep(char *ret, size_t size, const char *value)
{
    size_t n = 0;
    while (value && n < size && value[n] >= ' ' && value[n] <= '~')
        n++;
    if (!value || n == size || value[n])
        n = 0;
    memcpy(ret, n ? value : "", n);
    ret[n] = '\0';
}

void haul_client_trace(struct haul_client *c, const char *traceparent, const char *tracestate)
{
    header_value_keep(c->traceparent, sizeof(c->traceparent), traceparent);
    header_value_keep(c->tracestate, sizeof(c->tracestate), c->traceparent[0] ? tracestate : NULL);
}

void haul_client_interrupt(struct haul_client *c, bool on)
{
    atomic_store(&c->interrupted, on);
}

/* libcurl asks once a second even when nothing moves. */
static int interrupt_look(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct haul_client *c = arg;
    return atomic_load(&c->interrupted);
}

static void trace_headers(struct exchange *x, const struct haul_client *c)
{
    if (c->traceparent[0])
        exchange_header(x, "traceparent", c->traceparent);
    if (c->tracestate[0])
        exchange_header(x, "tracestate", c->tracestate);
}

static int call_once(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
                     const char *key, int64_t extra_wait_ms, char **ret_json, struct haul_error *err)
{
    if (ret_json)
        *ret_json = NULL;
    struct exchange x;
    if (!exchange_begin(&x, c, method, path, err))
        return HAUL_LOCAL;
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)(c->timeout_ms + extra_wait_ms));
    curl_easy_setopt(c->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->easy, CURLOPT_XFERINFOFUNCTION, interrupt_look);
    curl_easy_setopt(c->easy, CURLOPT_XFERINFODATA, c);
    if (body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(body ? strlen(body) : 0));
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, body ? body : "");
        exchange_header(&x, "Content-Type", "application/json");
    }
    exchange_header(&x, "Accept", "application/json");
    exchange_header(&x, HAUL_PROTOCOL_NAME, HAUL_PROTOCOL_TEXT);
    exchange_header(&x, "Haul-Token", token);
    exchange_header(&x, "Idempotency-Key", key);
    trace_headers(&x, c);
    int rc = exchange_run(&x, err);
    if (rc == HAUL_OK && ret_json) {
        *ret_json = x.body.len > 0 ? buf_take(&x.body) : strdup("");
        if (!*ret_json)
            rc = error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    }
    exchange_end(&x);
    return rc;
}

/* What can be repeated is, at each other server of the list: reads, and what carries a token or a key. */
static int call(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
                const char *key, int64_t extra_wait_ms, char **ret_json, struct haul_error *err)
{
    const bool repeatable = token || key || strcmp(method, "GET") == 0;
    int rc;
    do
        rc = call_once(c, method, path, body, token, key, extra_wait_ms, ret_json, err);
    while (rc != HAUL_OK && repeatable && err->elsewhere);
    return rc;
}

int haul_call(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
              int64_t extra_wait_ms, char **ret_json, struct haul_error *err)
{
    struct haul_error own;
    return call(c, method, path, body, token, NULL, extra_wait_ms, ret_json, err ? err : &own);
}

int haul_call_repeated(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
                       const char *idempotency_key, unsigned tries, char **ret_json, struct haul_error *err)
{
    struct haul_error own;
    if (!err)
        err = &own;
    for (unsigned n = 1;;) {
        int rc = call(c, method, path, body, token, idempotency_key, 0, ret_json, err);
        if (rc != HAUL_OK && err->elsewhere)
            continue; /* a try is a round of all servers */
        if (rc == HAUL_OK || n >= tries || !error_passing(err))
            return rc;
        backoff_sleep(n++, err->retry_after_s);
    }
}

struct text_sink {
    int (*sink)(void *arg, const char *p, size_t n);
    void *arg;
};

static int text_sink_take(void *arg, struct exchange *x, const char *p, size_t n)
{
    struct text_sink *s = arg;
    return s->sink(s->arg, p, n);
}

int haul_stream(struct haul_client *c, const char *path, int (*sink)(void *arg, const char *p, size_t n), void *arg,
                struct haul_error *err)
{
    struct haul_error own;
    struct exchange x;
    if (!err)
        err = &own;
    if (!exchange_begin(&x, c, "GET", path, err))
        return HAUL_LOCAL;
    struct text_sink s = {.sink = sink, .arg = arg};
    x.sink = text_sink_take;
    x.sink_arg = &s;
    int rc =
        exchange_run(&x, err); /* no time limit: a job may say nothing for hours; a dead peer is found by keep-alive */
    exchange_end(&x);
    return rc;
}

static int append_once(struct haul_client *c, const char *job_id, unsigned attempt, const char *token, int64_t offset,
                       int64_t skipped, const void *p, size_t n, int64_t *ret_next, struct haul_error *err)
{
    struct exchange x;
    char path[192];
    snprintf(path, sizeof(path), "/v1/jobs/%s/attempts/%u/log?offset=%lld&skipped=%lld", job_id, attempt,
             (long long)offset, (long long)skipped);
    if (!exchange_begin(&x, c, "POST", path, err))
        return HAUL_LOCAL;
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, n > 0 ? (const char *)p : "");
    exchange_header(&x, "Content-Type", "application/octet-stream");
    exchange_header(&x, "Haul-Token", token);
    int rc = exchange_run(&x, err);
    if (rc == HAUL_OK) {
        json_t *doc = NULL;
        const json_t *next = NULL;
        if (json_parse(buf_str(&x.body), x.body.len, &doc, NULL) == ERR_OK)
            next = json_object_get(doc, "next_offset");
        if (!json_is_integer(next))
            rc = error_set(err, HAUL_REFUSED, "corrupt", "the server's answer has no next_offset: is %s a haul server?",
                           client_server(c)->url);
        else if (ret_next)
            *ret_next = (int64_t)json_integer_value(next);
        json_decref(doc);
    }
    exchange_end(&x);
    return rc;
}

int haul_log_append(struct haul_client *c, const char *job_id, unsigned attempt, const char *token, int64_t offset,
                    int64_t skipped, const void *p, size_t n, int64_t *ret_next, struct haul_error *err)
{
    struct haul_error own;
    int rc;
    if (!err)
        err = &own;
    do
        rc = append_once(c, job_id, attempt, token, offset, skipped, p, n, ret_next, err);
    while (rc != HAUL_OK && err->elsewhere);
    return rc;
}
