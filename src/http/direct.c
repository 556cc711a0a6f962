/* Large bodies and large files pass libmicrohttpd by: the bytes pool itself receives and sends them.
 *
 * libmicrohttpd reads 16 KiB at a time, and takes 128 KiB; each with a round of its loop, and a thread woken that then waits for more: a
 * third of a transfer's time. So a streamed body of 8 MiB or more is taken off it after its first piece. The connection stays
 * suspended, with that piece not accounted for, and a thread of the bytes pool reads the socket until the body is whole. Then
 * libmicrohttpd is made to offer the piece again, which is the moment to answer; by hand, and with the connection's end, since it still
 * waits for the body. A file is sent in the same way: libmicrohttpd sends the header, is suspended when it asks for the first
 * byte, and asks again when the last one was sent; then it is told to close.
 *
 * Nobody waits in a thread for the other side: when the socket is empty, or full, the task comes again by timer, after a millisecond at
 * first and 50 when little was moved. */
#include "base/auto.h"
#include "http/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define WAIT_US_MIN 1000
#define WAIT_US_MAX 50000

/* So that what can be moved the next time is worth a turn. */
static void adapt_wait(struct http_request *req, size_t moved)
{
    req->wait_us = moved < HTTP_PIECE_BYTES ? MIN(2 * req->wait_us, WAIT_US_MAX) : WAIT_US_MIN;
}

/* Bodies */

static void receive_task(struct http_request *req);

bool http_direct_begin(struct http_request *req, const char *p, size_t n)
{
    if (req->content_length < HTTP_DIRECT_BYTES || atomic_load(&req->server->stopping) ||
        !buf_reserve(&req->writing, HTTP_DIRECT_PIECE))
        return false;
    buf_add(&req->writing, p, n);
    req->left = req->content_length - (int64_t)n;
    req->wait_us = WAIT_US_MIN;
    req->direct = true;
    req->task = receive_task;
    return true;
}

