/* One request to S3: signed, sent, and sent again while that can help. */
#include "base/auto.h"
#include "base/rng.h"
#include "blob/s3/internal.h"
#include "blob/s3/xml.h"
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define TRIES_MAX      8
#define CONNECT_MS     5000L
#define BACK_OFF_MS    100
#define BACK_OFF_CAP   3000
#define SLOW_BYTES     1024L /* a second: what is slower for the place's time-out is cut */
#define ERROR_BODY_MAX ((size_t)64 << 10)

static CURL *handle_take(struct blobs *s)
{
    CURL *e = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->n_idle > 0)
        e = s->idle[--s->n_idle];
    pthread_mutex_unlock(&s->lock);
    return e ? e : curl_easy_init();
}

static void handle_give(struct blobs *s, CURL *e)
{
    pthread_mutex_lock(&s->lock);
    if (s->n_idle < S3_IDLE_MAX)
        s->idle[s->n_idle++] = TAKE_PTR(e);
    pthread_mutex_unlock(&s->lock);
    curl_easy_cleanup(e);
}

/* The answer */

static void answer_reset(struct s3_answer *a)
{
    buf_reset(&a->body);
    a->status = 0;
    a->length = a->total = -1;
    a->etag[0] = a->modified[0] = a->date[0] = a->code[0] = '\0';
}

static void keep(char *ret, size_t size, const char *p, size_t n)
{
    while (n > 0 && (*p == ' ' || *p == '\t'))
        p++, n--;
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == ' '))
        n--;
    if (n < size) /* what is too long is none of ours */
        snprintf(ret, size, "%.*s", (int)n, p);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct s3_answer *a = arg;
    size_t len = size * n;
    const char *colon = memchr(line, ':', len);
    char value[S3_ETAG_MAX] = "";

    if (len > 5 && strncmp(line, "HTTP/", 5) == 0)
        answer_reset(a);
    if (!colon)
        return len;
    size_t name_n = (size_t)(colon - line), value_n = len - name_n - 1;

    keep(value, sizeof(value), colon + 1, value_n);
    if (name_n == 4 && strncasecmp(line, "ETag", 4) == 0 && !strpbrk(value, "<&")) /* it goes into XML */
        snprintf(a->etag, sizeof(a->etag), "%s", value);
    else if (name_n == 13 && strncasecmp(line, "Last-Modified", 13) == 0)
        keep(a->modified, sizeof(a->modified), value, strlen(value));
    else if (name_n == 4 && strncasecmp(line, "Date", 4) == 0)
        keep(a->date, sizeof(a->date), value, strlen(value));
    else if (name_n == 14 && strncasecmp(line, "Content-Length", 14) == 0)
        a->length = strtoll(value, NULL, 10);
    else if (name_n == 13 && strncasecmp(line, "Content-Range", 13) == 0 && strchr(value, '/'))
        a->total = strtoll(strchr(value, '/') + 1, NULL, 10);
    return len;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct s3_answer *a = arg;

    if (a->body.len == 0 && a->length > 0 && (size_t)a->length <= a->body.max)
        buf_reserve(&a->body, (size_t)a->length); /* at once: what grows leaves holes */
    buf_add(&a->body, p, size * n);
    return a->body.failed ? (size * n == 0) : size * n;
}

struct trouble {
    char code[64], message[200], region[64];
    const struct s3_answer *answer;
};

static bool on_trouble(void *arg, const char *path, const char *text)
{
    struct trouble *t = arg;

    if (strcmp(path, "Code") == 0)
        snprintf(t->code, sizeof(t->code), "%.63s", text);
    else if (strcmp(path, "Message") == 0)
        snprintf(t->message, sizeof(t->message), "%.190s", text);
    else if (strcmp(path, "Region") == 0)
        snprintf(t->region, sizeof(t->region), "%.60s", text);
    return true;
}

