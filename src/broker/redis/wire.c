#include "broker/redis/wire.h"
#include "base/auto.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

struct rwire {
    int fd, stop_fd;
    SSL_CTX *tls;
    SSL *ssl; /* NULL: plain */
    redisReader *reader;
    struct buf out;
};

static usec now_us(void)
{
    const struct clock clock = clock_real();
    return clock.boot_us(clock.self);
}

/* @return ERR_OK: ready for `events` */
static int wait_for(const struct rwire *w, short events, usec until_us, struct err *err)
{
    struct pollfd fds[2] = {{.fd = w->fd, .events = events}, {.fd = w->stop_fd, .events = POLLIN}};
    for (;;) {
        usec left_us = until_us - now_us();
        if (left_us <= 0)
            return err_set(err, ERR_TIMEOUT, 0, "Redis does not answer in time");
        int n = poll(fds, 2, (int)MIN((left_us + 999) / 1000, 60000));
        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_UNAVAILABLE, errno, "wait for Redis");
        if (n > 0 && fds[1].revents)
            return err_set(err, ERR_CANCELLED, 0, "the server is stopping");
        if (n > 0 && fds[0].revents)
            return ERR_OK;
    }
}

static int unreached(struct err *err, int sys)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "cannot reach Redis");
}

static int connect_to(struct rwire *w, const struct sockaddr *to, socklen_t n, usec until_us, struct err *err)
{
    int one = 1, failed = 0;
    socklen_t size = sizeof(failed);
    w->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0)
        return unreached(err, errno);
    if (connect(w->fd, to, n) < 0 && errno != EINPROGRESS)
        return unreached(err, errno);
    int rc = wait_for(w, POLLOUT, until_us, err);
    if (rc == ERR_TIMEOUT)
        return unreached(err, ETIMEDOUT);
    if (!rc && getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 && failed)
        return unreached(err, failed);
    if (!rc && to->sa_family != AF_UNIX)
        setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return rc;
}

static int connect_unix(struct rwire *w, const char *path, usec until_us, struct err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(to.sun_path))
        return err_field(err, "broker", "the path of the socket is too long");
    memcpy(to.sun_path, path, strlen(path) + 1);
    return connect_to(w, (const struct sockaddr *)&to, sizeof(to), until_us, err);
}

static int connect_host(struct rwire *w, const struct redis_url *url, usec until_us, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(url->host, url->port, &hints, &found);
    if (failed)
        return err_set(err, ERR_UNAVAILABLE, 0, "cannot reach Redis: its host's name: %s", gai_strerror(failed));
    int rc = unreached(err, 0);
    for (const struct addrinfo *a = found; a && rc && rc != ERR_CANCELLED; a = a->ai_next) {
        if (w->fd >= 0)
            close(TAKE_FD(w->fd));
        rc = connect_to(w, a->ai_addr, a->ai_addrlen, until_us, err);
    }
    freeaddrinfo(found);
    return rc;
}

/* What OpenSSL's call came back with. @return ERR_OK: call it again */
static int tls_wait(struct rwire *w, int result, usec until_us, struct err *err)
{
    switch (SSL_get_error(w->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(w, POLLIN, until_us, err);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(w, POLLOUT, until_us, err);
    default:
        return err_set(err, ERR_UNAVAILABLE, 0, "Redis hung up");
    }
}

static int tls_setup(struct rwire *w, const struct redis_url *url, struct err *err)
{
    struct in6_addr address;
    char host[sizeof(url->host)]; /* OpenSSL's macro wants one that it might write to */
    memcpy(host, url->host, sizeof(host));
    w->tls = SSL_CTX_new(TLS_client_method());
    if (!w->tls || !SSL_CTX_set_min_proto_version(w->tls, TLS1_2_VERSION))
        return err_set(err, ERR_NO_MEMORY, 0, "TLS");
    SSL_CTX_set_verify(w->tls, SSL_VERIFY_PEER, NULL);
    if (url->ca[0] ? !SSL_CTX_load_verify_locations(w->tls, url->ca, NULL) : !SSL_CTX_set_default_verify_paths(w->tls))
        return err_field(err, "broker", "cannot read the certificates of '%.200s' (ca)", url->ca);
    w->ssl = SSL_new(w->tls);
    if (!w->ssl || !SSL_set_fd(w->ssl, w->fd))
        return err_set(err, ERR_NO_MEMORY, 0, "TLS");
    SSL_set_mode(w->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    const bool numeric = inet_pton(AF_INET, url->host, &address) == 1 || inet_pton(AF_INET6, url->host, &address) == 1;
    const bool named = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(w->ssl), url->host) == 1
                               : SSL_set1_host(w->ssl, url->host) && SSL_set_tlsext_host_name(w->ssl, host);
    return named ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "TLS");
}

