/* One request and its answer: what all calls share. */
#include "base/auto.h"
#include "client/internal.h"
#include <ctype.h>
#include <strings.h>

/* What is too long is none of ours. */
static void header_keep(char *ret, size_t size, const char *value)
{
    if (strlen(value) < size)
        snprintf(ret, size, "%s", value);
}

static int64_t header_bytes(const char *value)
{
    return *value >= '0' && *value <= '9' ? strtoll(value, NULL, 10) : -1;
}

void exchange_header_line(struct exchange *x, const char *line, size_t len)
{
    char text[256];
    size_t m = MIN(len, sizeof(text) - 1);
    memcpy(text, line, m);
    while (m > 0 && isspace((unsigned char)text[m - 1]))
        m--;
    text[m] = '\0';
    if (strncmp(text, "HTTP/", 5) == 0) { /* a new answer begins (after 100 Continue too) */
        x->etag[0] = '\0';
        x->range_from = x->range_total = x->length = x->upload_offset = x->part_size = x->read_back = -1;
        x->retry_after_s = 0;
        x->location[0] = x->blob_ref[0] = x->sha256[0] = x->body_sum[0] = x->sum[0] = '\0';
        return;
    }
    char *value = strchr(text, ':');
    if (!value)
        return;
    *value++ = '\0';
    while (*value == ' ' || *value == '\t')
        value++;
    if (strcasecmp(text, "ETag") == 0) {
        size_t k = strlen(value);
        if (k >= 2 && value[0] == '"' && value[k - 1] == '"')
            snprintf(x->etag, sizeof(x->etag), "%.*s", (int)(k - 2), value + 1);
    } else if (strcasecmp(text, "Content-Range") == 0) {
        long long from, to, total;
        if (sscanf(value, "bytes %lld-%lld/%lld", &from, &to, &total) == 3) {
            x->range_from = from;
            x->range_total = total;
        }
    } else if (strcasecmp(text, "Content-Length") == 0) {
        x->length = strtoll(value, NULL, 10);
    } else if (strcasecmp(text, "Location") == 0) {
        header_keep(x->location, sizeof(x->location), value);
    } else if (strcasecmp(text, "Upload-Offset") == 0) {
        x->upload_offset = header_bytes(value);
    } else if (strcasecmp(text, "Haul-Part-Size") == 0) {
        x->part_size = header_bytes(value);
    } else if (strcasecmp(text, "Haul-Read-Back") == 0) {
        x->read_back = header_bytes(value);
    } else if (strcasecmp(text, "Haul-Blob-Ref") == 0) {
        header_keep(x->blob_ref, sizeof(x->blob_ref), value);
    } else if (strcasecmp(text, "Haul-Sha256") == 0) {
        header_keep(x->sha256, sizeof(x->sha256), value);
    } else if (strcasecmp(text, "Haul-Body-Xxh128") == 0) {
        header_keep(x->body_sum, sizeof(x->body_sum), value);
    } else if (strcasecmp(text, "Haul-Xxh128") == 0) {
        header_keep(x->sum, sizeof(x->sum), value);
    } else if (strcasecmp(text, "Retry-After") == 0) {
        long s = strtol(value, NULL, 10);
        x->retry_after_s = s > 0 && s < 86400 ? (int)s : 0;
    }
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    exchange_header_line(arg, line, size * n);
    return size * n;
}

size_t exchange_body(struct exchange *x, const char *p, size_t len)
{
    if (x->sink && x->status >= 200 && x->status < 300) {
        if (x->sink(x->sink_arg, x, p, len) != 0) {
            x->sink_stopped = true;
            return len == 0 ? 1 : 0;
        }
        return len;
    }
    buf_add(&x->body, p, len);
    if (x->body.failed) {
        x->too_large = true;
        return len == 0 ? 1 : 0;
    }
    return len;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    curl_easy_getinfo(x->client->easy, CURLINFO_RESPONSE_CODE, &x->status);
    return exchange_body(x, p, size * n);
}

void exchange_header(struct exchange *x, const char *name, const char *value)
{
    if (!value)
        return;
    char line[1200];
    /* "Expect:" with nothing after the colon is how curl is told to leave a header out. */
    int n = snprintf(line, sizeof(line), "%s:%s%s", name, *value ? " " : "", value);
    struct curl_slist *more = n > 0 && (size_t)n < sizeof(line) ? curl_slist_append(x->headers, line) : NULL;
    if (!more)
        x->no_memory = true;
    else
        x->headers = more;
}

/* http_proxy in the environment must not carry away what never leaves this machine. */
static void exchange_at(struct exchange *x, const char *url, bool loopback)
{
    curl_easy_setopt(x->client->easy, CURLOPT_URL, url);
    curl_easy_setopt(x->client->easy, CURLOPT_PROXY, loopback ? "" : NULL);
}

