#pragma once
/* The HTTP server: libmicrohttpd, wrapped. Knows routing, limits, streaming; knows no job.
 *
 * A handler is called on a server thread once the body is whole (or, with HTTP_STREAM_BODY, once it was streamed) and must see to
 * it that http_reply* is called exactly once for the request: at once or later, from any thread. Meanwhile the connection is
 * suspended. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/histogram.h"
#include "base/pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct json_writer;
struct http_request;

#define HTTP_CLASSES 6 /* of a status: its first digit */

enum http_flags {
    /* requires content type application/json when there is a body; answers from memory, never with a file or a stream, so
     * that its requests may pass libmicrohttpd by (plain.c) */
    HTTP_JSON_BODY = 1,
    HTTP_STREAM_BODY = 2, /* body goes to on_body piece by piece, on the bytes pool */
    HTTP_BYTES_BODY = 4,  /* requires application/octet-stream */
    HTTP_OFFSET_BODY = 8, /* requires application/offset+octet-stream */
    HTTP_OVERRIDE = 16,   /* a POST with X-HTTP-Method-Override: METHOD comes here, too */
};

struct http_route {
    const char *method,
        *path; /* "/v1/jobs/{job_id}/attempts/{n}": a parameter fills a whole segment. HEAD: where there is no GET */
    unsigned flags;
    size_t body_max;               /* without HTTP_STREAM_BODY */
    const char *const *repeatable; /* query parameters that may be given more than once, NULL-terminated; NULL: none */
    const char *const *headers;    /* name, value, ..., NULL: on every answer to this path, refusals too; NULL: none */
    void (*handle)(struct http_request *req);
    /* HTTP_STREAM_BODY: called on the bytes pool, one at a time for a request. An error is the answer; the rest is not read. */
    int (*begin)(struct http_request *req, struct err *err);
    /** @param piece  what came. It may be changed, and exchanged for another whose bytes nobody needs */
    int (*on_body)(struct http_request *req, struct buf *piece, struct err *err);
};

struct http_config {
    const char *host;         /* numeric address */
    uint16_t port;            /* 0: any free one */
    unsigned threads;         /* 0: 2 */
    unsigned connections_max; /* 0: 10000 */
    size_t bodies_max;        /* bytes of all collected bodies at once; 0: 256 MiB. Small bodies pass all the same */
    int64_t
        patience_us; /* 0: 10 s. For a whole header, for each 8 KiB of a body; six times that for 64 KiB of an answer */
    const struct http_route *routes;
    size_t n_routes;
    void *app;               /* http_app(req) */
    struct pool *bytes_pool; /* borrowed: where streamed bodies are read and written */
    const char *const *
        hosts; /* more values of `Host` to accept; always accepted: the listen address, localhost, loopback addresses */
    size_t n_hosts;
};

/** ERR_CONFLICT when the port is in use, saying so. */
int http_start(const struct http_config *config, struct http_server **ret, struct err *err);
uint16_t http_port(const struct http_server *s);
/** Accepts no more; those under way go on. */
void http_quiesce(struct http_server *s);
/** Resumes and ends everything; every request must have been replied to. NULL accepted. */
void http_stop(struct http_server *s);

/** What was answered on one route since the start, and how long it took from the request line to the answer's first byte. */
struct http_route_count {
    const struct http_route *route;  /* NULL: refused before a route was found, or there was none */
    uint64_t by_class[HTTP_CLASSES]; /* [2]: 2xx */
    struct histogram duration_us;
};
extern const struct histogram_bounds http_duration_bounds;
/** @param ret  one more than there are routes; that one, the last, is for no route. Any thread. */
void http_counts(struct http_request *req, struct http_route_count *ret);

