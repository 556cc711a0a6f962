#pragma once
/* What the files of this room share. Lock order: server.list -> request.mutex -> server.leaf. */
#include "http/http.h"
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define HTTP_ARENA_MAX    ((size_t)4 << 20)
#define HTTP_HEADERS_MAX  ((size_t)16 << 10)
#define HTTP_PARAMS_MAX   8
#define HTTP_SEGMENTS_MAX 16
#define HTTP_PAIRS_MAX    256                 /* headers; query keys */
#define HTTP_PENDING_MAX  ((size_t)256 << 10) /* of a streamed body, before its connection is held back */
#define HTTP_PIECE_BYTES                                                                                               \
    ((size_t)128 << 10) /* of a streamed body, worth a turn on the bytes pool while more is coming */
#define HTTP_PIECE_ALIGN                                                                                               \
    ((size_t)64 << 10) /* in its body a piece ends at a multiple of this: whole pages for who writes it */
#define HTTP_DIRECT_BYTES ((int64_t)8 << 20)  /* a streamed body or a file as long as this passes libmicrohttpd by */
#define HTTP_DIRECT_PIECE ((size_t)512 << 10) /* of such a body, at most */
#define HTTP_BODIES_MAX   ((size_t)256 << 20) /* collected bodies of all requests */
#define HTTP_BODY_SMALL   ((size_t)64 << 10)  /* takes no heed of that: a heartbeat is never in the way of uploads */
#define HTTP_OUT_MAX      ((size_t)256 << 10) /* of a file or stream, read ahead */
#define HTTP_SECOND       INT64_C(1000000)
#define HTTP_WINDOW_BYTES ((size_t)8 << 10) /* of a body, the least that the server's patience must bring */
#define HTTP_READER_TIMES 6                 /* as patient with those who read: their network may be at fault */

struct http_pair {
    const char *name, *value;
};

struct http_pairs {
    struct http_pair *items;
    size_t n, cap;
};

struct plain_loop; /* plain.c */

/* One TCP connection: what the deadline thread needs to cut a slow sender. */
struct http_connection {
    int fd;
    struct plain_loop *loop;     /* whose it is, the first member of its `struct plain`; NULL: libmicrohttpd's */
    _Atomic int64_t deadline_us; /* monotonic; INT64_MAX none */
    _Atomic bool idle;           /* between two requests */
    struct http_connection *prev, *next;
};

struct http_reply {
    bool ready; /* the handler has answered */
    int status;
    struct http_pairs headers;
    char *body; /* malloc'ed, or NULL */
    size_t body_n;
    bool is_stream;
    uint64_t stream_size; /* MHD_SIZE_UNKNOWN: chunked */
    bool direct;          /* direct.c sends it: of known size, always has bytes, ends its connection */
    struct http_stream stream;
};

struct http_request {
    struct http_server *server;
    struct http_request *prev, *next; /* server.list */
    _Atomic unsigned refs;            /* MHD, the handler until it replied, a task, a timer */
    struct arena *arena;

    /* Set in the first call of MHD, constant from then on. */
    struct MHD_Connection *connection; /* NULL: plain.c reads and answers it */
    struct http_connection *socket;
    int64_t began_us; /* monotonic */
    const char *uri;  /* raw, as sent */
    const char *method, *path, *id;
    const struct http_route *route;
    struct http_pairs header, query, param;
    bool head, has_body, expects_continue;
    int64_t content_length; /* -1: chunked or none */

    /* Of MHD's thread alone. */
    bool opened, handled, lingering, queued;
    struct buf body;
    uint64_t since_deadline; /* bytes of the body since its deadline was moved. Of the task, while it receives */