/** What S3 said was wrong. A 200 may hold an error, too, where it had begun to answer before it knew. */
static bool read_trouble(const struct s3_call *c, struct s3_answer *a, struct trouble *t)
{
    bool good = a->status >= 200 && a->status < 300;
    char root[64] = "";
    struct err none;

    *t = (struct trouble){.answer = a};
    if (good && (strcmp(c->method, "GET") == 0 || !strstr(buf_str(&a->body), "<Error>")))
        return false;
    if (a->body.len > 0 && a->body.len <= ERROR_BODY_MAX)
        s3_xml(a->body.data, a->body.len, on_trouble, t, root, &none);
    snprintf(a->code, sizeof(a->code), "%s", strcmp(root, "Error") == 0 ? t->code : "");
    return !good || a->code[0];
}

static bool passing(const struct s3_answer *a)
{
    static const char *const codes[] = {"SlowDown",       "InternalError",    "ServiceUnavailable",
                                        "RequestTimeout", "OperationAborted", "ExpiredToken"};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(a->code, codes[i]) == 0)
            return true;
    return a->status >= 500 ? a->status != 501 : a->status == 429 || a->status == 408;
}

/** In words that say what to do. */
static int explain(const struct blobs *s, const struct s3_call *c, const struct trouble *t, struct err *err)
{
    const struct s3_answer *a = t->answer;
    const char *bucket = s->place.bucket, *host = s->place.host;

    if (strcmp(a->code, "NoSuchBucket") == 0)
        return err_set(err, ERR_UNAVAILABLE, 0, "S3 at %.80s has no bucket '%s': make it, or look at the URL", host,
                       bucket);
    if (a->status == 404)
        return err_set(err, ERR_NOT_FOUND, 0, "S3 has no %s'%.200s'",
                       strcmp(a->code, "NoSuchUpload") == 0 ? "upload of " : "", c->key);
    if (a->status == 412)
        return err_set(err, ERR_CONFLICT, 0, "'%.200s' in S3 is not as it was", c->key);
    if (a->status == 501)
        return err_set(err, ERR_UNSUPPORTED, 0, "S3 at %.80s cannot do what was asked: %.150s", host, t->message);
    if (a->status == 416)
        return err_set(err, ERR_RANGE, 0, "'%.200s' in S3 is shorter", c->key);
    if (strcmp(a->code, "RequestTimeTooSkewed") == 0)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "this machine's clock is off: S3 at %.80s says RequestTimeTooSkewed; set the clock", host);
    if (a->status == 301 || a->status == 307 || strcmp(a->code, "AuthorizationHeaderMalformed") == 0)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "bucket '%s' is in another region than '%s'%s%s: put region= into the URL", bucket,
                       s->place.region, t->region[0] ? ", which S3 names " : "", t->region);
    if (strcmp(a->code, "InvalidAccessKeyId") == 0 || strcmp(a->code, "SignatureDoesNotMatch") == 0)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "S3 at %.80s does not know these credentials (%s): look at key id and secret", host, a->code);
    if (a->status == 403 || a->status == 401)
        return err_set(err, ERR_UNAVAILABLE, 0,
                       "S3 at %.80s denies %s of '%.100s' in bucket '%s' (%s): the credentials need the right to list, "
                       "get, put and delete",
                       host, c->method, c->key, bucket, a->code[0] ? a->code : "403");
    return err_set(err, ERR_UNAVAILABLE, 0, "S3 at %.80s answers %s of '%.100s' with %ld %s%s%.150s", host, c->method,
                   c->key, a->status, a->code[0] ? a->code : "and not as S3 does", t->message[0] ? ": " : "",
                   t->message);
}

/* The request */

struct exchange {
    struct buf url, authorization;
    struct curl_slist *lines;
    bool no_memory;
};

static void line_add(struct exchange *x, const char *name, const char *value)
{
    AUTO_FREE char *line = NULL;

    /* "Expect:" with nothing behind it is how curl is told to leave a header out. */
    if (asprintf(&line, *value ? "%s: %s" : "%s:%s", name, value) < 0)
        line = NULL; /* undefined after a failure */
    struct curl_slist *more = line ? curl_slist_append(x->lines, line) : NULL;

    if (more)
        x->lines = more;
    else
        x->no_memory = true;
}

static void exchange_release(struct exchange *x)
{
    buf_release(&x->url);
    buf_release(&x->authorization);
    curl_slist_free_all(x->lines);
}