void *http_app(struct http_request *req);
struct arena *http_arena(struct http_request *req); /* lives until the response was sent; 4 MiB */
const char *http_method(struct http_request *req);  /* "GET" for HEAD too */
bool http_is_head(struct http_request *req);
const char *http_path(struct http_request *req);
const char *http_param(struct http_request *req, const char *name); /* percent-decoded; never NULL for a route's own */
const char *http_query(struct http_request *req, const char *name); /* NULL when absent */
/** The i-th value, counted from 0, of a parameter that may be repeated; NULL past the last. */
const char *http_query_nth(struct http_request *req, const char *name, size_t i);
/** First query key not in `known` (NULL-terminated), or NULL: unknown ones are refused. */
const char *http_query_unknown(struct http_request *req, const char *const *known);
const char *http_header(struct http_request *req, const char *name);
/** Likewise of a header that may be there several times. */
const char *http_header_nth(struct http_request *req, const char *name, size_t i);
int64_t http_content_length(struct http_request *req); /* of the request; -1: chunked, or there is no body */
const char *http_id(struct http_request *req);         /* request id: the client's X-Request-Id or ours; echoed */
const char *http_body(struct http_request *req, size_t *ret_n);
/** One value of the owner's, freed with the request (also when the client vanishes in mid-upload). */
void http_set_data(struct http_request *req, void *data, void (*free_data)(void *data));
void *http_data(struct http_request *req);
bool http_alive(struct http_request *req); /* does the client still listen? MSG_PEEK on the socket */

/** Any thread: goes on with a request whose handler has returned: `fn(arg)` is called once, soon, on a server thread (or at once, on
 * this one, when the client is gone), and replies as a handler does, at once or later. So that who knows the answer need not take the
 * time to write it. One at a time; not after the reply. `req` is not the caller's any more. */
void http_run(struct http_request *req, void (*fn)(void *arg), void *arg);
void http_set_header(struct http_request *req, const char *name, const char *value); /* of the response; before reply */
void http_reply_json(struct http_request *req, int status, struct buf *body);        /* takes the bytes of `body` */
void http_reply_empty(struct http_request *req, int status);
void http_reply_text(struct http_request *req, int status, const char *content_type, const void *p,
                     size_t n); /* copies */
/** RFC 9457 problem from `err`: type, title, status, detail, code, field, request_id; Retry-After on 503. */
void http_reply_err(struct http_request *req, const struct err *err);
/** That problem as an object below `key`, for an answer that holds several. */
void http_write_problem(struct http_request *req, struct json_writer *w, const char *key, const struct err *err);
/** Looks at the bytes of a file on their way: all of them, in order, before they are sent. Takes no part when only a part is asked for. */
struct http_file_check {
    /* false: the answer ends here, cut, without these bytes */
    bool (*add)(void *arg, const void *p, size_t n, bool last);
    void (*free)(void *arg); /* called once, whatever became of the answer */
    void *arg;
};
/** A file, or what is like one: bytes of a known number, to be read from anywhere. */
struct http_file {
    int64_t size;
    int64_t (*read)(void *arg, int64_t at, void *buf,
                    size_t max); /* how many, as pread(): 0 at the end; -1: they cannot be read */
    void (*close)(void *arg);    /* called once, whatever became of the answer */
    void *arg;
    int fd; /* a file whose bytes these are, which the kernel may send without our reading them. -1: there is none */
};
/** Bytes of a file from the bytes pool, on the conditions of the request (RFC 9110, 13 and 14): If-Match, If-None-Match,
 * If-Modified-Since, If-Unmodified-Since, Range (one; several are ignored) with If-Range; HEAD. Takes the file.
 * @param etag  quoted, strong, or NULL   @param modified_s  of the last change, since the epoch; 0: not known */
void http_reply_file(struct http_request *req, struct http_file file, const char *content_type, const char *etag,
                     int64_t modified_s, const char *filename, struct http_file_check check); /* check: {0} for none */

/** Bytes in memory, copied, on the conditions of the request as with a file, but whole: Range is ignored.
 * @param etag  quoted, strong */
void http_reply_bytes(struct http_request *req, const char *content_type, const char *etag, const void *p, size_t n);

/** A stream made as it goes. `read` runs on the bytes pool: >0 bytes; 0 = nothing yet, ask again after
 * `retry_ms`; -1 end; -2 error (connection is cut). */
struct http_stream {
    int64_t (*read)(void *arg, void *buf, size_t max);
    /** Optional, for files: what `read` would give goes from the kernel to a socket that does not wait. As sendfile() answers. */
    ssize_t (*pass)(void *arg, int socket);
    void (*free)(void *arg);
    void *arg;
    unsigned retry_ms;
};
void http_reply_stream(struct http_request *req, int status, const char *content_type, struct http_stream stream);
