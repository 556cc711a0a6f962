#pragma once
/* libhaul: the public C client of haul's HTTP API. Needs libcurl. Thread-safe per client object: one client per thread.
 * Every call blocks up to its timeout, and can be repeated safely where said. Strings returned are owned by the caller: free(). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct haul_client;

enum haul_rc {
    HAUL_OK = 0,
    HAUL_NETWORK = 1, /* no answer, or an unknown outcome: repeat the call */
    HAUL_REFUSED = 2, /* the server said no: see haul_error */
    HAUL_LOCAL = 3,   /* a local file, memory, bad argument */
    HAUL_ABORTED = 4  /* the progress callback asked to stop */
};

/** What went wrong in the latest call. */
struct haul_error {
    enum haul_rc rc;
    int status;    /* HTTP status, 0 when there was no answer */
    char code[48]; /* wire code: "stale_token" */
    char field[64];
    char message[512]; /* for people, with what to do */
    bool repeatable;
    int retry_after_s; /* 0 when the server gave none */
    bool elsewhere;    /* the next call goes to another server, not tried yet: what can be repeated need not wait */
};

#define HAUL_SERVERS_MAX 16
/** @param urls  "http://host:port", or several of one installation with commas between, at most HAUL_SERVERS_MAX; ERR in `err` when
 * it is not that. @param user_agent may be NULL.
 *
 * The first one is used as long as it works. When it cannot be reached, answers nothing, or says that it cannot serve (a proxy's 502 to 504,
 * or code "unavailable"), the next one is, and so on round the list; calls that can be repeated (GET, with a token or a key) are, at once, until
 * each server was tried. */
struct haul_client *haul_client_new(const char *urls, const char *user_agent, struct haul_error *err);
/** From any thread: the URL in use; the client's. */
const char *haul_client_server(const struct haul_client *c);
/** The list as haul_client_new takes it, the one in use first. Owned; NULL: no memory. */
char *haul_client_servers(const struct haul_client *c);
void haul_client_free(struct haul_client *c); /* NULL accepted */
/** Whole-call timeout of all but transfers and long polls; 0 = the default, 30 s. Connect timeout is 5 s. */
void haul_client_timeout(struct haul_client *c, int64_t timeout_ms);

/** The trace that what follows is part of (W3C Trace Context): JSON calls carry these headers, and a job that they submit belongs to it. NULL
 * or "", or what cannot stand in a header: none. */
void haul_client_trace(struct haul_client *c, const char *traceparent, const char *tracestate);

/** From any thread: the call that runs ends within a second or two with HAUL_ABORTED, and so does every later one, until it is
 * switched off. JSON calls only. */
void haul_client_interrupt(struct haul_client *c, bool on);

/** Any JSON call. @param body  JSON text or NULL. @param token  attempt token for the Haul-Token header, or NULL.
 * @param ret_json  answer's text (may be "" on 204), NULL to drop it. @param extra_wait_ms added to the timeout (long polls).
 * HAUL_OK on 2xx. */
int haul_call(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
              int64_t extra_wait_ms, char **ret_json, struct haul_error *err);
/** As haul_call with an Idempotency-Key header (may be NULL). Repeats itself, with back-off, up to `tries` times (rounds of
 * all servers) while the outcome is unknown or the server is busy. */
int haul_call_repeated(struct haul_client *c, const char *method, const char *path, const char *body, const char *token,
                       const char *idempotency_key, unsigned tries, char **ret_json, struct haul_error *err);

/** @return nonzero to stop. total is -1 when not known. */
typedef int (*haul_progress)(void *arg, int64_t done, int64_t total);

/** Streams a file to POST /v1/blobs (or PUT `path` when given: an attempt's output) in one request; a file of 8 MiB or more that goes to
 * /v1/blobs as haul_upload_file does. Checks the size, and by the
 * sum of what arrived, or by its SHA-256, that what is stored is what was sent. ret_ref: "blob:<uuid>", 64 bytes; ret_sha256: 65 bytes hex; both may be NULL. Not limited in time while bytes move
 * (60 s without a byte: HAUL_NETWORK). */
int haul_upload(struct haul_client *c, const char *path, const char *token, int fd, int64_t size,
                haul_progress progress, void *arg, char *ret_ref, char *ret_sha256, struct haul_error *err);
#define HAUL_UPLOAD_MAX   64
#define HAUL_RESUME_BYTES (INT64_C(8) << 20)
/** An upload in pieces that goes on after cuts and restarts of the server; and in another call or program, when its owner keeps `upload`. */
struct haul_resume {
    char upload
        [HAUL_UPLOAD_MAX]; /* in: where an earlier call stood, or "". out: what to keep; "" when there is nothing to go on with */
    void (*begun)(void *arg, const char *upload); /* called before the first byte of a new one. May be NULL */
    void *arg;
    int64_t at_least;    /* bytes; smaller files go in one request. 0: HAUL_RESUME_BYTES */
    int64_t patience_ms; /* how long without any progress; 0: two minutes */
};
/** haul_upload of a file to /v1/blobs, read from its beginning. `resume` may be NULL. A server too old for this is sent the file in one
 * request. The file must not change meanwhile: when it did between two requests the hash tells (HAUL_REFUSED, "corrupt"). */
int haul_upload_file(struct haul_client *c, int fd, int64_t size, struct haul_resume *resume, haul_progress progress,
                     void *arg, char *ret_ref, char *ret_sha256, struct haul_error *err);
/** Does the server in use offer that large files go in parts straight to where it keeps bytes? haul_upload_file does so then by itself. HAUL_OK also when not. */
int haul_direct_offered(struct haul_client *c, bool *ret, struct haul_error *err);
/** Streams GET /v1/blobs/{id} (ref "blob:<uuid>" or a path beginning with '/') into fd; checks it by the sum that the server told, or the ETag's SHA-256. Resumes with
 * a range request, up to 5 times, after a cut. */
int haul_download(struct haul_client *c, const char *ref_or_path, int fd, haul_progress progress, void *arg,
                  int64_t *ret_size, struct haul_error *err);
/** Streams text (a job's log) to `sink` as it comes; follow: until the server ends it. @return nonzero from sink stops. */
int haul_stream(struct haul_client *c, const char *path, int (*sink)(void *arg, const char *p, size_t n), void *arg,
                struct haul_error *err);
/** Streams any GET to `sink` once, unchecked: for answers that carry their own check. The first byte may take as long as the server
 * needs to make it; after it 60 s without another are HAUL_NETWORK. `progress` (may be NULL) is called about once a second, with
 * total -1, while nothing comes too. @return nonzero from either stops. */
int haul_fetch(struct haul_client *c, const char *path, int (*sink)(void *arg, const char *p, size_t n),
               haul_progress progress, void *arg, struct haul_error *err);
/** Appends to an attempt's log: POST …/log?offset=N&skipped=M, bytes as application/octet-stream. Offsets count bytes as the handler wrote
 * them; the M bytes before `offset` will not come. Repeatable. An empty piece at 0 asks where the log is. ret_next: next offset. */
int haul_log_append(struct haul_client *c, const char *job_id, unsigned attempt, const char *token, int64_t offset,
                    int64_t skipped, const void *p, size_t n, int64_t *ret_next, struct haul_error *err);
