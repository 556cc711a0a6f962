/* A large body to a server of this machine goes from the page cache to the socket by sendfile. libcurl would have it copied into a buffer of
 * its own and from there once more, a fifth of what such an upload takes of the processors, and does not lend its socket for that: it connects,
 * and the rest of the exchange, one of HTTP/1.1 on a connection of its own, is made here. Over a network it is not worth it, and with
 * TLS there is nothing the kernel could send. */
#include "base/auto.h"
#include "client/internal.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#define LOCAL_BYTES  HAUL_RESUME_BYTES /* below it, a connection that is open already is worth more */
#define PIECE_BYTES  ((size_t)256 << 10)
#define PIECE_ALIGN  4096
#define LOOK_MS      1000
#define HEAD_MAX     ((size_t)64 << 10)
#define ANSWER_BYTES 4096
#define SCHEME       "http://"

struct local {
    struct exchange *x;
    int fd;
    int64_t moved_ms; /* when the last byte was sent, or came */
    bool copies;      /* the file's kind has no sendfile */
    bool answered;    /* an answer waits, whatever is still to be sent */
};

bool local_send_fits(const struct exchange *x)
{
    const struct upload *u = x->upload;
    const struct server *s = client_server(x->client);
    return u && u->summed && !x->client->only_libcurl && u->size - u->base >= LOCAL_BYTES && x->path && s->loopback &&
           strncasecmp(s->url, SCHEME, strlen(SCHEME)) == 0;
}

static CURLcode trouble(const struct local *l, CURLcode code, const char *what)
{
    snprintf(l->x->client->curl_text, CURL_ERROR_SIZE, "%s%s%s", what, errno ? ": " : "", errno ? strerror(errno) : "");
    return code;
}

/* A system may name one that spreads what it sends over time (bbr), which within a machine is nothing but timers. */
static int plain_congestion_control(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
    return CURL_SOCKOPT_OK;
}

/** The connection ends with the handle. */
static CURLcode connect_by(CURL *e, struct local *l)
{
    struct haul_client *c = l->x->client;
    curl_socket_t fd = CURL_SOCKET_BAD;
    curl_easy_setopt(e, CURLOPT_URL, client_server(c)->url);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->curl_text);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, client_connect_timeout_ms(c));
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, plain_congestion_control);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    const CURLcode code = curl_easy_perform(e);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK)
        return code;
    curl_easy_getinfo(e, CURLINFO_ACTIVESOCKET, &fd);
    l->fd = fd;
    return fd == CURL_SOCKET_BAD ? CURLE_COULDNT_CONNECT : CURLE_OK;
}

/** Until there is something of `events` to be done, or the other side has hung up. @param ret  what there is */
static CURLcode wait_for(struct local *l, short events, short *ret)
{
    struct upload *u = l->x->upload;
    for (;;) {
        struct pollfd p = {.fd = l->fd, .events = events};
        const int n = poll(&p, 1, LOOK_MS);
        *ret = p.revents;
        if (n < 0 && errno != EINTR)
            return trouble(l, CURLE_SEND_ERROR, "waiting for the connection");
        if (!upload_say(u, u->done))
            return CURLE_ABORTED_BY_CALLBACK;
        if (n > 0)
            return CURLE_OK;
        errno = 0;
        if (mono_ms() - l->moved_ms > SILENCE_S * 1000)
            return trouble(l, CURLE_OPERATION_TIMEDOUT, "not a byte for a minute");
    }
}