    pthread_mutex_t mutex; /* everything below */
    bool suspended;
    bool finished;     /* MHD is done with it; the connection is not ours any more */
    bool owes_reply;   /* a handler holds a reference until it replies */
    bool task_running; /* a task on the bytes pool, or waiting in the timer to become one */
    void (*task)(struct http_request *req);
    void (*run)(void *arg); /* http_run: not called yet */
    void *run_arg;
    struct http_reply reply;
    /* streamed body: `pending` is filled by MHD's thread, `writing` belongs to the task */
    struct buf pending, writing;
    uint64_t passed; /* bytes that their owner has */
    bool begun;
    bool paused, ended; /* the sender, for now or for good: the next turn takes all there is */
    bool failed;
    struct err failure;
    /* direct.c. A body: `writing` is filled from the socket, by the task; MHD waits with a piece that it gave us already */
    bool direct, gone;
    int64_t left; /* bytes that have not come */
    size_t seen;  /* of `writing`, at the last look */
    /* A file: the task sends it, to a descriptor of its own, which nobody closes under its hands; bytes sent since the last look */
    int out_fd;
    size_t sent;
    int64_t wait_us; /* before it looks again */
    /* file or stream: filled by the task while task_running, emptied by MHD's thread otherwise */
    char *out;
    size_t out_n, out_off;
    bool out_end, out_error;

    void *data;
    void (*free_data)(void *data);

    /* server.leaf */
    struct http_request *timer_next;
    int64_t timer_due_us;
};

/* Added to by any thread that replies. */
struct http_counter {
    _Atomic uint64_t by_class[HTTP_CLASSES], buckets[HISTOGRAM_BOUNDS_MAX + 1];
    _Atomic int64_t sum_us;
};

struct http_server {
    struct MHD_Daemon *daemon;
    const struct http_route *routes;
    size_t n_routes;
    uint8_t *route_segments;       /* of each route's path */
    struct http_counter *counters; /* one a route, and one for none */
    void *app;
    struct pool *pool;
    char *host;
    char **hosts;
    size_t n_hosts;
    uint16_t port;
    int64_t patience_us;
    int listen_fd, quiesce_fd; /* the latter, an eventfd, ends the acceptor */
    pthread_t acceptor;
    struct plain_loop **loops; /* plain.c */
    unsigned n_loops, next_loop;
    _Atomic unsigned refs; /* owner, requests */
    _Atomic bool stopping, quiesced;
    _Atomic unsigned resuming; /* between http_resume_begin and _end */
    size_t bodies_max;
    _Atomic size_t bodies; /* bytes held in collected bodies */

    pthread_mutex_t list;
    struct http_request *requests;
    struct http_connection *connections;
    size_t n_connections, connections_max;

    pthread_mutex_t leaf;
    pthread_cond_t timer_cond, idle_cond; /* idle: a task ended, an answer was sent */
    struct http_request *timers;
    size_t n_tasks, n_replying;
    bool timer_stop;
    pthread_t timer_thread;
};

/* server.c */
int64_t http_now_us(void);
void http_deadline(struct http_connection *c, int64_t in_us); /* INT64_MAX: none */
void http_connection_link(struct http_server *s, struct http_connection *c);
void http_connection_unlink(struct http_server *s, struct http_connection *c);
void http_server_unref(struct http_server *s);
/* Runs req->task on the bytes pool; while that is full, a little later. task_running must be true. */
void http_dispatch(struct http_request *req);
void http_dispatch_later(struct http_request *req, int64_t in_us);
void http_count_replying(struct http_server *s, int by);

/* request.c */
void *http_request_new(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_request_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *upload, size_t *upload_size, void **req_cls);
/* As that does, of a connection of ours. NULL: no memory. `uri` lives as long as the arena, or is NULL and set by the caller. */
struct http_request *http_request_make(struct http_server *s, struct http_connection *socket);
/* Everything that can be known from the header. *ret_framing: see http_check_framing */
int http_judge_header(struct http_request *req, const char *version, bool *ret_framing, struct err *err);
/* The body is whole: calls the handler, or what http_run left, or answers, whatever is next. On the server's thread.
 * @return MHD_NO: the connection is to be cut */