/* Mutex held: until MHD is done with it, the descriptor is this connection's. @return false when the socket is empty for now */
static bool receive(struct http_request *req)
{
    struct buf *b = &req->writing;
    const size_t full = HTTP_DIRECT_PIECE - req->passed % HTTP_PIECE_ALIGN;
    if (b->len < full && !buf_reserve(b, full - b->len)) /* whoever takes the pieces may have exchanged it */
        return true;
    while (b->len < full && req->left > 0) {
        ssize_t n = recv(req->socket->fd, b->data + b->len, MIN(full - b->len, (size_t)req->left), MSG_DONTWAIT);
        if (n > 0) {
            b->len += (size_t)n;
            req->left -= n;
            http_sender_moved(req, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return false;
        } else if (n == 0 || errno != EINTR) {
            req->gone = true;
            break;
        }
    }
    return true;
}

/* Mutex held. The sender has paused when nothing came since the last look; until then bytes gather. @return whether to hand on what there is */
static bool look(struct http_request *req)
{
    if (receive(req))
        return true;
    const size_t came = req->writing.len - req->seen;
    req->seen = req->writing.len;
    adapt_wait(req, came);
    return came == 0 && req->writing.len > 0;
}

/* The sender's time stands still while it waits for us. */
static int64_t hold_deadline(struct http_request *req)
{
    const int64_t at_us = atomic_load(&req->socket->deadline_us);
    http_deadline(req->socket, INT64_MAX);
    return at_us == INT64_MAX ? req->server->patience_us : MAX(at_us - http_now_us(), 0);
}

/* @return true when there is more to do at once */
static bool receive_turn(struct http_request *req)
{
    struct err err = {0};
    int64_t patience_us = 0;
    pthread_mutex_lock(&req->mutex);
    bool begun = req->begun, dead = req->finished || atomic_load(&req->server->stopping);
    if (begun && !dead && !look(req)) {
        pthread_mutex_unlock(&req->mutex);
        http_dispatch_later(req, req->wait_us); /* still task_running */
        return false;
    }
    if (!dead)
        patience_us = hold_deadline(req);
    req->begun = true;
    pthread_mutex_unlock(&req->mutex);

    size_t n = req->writing.len;
    int rc = req->writing.failed ? err_set(&err, ERR_NO_MEMORY, 0, "no memory for the body")
                                 : http_body_give(req, begun, dead, &err);

    pthread_mutex_lock(&req->mutex);
    req->passed += n;
    req->seen = 0;
    if (rc != ERR_OK) {
        req->failed = true;
        req->failure = err;
        req->failure.code = (enum err_code)rc;
    }
    dead = dead || req->finished;
    if (!dead)
        http_deadline(req->socket, patience_us);
    bool over = dead || req->failed || req->gone || req->left == 0;
    req->task_running = !over;
    req->ended = req->left == 0;
    if (over)
        http_resume(req);
    pthread_mutex_unlock(&req->mutex);
    return !over;
}

static void receive_task(struct http_request *req)
{
    while (receive_turn(req))
        if (!pool_idle(req->server->pool)) { /* behind those who wait */
            http_dispatch(req);
            return;
        }
}

/* Files */

enum sent {
    SENT_SOME, /* and there may be more */
    SENT_FULL, /* the socket is */
    SENT_END,  /* nothing more may follow */
};

/* Mutex not held. Is somebody still to get them? Then they have so much time from now on; 0: as much as before. */
static bool wanted(struct http_request *req, int64_t in_us)
{
    pthread_mutex_lock(&req->mutex);
    const bool is = !req->finished && !atomic_load(&req->server->stopping);
    if (is && in_us)
        http_deadline(req->socket, in_us);
    pthread_mutex_unlock(&req->mutex);
    return is;
}

static bool wanted_anew(struct http_request *req)
{
    return wanted(req, HTTP_READER_TIMES * req->server->patience_us);
}

/* The reader's time stands still while it waits for our disk. */
static bool wanted_from_disk(struct http_request *req)
{
    return wanted(req, INT64_MAX);
}

/* @param n  of send() or sendfile() */
static enum sent sent_by(struct http_request *req, ssize_t n)
{
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? SENT_FULL : errno == EINTR ? SENT_SOME : SENT_END;
    req->sent += (size_t)n;
    return n > 0 && wanted_anew(req) ? SENT_SOME : SENT_END;
}

/* @return false at the end */
static bool fill_out(struct http_request *req)
{
    struct http_stream *stream = &req->reply.stream;
    if (!wanted_from_disk(req))
        return false;
    const int64_t n = stream->read(stream->arg, req->out, HTTP_OUT_MAX);
    req->out_off = 0;
    req->out_n = n > 0 ? (size_t)n : 0;
    return wanted_anew(req) && n > 0;
}

/* By way of `out`. */
static enum sent send_copied(struct http_request *req)
{
    if (req->out_off == req->out_n && !fill_out(req))
        return SENT_END;
    const ssize_t n =
        send(req->out_fd, req->out + req->out_off, req->out_n - req->out_off, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        req->out_off += (size_t)n;
    return sent_by(req, n);
}

static bool has_room(int socket)
{
    struct pollfd p = {.fd = socket, .events = POLLOUT};
    return poll(&p, 1, 0) != 0; /* whatever is wrong with it, sending will tell */
}

static bool out_new(struct http_request *req)
{
    req->out = aligned_alloc(4096, HTTP_OUT_MAX); /* see http_stream_read */
    return req->out != NULL;
}

/* By the kernel alone; some file systems cannot. */
static enum sent send_passed(struct http_request *req)
{
    struct http_stream *stream = &req->reply.stream;
    if (!has_room(req->out_fd)) /* then it does not wait for the disk */
        return SENT_FULL;
    if (!wanted_from_disk(req))
        return SENT_END;
    const ssize_t n = stream->pass(stream->arg, req->out_fd);
    if (n < 0 && (errno == EINVAL || errno == ENOSYS)) {
        stream->pass = NULL;
        return out_new(req) ? SENT_SOME : SENT_END;
    }
    const enum sent sent = sent_by(req, n);
    return sent == SENT_FULL && !wanted_anew(req) ? SENT_END : sent;
}

static void send_task(struct http_request *req)
{
    enum sent sent;
    while ((sent = req->reply.stream.pass ? send_passed(req) : send_copied(req)) == SENT_SOME)
        if (!pool_idle(req->server->pool)) { /* behind those who wait */
            http_dispatch(req);
            return;
        }
    if (sent == SENT_FULL && wanted(req, 0)) {
        adapt_wait(req, req->sent);
        req->sent = 0;
        http_dispatch_later(req, req->wait_us); /* still task_running */
        return;
    }
    close(req->out_fd);
    pthread_mutex_lock(&req->mutex);
    req->task_running = false;
    req->out_end = true;
    http_resume(req);
    pthread_mutex_unlock(&req->mutex);
}

/* Mutex held. */
static bool send_begin(struct http_request *req)
{
    if (req->out_end || req->task_running || atomic_load(&req->server->stopping))
        return false;
    if (!req->reply.stream.pass && !out_new(req))
        return false;
    req->out_fd = fcntl(req->socket->fd, F_DUPFD_CLOEXEC, 0);
    return req->out_fd >= 0;
}

ssize_t http_direct_read(struct http_request *req)
{
    pthread_mutex_lock(&req->mutex);
    const bool start = send_begin(req);
    if (start) {
        req->wait_us = WAIT_US_MIN;
        req->task = send_task;
        req->task_running = true;
        http_suspend(req);
    }
    pthread_mutex_unlock(&req->mutex);
    if (!start)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    http_dispatch(req);
    return 0;
}
