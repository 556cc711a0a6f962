/* A request from its first byte to its last: the calls of libmicrohttpd.
 *
 * MHD calls http_request_access once with the header, then for each piece of body, then at the end; after a resume it repeats the
 * last call. A handler, a task or a timer that finishes while MHD's thread is still on its way to suspend would resume a
 * connection that is not suspended yet, which libmicrohttpd does not allow: so both are decided under the request's mutex. */
#include "base/auto.h"
#include "http/internal.h"
#include <errno.h>
#include <strings.h>
#include <sys/socket.h>

#define IDLE_S 85

bool http_pairs_add(struct http_request *req, struct http_pairs *pairs, const char *name, const char *value)
{
    if (pairs->n == pairs->cap) {
        size_t cap = pairs->cap ? pairs->cap * 2 : 16;
        struct http_pair *items = arena_array(req->arena, cap, sizeof *items);
        if (!items)
            return false;
        for (size_t i = 0; i < pairs->n; i++)
            items[i] = pairs->items[i];
        pairs->items = items;
        pairs->cap = cap;
    }
    pairs->items[pairs->n++] = (struct http_pair){name, value};
    return name && value;
}

bool http_name_is(const char *name, const char *wanted)
{
    return (name[0] | 0x20) == (wanted[0] | 0x20) && strcasecmp(name, wanted) == 0; /* most differ at once */
}

const char *http_pairs_get(const struct http_pairs *pairs, const char *name, bool ignore_case)
{
    for (size_t i = 0; i < pairs->n; i++)
        if (ignore_case ? http_name_is(pairs->items[i].name, name) : strcmp(pairs->items[i].name, name) == 0)
            return pairs->items[i].value;
    return NULL;
}

void http_request_ref(struct http_request *req)
{
    atomic_fetch_add(&req->refs, 1);
}

void http_request_unref(struct http_request *req)
{
    if (atomic_fetch_sub(&req->refs, 1) != 1)
        return;
    if (req->free_data)
        req->free_data(req->data);
    if (req->reply.is_stream && req->reply.stream.free)
        req->reply.stream.free(req->reply.stream.arg);
    free(req->reply.body);
    free(req->out);
    atomic_fetch_sub(&req->server->bodies, req->body.len);
    buf_release(&req->body);
    buf_release(&req->pending);
    buf_release(&req->writing);
    pthread_mutex_destroy(&req->mutex);
    arena_free(req->arena);
    http_server_unref(req->server);
    free(req);
}

void http_suspend(struct http_request *req)
{
    if (req->connection)
        MHD_suspend_connection(req->connection);
    req->suspended = true;
}

struct http_resumed http_resume_begin(struct http_request *req)
{
    if (!req->suspended)
        return (struct http_resumed){.connection = NULL};
    req->suspended = false;
    atomic_fetch_add(&req->server->resuming, 1);
    return (struct http_resumed){.connection = req->connection, .plain = req->connection ? NULL : req->socket};
}

void http_resume_end(struct http_server *s, struct http_resumed resumed)
{
    if (!resumed.connection && !resumed.plain)
        return;
    if (resumed.plain)
        plain_resume(resumed.plain);
    else
        MHD_resume_connection(resumed.connection);
    atomic_fetch_sub(&s->resuming, 1);
}

void http_resume(struct http_request *req)
{
    http_resume_end(req->server, http_resume_begin(req));
}

struct http_request *http_request_make(struct http_server *s, struct http_connection *socket)
{
    struct http_request *req = calloc(1, sizeof *req);
    struct arena *arena = arena_new(HTTP_ARENA_MAX);
    if (!req || !arena) {
        free(req);
        arena_free(arena);
        return NULL;
    }
    req->arena = arena;
    req->server = s;
    req->began_us = http_now_us();
    req->content_length = -1;
    atomic_fetch_add(&s->refs, 1);
    atomic_store(&req->refs, 1);
    pthread_mutex_init(&req->mutex, NULL);
    buf_init(&req->body, SIZE_MAX / 2);
    buf_init(&req->pending, 2 * HTTP_PENDING_MAX);
    buf_init(&req->writing, 2 * HTTP_DIRECT_PIECE);
    req->socket = socket;
    if (req->socket)
        atomic_store(&req->socket->idle, false);
    http_deadline(req->socket, s->patience_us);