static int tls_start(struct rwire *w, const struct redis_url *url, usec until_us, struct err *err)
{
    int rc = tls_setup(w, url, err), result = 0;
    while (!rc && (result = SSL_connect(w->ssl)) != 1) {
        const long verified = SSL_get_verify_result(w->ssl);
        if (verified != X509_V_OK)
            return err_set(err, ERR_FORBIDDEN, 0, "Redis' certificate is not trusted: %s",
                           X509_verify_cert_error_string(verified));
        const int what = SSL_get_error(w->ssl, result);
        if (what == SSL_ERROR_SSL)
            return err_set(err, ERR_UNSUPPORTED, 0, "what is there does not speak TLS (redis:// is without)");
        rc = tls_wait(w, result, until_us, err);
    }
    return rc;
}

int rwire_open(const struct redis_url *url, int stop_fd, usec until_us, struct rwire **ret, struct err *err)
{
    struct rwire *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, ERR_NO_MEMORY, 0, "connection to Redis");
    w->fd = -1;
    w->stop_fd = stop_fd;
    buf_init(&w->out, WIRE_SEND_MAX);
    w->reader = redisReaderCreate();
    int rc = w->reader ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "connection to Redis");
    if (!rc)
        rc = url->path[0] ? connect_unix(w, url->path, until_us, err) : connect_host(w, url, until_us, err);
    if (!rc && url->tls)
        rc = tls_start(w, url, until_us, err);
    if (rc)
        rwire_close(w);
    else
        *ret = w;
    ERR_clear_error();
    return rc;
}

void rwire_close(struct rwire *w)
{
    if (!w)
        return;
    SSL_free(w->ssl);
    SSL_CTX_free(w->tls);
    if (w->fd >= 0)
        close(w->fd);
    if (w->reader)
        redisReaderFree(w->reader);
    buf_release(&w->out);
    free(w);
}

struct buf *rwire_out(struct rwire *w)
{
    return &w->out;
}

/* @return bytes; 0: wait was done, try again; -1: err is set */
static ssize_t write_some(struct rwire *w, const char *p, size_t n, usec until_us, struct err *err)
{
    if (w->ssl) {
        ERR_clear_error();
        int done = SSL_write(w->ssl, p, (int)MIN(n, (size_t)1 << 20));
        return done > 0 ? done : tls_wait(w, done, until_us, err) ? -1 : 0;
    }
    ssize_t done = send(w->fd, p, n, MSG_NOSIGNAL);
    if (done >= 0)
        return done;
    if (errno == EAGAIN || errno == EINTR)
        return wait_for(w, POLLOUT, until_us, err) ? -1 : 0;
    err_set(err, ERR_UNAVAILABLE, errno, "Redis hung up");
    return -1;
}

int rwire_send(struct rwire *w, usec until_us, struct err *err)
{
    size_t at = 0;
    if (w->out.failed)
        return err_set(err, ERR_NO_MEMORY, 0, "too much at once for Redis");
    while (at < w->out.len) {
        ssize_t n = write_some(w, w->out.data + at, w->out.len - at, until_us, err);
        if (n < 0)
            return (int)err->code;
        at += (size_t)n;
    }
    buf_reset(&w->out);
    return ERR_OK;
}

/* As write_some. */
static ssize_t read_some(struct rwire *w, char *p, size_t n, usec until_us, struct err *err)
{
    if (w->ssl) {
        ERR_clear_error();
        int got = SSL_read(w->ssl, p, (int)n);
        return got > 0 ? got : tls_wait(w, got, until_us, err) ? -1 : 0;
    }
    ssize_t got = recv(w->fd, p, n, 0);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return wait_for(w, POLLIN, until_us, err) ? -1 : 0;
    err_set(err, ERR_UNAVAILABLE, got < 0 ? errno : 0, "Redis hung up");
    return -1;
}

int rwire_reply(struct rwire *w, usec until_us, redisReply **ret, struct err *err)
{
    char piece[16384];
    void *reply = NULL;
    for (;;) {
        if (redisReaderGetReply(w->reader, &reply) != REDIS_OK)
            return w->reader->err == REDIS_ERR_OOM ? err_set(err, ERR_NO_MEMORY, 0, "an answer of Redis")
                                                   : err_set(err, ERR_UNSUPPORTED, 0, "what answers is not a Redis");
        if (reply) {
            *ret = reply;
            return ERR_OK;
        }
        if (w->reader->len > WIRE_REPLY_MAX)
            return err_set(err, ERR_TOO_LARGE, 0, "an answer of Redis has more than %zu MiB", WIRE_REPLY_MAX >> 20);
        ssize_t n = read_some(w, piece, sizeof(piece), until_us, err);
        if (n < 0)
            return (int)err->code;
        if (n > 0)
            redisReaderFeed(w->reader, piece, (size_t)n);
    }
}
