#include "trace/exporter.h"
#include "base/auto.h"
#include "base/log.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_SPANS     512
#define SPAN_BYTES      16384 /* of one as JSON: a tracestate, a message and attributes are bounded */
#define BATCH_BYTES     (BATCH_SPANS * (SPAN_BYTES + 1024))
#define ANSWER_BYTES    4096
#define CALL_US         (10 * USEC_PER_SEC)
#define CONNECT_MS      3000L
#define BACKOFF_CAP_US  (30 * USEC_PER_SEC)
#define COMPLAINT_US    (60 * USEC_PER_SEC) /* at most one line of log in that time */
#define WORKER_ID_BYTES 64

struct waiting {
    struct waiting *next;
    char worker[WORKER_ID_BYTES]; /* "": the server's own */
    bool written;                 /* in the batch's text */
    size_t n;
    char json[];
};

struct exporter {
    struct exporter_config config;
    char *url, host[256];
    CURL *easy;
    struct curl_slist *headers;
    pthread_t thread;
    usec complained_us; /* of the thread */
    char answer[ANSWER_BYTES];
    size_t answer_n;
    usec retry_after_us;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting *first, **last;
    size_t n;
    uint64_t exported, dropped;
    usec stop_at_us; /* monotonic; 0: it runs */
};

static usec now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (usec)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

/* ---- where to ---- */

static bool url_part(CURLU *u, CURLUPart part, char **ret)
{
    return curl_url_get(u, part, ret, 0) == CURLUE_OK;
}

/* Of a text that may be no URL at all: it must not be repeated either. */
static bool url_has_credentials(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return memchr(host, '@', strcspn(host, "/?#")) != NULL;
}

static bool url_fits(CURLU *u)
{
    char *scheme = NULL, *host = NULL, *more = NULL;
    bool ok = url_part(u, CURLUPART_SCHEME, &scheme) && url_part(u, CURLUPART_HOST, &host) && *host &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && !url_part(u, CURLUPART_QUERY, &more) &&
              !url_part(u, CURLUPART_FRAGMENT, &more);
    curl_free(scheme);
    curl_free(host);
    curl_free(more);
    return ok;
}

int exporter_url(const char *base, bool whole, const char *field, char **ret, struct err *err)
{
    *ret = NULL;
    if (url_has_credentials(base))
        return err_field(err, field, "has credentials in it; send them as a header: otlp_headers_file");
    CURLU *u = curl_url();
    if (!u)
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    bool ok = strstr(base, "://") && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK && url_fits(u);
    curl_url_cleanup(u);
    if (!ok)
        return err_field(
            err, field,
            "must be a collector's address, http://HOST:PORT or https://HOST:PORT, as http://127.0.0.1:4318, "
            "got '%.80s'",
            base);
    size_t n = strlen(base);
    while (!whole && n > 0 && base[n - 1] == '/')
        n--;
    if (asprintf(ret, "%.*s%s", (int)n, base, whole ? "" : "/v1/traces") < 0) {
        *ret = NULL;
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    }
    return ERR_OK;
}

/* ---- spans that wait ---- */

static struct waiting *waiting_new(const struct span *s)
{
    struct buf text;
    struct json_writer w;
    struct waiting *made = NULL;

    buf_init(&text, SPAN_BYTES);
    jw_init(&w, &text);
    span_write(&w, s);
    if (!text.failed && (made = malloc(sizeof *made + text.len))) {
        *made = (struct waiting){.n = text.len};
        memcpy(made->json, text.data, text.len);
        snprintf(made->worker, sizeof made->worker, "%s", s->worker ? s->worker : "");
    }
    buf_release(&text);
    return made;
}

void exporter_add(struct exporter *x, const struct span *s)
{
    struct waiting *made = waiting_new(s);

    pthread_mutex_lock(&x->lock);
    if (!made || x->n >= x->config.spans_max) {
        x->dropped++;
    } else {
        *x->last = made;
        x->last = &made->next;
        made = NULL;
        if (++x->n == 1 || x->n == BATCH_SPANS)
            pthread_cond_signal(&x->changed);
    }
    pthread_mutex_unlock(&x->lock);
    free(made);
}

void exporter_counts(struct exporter *x, struct exporter_counts *ret)
{
    pthread_mutex_lock(&x->lock);
    *ret = (struct exporter_counts){x->exported, x->dropped};
    pthread_mutex_unlock(&x->lock);
}

static void counts_add(struct exporter *x, uint64_t exported, uint64_t dropped)
{
    pthread_mutex_lock(&x->lock);
    x->exported += exported;
    x->dropped += dropped;
    pthread_mutex_unlock(&x->lock);
}

/* Under the lock. */
static void wait_until(struct exporter *x, usec at_us)
{
    struct timespec ts = {.tv_sec = at_us / USEC_PER_SEC, .tv_nsec = at_us % USEC_PER_SEC * 1000};
    pthread_cond_timedwait(&x->changed, &x->lock, &ts);
}

