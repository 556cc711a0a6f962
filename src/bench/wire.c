#include "bench/wire.h"
#include "base/auto.h"
#include "base/json.h"
#include "bench/latency.h"
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>

#define CONNECT_MS 5000
#define HEAD_MAX   16384
#define ANSWER_MAX (32u << 20)

/* ---- where ---- */

static int refuse_url(const char *url, struct err *err)
{
    if (strncasecmp(url, "https://", 8) == 0)
        return err_set(err, ERR_USAGE, 0, "'%.200s': bench speaks plain http only", url);
    return err_set(err, ERR_USAGE, 0, "'%.200s' is not a server's URL: it looks like http://127.0.0.1:8420", url);
}

int address_parse(const char *url, struct address *ret, struct err *err)
{
    char host[256], port[8] = "80";
    if (strncasecmp(url, "http://", 7) != 0)
        return refuse_url(url, err);
    const char *at = url + 7;
    size_t n = strcspn(at, "/");
    if (n == 0 || n >= sizeof(host) || at[n + (at[n] == '/')] || strpbrk(at, "@?# "))
        return refuse_url(url, err);
    snprintf(ret->host, sizeof(ret->host), "%.*s", (int)n, at);
    snprintf(host, sizeof(host), "%.*s", (int)n, at);
    char *name = host, *colon = strrchr(host, ':');
    if (host[0] == '[') {
        char *end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return refuse_url(url, err);
        colon = end[1] ? end + 1 : NULL;
        *end = '\0';
        name = host + 1;
    }
    if (colon) {
        *colon = '\0';
        if (!colon[1] || strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") != strlen(colon + 1))
            return refuse_url(url, err);
        snprintf(port, sizeof(port), "%.5s", colon + 1);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(name, port, &hints, &found);
    if (rc != 0)
        return err_set(err, ERR_NETWORK, 0, "'%.200s': %s", url, gai_strerror(rc));
    memcpy(&ret->at, found->ai_addr, found->ai_addrlen);
    ret->len = found->ai_addrlen;
    freeaddrinfo(found);
    return ERR_OK;
}

/* ---- a connection ---- */

void wire_init(struct wire *w)
{
    *w = (struct wire){.fd = -1};
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->have = w->rest_n = w->rest_at = 0;
}

void wire_release(struct wire *w)
{
    wire_close(w);
    free(w->in);
    free(w->rest);
    wire_init(w);
}

static int wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout_ms);
}

static int connected(int fd, const struct address *to, struct err *err)
{
    int why = 0;
    socklen_t n = sizeof(why);
    if (wait_for(fd, POLLOUT, CONNECT_MS) <= 0)
        return err_set(err, ERR_NETWORK, ETIMEDOUT, "connect to %s", to->host);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) != 0 || why)
        return err_set(err, ERR_NETWORK, why ? why : errno, "connect to %s", to->host);
    return ERR_OK;
}

int wire_open(struct wire *w, const struct address *to, struct err *err)
{
    const int one = 1;
    wire_close(w);
    AUTO_FD int fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "a socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&to->at, to->len) != 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            return err_set(err, ERR_NETWORK, errno, "connect to %s", to->host);
        int rc = connected(fd, to, err);
        if (rc)
            return rc;
    }
    w->fd = TAKE_FD(fd);
    w->host = to->host;
    return ERR_OK;
}

static int broke(struct wire *w, int why, struct err *err)
{
    wire_close(w);
    return why ? err_set(err, ERR_NETWORK, why, "the connection to %s broke", w->host)
               : err_set(err, ERR_NETWORK, 0, "the server at %s closed the connection without an answer", w->host);
}

static bool room(char **p, size_t *cap, size_t need)
{
    size_t more = MAX(*cap, 4096);
    if (need <= *cap)
        return true;
    while (more < need)
        more *= 2;
    char *q = realloc(*p, more);
    if (!q)
        return false;
    *p = q;
    *cap = more;
    return true;
}

bool wire_has_rest(const struct wire *w)
{
    return w->rest_at < w->rest_n;
}

int wire_send(struct wire *w, const char *p, size_t n, struct err *err)
{
    ssize_t sent = send(w->fd, p, n, MSG_NOSIGNAL);
    w->have = 0;
    if (sent == (ssize_t)n)
        return ERR_OK;
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return broke(w, errno, err);
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (!room(&w->rest, &w->rest_cap, n - done))
        return err_set(err, ERR_NO_MEMORY, 0, "a request");
    memcpy(w->rest, p + done, n - done);
    w->rest_n = n - done;
    w->rest_at = 0;
    return ERR_OK;
}

int wire_flush(struct wire *w, struct err *err)
{
    while (wire_has_rest(w)) {
        ssize_t sent = send(w->fd, w->rest + w->rest_at, w->rest_n - w->rest_at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return ERR_OK;
        if (sent < 0 && errno != EINTR)
            return broke(w, errno, err);
        if (sent > 0)
            w->rest_at += (size_t)sent;
    }
    return ERR_OK;
}

/* ---- an answer ---- */

static int no_http(const struct wire *w, const char *why, struct err *err)
{
    char shown[41];
    size_t n = 0;
    for (; n < w->have && n < sizeof(shown) - 1; n++)
        shown[n] = (char)(w->in[n] >= ' ' && w->in[n] < 127 ? w->in[n] : '.');
    shown[n] = '\0';
    return err_set(err, ERR_CORRUPT, 0, "the answer is not one of haul's: %s (it begins with '%s')", why, shown);
}

static bool is_header(const char *line, size_t n, const char *name, const char **ret_value)
{
    size_t k = strlen(name);
    if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0)
        return false;
    line += k + 1;
    while (*line == ' ' || *line == '\t')
        line++;
    *ret_value = line;
    return true;
}

