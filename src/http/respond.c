/* Answers: made by any thread, handed to libmicrohttpd by its own. */
#include "base/auto.h"
#include "base/json.h"
#include "base/rng.h"
#include "http/condition.h"
#include "http/internal.h"
#include <assert.h>
#include <strings.h>
#include <sys/socket.h>

#define ID_MAX           128
#define LINGER_S         5
#define ANSWER_TIMES_MAX 60
#define BLOCK_BYTES      ((size_t)128 << 10)

void http_mint_id(struct http_request *req, const char *offered)
{
    size_t n = offered ? strlen(offered) : 0;
    for (size_t i = 0; i < n; i++)
        if (offered[i] <= 0x20 || offered[i] >= 0x7f)
            n = 0;
    if (n > 0 && n <= ID_MAX) {
        req->id = offered;
        return;
    }
    char id[33];
    rng_hex128(rng_real(), id);
    req->id = arena_strdup(req->arena, id);
}

static bool header_safe(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    return true;
}

void http_set_header(struct http_request *req, const char *name, const char *value)
{
    if (!header_safe(name) || !header_safe(value))
        return; /* would let a value write headers of its own */
    struct http_pairs *headers = &req->reply.headers;
    for (size_t i = 0; i < headers->n; i++)
        if (strcasecmp(headers->items[i].name, name) == 0) {
            char *copy = arena_strdup(req->arena, value);
            if (copy)
                headers->items[i].value = copy;
            return;
        }
    char *n = arena_strdup(req->arena, name), *v = arena_strdup(req->arena, value);
    if (n && v)
        http_pairs_add(req, headers, n, v);
}

/* Takes what `reply` owns; its headers are those set before. `req` may be gone afterwards. */
void http_reply_commit(struct http_request *req, struct http_reply *reply)
{
    http_count(req, reply->status); /* before the client can ask for the counts */
    pthread_mutex_lock(&req->mutex);
    assert(!req->reply.ready);
    reply->headers = req->reply.headers;
    reply->ready = true;
    req->reply = *reply;
    if (!req->finished)
        http_count_replying(req->server, 1);
    bool owed = req->owes_reply;
    req->owes_reply = false;
    struct http_server *s = req->server;
    struct http_resumed resumed = http_resume_begin(req);
    pthread_mutex_unlock(&req->mutex);
    http_resume_end(s, resumed);
    if (owed)
        http_request_unref(req);
}

void http_reply_json(struct http_request *req, int status, struct buf *body)
{
    if (body->failed) {
        buf_release(body);
        http_reply_err(req, &(struct err){.code = ERR_NO_MEMORY, .msg = "no memory for the answer"});
        return;
    }
    size_t n = body->len;
    struct http_reply reply = {.status = status, .body = buf_take(body), .body_n = n};
    http_set_header(req, "Content-Type", "application/json");
    http_reply_commit(req, &reply);
}

void http_reply_empty(struct http_request *req, int status)
{
    struct http_reply reply = {.status = status};
    http_reply_commit(req, &reply);
}

void http_reply_text(struct http_request *req, int status, const char *content_type, const void *p, size_t n)
{
    struct buf body;
    buf_init(&body, n + 1);
    buf_add(&body, p, n);
    if (body.failed) {
        buf_release(&body);
        http_reply_err(req, &(struct err){.code = ERR_NO_MEMORY, .msg = "no memory for the answer"});
        return;
    }
    struct http_reply reply = {.status = status, .body = n ? buf_take(&body) : NULL, .body_n = n};
    buf_release(&body);
    http_set_header(req, "Content-Type", content_type);
    http_reply_commit(req, &reply);
}

void http_write_problem(struct http_request *req, struct json_writer *w, const char *key, const struct err *err)
{
    int status = err_http(err->code);
    char type[96];
    snprintf(type, sizeof type, "urn:haul:problem:%s", err_name(err->code));
    jw_object(w, key);
    jw_string(w, "type", type);
    jw_string(w, "title", MHD_get_reason_phrase_for((unsigned)status));
    jw_int(w, "status", status);
    jw_string(w, "detail", err->msg);
    jw_string(w, "code", err_name(err->code));
    if (err->field[0])
        jw_string(w, "field", err->field);
    jw_string(w, "request_id", req->id);
    jw_object_end(w);
}

void http_reply_err(struct http_request *req, const struct err *err)
{
    int status = err_http(err->code);
    struct buf body;
    struct json_writer w;
    buf_init(&body, 16 << 10);
    jw_init(&w, &body);
    http_write_problem(req, &w, NULL, err);
    /* Without memory even for this the status alone has to do. */
    size_t n = body.failed ? 0 : body.len;
    struct http_reply reply = {.status = status, .body = n ? buf_take(&body) : NULL, .body_n = n};
    buf_release(&body);
    http_set_header(req, "Content-Type", "application/problem+json");
    if (status == 503)
        http_set_header(req, "Retry-After", "1");
    http_reply_commit(req, &reply);
}

