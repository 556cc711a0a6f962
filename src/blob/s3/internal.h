#pragma once
/* What the files of the driver share. */
#include "base/buf.h"
#include "base/sha256.h"
#include "blob/blob.h"
#include "blob/s3/credentials.h"
#include "blob/s3/place.h"
#include "blob/s3/sign.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#define S3_KEY_MAX    640
#define S3_ETAG_MAX   128
#define S3_UPLOAD_MAX 1024
#define S3_PART_MIN   ((size_t)8 << 20) /* S3 wants 5 MiB at least, but for the last */
#define S3_PARTS_MAX  10000u
#define S3_AHEAD_MAX  2u                  /* parts of an upload on their way while the next one gathers */
#define S3_STATE_MAX  ((size_t)128 << 20) /* of a resumable upload: its parts' names and less than one part */
#define S3_LIST_MAX   ((size_t)8 << 20)   /* of a list's page */
#define S3_IDLE_MAX   32

struct blobs {
    struct s3_place place;
    struct s3_credentials credentials;
    usec patience_us; /* tries begin for so long */
    struct pool *parts;
    pthread_mutex_t lock;
    CURL *idle[S3_IDLE_MAX]; /* handles that keep their connections */
    size_t n_idle;
    pthread_t sweeper;
    pthread_cond_t wake;
    bool sweeping, closing;
};

/* call.c: one request, repeated while that can help */

struct s3_call {
    const char *method;
    const char *key; /* below the bucket, with the prefix; "": the bucket itself */
    struct s3_pair query[8], headers[4];
    size_t n_query, n_headers;
    const void *body;
    size_t body_n;
    size_t answer_max; /* what is more is a failure */
};

struct s3_answer {
    long status;
    struct buf body; /* s3_answer_release */
    int64_t length;  /* Content-Length; -1: not said */
    int64_t total;   /* of Content-Range; -1 */
    char etag[S3_ETAG_MAX], modified[40], date[40];
    char code[64]; /* S3's word for an error, "" when it said none */
    unsigned tries;
};

/** ERR_OK on 2xx. ERR_NOT_FOUND, ERR_CONFLICT (412), ERR_RANGE, ERR_UNSUPPORTED (501); ERR_UNAVAILABLE: what S3 refused or how it could not be reached. `ret` is
 * filled in as far as it goes, also on errors. */
int s3_call(struct blobs *s, const struct s3_call *c, struct s3_answer *ret, struct err *err);
/** As s3_call, into an answer that was there before, or a zeroed one: its memory serves again. */
int s3_call_into(struct blobs *s, const struct s3_call *c, struct s3_answer *ret, struct err *err);
void s3_answer_release(struct s3_answer *a);
/** As s3_call, of whose answer nothing is wanted. */
int s3_do(struct blobs *s, const struct s3_call *c, struct err *err);
int s3_do_if_there(struct blobs *s, const struct s3_call *c, struct err *err); /* absent is fine */
static inline void s3_query(struct s3_call *c, const char *name, const char *value)
{
    c->query[c->n_query++] = (struct s3_pair){name, value};
}
static inline void s3_header(struct s3_call *c, const char *name, const char *value)
{
    c->headers[c->n_headers++] = (struct s3_pair){name, value};
}
/** A URL by which anyone may make the call for `valid_s`, when he says its headers. */
int s3_url(struct blobs *s, const struct s3_call *c, int64_t valid_s, struct buf *ret, struct err *err);

/* keys.c */
void s3_blob_key(const struct blobs *s, const struct uuid *id, char ret[S3_KEY_MAX]);
void s3_state_key(const struct blobs *s, const struct uuid *id, char ret[S3_KEY_MAX]);
/** Is the object there? ERR_OK or ERR_NOT_FOUND, or what went wrong. @param ret_size  may be NULL */
int s3_look(struct blobs *s, const char *key, int64_t *ret_size, struct err *err);
int s3_delete(struct blobs *s, const char *key, struct err *err); /* absent is fine */

/* multipart.c: S3's multipart uploads */

struct s3_part {
    int64_t size;
    char etag[S3_ETAG_MAX];
};
struct s3_parts {
    struct s3_part *at;
    size_t n, cap;
    int64_t size;
};
int s3_multipart_begin(struct blobs *s, const char *key, char ret_upload[S3_UPLOAD_MAX], struct err *err);
/** @param number  1..S3_PARTS_MAX */
int s3_multipart_part(struct blobs *s, const char *key, const char *upload, unsigned number, const void *p, size_t n,
                      char ret_etag[S3_ETAG_MAX], struct err *err);