/* The head lies whole in in[0..n), its last line's end included. */
static int read_head(const struct wire *w, size_t n, struct answer *a, size_t *ret_length, struct err *err)
{
    const char *p = w->in, *end = w->in + n, *value;
    bool known = false;
    if (n < 13 || memcmp(p, "HTTP/1.1 ", 9) != 0 || !isdigit((unsigned char)p[9]) || !isdigit((unsigned char)p[10]) ||
        !isdigit((unsigned char)p[11]))
        return no_http(w, "no HTTP/1.1 status line", err);
    a->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + p[11] - '0';
    a->close = false;
    for (p = memchr(p, '\n', n); p && ++p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t len = eol ? (size_t)(eol - p) : (size_t)(end - p);
        if (is_header(p, len, "Content-Length", &value)) {
            char *after;
            unsigned long long v = isdigit((unsigned char)*value) ? strtoull(value, &after, 10) : ANSWER_MAX + 1ULL;
            if (v > ANSWER_MAX || known)
                return no_http(w, "its Content-Length is none, or over 32 MiB", err);
            *ret_length = (size_t)v;
            known = true;
        } else if (is_header(p, len, "Connection", &value)) {
            a->close = strncasecmp(value, "close", 5) == 0;
        }
        p = eol;
    }
    if (!known && a->status != 204)
        return no_http(w, "no Content-Length", err);
    return ERR_OK;
}

static int look(struct wire *w, struct answer *a, bool *ret_whole, size_t *ret_missing, struct err *err)
{
    const char *blank = memmem(w->in, w->have, "\r\n\r\n", 4);
    size_t length = 0;
    *ret_missing = 1;
    if (!blank) {
        if (w->have >= 9 && memcmp(w->in, "HTTP/1.1 ", 9) != 0)
            return no_http(w, "no HTTP/1.1 status line", err);
        return w->have > HEAD_MAX ? no_http(w, "its head has no end", err) : ERR_OK;
    }
    size_t head = (size_t)(blank - w->in) + 4;
    int rc = read_head(w, head - 2, a, &length, err);
    if (rc)
        return rc;
    if (w->have > head + length)
        return no_http(w, "more bytes than its Content-Length", err);
    a->body = w->in + head;
    a->n = length;
    *ret_whole = w->have == head + length;
    *ret_missing = head + length - w->have;
    return ERR_OK;
}

int wire_receive(struct wire *w, struct answer *ret, bool *ret_whole, struct err *err)
{
    size_t missing = 1;
    *ret_whole = false;
    for (;;) {
        if (!room(&w->in, &w->cap, w->have + missing))
            return err_set(err, ERR_NO_MEMORY, 0, "an answer");
        size_t space = w->cap - w->have;
        ssize_t n = recv(w->fd, w->in + w->have, space, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return ERR_OK;
        if (n <= 0)
            return broke(w, n < 0 ? errno : 0, err);
        w->have += (size_t)n;
        int rc = look(w, ret, ret_whole, &missing, err);
        if (rc || *ret_whole || (size_t)n < space) /* what was not filled had no more: a look again costs a call */
            return rc;
    }
}

int wire_await(struct wire *w, int timeout_ms, struct answer *ret, struct err *err)
{
    int64_t until = mono_ns() + (int64_t)timeout_ms * 1000000;
    bool whole = false;
    while (!whole) {
        int left_ms = (int)((until - mono_ns()) / 1000000);
        int n = left_ms < 0 ? 0 : wait_for(w->fd, (short)(POLLIN | (wire_has_rest(w) ? POLLOUT : 0)), left_ms);
        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_IO, errno, "wait for an answer");
        if (n == 0)
            return err_set(err, ERR_TIMEOUT, 0, "no answer from %s within %d ms", w->host, timeout_ms);
        int rc = wire_flush(w, err);
        if (!rc)
            rc = wire_receive(w, ret, &whole, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

int wire_exchange(struct wire *w, const struct address *to, const char *p, size_t n, int timeout_ms, struct answer *ret,
                  struct err *err)
{
    int rc = w->fd >= 0 ? ERR_OK : wire_open(w, to, err);
    if (!rc)
        rc = wire_send(w, p, n, err);
    if (!rc)
        rc = wire_await(w, timeout_ms, ret, err);
    if (!rc && ret->close) { /* the bytes stay where they are */
        close(w->fd);
        w->fd = -1;
    }
    return rc;
}

static enum err_code code_of_status(int status)
{
    switch (status) {
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 413:
        return ERR_TOO_LARGE;
    case 429:
    case 502:
    case 503:
        return ERR_UNAVAILABLE;
    case 504:
        return ERR_TIMEOUT;
    default:
        return status >= 400 && status < 500 ? ERR_INVALID : ERR_INTERNAL;
    }
}

int answer_refusal(const struct answer *a, struct err *err)
{
    json_t *doc = NULL;
    struct err ignored = {0};
    enum err_code code = code_of_status(a->status);
    const char *name = NULL, *detail = NULL;
    if (a->n > 0 && json_parse(a->body, a->n, &doc, &ignored) == ERR_OK) {
        name = json_string_value(json_object_get(doc, "code"));
        detail = json_string_value(json_object_get(doc, "detail"));
    }
    if (name && err_from_name(name) != ERR_INTERNAL && err_from_name(name) != ERR_OK)
        code = err_from_name(name);
    err_set(err, code, 0, "the server answered with HTTP status %d%s%.300s", a->status, detail ? ": " : "",
            detail ? detail : "");
    json_decref(doc);
    return (int)code;
}