/* Up to BATCH_SPANS, once there are so many or the first has waited long enough. NULL: that was all, and it stops. */
static struct waiting *batch_take(struct exporter *x, size_t *ret_n)
{
    struct waiting *batch, **end = &batch;

    pthread_mutex_lock(&x->lock);
    while (!x->first && !x->stop_at_us)
        pthread_cond_wait(&x->changed, &x->lock);
    for (usec until_us = now_us() + x->config.gather_us; x->n < BATCH_SPANS && !x->stop_at_us && now_us() < until_us;)
        wait_until(x, until_us);
    batch = x->first;
    for (*ret_n = 0; *end && *ret_n < BATCH_SPANS; ++*ret_n)
        end = &(*end)->next;
    x->first = *end;
    *end = NULL;
    x->n -= *ret_n;
    if (!x->first)
        x->last = &x->first;
    pthread_mutex_unlock(&x->lock);
    return batch;
}

static void batch_free(struct waiting *batch)
{
    while (batch) {
        struct waiting *w = batch;
        batch = w->next;
        free(w);
    }
}

/* All spans of one resource stand together. */
static void batch_write(struct exporter *x, struct waiting *batch, struct buf *ret)
{
    struct json_writer w;

    jw_init(&w, ret);
    jw_object(&w, NULL);
    jw_array(&w, "resourceSpans");
    for (struct waiting *first = batch; first; first = first->next) {
        const bool server = !first->worker[0];
        if (first->written)
            continue;
        spans_begin(&w, server ? "haul-server" : "haul-worker", server ? x->host : first->worker,
                    server ? x->host : NULL);
        for (struct waiting *s = first; s; s = s->next) {
            if (s->written || strcmp(s->worker, first->worker) != 0)
                continue;
            jw_raw(&w, NULL, s->json, s->n);
            s->written = true;
        }
        spans_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
}

/* ---- one call ---- */

/* curl adds to a list, or leaves it as it was and says NULL. */
static bool header_add(struct exporter *x, const char *line)
{
    struct curl_slist *longer = curl_slist_append(x->headers, line);
    if (longer)
        x->headers = longer;
    return longer != NULL;
}

static bool headers_set_up(struct exporter *x, const struct string_list *more)
{
    bool ok = header_add(x, "Content-Type: application/json");
    for (size_t i = 0; ok && i < more->n; i++)
        ok = header_add(x, more->items[i]);
    return ok;
}

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    struct exporter *x = arg;
    size_t room = sizeof x->answer - x->answer_n;

    memcpy(x->answer + x->answer_n, p, MIN(size * n, room));
    x->answer_n += MIN(size * n, room);
    return size * n;
}

static usec stop_at(struct exporter *x)
{
    pthread_mutex_lock(&x->lock);
    usec at_us = x->stop_at_us;
    pthread_mutex_unlock(&x->lock);
    return at_us;
}

static int on_progress(void *arg, curl_off_t down_n, curl_off_t down, curl_off_t up_n, curl_off_t up)
{
    const usec at_us = stop_at(arg);
    (void)down_n;
    (void)down;
    (void)up_n;
    (void)up;
    return at_us && now_us() >= at_us;
}

static bool host_is_here(const char *url)
{
    static const char *const here[] = {"://localhost", "://127.", "://[::1]"};
    for (size_t i = 0; i < ARRAY_LEN(here); i++)
        if (strstr(url, here[i]))
            return true;
    return false;
}

static void call_set_up(struct exporter *x)
{
    CURL *e = x->easy;
    curl_easy_setopt(e, CURLOPT_URL, x->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(CALL_US / USEC_PER_MSEC));
    curl_easy_setopt(e, CURLOPT_USERAGENT, "haul/" HAUL_VERSION);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, x);
    if (host_is_here(x->url)) /* http_proxy in the environment must not carry away what never leaves this machine */
        curl_easy_setopt(e, CURLOPT_PROXY, "");
}

/* Spans that it did not want, although it took the rest. */
static size_t rejected(const struct exporter *x, size_t n)
{
    struct err err;
    json_t *root = NULL;
    const json_t *partial, *value;
    long long count = 0;

    err_clear(&err);
    if (x->answer_n == 0 || x->answer_n == sizeof x->answer || json_parse(x->answer, x->answer_n, &root, &err))
        return 0;
    partial = json_object_get(root, "partialSuccess");
    value = json_object_get(partial, "rejectedSpans");
    if (json_is_integer(value))
        count = json_integer_value(value);
    else if (json_is_string(value))
        count = strtoll(json_string_value(value), NULL, 10);
    json_decref(root);
    return (size_t)MIN(MAX(count, 0), (long long)n);
}

