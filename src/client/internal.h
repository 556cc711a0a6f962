#pragma once
/* What the files of this room share: the client object, one request and its answer. */
#include "base/buf.h"
#include "base/md5.h"
#include "base/pool.h"
#include "base/sha256.h"
#include "base/xxh128.h"
#include "client/haul.h"
#include <curl/curl.h>
#include <pthread.h>
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
    bool only_libcurl; /* what answered a local_send() was no haul server, a proxy perhaps: libcurl understands more */
    char curl_text[CURL_ERROR_SIZE];
};

/** One exchange. Zeroed by exchange_begin; release with exchange_end. */
struct exchange {
    struct haul_client *client;
    const char *method;
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
    char location[HAUL_UPLOAD_MAX], blob_ref[64], sha256[SHA256_HEX_MAX], body_sum[XXH128_HEX_MAX],
        sum[XXH128_HEX_MAX];                     /* headers; "" when absent */
    int64_t upload_offset, part_size, read_back; /* -1 when absent */
    /* Takes the bytes of a 2xx answer; nonzero stops. NULL: they go to `body`. */
    int (*sink)(void *arg, struct exchange *x, const char *p, size_t n);
    void *sink_arg;
    bool too_large, sink_stopped;
    bool sent;             /* something of the request was */
    struct upload *upload; /* its body, if that is bytes of a file of known size; NULL: of a pipe, or others */
};

/* servers.c: which of them */
const struct server *client_server(const struct haul_client *c);
/** After an exchange with the one in use: moves on to the next when it could not be used, and says in err->elsewhere whether that one
 * is yet to be tried. */
void client_judge(struct haul_client *c, int rc, struct haul_error *err);
bool client_host_loopback(const char *host);
long client_connect_timeout_ms(const struct haul_client *c);

/** Sets up the handle for one request. @param path begins with '/'. ERR is in `err` when false. */
bool exchange_begin(struct exchange *x, struct haul_client *c, const char *method, const char *path,
                    struct haul_error *err);
/** A GET of a URL that the server named: nothing that is ours goes along. */
bool exchange_begin_at(struct exchange *x, struct haul_client *c, const char *url, struct haul_error *err);
void exchange_header(struct exchange *x, const char *name, const char *value); /* value NULL: nothing */
/** Performs it; where no byte of it could be sent, at the next server. HAUL_OK on 2xx. */
int exchange_run(struct exchange *x, struct haul_error *err);
void exchange_end(struct exchange *x);
/* Of an answer that does not come by libcurl; x->status is set. */
void exchange_header_line(struct exchange *x, const char *line, size_t n); /* the status line, too */
/** @return n; anything else: no more is wanted */
size_t exchange_body(struct exchange *x, const char *p, size_t n);

/** The URL is one. @param ret_loopback  it is of this machine */
bool client_url_good(const char *url, bool *ret_loopback);

/* transfer.c: bytes of a file on their way up */
struct upload {
    int fd;
    int64_t size; /* -1: until the end of a pipe */
    int64_t base; /* where the request's bytes begin */
    uint8_t base_hash[SHA256_STATE_BYTES];
    int64_t done; /* read and hashed, from the file's beginning; or summed */
    struct sha256 *hash;
    struct xxh128 *sum; /* NULL: does without */
    bool summed;        /* what is read is, and not hashed */
    haul_progress progress;
    void *arg;
    int sys; /* errno of a read that failed */
    bool shrank, no_memory;
};
/** Options of a request that sends the bytes from `base` on, which is where `done` and `hash` are. */
void upload_options(struct exchange *x, struct upload *u);
/** The next bytes of its file, summed or hashed. @return their number; CURL_READFUNC_ABORT: upload_trouble says why */
size_t upload_read(char *p, size_t size, size_t n, void *upload);
/** @return false: stopped on request */
bool upload_say(struct upload *u, int64_t sent);
/** How much of `want` to read at `at` into `p`, so that the next reads are fast. */
size_t upload_read_size(const char *p, size_t want, int64_t at);
/** What was wrong with the file, if that was it; else `rc`. */
int upload_trouble(const struct upload *u, int rc, struct haul_error *err);
/** Before a request that sends all of a file: what it sends is summed, which costs a tenth of a hash. @return false: it is hashed, as ever */
bool upload_sum_begin(struct upload *u);
/** After it. @return whether what was sent is what arrived, as the answer says. Else nothing is hashed yet. */
bool upload_sum_end(struct upload *u, const struct exchange *x);
/** Hashes on to `at` by reading the file. */
int upload_hash_to(struct upload *u, int64_t at, struct haul_error *err);
/** All of it in one request. */
int upload_whole(struct haul_client *c, const char *path, const char *token, struct upload *u, char *ret_ref,
                 char *ret_sha256, struct haul_error *err);
