#pragma once
/* Blobs: immutable bytes, streamed, hashed on the way, visible only when whole. Rows and references are the store's. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/finding.h"
#include "base/uuid.h"
#include <stdint.h>
#include <sys/types.h>

struct blobs;
struct blob_upload;

#define BLOB_PATH_MAX 64

/** An open blob, whatever keeps its bytes. Any thread, one at a time. */
struct blob_reader {
    int64_t size;
    uint64_t stamp[2]; /* of the bytes as they were opened: what was written since has another one */
    /** Up to `n` bytes from `at` on; in order is fast, anywhere is possible. @return how many, 0 at the end and behind it, -1: `err` says
     * why. ERR_NOT_FOUND: the blob was removed meanwhile (a driver may well read on) */
    int64_t (*read)(struct blob_reader *r, int64_t at, void *p, size_t n, struct err *err);
    void (*close)(struct blob_reader *r); /* frees it */
};

static inline void blob_reader_close(struct blob_reader *r) /* NULL accepted */
{
    if (r)
        r->close(r);
}

struct blob_driver {
    const char *name;
    /** @param dir  made if absent. Removes what unfinished uploads left. ret_id: the folder's own id, 36 characters. */
    int (*open)(const char *dir, struct blobs **ret, char ret_id[UUID_STR_MAX], struct err *err);
    /** Right after the opening: will other servers use the folder, too? ERR_LOCKED: not, but some do. NULL: it is everybody's. */
    int (*share)(struct blobs *b, bool others, struct err *err);
    void (*close)(struct blobs *b);
    int (*begin)(struct blobs *b, const struct uuid *id, struct blob_upload **ret, struct err *err);
    int (*write)(struct blob_upload *u, const void *p, size_t n, struct err *err);
    /** Makes it durable and visible (sync file, rename, sync directory). Frees `u` either way. */
    int (*commit)(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err);
    void (*abort)(struct blob_upload *u); /* nothing is left. NULL accepted */
    /** @param ret  the caller's: blob_reader_close. ERR_NOT_FOUND. */
    int (*open_read)(struct blobs *b, const struct uuid *id, struct blob_reader **ret, struct err *err);
    int (*remove)(struct blobs *b, const struct uuid *id, struct err *err); /* absent is fine */

    /* Uploads that outlive their connection and the process. Written, hashed and committed as any other, but what a commit did not
     * make a blob stays, and nobody but discard() takes it away. Whoever keeps the row of such an upload says when that is. */
    /** Goes on with the upload of that id, or begins it. Only while no row says that the blob is there: bytes of a commit whose row was
     * never written are taken back.
     * @param ret_offset  bytes there are: those of the latest sync(), or of later ones that were surely written; never holes */
    int (*resume)(struct blobs *b, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                  struct err *err);
    /** What was written is what resume() finds, after a power cut too. A failure sticks. */
    int (*sync)(struct blob_upload *u, struct err *err);
    void (*leave)(struct blob_upload *u); /* frees `u`; bytes since the latest sync may be gone. NULL accepted */
    /** What resume() would find, without touching it. ERR_NOT_FOUND: never begun. */
    int (*offset)(struct blobs *b, const struct uuid *id, int64_t *ret, struct err *err);
    /** Forgets an upload: given up, or a blob since. The blob of that id stays. Absent is fine. */
    int (*discard)(struct blobs *b, const struct uuid *id, struct err *err);
    /** Ids of which discard() would find something; one may be there twice. */
    int (*unfinished)(struct blobs *b, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err);

    /** Optional: NULL where bytes come only through us. A URL by which whoever has it may GET the blob, ranges too, for some minutes from now
     * on. ERR_UNSUPPORTED: the configuration wants none.
     * @param filename  as which a browser saves it; NULL: its id */
    int (*url)(struct blobs *b, const struct uuid *id, const char *filename, struct buf *ret, struct err *err);

    /** Optional: what else can be looked at of an opened place of blobs (rights, clocks). Leaves nothing. */
    void (*examine)(struct blobs *b, struct findings *f);

    /* Optional, all or none: for snapshots, where blobs are files below a folder. */
    const char *id_file; /* its file below the folder that holds the folder's id and a newline */
    /** Where a blob stands below the folder. */
    void (*path)(const struct uuid *id, char ret[BLOB_PATH_MAX]);
    /** Gives the blob a second name, below the folder `dir_fd`, which outlives remove(): a hard link, or a copy where there are none.
     * @param ret_size  of the bytes there are. ERR_NOT_FOUND. Any thread. */
    int (*link)(struct blobs *b, const struct uuid *id, int dir_fd, int64_t *ret_size, struct err *err);
};
