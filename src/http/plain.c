/* Requests that are as nearly all are, read and answered by ourselves: a POST or GET whose whole is in the socket, on a route with JSON in and
 * out. libmicrohttpd takes a connection out of its epoll set and back for each request, is woken by a call for each answer, reads
 * once more to find nothing, and zeroes 32 KiB: half of what a small request costs.
 *
 * A request is looked at before it is taken from the socket. What is not plain stays there, to the last byte, and the connection is
 * libmicrohttpd's from then on, with all its rules: nothing is refused here. Past that point request.c does with it what it does
 * with any other. */
#include "base/auto.h"
#include "http/internal.h"
#include "http/plain_head.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PLAIN_BYTES ((size_t)64 << 10) /* of a request, head and body */
#define EVENTS      64
#define LINGER_S    5
#define TURNS_MAX   32 /* requests of one connection before others have theirs */

/* Of its loop's thread alone, but for `next`. */
struct plain {
    struct http_connection c; /* first */
    struct http_request *req; /* under way: until it is answered nothing else is read */
    struct plain *next;       /* due */
    bool more;                /* there may be something to read */
    bool ended;               /* its client has sent all it will */
    bool due;                 /* stepped back for others, and is looked at again without an event */
    bool closing;             /* the answer said so */
    char *rest;               /* of an answer, what the socket had no room for */
    size_t rest_n, rest_at;
    int64_t whole_until_us; /* a request has begun to come; 0: none */
};

struct plain_loop {
    struct http_server *server;
    pthread_t thread;
    int epoll, wake;
    struct buf out;
    char in[PLAIN_BYTES + 1];

    pthread_mutex_t lock;
    struct plain *due, **last; /* resumed */
    bool asleep, stop;
};

static struct plain *plain_of(struct http_connection *c)
{
    return (struct plain *)c;
}

/* ---- the end of a connection, or of our part in it ---- */

static void request_over(struct plain *p, enum MHD_RequestTerminationCode why)
{
    void *req = p->req;
    p->req = NULL;
    http_request_completed(p->c.loop->server, NULL, &req, why);
}

static void plain_free(struct plain *p)
{
    free(p->rest);
    free(p);
}

static void drop(struct plain *p)
{
    if (p->req)
        request_over(p, MHD_REQUEST_TERMINATED_WITH_ERROR);
    http_connection_unlink(p->c.loop->server, &p->c);
    close(p->c.fd);
    plain_free(p);
}

/* libmicrohttpd finds all bytes in the socket. */
static void hand_on(struct plain *p)
{
    struct plain_loop *l = p->c.loop;
    struct sockaddr_storage address;
    socklen_t n = sizeof(address);
    if (getpeername(p->c.fd, (struct sockaddr *)&address, &n) != 0) {
        drop(p);
        return;
    }
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, p->c.fd, NULL);
    http_connection_unlink(l->server, &p->c);
    (void)!MHD_add_connection(l->server->daemon, p->c.fd, (struct sockaddr *)&address, n); /* closes it on failure */
    plain_free(p);
}

/* ---- a request ---- */

static bool read_head(struct http_request *req, const char *p, size_t n)
{
    struct plain_head head;
    struct err err = {0};
    bool framing;
    char *text = arena_memdup(req->arena, p, n + 1);
    if (!text)
        return false;
    text[n] = '\0';
    if (plain_read(text, n, &head) != PLAIN_OURS)
        return false;
    req->opened = true;
    req->method = head.method;
    req->uri = head.uri;
    for (size_t i = 0; i < head.n_lines; i++)
        if (!http_pairs_add(req, &req->header, head.lines[i].name, head.lines[i].value))
            return false;
    http_mint_id(req, http_pairs_get(&req->header, "X-Request-Id", true));
    return req->id && http_judge_header(req, "HTTP/1.1", &framing, &err) == ERR_OK &&
           (req->route->flags & HTTP_JSON_BODY);
}

/* The request that stands first in l->in. false: it is not plain. */
static bool open_request(struct plain *p, size_t head_n, size_t body_n, bool whole)
{
    struct plain_loop *l = p->c.loop;
    struct http_request *req = p->req = http_request_make(l->server, &p->c);
    if (!req)
        return false;
    bool ok = read_head(req, l->in, head_n) && (size_t)MAX(req->content_length, 0) == body_n;
    if (ok && whole) {
        buf_add(&req->body, l->in + head_n, body_n);
        atomic_fetch_add(&l->server->bodies, req->body.len);
        ok = !req->body.failed;
    }
    if (!ok || !whole)
        request_over(p, MHD_REQUEST_TERMINATED_WITH_ERROR);
    return ok;
}

/* Some of a request is there: as patient as with others. */
static void wait_for_whole(struct plain *p)
{
    if (!p->whole_until_us)
        p->whole_until_us = http_now_us() + p->c.loop->server->patience_us;
    atomic_store(&p->c.deadline_us, p->whole_until_us);
}