int64_t mono_ms(void);

/* local_send.c */
/** Is it a large body to a server of this machine, without TLS? */
bool local_send_fits(const struct exchange *x);
/** As curl_easy_perform(), and with its codes. */
CURLcode local_send(struct exchange *x);

/* tus.c: an upload that goes on */
struct parts;
struct resumable {
    struct haul_client *c;
    struct haul_resume *resume;
    struct upload up;
    int64_t at;        /* where the server stands */
    int64_t farthest;  /* that it ever stood */
    int64_t read_back; /* of the parts, by the server */
    int64_t moved_ms;  /* when it came there */
    int64_t part_size; /* the server takes parts of so many bytes; 0: none */
    struct parts *parts;
    bool through; /* the store that takes the parts cannot be used from here: bytes go through the server */
    bool met;     /* the server has answered */
    bool unknown; /* it knows no such thing as resumable uploads */
    bool sent;    /* all of it in one request, or that was tried */
    bool same;    /* it arrived as it was sent */
    unsigned beginnings;
    char ref[64], sha256[SHA256_HEX_MAX]; /* once it is finished */
};
/** Runs it; takes from the answer what every answer may tell. */
int resumable_run(struct resumable *r, struct exchange *x, struct haul_error *err);
int64_t resumable_patience_ms(const struct resumable *r);
void resumable_forget(struct resumable *r);
/** The hash begins anew, at the beginning. */
int upload_rehash(struct upload *u);
/** Hashes up to `n` bytes of the file from where the hash is, `also` beside it (may be NULL). HAUL_LOCAL: upload_trouble says why. */
int upload_hash_on(struct upload *u, char *piece, size_t n, struct md5 *also);
#define UPLOAD_PIECE_BYTES ((size_t)256 << 10)

/* parts.c */
/** Sends the parts that are not there straight to the store, and completes. HAUL_OK: r->ref is set; or the store is not to be reached from
 * here, and r->through: the upload was ended, for another one by PATCH. */
int parts_send(struct resumable *r, struct haul_error *err);
void parts_free(struct parts *p); /* NULL accepted */

/* part_put.c: parts on their way, each on a thread */
#define PART_PUTS 4
struct part_put {
    /* in */
    unsigned number;
    int fd;
    int64_t at, size;
    char *url;                  /* owned */
    struct curl_slist *headers; /* owned */
    /* out, once it ended */
    CURLcode code;
    long status;
    char why[200]; /* in words, when it went wrong */
    bool shrank;
    int sys;
    /* its own */
    struct part_puts *all;
    CURL *easy; /* kept: its connection stays open */
    char curl_text[CURL_ERROR_SIZE], answer[1024];
    size_t answer_n;
    _Atomic int64_t done; /* bytes that went out */
    bool busy, ended;     /* lock */
};
struct part_puts {
    struct part_put at[PART_PUTS];
    struct pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    atomic_bool stop;
};
int part_puts_init(struct part_puts *p, const char *user_agent, struct haul_error *err);
/** Ends those on their way. */
void part_puts_release(struct part_puts *p);
struct part_put *part_puts_idle(struct part_puts *p); /* NULL: all are busy */
/** @param w  of part_puts_idle, filled in */
void part_put_start(struct part_put *w);
/** One that ended, which is idle from then on; waits for it for `ms`. NULL: none did. */
struct part_put *part_puts_ended(struct part_puts *p, int64_t ms);
size_t part_puts_busy(struct part_puts *p);
int64_t part_puts_bytes(struct part_puts *p); /* on their way */

void error_clear(struct haul_error *err);
int error_set(struct haul_error *err, enum haul_rc rc, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** Reads a problem document (RFC 9457); anything else gives a message made of the status. */
void error_from_answer(struct haul_error *err, int status, const char *body, size_t n, int retry_after_s);
/** Waits before try number `n` (1..): 0.2 s doubling to 5 s, at least what the server asked for (at most 30 s). */
void backoff_sleep(unsigned n, int retry_after_s);
/** May the call be made again with some hope? */
bool error_passing(const struct haul_error *err);
