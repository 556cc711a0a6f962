/* Bytes that come and go on the bytes pool: streamed bodies and streams (a file is one, file.c). MHD's threads never wait for a disk. */
#include "base/auto.h"
#include "http/internal.h"
#include <sys/ioctl.h>

/* Large pieces cost less: a turn each, and a file system does 128 KiB of whole pages in half the time that it takes for eight
 * times 16 KiB. So a fast sender's bytes gather; nobody waits for more than what is in the socket already. */
bool http_body_worth_a_turn(struct http_request *req)
{
    int waiting = 0;
    if (!req->begun || req->pending.len >= HTTP_PIECE_BYTES)
        return true;
    req->paused = ioctl(req->socket->fd, FIONREAD, &waiting) != 0 || waiting == 0;
    return req->paused;
}

/* Mutex held. `pending` becomes `writing`, but for a remainder that makes no whole pages. */
static void take_pending(struct http_request *req)
{
    struct buf taken = req->pending;
    size_t keep = req->ended || req->paused ? 0 : (req->passed + taken.len) % HTTP_PIECE_ALIGN;
    req->paused = false;
    req->pending = req->writing; /* empty */
    req->writing = taken;
    if (keep > 0 && keep <= taken.len) {
        buf_add(&req->pending, taken.data + taken.len - keep, keep);
        req->writing.len -= keep;
    }
    req->passed += req->writing.len;
}

int http_body_give(struct http_request *req, bool begun, bool gone, struct err *err)
{
    const struct http_route *route = req->route;
    int rc = ERR_OK;
    if (!begun && !gone && route->begin)
        rc = route->begin(req, err);
    if (rc == ERR_OK && !gone && req->writing.len && route->on_body)
        rc = route->on_body(req, &req->writing, err);
    buf_reset(&req->writing);
    return rc;
}

/* What has come in so far goes to its owner. @return true when it is worth another turn */
static bool take_turn(struct http_request *req)
{
    struct err err = {0};
    int rc = ERR_OK;
    pthread_mutex_lock(&req->mutex);
    take_pending(req);
    if (req->pending.failed)
        rc = err_set(&err, ERR_NO_MEMORY, 0, "no memory for the body");
    bool begun = req->begun, gone = req->finished;
    req->begun = true;
    http_resume(req); /* there is room again, or the end waits for us and will ask again */
    pthread_mutex_unlock(&req->mutex);

    if (rc == ERR_OK)
        rc = http_body_give(req, begun, gone, &err);

    pthread_mutex_lock(&req->mutex);
    if (rc != ERR_OK) {
        req->failed = true;
        req->failure = err;
        req->failure.code = (enum err_code)rc;
    }
    bool again = !req->failed && !req->finished && req->pending.len > 0 && (req->ended || http_body_worth_a_turn(req));
    req->task_running = again;
    if (!again)
        http_resume(req);
    pthread_mutex_unlock(&req->mutex);
    return again;
}

/* Once somebody else waits for the pool, the next turn is a new task behind theirs: one fast sender does not keep a thread. */
void http_body_task(struct http_request *req)
{
    while (take_turn(req))
        if (!pool_idle(req->server->pool)) {
            http_dispatch(req);
            return;
        }
}

/* Output */

static void fill_task(struct http_request *req)
{
    struct http_stream *stream = &req->reply.stream;
    int64_t n = req->out ? stream->read(stream->arg, req->out, HTTP_OUT_MAX) : -2;
    if (n == 0 && atomic_load(&req->server->stopping))
        n = -2;
    if (n == 0 && !http_alive(req)) /* nobody else would notice while the connection is suspended */
        n = -2;
    if (n == 0) {
        http_dispatch_later(req, (int64_t)MAX(stream->retry_ms, 1U) * 1000); /* still task_running */
        return;
    }
    pthread_mutex_lock(&req->mutex);
    req->out_off = 0;
    req->out_n = n > 0 ? (size_t)n : 0;
    req->out_end = n == -1;
    req->out_error = n < -1;
    req->task_running = false;
    http_resume(req);
    pthread_mutex_unlock(&req->mutex);
}

ssize_t http_stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct http_request *req = cls;
    ssize_t rc = 0;
    bool start = false;
    if (req->reply.direct)
        return http_direct_read(req);
    pthread_mutex_lock(&req->mutex);
    if (!req->task_running && !req->out) {
        /* A page's beginning: see "excess" in the client, whose reads from the page cache suffer from the same. */
        req->out = aligned_alloc(4096, HTTP_OUT_MAX);
        req->task = fill_task;
    }
    if (!req->task_running && req->out_n > req->out_off) {
        size_t n = MIN(max, req->out_n - req->out_off);
        memcpy(buf, req->out + req->out_off, n);
        req->out_off += n;
        rc = (ssize_t)n;
        http_deadline(req->socket, HTTP_READER_TIMES * req->server->patience_us);
        /* read ahead while these bytes are sent */
        start = req->out_off == req->out_n;
    } else if (!req->task_running && req->out_end) {
        rc = MHD_CONTENT_READER_END_OF_STREAM;
    } else if ((!req->task_running && req->out_error) || atomic_load(&req->server->stopping)) {
        rc = MHD_CONTENT_READER_END_WITH_ERROR;
    } else {
        start = !req->task_running;
        http_deadline(req->socket, INT64_MAX); /* it waits for us */
        http_suspend(req);
    }
    if (start)
        req->task_running = true;
    pthread_mutex_unlock(&req->mutex);
    if (start)
        http_dispatch(req);
    return rc;
}

void http_reply_stream(struct http_request *req, int status, const char *content_type, struct http_stream stream)
{
    struct http_reply reply = {.status = status, .is_stream = true, .stream_size = MHD_SIZE_UNKNOWN, .stream = stream};
    http_set_header(req, "Content-Type", content_type);
    http_reply_commit(req, &reply);
}