enum call_end { CALL_TAKEN, CALL_LATER, CALL_REFUSED };

static enum call_end call(struct exporter *x, const struct buf *body, char ret_why[128])
{
    curl_off_t after = 0;
    long status = 0;

    x->answer_n = 0;
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, body->data);
    CURLcode rc = curl_easy_perform(x->easy);
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &after);
    x->retry_after_us = (usec)MIN(MAX(after, 0), 60) * USEC_PER_SEC;
    if (rc != CURLE_OK) {
        snprintf(ret_why, 128, "%s", curl_easy_strerror(rc));
        return CALL_LATER;
    }
    if (status / 100 == 2)
        return CALL_TAKEN;
    snprintf(ret_why, 128, "HTTP status %ld", status);
    return status == 429 || status == 502 || status == 503 || status == 504 ? CALL_LATER : CALL_REFUSED;
}

static void complain(struct exporter *x, const char *what, const char *why)
{
    const usec now = now_us();
    if (x->complained_us && now - x->complained_us < COMPLAINT_US)
        return;
    x->complained_us = now;
    log_event(LOG_WARN, what, "collector", x->url, "why", why, NULL);
}

/* @return false: it is to stop before that, or at once */
static bool rest(struct exporter *x, usec for_us)
{
    const usec until_us = now_us() + for_us;
    bool again;

    pthread_mutex_lock(&x->lock);
    while (!x->stop_at_us && now_us() < until_us)
        wait_until(x, until_us);
    again = !x->stop_at_us || until_us < x->stop_at_us;
    while (again && now_us() < until_us)
        wait_until(x, until_us);
    pthread_mutex_unlock(&x->lock);
    return again;
}

/* Until it is taken, refused, or it is too late. @return how many were taken */
static size_t batch_send(struct exporter *x, const struct buf *body, size_t n)
{
    char why[128];
    usec wait_us = x->config.backoff_us;

    for (unsigned tries = 1;; tries++) {
        const usec at_us = stop_at(x);
        if (at_us && now_us() >= at_us)
            return 0;
        switch (call(x, body, why)) {
        case CALL_TAKEN: {
            const size_t unwanted = rejected(x, n);
            if (unwanted)
                complain(x, "the collector refused some spans", "partialSuccess");
            return n - unwanted;
        }
        case CALL_REFUSED:
            complain(x, "the collector refused spans: they are dropped", why);
            return 0;
        case CALL_LATER:
            complain(x, "the collector takes no spans now", why);
            if (tries == x->config.tries_max || !rest(x, MAX(wait_us, x->retry_after_us)))
                return 0;
            wait_us = MIN(wait_us * 2, BACKOFF_CAP_US);
        }
    }
}

static void *exporter_run(void *arg)
{
    struct exporter *x = arg;
    struct waiting *batch;
    size_t n;

    while ((batch = batch_take(x, &n))) {
        struct buf body;
        buf_init(&body, BATCH_BYTES);
        batch_write(x, batch, &body);
        const size_t taken = body.failed ? 0 : batch_send(x, &body, n);
        counts_add(x, taken, n - taken);
        buf_release(&body);
        batch_free(batch);
    }
    return NULL;
}

/* ---- start and end ---- */

static void release(struct exporter *x)
{
    batch_free(x->first);
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->headers);
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->lock);
    free(x->url);
    free(x);
}

static void lock_init(struct exporter *x)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&x->lock, NULL);
}

int exporter_new(const struct exporter_config *config, struct exporter **ret, struct err *err)
{
    struct exporter *x = calloc(1, sizeof *x);

    *ret = NULL;
    if (!x)
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    lock_init(x);
    x->last = &x->first;
    x->config = *config;
    x->config.spans_max = config->spans_max ? config->spans_max : 8192;
    x->config.gather_us = config->gather_us ? config->gather_us : USEC_PER_SEC / 2;
    x->config.backoff_us = config->backoff_us ? config->backoff_us : USEC_PER_SEC / 2;
    x->config.tries_max = config->tries_max ? config->tries_max : 7;
    gethostname(x->host, sizeof x->host - 1);
    x->url = strdup(config->url);
    x->easy = curl_easy_init();
    x->config.headers = (struct string_list){.n = 0};
    if (!x->url || !x->easy || !headers_set_up(x, &config->headers)) {
        release(x);
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    }
    call_set_up(x);
    int sys = pthread_create(&x->thread, NULL, exporter_run, x);
    if (sys) {
        release(x);
        return err_set(err, ERR_IO, sys, "start a thread for traces");
    }
    *ret = x;
    return ERR_OK;
}

void exporter_free(struct exporter *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->stop_at_us = now_us() + x->config.flush_us;
    pthread_cond_signal(&x->changed);
    pthread_mutex_unlock(&x->lock);
    pthread_join(x->thread, NULL);
    release(x);
}