/** Before all was sent: it is a refusal, or the end. */
static bool answer_waits(const struct local *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/** After a send that could not be made. CURLE_OK: it can be now, or there is an answer. */
static CURLcode send_again(struct local *l)
{
    short there = 0;
    if (errno == EINTR)
        return CURLE_OK;
    if (errno == EPIPE || errno == ECONNRESET) { /* it may have said why */
        l->answered = true;
        return CURLE_OK;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return trouble(l, CURLE_SEND_ERROR, "sending");
    const CURLcode code = wait_for(l, POLLIN | POLLOUT, &there);
    l->answered = code == CURLE_OK && (there & (POLLIN | POLLHUP));
    return code;
}

static CURLcode send_bytes(struct local *l, const char *p, size_t n)
{
    CURLcode code = CURLE_OK;
    while (code == CURLE_OK && n > 0 && !l->answered) {
        const ssize_t went = send(l->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (went < 0) {
            code = send_again(l);
            continue;
        }
        l->x->sent = true;
        l->moved_ms = mono_ms();
        p += went;
        n -= (size_t)went;
    }
    return code;
}

/** The bytes from `at` on, which were read into `p`. */
static CURLcode send_piece(struct local *l, const char *p, size_t n, off_t at)
{
    struct upload *u = l->x->upload;
    CURLcode code = CURLE_OK;
    for (off_t from = at; code == CURLE_OK && from < at + (off_t)n && !l->answered;) {
        const size_t left = n - (size_t)(from - at);
        const ssize_t went = sendfile(l->fd, u->fd, &from, left);
        if (went > 0) {
            l->moved_ms = mono_ms();
        } else if (went == 0) {
            u->shrank = true;
            code = CURLE_ABORTED_BY_CALLBACK;
        } else if (errno == EINVAL || errno == ENOSYS) { /* a file of another kind */
            l->copies = true;
            return send_bytes(l, p + (from - at), left);
        } else {
            code = send_again(l);
        }
    }
    return code;
}

static CURLcode send_body(struct local *l)
{
    struct upload *u = l->x->upload;
    AUTO_FREE char *piece = aligned_alloc(PIECE_ALIGN, PIECE_BYTES);
    CURLcode code = piece ? CURLE_OK : CURLE_OUT_OF_MEMORY;
    while (code == CURLE_OK && u->done < u->size && !l->answered) {
        const int64_t at = u->done;
        const size_t n = upload_read(piece, 1, PIECE_BYTES, u);
        if (n == CURL_READFUNC_ABORT)
            return CURLE_ABORTED_BY_CALLBACK;
        code = l->copies ? send_bytes(l, piece, n) : send_piece(l, piece, n, at);
        if (code == CURLE_OK && !upload_say(u, u->done))
            return CURLE_ABORTED_BY_CALLBACK;
        l->answered = l->answered || answer_waits(l);
    }
    return code;
}

static CURLcode send_head(struct local *l)
{
    struct exchange *x = l->x;
    const struct upload *u = x->upload;
    const char *authority = client_server(x->client)->url + strlen(SCHEME),
               *prefix = authority + strcspn(authority, "/");
    struct buf b;
    buf_init(&b, HEAD_MAX);
    buf_printf(&b, "%s %s%s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: %s\r\nAccept: */*\r\n", x->method, prefix, x->path,
               (int)(prefix - authority), authority, x->client->user_agent);
    for (const struct curl_slist *h = x->headers; h; h = h->next)
        if (h->data[0] && h->data[strlen(h->data) - 1] != ':') /* one that is to be left out */
            buf_printf(&b, "%s\r\n", h->data);
    buf_printf(&b, "Content-Length: %lld\r\nConnection: close\r\n\r\n", (long long)(u->size - u->base));
    const CURLcode code = b.failed ? CURLE_OUT_OF_MEMORY : send_bytes(l, b.data, b.len);
    buf_release(&b);
    return code;
}

/** @return bytes; 0 at the end. -1: `ret_code` says why */
static ssize_t take(struct local *l, char *p, size_t n, CURLcode *ret_code)
{
    for (;;) {
        short there = 0;
        const ssize_t got = recv(l->fd, p, n, MSG_DONTWAIT);
        if (got >= 0) {
            l->moved_ms = mono_ms();
            return got;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            *ret_code = wait_for(l, POLLIN, &there);
        else if (errno != EINTR)
            *ret_code = trouble(l, CURLE_RECV_ERROR, "receiving the answer");
        if (*ret_code != CURLE_OK)
            return -1;
    }
}

/** All up to the empty line. @return bytes of it, the line included; 0: it is not there yet */
static size_t head_length(const struct buf *b)
{
    const char *end = b->len > 0 ? memmem(b->data, b->len, "\r\n\r\n", 4) : NULL;
    return end ? (size_t)(end - b->data) + 4 : 0;
}

/** @return false: it is no such thing, or its body comes in a way that is not ours */
static bool head_read(struct exchange *x, const char *head, size_t n)
{
    static const char begin[] = "HTTP/1.1 ";
    int status = 0;
    if (n < sizeof(begin) + 3 || memcmp(head, begin, 7) != 0 || head[8] != ' ')
        return false;
    for (const char *p = head + 9; p < head + 12; p++) {
        if (*p < '0' || *p > '9')
            return false;
        status = 10 * status + (*p - '0');
    }
    for (const char *p = head, *end = head + n; p < end;) {
        const char *next = memchr(p, '\n', (size_t)(end - p));
        const size_t line = next ? (size_t)(next - p) + 1 : (size_t)(end - p);
        if (line > 18 && strncasecmp(p, "Transfer-Encoding:", 18) == 0)
            return false;
        exchange_header_line(x, p, line);
        p += line;
    }
    x->status = status;
    return true;
}

/** The answer's head; what came behind it stays in `b`. */
static CURLcode take_head(struct local *l, struct buf *b)
{
    struct exchange *x = l->x;
    CURLcode code = CURLE_OK;
    do {
        size_t n;
        while ((n = head_length(b)) == 0) {
            errno = 0;
            if (!buf_reserve(b, ANSWER_BYTES))
                return trouble(l, CURLE_WEIRD_SERVER_REPLY, "the answer's head is too long");
            const ssize_t got = take(l, b->data + b->len, ANSWER_BYTES, &code);
            if (got < 0)
                return code;
            errno = 0;
            if (got == 0)
                return b->len > 0 ? trouble(l, CURLE_RECV_ERROR, "the answer ended early")
                                  : trouble(l, CURLE_GOT_NOTHING, "the connection ended without an answer");
            b->len += (size_t)got;
        }
        x->client->only_libcurl = !head_read(x, b->data, n);
        if (x->client->only_libcurl)
            return trouble(l, CURLE_WEIRD_SERVER_REPLY, "the answer is none of a haul server");
        b->len -= n;
        memmove(b->data, b->data + n, b->len);
    } while (x->status < 200); /* 100 Continue: another one follows */
    return CURLE_OK;
}

static CURLcode take_body(struct local *l, const struct buf *begun)
{
    struct exchange *x = l->x;
    const int64_t whole = x->status == 204 || x->status == 304 ? 0 : x->length;
    char piece[ANSWER_BYTES];
    CURLcode code = CURLE_OK;
    const char *p = begun->data;
    ssize_t n = (ssize_t)begun->len;
    for (int64_t done = 0;;) {
        if (whole >= 0)
            n = MIN(n, (ssize_t)(whole - done));
        if (n > 0 && exchange_body(x, p, (size_t)n) != (size_t)n)
            return CURLE_WRITE_ERROR;
        done += n;
        if (done == whole)
            return CURLE_OK;
        p = piece;
        n = take(l, piece, sizeof(piece), &code);
        if (n < 0)
            return code;
        errno = 0;
        if (n == 0)
            return whole < 0 ? CURLE_OK : trouble(l, CURLE_PARTIAL_FILE, "the answer ended early");
    }
}

static CURLcode take_answer(struct local *l)
{
    struct buf b;
    buf_init(&b, HEAD_MAX);
    CURLcode code = take_head(l, &b);
    if (code == CURLE_OK)
        code = take_body(l, &b);
    buf_release(&b);
    return code;
}

/** A connection that ends is an error and no signal, as everywhere in libcurl; only sendfile cannot be told so. */
static CURLcode without_sigpipe(CURLcode (*fn)(struct local *l), struct local *l)
{
    const struct timespec now = {0};
    sigset_t only, before, waited;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    sigpending(&waited);
    pthread_sigmask(SIG_BLOCK, &only, &before);
    const CURLcode code = fn(l);
    if (!sigismember(&waited, SIGPIPE))
        while (sigtimedwait(&only, NULL, &now) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

CURLcode local_send(struct exchange *x)
{
    struct local l = {.x = x, .fd = -1, .moved_ms = mono_ms()};
    CURL *e = curl_easy_init();
    x->status = 0;
    x->sent = false;
    CURLcode code = e ? connect_by(e, &l) : CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK)
        code = send_head(&l);
    if (code == CURLE_OK)
        code = without_sigpipe(send_body, &l);
    if (code == CURLE_OK)
        code = take_answer(&l);
    curl_easy_cleanup(e);
    return code;
}