enum MHD_Result http_request_end(struct http_request *req);
void http_request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                            enum MHD_RequestTerminationCode why);
void http_request_ref(struct http_request *req);
void http_request_unref(struct http_request *req);
/* A piece of body has come: enough of them move the deadline. */
void http_sender_moved(struct http_request *req, size_t n);
void http_suspend(struct http_request *req); /* mutex held; on MHD's thread */
void http_resume(struct http_request *req);  /* mutex held; does nothing unless suspended */
/* The same in two steps, the second after the mutex: the server's thread that it wakes would find it held. Nobody else touches the
 * connection in between. {0}: was not suspended; accepted. */
struct http_resumed {
    struct MHD_Connection *connection;
    struct http_connection *plain; /* or one of ours */
};
struct http_resumed http_resume_begin(struct http_request *req);
void http_resume_end(struct http_server *s, struct http_resumed resumed); /* the request may be gone afterwards */
bool http_pairs_add(struct http_request *req, struct http_pairs *pairs, const char *name, const char *value);
bool http_name_is(const char *name, const char *wanted); /* whatever the case */
const char *http_pairs_get(const struct http_pairs *pairs, const char *name, bool ignore_case);

/* check.c: refusals before routing. *ret_framing: where the body ends is in doubt, nothing more may be read. */
int http_check_framing(struct http_request *req, const char *version, bool *ret_framing, struct err *err);
int http_check_origin(struct http_request *req, struct err *err);
int http_check_body(struct http_request *req, struct err *err);

/* route.c */
int http_parse_uri(struct http_request *req, struct err *err);
int http_find_route(struct http_request *req, struct err *err);
uint8_t http_route_segments(const char *pattern);                /* how many there are in a route's path */
int http_check_query(struct http_request *req, struct err *err); /* after the route is known */

/* respond.c */
/* The answer of the room itself, without a handler. */
void http_refuse(struct http_request *req, const struct err *err);
void http_reply_commit(struct http_request *req, struct http_reply *reply);
enum MHD_Result http_queue(struct http_request *req);
/* Answers by hand in the middle of a body and then reads on, dropping, until the client stops or 5 s are over. */
void http_linger(struct http_request *req);
/* Status line and headers, the empty line included, of an answer that we write ourselves. */
void http_write_head(struct http_request *req, struct buf *ret);
/* How long an answer from memory may take. */
int64_t http_answer_us(const struct http_request *req);
void http_mint_id(struct http_request *req, const char *offered);

/* file.c */
int64_t http_wall_s(void); /* since the epoch */

/* count.c */
void http_count(struct http_request *req, int status);

/* stream.c */
ssize_t http_stream_read(void *cls, uint64_t pos, char *buf, size_t max);
void http_body_task(struct http_request *req);
/* Mutex held; no turn is under way. Is it time to give `pending` to its owner? */
bool http_body_worth_a_turn(struct http_request *req);
/* Hands `writing` to the body's owner, who is told of its beginning first. No mutex held. @param gone  nobody wants it any more */
int http_body_give(struct http_request *req, bool begun, bool gone, struct err *err);

/* direct.c */
/* Mutex held, on MHD's thread, with the first piece of a body. @return false: it is not that long, or the server stops */
bool http_direct_begin(struct http_request *req, const char *p, size_t n);
/* Instead of http_stream_read: sends all of it, then has the connection closed. */
ssize_t http_direct_read(struct http_request *req);

/* plain.c */
int plain_start(struct http_server *s, unsigned loops, struct err *err);
/* Ends its threads and connections. Nothing of them is looked at afterwards. Twice is harmless. */
void plain_stop(struct http_server *s);
/* Takes a connection that was just accepted, or closes it when there are too many. false: it cannot, the caller does what it will with it */
bool plain_accept(struct http_server *s, int fd);
void plain_resume(struct http_connection *c); /* any thread */
/* An answer, on the loop's thread. */
enum MHD_Result plain_queue(struct http_request *req);