int s3_multipart_end(struct blobs *s, const char *key, const char *upload, const struct s3_parts *parts,
                     struct err *err);
int s3_multipart_abort(struct blobs *s, const char *key, const char *upload, struct err *err); /* absent is fine */
/** Does S3 still know it, with at least these parts? ERR_NOT_FOUND */
int s3_multipart_look(struct blobs *s, const char *key, const char *upload, const struct s3_parts *parts,
                      struct err *err);
int s3_parts_add(struct s3_parts *p, int64_t size, const char *etag, struct err *err);
/** Parts that are there, by their numbers, as S3 has them. ERR_NOT_FOUND: S3 does not know the upload, or no longer.
 * @param each  what is not ERR_OK ends the walk, and is the answer */
int s3_multipart_list(struct blobs *s, const char *key, const char *upload,
                      int (*each)(void *arg, unsigned number, const struct s3_part *part, struct err *err), void *arg,
                      struct err *err);

/* upload.c */
struct s3_sending; /* a part on its way */
struct blob_upload {
    struct blobs *s; /* borrowed */
    struct uuid id;
    char name[UUID_STR_MAX], key[S3_KEY_MAX];
    bool resumable;
    bool whole;                 /* a commit made it: nothing is left to be written */
    char upload[S3_UPLOAD_MAX]; /* S3's id of it; "": none was begun */
    struct s3_parts parts;      /* those that are there */
    int64_t size;               /* bytes written */
    struct sha256 *hash;
    struct xxh128 *sum; /* of what was written since it was asked for */
    char *fill;         /* bytes for the next part */
    size_t fill_n, fill_cap;
    struct s3_sending *sending[S3_AHEAD_MAX]; /* in order of their numbers */
    size_t n_sending;
    struct err failed; /* the first failure; sticks */
};
struct blob_upload *s3_upload_new(struct blobs *s, const struct uuid *id, bool resumable, struct err *err);
void s3_upload_free(struct blob_upload *u);
/** Waits for all parts that are on their way. A failure sticks. */
int s3_upload_settle(struct blob_upload *u);
int s3_upload_begin(struct blobs *s, const struct uuid *id, struct blob_upload **ret, struct err *err);
int s3_upload_write(struct blob_upload *u, const void *p, size_t n, struct err *err);
void s3_upload_sum(struct blob_upload *u, uint8_t ret[XXH128_BYTES]);
int s3_upload_commit(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err);
void s3_upload_abort(struct blob_upload *u);

/* resumable.c: as in blob.h */
int s3_resumable_resume(struct blobs *s, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                        struct err *err);
int s3_resumable_sync(struct blob_upload *u, struct err *err);
void s3_resumable_leave(struct blob_upload *u);
int s3_resumable_offset(struct blobs *s, const struct uuid *id, int64_t *ret, struct err *err);
int s3_resumable_discard(struct blobs *s, const struct uuid *id, struct err *err);
int s3_resumable_unfinished(struct blobs *s, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err);
/** Which multipart upload the state of `id` names: "" when there is no state, or it names none. */
int s3_resumable_upload_of(struct blobs *s, const struct uuid *id, char ret[S3_UPLOAD_MAX], struct err *err);

/** Of an upload whose parts go to S3 directly, the same; ERR_NOT_FOUND: nothing of it is there; ERR_CONFLICT: its bytes come through us. */
int s3_resumable_direct(struct blobs *s, const struct uuid *id, char ret[S3_UPLOAD_MAX], struct err *err);
/** Makes it such an upload. */
int s3_resumable_direct_put(struct blobs *s, const struct uuid *id, const char *upload, struct err *err);

/* direct.c: as in blob.h */
int64_t s3_direct_part_size(struct blobs *s, int64_t size);
int s3_direct_urls(struct blobs *s, const struct uuid *id, struct blob_part_url *parts, size_t n, struct err *err);
int s3_direct_parts(struct blobs *s, const struct uuid *id, void (*each)(void *arg, const struct blob_part *part),
                    void *arg, bool *ret_assembled, struct err *err);
int s3_direct_assemble(struct blobs *s, const struct uuid *id, int64_t size, struct err *err);

/* reader.c */
int s3_reader_open(struct blobs *s, const struct uuid *id, struct blob_reader **ret, struct err *err);

/* examine.c: as in blob.h */
void s3_examine(struct blobs *s, struct findings *f);

/* sweep.c */
/** Gives up multipart uploads that are older than the place says and belong to no resumable one. Any server of the bucket may. */
int s3_sweep(struct blobs *s, struct err *err);
int s3_sweeper_start(struct blobs *s, struct err *err);
void s3_sweeper_stop(struct blobs *s);