void http_refuse(struct http_request *req, const struct err *err)
{
    /* What the client sends after a body that was not read to its end is no request. */
    if (req->has_body || !req->route)
        http_set_header(req, "Connection", "close");
    http_reply_err(req, err);
}

/* On MHD's thread */

static bool add_headers(struct http_request *req, struct MHD_Response *response)
{
    bool ok = MHD_add_response_header(response, "X-Request-Id", req->id) == MHD_YES &&
              MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;
    for (size_t i = 0; ok && i < req->reply.headers.n; i++)
        ok = MHD_add_response_header(response, req->reply.headers.items[i].name, req->reply.headers.items[i].value) ==
             MHD_YES;
    if (ok && atomic_load(&req->server->quiesced) && !http_pairs_get(&req->reply.headers, "Connection", true))
        ok = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    return ok;
}

/* The server's patience, for each HTTP_WINDOW_BYTES of it within bounds. */
int64_t http_answer_us(const struct http_request *req)
{
    int64_t times = HTTP_READER_TIMES + (int64_t)(req->reply.body_n / HTTP_WINDOW_BYTES);
    return req->server->patience_us * MIN(times, ANSWER_TIMES_MAX);
}

enum MHD_Result http_queue(struct http_request *req)
{
    struct http_reply *reply = &req->reply;
    static char nothing[1];
    struct MHD_Response *response;
    if (!req->connection)
        return plain_queue(req);
    /* 0.9.75 sends the last chunk in answer to a HEAD too, and hangs: a HEAD of unknown length gets an empty body instead. */
    if (reply->is_stream && !(req->head && reply->stream_size == MHD_SIZE_UNKNOWN)) {
        response = MHD_create_response_from_callback(reply->stream_size, BLOCK_BYTES, http_stream_read, req, NULL);
    } else if (reply->body) {
        response = MHD_create_response_from_buffer(reply->body_n, reply->body, MHD_RESPMEM_MUST_FREE);
        if (response)
            reply->body = NULL;
    } else {
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    }
    if (!response)
        return MHD_NO;
    if (!reply->is_stream) /* a stream sets its own, block by block */
        http_deadline(req->socket, http_answer_us(req));
    enum MHD_Result rc = MHD_NO;
    if (add_headers(req, response))
        rc = MHD_queue_response(req->connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    req->queued = true;
    return rc;
}

/* As libmicrohttpd tells it; written anew once a second and thread. */
static const char *date_now(void)
{
    static _Thread_local char text[HTTP_DATE_MAX];
    static _Thread_local int64_t of_s = -1;
    int64_t now_s = http_wall_s();
    if (now_s != of_s)
        http_date_format(of_s = now_s, text);
    return text;
}

static void write_header(struct buf *b, const char *name, const char *value)
{
    buf_adds(b, name);
    buf_add(b, ": ", 2);
    buf_adds(b, value);
    buf_add(b, "\r\n", 2);
}

void http_write_head(struct http_request *req, struct buf *ret)
{
    const struct http_reply *reply = &req->reply;
    char number[24];
    snprintf(number, sizeof(number), "%d ", reply->status);
    buf_adds(ret, "HTTP/1.1 ");
    buf_adds(ret, number);
    buf_adds(ret, MHD_get_reason_phrase_for((unsigned)reply->status));
    buf_add(ret, "\r\n", 2);
    write_header(ret, "Date", date_now());
    write_header(ret, "X-Request-Id", req->id);
    write_header(ret, "X-Content-Type-Options", "nosniff");
    if (reply->status != 204) {
        snprintf(number, sizeof(number), "%zu", reply->body_n);
        write_header(ret, "Content-Length", number);
    }
    for (size_t i = 0; i < reply->headers.n; i++)
        write_header(ret, reply->headers.items[i].name, reply->headers.items[i].value);
}

void http_linger(struct http_request *req)
{
    /* 0.9.75 takes no response before a body's end, which it does not see of a direct one. Nothing of ours is in flight on this socket then, so we write it
     * ourselves, and close our half only: closing both with bytes unread sends a reset, which may overtake the answer. */
    struct http_reply *reply = &req->reply;
    struct buf head;
    buf_init(&head, 64 << 10);
    http_write_head(req, &head);
    if (!http_pairs_get(&reply->headers, "Connection", true))
        buf_adds(&head, "Connection: close\r\n");
    buf_adds(&head, "\r\n");
    if (!req->head && reply->body)
        buf_add(&head, reply->body, reply->body_n);
    if (!head.failed)
        (void)!send(req->socket->fd, head.data, head.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&head);
    shutdown(req->socket->fd, SHUT_WR);
    http_deadline(req->socket, LINGER_S * HTTP_SECOND);
    req->lingering = true;
}