    pthread_mutex_lock(&s->list);
    req->next = s->requests;
    if (req->next)
        req->next->prev = req;
    s->requests = req;
    pthread_mutex_unlock(&s->list);
    return req;
}

/* Called with the raw request line, before libmicrohttpd decodes anything ("%2F" must not become a slash). */
void *http_request_new(void *cls, const char *uri, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_request *req = http_request_make(cls, info ? info->socket_context : NULL);
    if (req) {
        req->uri = arena_strdup(req->arena, uri);
        req->connection = connection;
    }
    return req;
}

/* Mutex held, and let go meanwhile. On MHD's thread. */
static void run_what_waits(struct http_request *req)
{
    void (*run)(void *arg);
    while ((run = req->run)) {
        req->run = NULL;
        pthread_mutex_unlock(&req->mutex);
        run(req->run_arg);
        pthread_mutex_lock(&req->mutex);
    }
}

void http_run(struct http_request *req, void (*fn)(void *arg), void *arg)
{
    struct http_server *s = req->server;
    struct http_resumed resumed = {.connection = NULL};
    pthread_mutex_lock(&req->mutex);
    bool gone = req->finished; /* nobody will ask again */
    if (!gone) {
        req->run = fn;
        req->run_arg = arg;
        resumed = http_resume_begin(req);
    }
    pthread_mutex_unlock(&req->mutex);
    http_resume_end(s, resumed);
    if (gone)
        fn(arg);
}

void http_request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                            enum MHD_RequestTerminationCode why)
{
    struct http_server *s = cls;
    struct http_request *req = *req_cls;
    *req_cls = NULL;
    if (!req)
        return;
    if (req->socket) {
        http_deadline(req->socket, IDLE_S * HTTP_SECOND);
        atomic_store(&req->socket->idle, true);
    }
    pthread_mutex_lock(&s->list);
    if (req->prev)
        req->prev->next = req->next;
    else
        s->requests = req->next;
    if (req->next)
        req->next->prev = req->prev;
    pthread_mutex_unlock(&s->list);
    pthread_mutex_lock(&req->mutex);
    req->finished = true;
    if (req->reply.ready)
        http_count_replying(s, -1);
    run_what_waits(req);
    pthread_mutex_unlock(&req->mutex);
    http_request_unref(req);
}

/* The header */

static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct http_request *req = cls;
    http_pairs_add(req, &req->header, arena_strdup(req->arena, name), arena_strdup(req->arena, value ? value : ""));
    return req->header.n < HTTP_PAIRS_MAX ? MHD_YES : MHD_NO;
}

int http_judge_header(struct http_request *req, const char *version, bool *ret_framing, struct err *err)
{
    int rc = http_check_framing(req, version, ret_framing, err);
    if (rc == ERR_OK)
        rc = http_check_origin(req, err);
    if (rc == ERR_OK)
        rc = http_parse_uri(req, err);
    if (rc == ERR_OK)
        rc = http_find_route(req, err);
    if (rc == ERR_OK)
        rc = http_check_query(req, err);
    if (rc == ERR_OK)
        rc = http_check_body(req, err);
    return rc;
}

static enum MHD_Result answer_early(struct http_request *req, const struct err *err, bool framing)
{
    http_refuse(req, err);
    /* A client that is sending its body would lose our answer to the reset that a plain close sends. */
    if (req->has_body && !req->expects_continue && !framing) {
        http_linger(req);
        return MHD_YES;
    }
    return http_queue(req);
}

static enum MHD_Result open_request(struct http_request *req, const char *method, const char *version)
{
    struct err err = {0};
    bool framing = false;
    req->opened = true;
    req->head = strcmp(method, "HEAD") == 0;
    req->method = req->head ? "GET" : arena_strdup(req->arena, method);
    MHD_get_connection_values(req->connection, MHD_HEADER_KIND, copy_header, req);
    http_mint_id(req, http_pairs_get(&req->header, "X-Request-Id", true));
    if (!req->uri || !req->method || !req->id || !req->socket)
        return MHD_NO;
    if (http_judge_header(req, version, &framing, &err) != ERR_OK)
        return answer_early(req, &err, framing);
    if (req->route->flags & HTTP_STREAM_BODY)
        req->task = http_body_task;
    http_deadline(req->socket, req->has_body ? req->server->patience_us : INT64_MAX);
    return MHD_YES;
}