/* What comes behind the last answer is no request. */
static void drain(struct plain *p)
{
    struct plain_loop *l = p->c.loop;
    ssize_t n;
    do
        n = recv(p->c.fd, l->in, PLAIN_BYTES, MSG_DONTWAIT);
    while (n > 0);
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        drop(p);
}

/* @return true: p->req is the next request, and off the socket. Else there is none yet, or the connection is not ours any more */
static bool next_request(struct plain *p)
{
    struct plain_loop *l = p->c.loop;
    size_t head_n = 0, body_n = 0;
    p->more = false;
    ssize_t n = recv(p->c.fd, l->in, PLAIN_BYTES, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        drop(p);
        return false;
    }
    bool plain = plain_measure(l->in, (size_t)n, PLAIN_BYTES, &head_n, &body_n) == PLAIN_OURS;
    size_t total = head_n + body_n;
    bool whole = total <= (size_t)n;
    plain = plain && (whole || total <= HTTP_WINDOW_BYTES) && open_request(p, head_n, body_n, whole);
    if (!plain) {
        hand_on(p);
        return false;
    }
    if (!whole) {
        wait_for_whole(p);
        return false;
    }
    p->whole_until_us = 0;
    p->more = total < (size_t)n || (size_t)n == PLAIN_BYTES || p->ended;
    if (recv(p->c.fd, l->in, total, MSG_TRUNC | MSG_DONTWAIT) == (ssize_t)total) /* copies nothing */
        return true;
    drop(p);
    return false;
}

static void answered(struct plain *p)
{
    request_over(p, MHD_REQUEST_TERMINATED_COMPLETED_OK);
    if (!p->closing)
        return;
    shutdown(p->c.fd, SHUT_WR);
    http_deadline(&p->c, LINGER_S * HTTP_SECOND);
}

/* Until it waits for something, or is gone. */
static void go_on(struct plain *p)
{
    for (unsigned turns = 0;; turns++) {
        if (!p->req && !p->more)
            return;
        if (!p->req && turns == TURNS_MAX) {
            p->due = true;
            plain_resume(&p->c);
            return;
        }
        if (p->closing && !p->req) {
            drain(p);
            return;
        }
        if (!p->req && !next_request(p))
            return;
        if (http_request_end(p->req) != MHD_YES) {
            drop(p);
            return;
        }
        if (!p->req->queued || p->rest)
            return;
        answered(p);
    }
}

/* ---- an answer ---- */

static bool keep_rest(struct plain *p, const struct iovec iov[2], size_t sent)
{
    size_t n = iov[0].iov_len + iov[1].iov_len - sent, first = iov[0].iov_len - MIN(iov[0].iov_len, sent);
    p->rest = malloc(n);
    if (!p->rest)
        return false;
    if (first > 0)
        memcpy(p->rest, (const char *)iov[0].iov_base + iov[0].iov_len - first, first);
    memcpy(p->rest + first, (const char *)iov[1].iov_base + iov[1].iov_len - (n - first), n - first);
    p->rest_n = n;
    p->rest_at = 0;
    http_deadline(&p->c, http_answer_us(p->req));
    return true;
}

