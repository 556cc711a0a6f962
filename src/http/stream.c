/* Bytes that come and go on the bytes pool: streamed bodies, files, streams. MHD's threads never wait for a disk. */
#include "base/auto.h"
#include "http/internal.h"
#include "http/range.h"
#include <errno.h>
#include <inttypes.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

/* One turn: what has come in so far goes to its owner. The next turn is a new task, so that one fast sender does not keep a
 * thread of the pool for itself. */
void http_body_task(struct http_request *req)
{
    const struct http_route *route = req->route;
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

    if (rc == ERR_OK && !begun && !gone && route->begin)
        rc = route->begin(req, &err);
    if (rc == ERR_OK && !gone && req->writing.len && route->on_body)
        rc = route->on_body(req, req->writing.data, req->writing.len, &err);
    buf_reset(&req->writing);

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
    if (again)
        http_dispatch(req);
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

/* Files */

struct file_reader {
    int fd;
    int64_t at, end;
};

static int64_t read_file(void *arg, void *buf, size_t max)
{
    struct file_reader *f = arg;
    if (f->at >= f->end)
        return -1;
    for (;;) {
        ssize_t n = pread(f->fd, buf, MIN(max, (size_t)(f->end - f->at)), f->at);
        if (n > 0) {
            f->at += n;
            return n;
        }
        if (n < 0 && errno == EINTR)
            continue;
        return -2; /* shorter than it was said to be: the client must not take it for whole */
    }
}

static void free_file(void *arg)
{
    struct file_reader *f = arg;
    close(f->fd);
    free(f);
}

static bool etag_listed(const char *list, const char *etag)
{
    size_t n = strlen(etag);
    while (*list) {
        list += strspn(list, " \t,");
        if (*list == '*')
            return true;
        if (strncmp(list, "W/", 2) == 0)
            list += 2;
        if (strncmp(list, etag, n) == 0 && (list[n] == '\0' || strchr(" \t,", list[n])))
            return true;
        list += strcspn(list, ",");
    }
    return false;
}

static void set_disposition(struct http_request *req, const char *filename)
{
    struct buf value;
    buf_init(&value, 4096);
    buf_adds(&value, "attachment; filename=\"");
    for (const char *s = filename; *s; s++)
        buf_addc(&value, *s == '"' || *s == '\\' || (unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f ? '_' : *s);
    buf_adds(&value, "\"; filename*=UTF-8''");
    for (const char *s = filename; *s; s++) {
        bool plain =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("-._~", *s);
        if (plain)
            buf_addc(&value, *s);
        else
            buf_printf(&value, "%%%02X", (unsigned)(unsigned char)*s);
    }
    http_set_header(req, "Content-Disposition", value.failed ? "attachment" : buf_str(&value));
    buf_release(&value);
}

static void refuse_range(struct http_request *req, int64_t size)
{
    char value[48];
    struct err err = {0};
    snprintf(value, sizeof value, "bytes */%" PRId64, size);
    http_set_header(req, "Content-Range", value);
    err_set(&err, ERR_RANGE, 0, "there are %" PRId64 " bytes", size);
    http_reply_err(req, &err);
}

void http_reply_file(struct http_request *req, int fd, int64_t size, const char *content_type, const char *etag,
                     const char *filename)
{
    AUTO_FD int file = fd;
    int64_t first = 0, end = size;
    enum http_range kind = HTTP_RANGE_ALL;
    const char *none_match = http_header(req, "If-None-Match"), *if_range = http_header(req, "If-Range"),
               *range = http_header(req, "Range");
    http_set_header(req, "Accept-Ranges", "bytes");
    if (etag)
        http_set_header(req, "ETag", etag);
    if (etag && none_match && etag_listed(none_match, etag)) {
        http_reply_empty(req, 304);
        return;
    }
    if (range && !req->head && (!if_range || (etag && strcmp(if_range, etag) == 0)))
        kind = http_range_parse(range, size, &first, &end);
    if (kind == HTTP_RANGE_BAD) {
        refuse_range(req, size);
        return;
    }
    struct file_reader *reader = malloc(sizeof *reader);
    if (!reader) {
        http_reply_err(req, &(struct err){.code = ERR_NO_MEMORY, .msg = "no memory for the answer"});
        return;
    }
    if (kind == HTTP_RANGE_PART) {
        char value[80];
        snprintf(value, sizeof value, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, first, end - 1, size);
        http_set_header(req, "Content-Range", value);
    }
    if (filename)
        set_disposition(req, filename);
    http_set_header(req, "Content-Type", content_type);
    *reader = (struct file_reader){.fd = TAKE_FD(file), .at = first, .end = end};
    struct http_reply reply = {.status = kind == HTTP_RANGE_PART ? 206 : 200,
                               .is_stream = true,
                               .stream_size = (uint64_t)(end - first),
                               .stream = {.read = read_file, .free = free_file, .arg = reader, .retry_ms = 1}};
    http_reply_commit(req, &reply);
}
