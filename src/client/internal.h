#pragma once
/* What the files of this room share: the client object, one request and its answer. */
#include "base/buf.h"
#include "base/sha256.h"
#include "client/haul.h"
#include <curl/curl.h>
#include <stdatomic.h>
#include <sys/types.h>

#define ANSWER_MAX         (32u << 20) /* largest JSON answer kept: a page of 1000 jobs with their error logs fits */
#define CALL_TIMEOUT_MS    30000
#define CONNECT_TIMEOUT_MS 5000
#define CONNECT_NEXT_MS    2000 /* when there is another server */
#define TRACEPARENT_BYTES  256
#define TRACESTATE_BYTES   513
#define SILENCE_S          60 /* a transfer without a byte for this long is cut */

struct server {
    char *url; /* without a '/' at the end */
    bool loopback;
};

struct haul_client {
    CURL *easy; /* kept between calls: its connections stay open */
    struct server servers[HAUL_SERVERS_MAX];
    unsigned n;       /* 1.. */
    atomic_uint used; /* written by the client's thread; who asks for its name may be another */
    unsigned down;    /* servers in a row that could not be used */
    char *user_agent;
    char traceparent[TRACEPARENT_BYTES], tracestate[TRACESTATE_BYTES]; /* "": none */
    int64_t timeout_ms;
    atomic_bool interrupted;
    char curl_text[CURL_ERROR_SIZE];
};

/** One exchange. Zeroed by exchange_begin; release with exchange_end. */
struct exchange {
    struct haul_client *client;
    const char *path; /* borrowed until it was run; NULL: at a URL of its own */
    struct curl_slist *headers;
    bool no_memory;
    struct buf body;     /* the answer, unless `sink` takes it */
    long status;         /* of the answer; 0 before its first line */
    char etag[80];       /* without quotes; "" when absent */
    int64_t range_from;  /* of Content-Range, -1 when absent */
    int64_t range_total; /* of Content-Range, -1 when absent */
    int64_t length;      /* of Content-Length, -1 when absent */
    int retry_after_s;
    char location[HAUL_UPLOAD_MAX], blob_ref[64], sha256[SHA256_HEX_MAX]; /* headers; "" when absent */
    int64_t upload_offset;                                                /* -1 when absent */
    /* Takes the bytes of a 2xx answer; nonzero stops. NULL: they go to `body`. */
    int (*sink)(void *arg, struct exchange *x, const char *p, size_t n);
    void *sink_arg;
    bool too_large, sink_stopped;
};

/* servers.c: which of them */
const struct server *client_server(const struct haul_client *c);
/** After an exchange with the one in use: moves on to the next when it could not be used, and says in err->elsewhere whether that one
 * is yet to be tried. */
void client_judge(struct haul_client *c, int rc, struct haul_error *err);
bool client_host_loopback(const char *host);

/** Sets up the handle for one request. @param path begins with '/'. ERR is in `err` when false. */
bool exchange_begin(struct exchange *x, struct haul_client *c, const char *method, const char *path,
                    struct haul_error *err);
/** A GET of a URL that the server named: nothing that is ours goes along. */
bool exchange_begin_at(struct exchange *x, struct haul_client *c, const char *url, struct haul_error *err);
void exchange_header(struct exchange *x, const char *name, const char *value); /* value NULL: nothing */
/** Performs it; where no byte of it could be sent, at the next server. HAUL_OK on 2xx. */
int exchange_run(struct exchange *x, struct haul_error *err);
void exchange_end(struct exchange *x);

/* transfer.c: bytes of a file on their way up */
struct upload {
    int fd;
    int64_t size; /* -1: until the end of a pipe */
    int64_t base; /* where the request's bytes begin */
    uint8_t base_hash[SHA256_STATE_BYTES];
    int64_t done; /* read and hashed, from the file's beginning */
    struct sha256 *hash;
    haul_progress progress;
    void *arg;
    int sys; /* errno of a read that failed */
    bool shrank, stopped, no_memory;
};
/** Options of a request that sends the bytes from `base` on, which is where `done` and `hash` are. */
void upload_options(struct exchange *x, struct upload *u);
/** What was wrong with the file, if that was it; else `rc`. */
int upload_trouble(const struct upload *u, int rc, struct haul_error *err);
/** All of it in one request. */
int upload_whole(struct haul_client *c, const char *path, const char *token, struct upload *u, char *ret_ref,
                 char *ret_sha256, struct haul_error *err);
int64_t mono_ms(void);

void error_clear(struct haul_error *err);
int error_set(struct haul_error *err, enum haul_rc rc, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** Reads a problem document (RFC 9457); anything else gives a message made of the status. */
void error_from_answer(struct haul_error *err, int status, const char *body, size_t n, int retry_after_s);
/** Waits before try number `n` (1..): 0.2 s doubling to 5 s, at least what the server asked for (at most 30 s). */
void backoff_sleep(unsigned n, int retry_after_s);
/** May the call be made again with some hope? */
bool error_passing(const struct haul_error *err);