/* The body */

static void refuse_body(struct http_request *req, const struct err *err)
{
    http_refuse(req, err);
    http_linger(req);
}

void http_sender_moved(struct http_request *req, size_t n)
{
    req->since_deadline += n;
    if (req->since_deadline >= HTTP_WINDOW_BYTES || atomic_load(&req->socket->deadline_us) == INT64_MAX) {
        req->since_deadline = 0;
        http_deadline(req->socket, req->server->patience_us);
    }
}

static void collect(struct http_request *req, const char *p, size_t n)
{
    struct http_server *s = req->server;
    struct err err = {0};
    http_sender_moved(req, n);
    if (n > req->route->body_max - req->body.len)
        err_set(&err, ERR_TOO_LARGE, 0, "the body is over the limit of %zu bytes", req->route->body_max);
    else if (req->body.len + n > HTTP_BODY_SMALL && atomic_load(&s->bodies) + n > s->bodies_max)
        err_set(&err, ERR_BUSY, 0, "the server holds %zu bytes of requests already; repeat the call a little later",
                atomic_load(&s->bodies));
    else
        buf_add(&req->body, p, n);
    if (err.code == ERR_OK && req->body.failed)
        err_set(&err, ERR_NO_MEMORY, 0, "no memory for the body");
    else if (err.code == ERR_OK)
        atomic_fetch_add(&s->bodies, n);
    if (err.code != ERR_OK)
        refuse_body(req, &err);
}

/* A body that its task received is at its end, or will never be. MHD knows of one piece only, so the answer is written by hand. */
static enum MHD_Result end_direct(struct http_request *req, size_t *upload_size)
{
    pthread_mutex_lock(&req->mutex);
    bool failed = req->failed, cut = req->gone || atomic_load(&req->server->stopping);
    pthread_mutex_unlock(&req->mutex);
    enum MHD_Result rc = MHD_YES;
    if (failed && !req->handled)
        refuse_body(req, &req->failure);
    else
        rc = cut ? MHD_NO : http_request_end(req);
    if (req->lingering)
        *upload_size = 0;
    return rc;
}

/* @return MHD_NO when the connection is to be cut; *upload_size stays when the piece has to wait */
static enum MHD_Result pass_on(struct http_request *req, const char *p, size_t *upload_size)
{
    if (req->direct)
        return end_direct(req, upload_size);
    http_sender_moved(req, *upload_size);
    pthread_mutex_lock(&req->mutex);
    if (req->failed) {
        pthread_mutex_unlock(&req->mutex);
        *upload_size = 0;
        refuse_body(req, &req->failure);
        return MHD_YES;
    }
    if (atomic_load(&req->server->stopping)) {
        pthread_mutex_unlock(&req->mutex);
        return MHD_NO;
    }
    bool start = false;
    if (!req->begun && !req->task_running && http_direct_begin(req, p, *upload_size)) {
        start = req->task_running = true;
        http_suspend(req);
    } else if (req->pending.len >= HTTP_PENDING_MAX) {
        /* Back-pressure: our disk is slower than the client; no deadline while it waits for us. */
        http_deadline(req->socket, INT64_MAX);
        http_suspend(req);
    } else {
        buf_add(&req->pending, p, *upload_size);
        *upload_size = 0;
        start = !req->task_running && http_body_worth_a_turn(req);
        req->task_running |= start;
    }
    bool no_memory = req->pending.failed;
    pthread_mutex_unlock(&req->mutex);
    if (start)
        http_dispatch(req);
    return no_memory ? MHD_NO : MHD_YES;
}

/* The end */

/* @return true when the streamed body is with its owner, or its failure is the answer */
static bool body_settled(struct http_request *req, bool *ret_start)
{
    if (!(req->route->flags & HTTP_STREAM_BODY) || req->failed)
        return true;
    req->ended = true;
    if (req->task_running)
        return false;
    if (req->begun && req->pending.len == 0)
        return true;
    *ret_start = req->task_running = true;
    return false;
}