static int write_request(struct blobs *s, const struct s3_call *c, struct exchange *x, struct err *err)
{
    struct s3_keys keys;
    struct s3_pair headers[S3_PAIRS_MAX];
    char path[S3_KEY_MAX + 128], date[S3_DATE_MAX], hex[SHA256_HEX_MAX];
    uint8_t hash[32];
    size_t n = 0;
    usec now = clock_real().wall_us(clock_real().self);
    int rc = s3_credentials_get(&s->credentials, now, &keys, err);

    if (rc != ERR_OK)
        return rc;
    sha256_once(c->body ? c->body : "", c->body_n, hash);
    hex_format(hash, sizeof(hash), hex);
    s3_date(now / USEC_PER_SEC, date);
    snprintf(path, sizeof(path), "%s%s", s->place.root, c->key);
    headers[n++] = (struct s3_pair){"host", s->place.host};
    headers[n++] = (struct s3_pair){"x-amz-content-sha256", hex};
    headers[n++] = (struct s3_pair){"x-amz-date", date};
    if (keys.token[0])
        headers[n++] = (struct s3_pair){"x-amz-security-token", keys.token};
    for (size_t i = 0; i < c->n_headers; i++)
        headers[n++] = c->headers[i];
    s3_sign(&(struct s3_signing){.method = c->method,
                                 .host = s->place.host,
                                 .path = path,
                                 .query = c->query,
                                 .n_query = c->n_query,
                                 .headers = headers,
                                 .n_headers = n,
                                 .payload_sha256 = hex,
                                 .region = s->place.region,
                                 .keys = &keys,
                                 .date = date},
            &x->authorization);
    for (size_t i = 1; i < n; i++) /* curl says the host */
        line_add(x, headers[i].name, headers[i].value);
    line_add(x, "Authorization", buf_str(&x->authorization));
    line_add(x, "Expect", "");
    line_add(x, "Content-Type", "");
    buf_adds(&x->url, s->place.origin);
    s3_encode_path(&x->url, path);
    if (c->n_query > 0) {
        buf_addc(&x->url, '?');
        s3_encode_query(&x->url, c->query, c->n_query);
    }
    explicit_bzero(&keys, sizeof(keys));
    return x->no_memory || x->url.failed || x->authorization.failed ? err_set(err, ERR_NO_MEMORY, 0, "S3") : ERR_OK;
}

static void set_options(const struct blobs *s, CURL *e, const struct s3_call *c, const struct exchange *x,
                        struct s3_answer *a)
{
    curl_easy_reset(e); /* options only: connections stay */
    curl_easy_setopt(e, CURLOPT_URL, buf_str(&x->url));
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* uploads over HTTP/2 stall before 8.2 */
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(s->place.timeout_us / USEC_PER_SEC));
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "haul");
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->lines);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, a);
    if (s->place.ca[0])
        curl_easy_setopt(e, CURLOPT_CAINFO, s->place.ca);
    if (s->place.loopback)
        curl_easy_setopt(e, CURLOPT_PROXY, "");
    if (strcmp(c->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (c->body || strcmp(c->method, "PUT") == 0 || strcmp(c->method, "POST") == 0) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body_n);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->body ? c->body : "");
    }
    if (strcmp(c->method, "HEAD") != 0)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
}