static void exchange_set_up(struct exchange *x, struct haul_client *c, const char *method)
{
    CURL *e = c->easy;
    *x = (struct exchange){.client = c, .method = method, .range_from = -1, .range_total = -1, .length = -1};
    x->upload_offset = x->part_size = x->read_back = -1;
    buf_init(&x->body, ANSWER_MAX);
    c->curl_text[0] = '\0';
    curl_easy_reset(e); /* options only: connections stay */
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->curl_text);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     (long)CURL_HTTP_VERSION_1_1); /* uploads over HTTP/2 stall before curl 8.2 */
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, client_connect_timeout_ms(c));
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 10L); /* a poll learns soon that its server was rebooted */
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    if (strcmp(method, "GET") != 0)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
    exchange_header(x, "Expect", ""); /* no wait for 100 Continue */
}

/** To the server in use. */
static bool exchange_aim(struct exchange *x, struct haul_error *err)
{
    AUTO_FREE char *url = NULL;
    const struct server *s = client_server(x->client);
    if (asprintf(&url, "%s%s", s->url, x->path) < 0) {
        url = NULL; /* undefined after a failure */
        error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
        return false;
    }
    exchange_at(x, url, s->loopback);
    return true;
}

bool exchange_begin(struct exchange *x, struct haul_client *c, const char *method, const char *path,
                    struct haul_error *err)
{
    error_clear(err);
    if (path[0] != '/') {
        error_set(err, HAUL_LOCAL, "invalid", "'%.100s' is not a path", path);
        return false;
    }
    exchange_set_up(x, c, method);
    x->path = path;
    return exchange_aim(x, err);
}

bool client_url_good(const char *url, bool *ret_loopback)
{
    CURLU *u = curl_url();
    char *host = NULL;
    const bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    *ret_loopback = ok && client_host_loopback(host);
    curl_free(host);
    curl_url_cleanup(u);
    return ok;
}

bool exchange_begin_at(struct exchange *x, struct haul_client *c, const char *url, struct haul_error *err)
{
    bool loopback;
    error_clear(err);
    const bool ok = client_url_good(url, &loopback);
    if (ok) {
        exchange_set_up(x, c, "GET");
        exchange_at(x, url, loopback);
    } else
        error_set(err, HAUL_REFUSED, "corrupt", "the server names '%.200s', which is no URL", url);
    return ok;
}

/** What came of it; nothing is done about it here. */
static int exchange_outcome(struct exchange *x, CURLcode rc, struct haul_error *err)
{
    struct haul_client *c = x->client;
    const char *text = c->curl_text[0] ? c->curl_text : curl_easy_strerror(rc);
    const char *url = x->path ? client_server(c)->url : "the store that the server names";
    if (x->too_large)
        return error_set(err, HAUL_LOCAL, "too_large", "the server's answer is larger than %u MiB", ANSWER_MAX >> 20);
    switch (rc) {
    case CURLE_OK:
        break;
    case CURLE_WRITE_ERROR:
    case CURLE_ABORTED_BY_CALLBACK:
        return error_set(err, HAUL_ABORTED, "cancelled", "stopped on request");
    case CURLE_OUT_OF_MEMORY:
        return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_READ_ERROR:
        return error_set(err, HAUL_LOCAL, "io", "%s", text);
    case CURLE_OPERATION_TIMEDOUT:
        return error_set(err, HAUL_NETWORK, "timeout", "%s does not answer: %s", url, text);
    default:
        /* A refusal whose connection broke while we were still sending is a refusal. */
        if (x->status >= 400)
            break;
        return error_set(err, HAUL_NETWORK, "network", "cannot talk to %s: %s", url, text);
    }
    if (x->status >= 200 && x->status < 300) {
        error_clear(err); /* of the server before */
        return HAUL_OK;
    }
    error_from_answer(err, (int)x->status, buf_str(&x->body), x->body.len, x->retry_after_s);
    return HAUL_REFUSED;
}

static CURLcode perform(struct exchange *x)
{
    CURL *e = x->client->easy;
    if (local_send_fits(x))
        return local_send(x);
    const CURLcode code = curl_easy_perform(e);
    long sent = 0;
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &x->status);
    curl_easy_getinfo(e, CURLINFO_REQUEST_SIZE, &sent);
    x->sent = sent > 0;
    return code;
}

/** Nothing of the request went out: whatever it is, another server may have it. */
static bool never_sent(const struct exchange *x, CURLcode rc)
{
    return rc != CURLE_OK && x->status == 0 && !x->sent;
}

int exchange_run(struct exchange *x, struct haul_error *err)
{
    struct haul_client *c = x->client;
    if (x->no_memory)
        return error_set(err, HAUL_LOCAL, "no_memory", "out of memory, or a header that is too long");
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, x->headers);
    for (;;) {
        const CURLcode code = perform(x);
        const int rc = exchange_outcome(x, code, err);
        if (x->path)
            client_judge(c, rc, err);
        if (rc == HAUL_OK || !err->elsewhere || !never_sent(x, code))
            return rc;
        if (!exchange_aim(x, err))
            return HAUL_LOCAL;
        c->curl_text[0] = '\0';
    }
}

void exchange_end(struct exchange *x)
{
    /* The handle outlives the list and the exchange: it must not point at them. */
    curl_easy_setopt(x->client->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(x->headers);
    x->headers = NULL;
    buf_release(&x->body);
}