static enum MHD_Result wait_or_cut(struct http_request *req, bool start)
{
    bool cut = atomic_load(&req->server->stopping);
    if (!cut)
        http_suspend(req);
    else if (start)
        req->task_running = false;
    pthread_mutex_unlock(&req->mutex);
    if (start && !cut)
        http_dispatch(req);
    return cut ? MHD_NO : MHD_YES;
}

enum MHD_Result http_request_end(struct http_request *req)
{
    bool start = false;
    http_deadline(req->socket, INT64_MAX);
    pthread_mutex_lock(&req->mutex);
    if (!req->handled) {
        if (!body_settled(req, &start))
            return wait_or_cut(req, start);
        req->handled = true;
        bool failed = req->failed;
        req->owes_reply = !failed;
        pthread_mutex_unlock(&req->mutex);
        if (failed) {
            http_refuse(req, &req->failure);
        } else {
            http_request_ref(req);
            req->route->handle(req);
        }
        pthread_mutex_lock(&req->mutex);
    }
    run_what_waits(req);
    if (!req->reply.ready)
        return wait_or_cut(req, false);
    pthread_mutex_unlock(&req->mutex);
    if (!req->direct)
        return http_queue(req);
    http_linger(req);
    return MHD_YES;
}

enum MHD_Result http_request_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *upload, size_t *upload_size, void **req_cls)
{
    struct http_request *req = *req_cls;
    if (!req)
        return MHD_NO;
    if (!req->opened)
        return open_request(req, method, version);
    if (*upload_size) {
        if (req->lingering || req->queued) {
            *upload_size = 0;
        } else if (req->route->flags & HTTP_STREAM_BODY) {
            return pass_on(req, upload, upload_size);
        } else {
            collect(req, upload, *upload_size);
            *upload_size = 0;
        }
        return MHD_YES;
    }
    return req->lingering ? MHD_NO : http_request_end(req);
}

/* What handlers ask */

void *http_app(struct http_request *req)
{
    return req->server->app;
}

struct arena *http_arena(struct http_request *req)
{
    return req->arena;
}

const char *http_method(struct http_request *req)
{
    return req->method;
}

bool http_is_head(struct http_request *req)
{
    return req->head;
}

const char *http_path(struct http_request *req)
{
    return req->path;
}

const char *http_param(struct http_request *req, const char *name)
{
    return http_pairs_get(&req->param, name, false);
}

const char *http_query(struct http_request *req, const char *name)
{
    return http_pairs_get(&req->query, name, false);
}

const char *http_query_nth(struct http_request *req, const char *name, size_t i)
{
    for (size_t k = 0; k < req->query.n; k++)
        if (strcmp(req->query.items[k].name, name) == 0 && i-- == 0)
            return req->query.items[k].value;
    return NULL;
}

const char *http_query_unknown(struct http_request *req, const char *const *known)
{
    for (size_t i = 0; i < req->query.n; i++) {
        const char *const *k = known;
        while (k && *k && strcmp(*k, req->query.items[i].name) != 0)
            k++;
        if (!k || !*k)
            return req->query.items[i].name;
    }
    return NULL;
}

const char *http_header(struct http_request *req, const char *name)
{
    return http_pairs_get(&req->header, name, true);
}

const char *http_header_nth(struct http_request *req, const char *name, size_t i)
{
    for (size_t k = 0; k < req->header.n; k++)
        if (http_name_is(req->header.items[k].name, name) && i-- == 0)
            return req->header.items[k].value;
    return NULL;
}

int64_t http_content_length(struct http_request *req)
{
    return req->content_length;
}

const char *http_id(struct http_request *req)
{
    return req->id;
}

const char *http_body(struct http_request *req, size_t *ret_n)
{
    *ret_n = req->body.len;
    return buf_str(&req->body);
}

void http_set_data(struct http_request *req, void *data, void (*free_data)(void *data))
{
    if (req->free_data && req->data != data)
        req->free_data(req->data);
    req->data = data;
    req->free_data = free_data;
}

void *http_data(struct http_request *req)
{
    return req->data;
}

bool http_alive(struct http_request *req)
{
    pthread_mutex_lock(&req->mutex);
    bool alive = !req->finished; /* until then the descriptor is this connection's */
    if (alive) {
        char c;
        ssize_t n = recv(req->socket->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
        alive = n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
    }
    pthread_mutex_unlock(&req->mutex);
    return alive;
}