/** @return whether another try may help; then `err` says why this one did not */
static bool once(struct blobs *s, const struct s3_call *c, struct s3_answer *a, int *ret_rc, struct err *err)
{
    struct exchange x = {.no_memory = false};
    struct trouble t;
    char text[CURL_ERROR_SIZE] = "";
    CURL *e = handle_take(s);

    answer_reset(a);
    buf_init(&x.url, 16384);
    buf_init(&x.authorization, 4096);
    *ret_rc = e ? write_request(s, c, &x, err) : err_set(err, ERR_NO_MEMORY, 0, "S3");
    if (*ret_rc != ERR_OK) {
        exchange_release(&x);
        curl_easy_cleanup(e);
        return false;
    }
    set_options(s, e, c, &x, a);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, text);
    CURLcode code = curl_easy_perform(e);

    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, NULL);
    exchange_release(&x);
    handle_give(s, e);
    if (a->body.failed) {
        *ret_rc = err_set(err, ERR_CORRUPT, 0, "S3 at %.80s answers with more than was asked for", s->place.host);
        return false;
    }
    if (code != CURLE_OK) {
        *ret_rc = err_set(err, ERR_UNAVAILABLE, 0, "S3 at %.80s cannot be reached: %.200s", s->place.host,
                          text[0] ? text : curl_easy_strerror(code));
        return code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_CACERT_BADFILE &&
               code != CURLE_OUT_OF_MEMORY;
    }
    if (!read_trouble(c, a, &t)) {
        *ret_rc = ERR_OK;
        return false;
    }
    *ret_rc = explain(s, c, &t, err);
    if (strcmp(a->code, "ExpiredToken") == 0)
        s3_credentials_drop(&s->credentials);
    return passing(a);
}

/** Full jitter: random up to a bound that doubles, so that those who were turned away together do not come back together. */
static void back_off(unsigned tries)
{
    int64_t most_ms = MIN((int64_t)BACK_OFF_MS << MIN(tries, 10u), (int64_t)BACK_OFF_CAP);
    int64_t ms = 1 + (int64_t)(rng_u64(rng_real()) % (uint64_t)most_ms);
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

int s3_call(struct blobs *s, const struct s3_call *c, struct s3_answer *ret, struct err *err)
{
    *ret = (struct s3_answer){.tries = 0};
    return s3_call_into(s, c, ret, err);
}

int s3_call_into(struct blobs *s, const struct s3_call *c, struct s3_answer *ret, struct err *err)
{
    struct clock clock = clock_real();
    usec begun = clock.boot_us(clock.self);
    struct err own = {0};
    int rc;

    ret->tries = 0;
    ret->body.max = MAX(c->answer_max, ERROR_BODY_MAX);
    for (;;) {
        err_clear(&own);
        bool again = once(s, c, ret, &rc, &own);

        ret->tries++;
        if (!again || ret->tries == TRIES_MAX || clock.boot_us(clock.self) - begun > s->patience_us)
            break;
        back_off(ret->tries);
    }
    if (rc != ERR_OK && err)
        *err = own;
    return rc;
}

void s3_answer_release(struct s3_answer *a)
{
    buf_release(&a->body);
}

int s3_do(struct blobs *s, const struct s3_call *c, struct err *err)
{
    struct s3_answer a;
    int rc = s3_call(s, c, &a, err);

    s3_answer_release(&a);
    return rc;
}

int s3_do_if_there(struct blobs *s, const struct s3_call *c, struct err *err)
{
    int rc = s3_do(s, c, err);

    if (rc != ERR_NOT_FOUND)
        return rc;
    if (err)
        err_clear(err);
    return ERR_OK;
}

int s3_url(struct blobs *s, const struct s3_call *c, int64_t valid_s, struct buf *ret, struct err *err)
{
    struct s3_keys keys;
    char path[S3_KEY_MAX + 128], date[S3_DATE_MAX];
    usec now = clock_real().wall_us(clock_real().self);
    int rc = s3_credentials_get(&s->credentials, now, &keys, err);

    if (rc != ERR_OK)
        return rc;
    s3_date(now / USEC_PER_SEC, date);
    snprintf(path, sizeof(path), "%s%s", s->place.root, c->key);
    buf_adds(ret, s->place.origin);
    s3_encode_path(ret, path);
    buf_addc(ret, '?');
    s3_presign(&(struct s3_signing){.method = c->method,
                                    .host = s->place.host,
                                    .path = path,
                                    .query = c->query,
                                    .n_query = c->n_query,
                                    .headers = c->headers,
                                    .n_headers = c->n_headers,
                                    .payload_sha256 = S3_UNSIGNED,
                                    .region = s->place.region,
                                    .keys = &keys,
                                    .date = date},
               valid_s, ret);
    explicit_bzero(&keys, sizeof(keys));
    return ret->failed ? err_set(err, ERR_NO_MEMORY, 0, "S3") : ERR_OK;
}
