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
    struct MHD_Connection *connection = http_resume_begin(req);
    pthread_mutex_unlock(&req->mutex);
    http_resume_end(req->server, connection);
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

/* How often the server's patience an answer from memory may take: HTTP_WINDOW_BYTES each, within bounds. */
static int64_t answer_times(size_t n)
{
    return MIN(HTTP_READER_TIMES + (int64_t)(n / HTTP_WINDOW_BYTES), ANSWER_TIMES_MAX);
}

enum MHD_Result http_queue(struct http_request *req)
{
    struct http_reply *reply = &req->reply;
    static char nothing[1];
    struct MHD_Response *response;
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
        http_deadline(req->socket, req->server->patience_us * answer_times(reply->body_n));
    enum MHD_Result rc = MHD_NO;
    if (add_headers(req, response))
        rc = MHD_queue_response(req->connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    req->queued = true;
    return rc;
}

void http_linger(struct http_request *req)
{
    /* 0.9.75 takes no response before a body's end, which it does not see of a direct one. Nothing of ours is in flight on this socket then, so we write it
     * ourselves, and close our half only: closing both with bytes unread sends a reset, which may overtake the answer. */
    struct http_reply *reply = &req->reply;
    struct buf head;
    buf_init(&head, 64 << 10);
    char date[HTTP_DATE_MAX];
    http_date_format(http_wall_s(), date);
    buf_printf(&head, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\nX-Content-Type-Options: nosniff\r\n",
               reply->status, MHD_get_reason_phrase_for((unsigned)reply->status), date, req->id);
    if (reply->status != 204)
        buf_printf(&head, "Content-Length: %zu\r\n", reply->body_n);
    for (size_t i = 0; i < reply->headers.n; i++)
        buf_printf(&head, "%s: %s\r\n", reply->headers.items[i].name, reply->headers.items[i].value);
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