enum MHD_Result plain_queue(struct http_request *req)
{
    struct plain *p = plain_of(req->socket);
    struct buf *out = &p->c.loop->out;
    const struct http_reply *reply = &req->reply;
    const bool told = http_pairs_get(&reply->headers, "Connection", true);
    if (reply->is_stream)
        return MHD_NO; /* its route is no plain one */
    p->closing = told || atomic_load(&req->server->quiesced);
    buf_reset(out);
    http_write_head(req, out);
    buf_adds(out, p->closing && !told ? "Connection: close\r\n\r\n" : "\r\n");
    if (out->failed)
        return MHD_NO;
    req->queued = true;
    struct iovec iov[2] = {{out->data, out->len},
                           {reply->body ? reply->body : out->data, reply->body ? reply->body_n : 0}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t sent = sendmsg(p->c.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return MHD_NO;
    if (sent == (ssize_t)(iov[0].iov_len + iov[1].iov_len))
        return MHD_YES;
    return keep_rest(p, iov, sent < 0 ? 0 : (size_t)sent) ? MHD_YES : MHD_NO;
}

/* @return false: the connection is gone */
static bool send_rest(struct plain *p)
{
    while (p->rest_at < p->rest_n) {
        ssize_t n = send(p->c.fd, p->rest + p->rest_at, p->rest_n - p->rest_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0 && errno != EINTR) {
            drop(p);
            return false;
        }
        if (n > 0)
            p->rest_at += (size_t)n;
    }
    free(p->rest);
    p->rest = NULL;
    answered(p);
    return true;
}

/* ---- the loop ---- */

static void on_event(struct plain *p, unsigned events)
{
    if (events & ~(unsigned)EPOLLOUT)
        p->more = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        p->ended = true;
    if (p->rest && !send_rest(p))
        return;
    if (!p->req && !p->due)
        go_on(p);
}

static struct plain *take_due(struct plain_loop *l, bool *ret_stop)
{
    pthread_mutex_lock(&l->lock);
    struct plain *due = l->due;
    l->due = NULL;
    l->last = &l->due;
    l->asleep = !due;
    *ret_stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    return due;
}

static void wake(struct plain_loop *l)
{
    const uint64_t one = 1; /* edge-triggered: never read */
    (void)!write(l->wake, &one, sizeof(one));
}

void plain_resume(struct http_connection *c)
{
    struct plain_loop *l = c->loop;
    struct plain *p = plain_of(c);
    pthread_mutex_lock(&l->lock);
    bool asleep = l->asleep;
    l->asleep = false;
    p->next = NULL;
    *l->last = p;
    l->last = &p->next;
    pthread_mutex_unlock(&l->lock);
    if (asleep)
        wake(l);
}

static void *loop_main(void *arg)
{
    struct plain_loop *l = arg;
    struct epoll_event events[EVENTS];
    bool stop;
    for (;;) {
        struct plain *due = take_due(l, &stop);
        int timeout_ms = due ? 0 : -1;
        if (stop)
            return NULL;
        while (due) {
            struct plain *p = due;
            due = p->next; /* before p goes on: it may be due again at once */
            p->due = false;
            go_on(p);
        }
        int n = epoll_wait(l->epoll, events, EVENTS, timeout_ms);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                on_event(events[i].data.ptr, events[i].events);
    }
}

static int watch(struct plain_loop *l, int fd, struct plain *p)
{
    struct epoll_event ev = {.events = EPOLLET | EPOLLIN | (p ? EPOLLOUT | EPOLLRDHUP : 0), .data.ptr = p};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev);
}

bool plain_accept(struct http_server *s, int fd)
{
    const int on = 1;
    pthread_mutex_lock(&s->list);
    bool full = s->n_connections >= s->connections_max;
    pthread_mutex_unlock(&s->list);
    if (full) {
        close(fd);
        return true;
    }
    struct plain *p = calloc(1, sizeof(*p));
    if (!p)
        return false;
    p->c.fd = fd;
    p->c.loop = s->loops[s->next_loop++ % s->n_loops];
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    http_deadline(&p->c, s->patience_us);
    http_connection_link(s, &p->c);
    if (watch(p->c.loop, fd, p) == 0)
        return true;
    http_connection_unlink(s, &p->c);
    plain_free(p);
    return false;
}

/* ---- start and stop ---- */

static void loop_free(struct plain_loop *l)
{
    if (l->epoll >= 0)
        close(l->epoll);
    if (l->wake >= 0)
        close(l->wake);
    buf_release(&l->out);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static int loop_start(struct http_server *s, struct plain_loop **ret, struct err *err)
{
    struct plain_loop *l = calloc(1, sizeof(*l));
    if (!l)
        return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
    l->server = s;
    l->last = &l->due;
    buf_init(&l->out, HTTP_ARENA_MAX + 4096);
    pthread_mutex_init(&l->lock, NULL);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int sys = l->epoll < 0 || l->wake < 0 || watch(l, l->wake, NULL) != 0 ? errno : 0;
    if (!sys)
        sys = pthread_create(&l->thread, NULL, loop_main, l);
    if (sys) {
        loop_free(l);
        return err_set(err, ERR_IO, sys, "start a server thread");
    }
    *ret = l;
    return ERR_OK;
}

int plain_start(struct http_server *s, unsigned loops, struct err *err)
{
    s->loops = calloc(loops, sizeof(struct plain_loop *));
    if (!s->loops)
        return err_set(err, ERR_NO_MEMORY, 0, "start the HTTP server");
    int rc = ERR_OK;
    while (rc == ERR_OK && s->n_loops < loops) {
        rc = loop_start(s, &s->loops[s->n_loops], err);
        s->n_loops += rc == ERR_OK;
    }
    return rc;
}

void plain_stop(struct http_server *s)
{
    for (unsigned i = 0; i < s->n_loops; i++) {
        struct plain_loop *l = s->loops[i];
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        pthread_mutex_unlock(&l->lock);
        wake(l);
        pthread_join(l->thread, NULL);
    }
    struct plain *all = NULL;
    pthread_mutex_lock(&s->list);
    for (struct http_connection *c = s->connections; c; c = c->next)
        if (c->loop) {
            plain_of(c)->next = all;
            all = plain_of(c);
        }
    pthread_mutex_unlock(&s->list);
    while (all) {
        struct plain *p = all;
        all = p->next;
        drop(p);
    }
    for (unsigned i = 0; i < s->n_loops; i++)
        loop_free(s->loops[i]);
    free(s->loops);
    s->loops = NULL;
    s->n_loops = 0;
}
