#pragma once
/* Blobs: immutable bytes, streamed, hashed on the way, visible only when whole. Rows and references are the store's. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/finding.h"
#include "base/uuid.h"
#include "base/xxh128.h"
#include <stdint.h>
#include <sys/types.h>

struct blobs;
struct blob_upload;

#define BLOB_PATH_MAX 64
#define BLOB_URL_S    (15 * 60) /* for which a URL holds */

/** An open blob, whatever keeps its bytes. Any thread, one at a time. */
struct blob_reader {
    int64_t size;
    uint64_t stamp[2]; /* of the bytes as they were opened: what was written since has another one */
    /** Up to `n` bytes from `at` on; in order is fast, anywhere is possible. @return how many, 0 at the end and behind it, -1: `err` says
     * why. ERR_NOT_FOUND: the blob was removed meanwhile (a driver may well read on) */
    int64_t (*read)(struct blob_reader *r, int64_t at, void *p, size_t n, struct err *err);
    void (*close)(struct blob_reader *r); /* frees it */
    int fd; /* a file of these bytes and no others, for as long as it is open; -1: there is none */
};

static inline void blob_reader_close(struct blob_reader *r) /* NULL accepted */
{
    if (r)
        r->close(r);
}

/** A part of an upload that is there. */
struct blob_part {
    unsigned number; /* 1.. */
    int64_t size;
    char md5[33]; /* hex; "": not known */
};
/** What is asked for one that is to be sent. */
struct blob_part_url {
    unsigned number;
    int64_t size;
    char md5[25];   /* base64 */
    struct buf url; /* out */
};

struct blob_driver {
    const char *name;
    /** @param dir  made if absent. Removes what unfinished uploads left. ret_id: the folder's own id, 36 characters. */
    int (*open)(const char *dir, struct blobs **ret, char ret_id[UUID_STR_MAX], struct err *err);
    /** Right after the opening: will other servers use the folder, too? ERR_LOCKED: not, but some do. NULL: it is everybody's. */
    int (*share)(struct blobs *b, bool others, struct err *err);
    void (*close)(struct blobs *b);
    int (*begin)(struct blobs *b, const struct uuid *id, struct blob_upload **ret, struct err *err);
    int (*write)(struct blob_upload *u, const void *p, size_t n, struct err *err);
    /** Optional: as write(), but it may go on with the bytes when it has returned: then it keeps their memory, and `piece` has that of others. */
    int (*take)(struct blob_upload *u, struct buf *piece, struct err *err);
    /** XXH3 of 128 bits (xxh128_digest) of what was written since begin(), resume() or the latest sum(). */
    void (*sum)(struct blob_upload *u, uint8_t ret[XXH128_BYTES]);
    /** Makes it durable and visible (sync file, rename, sync directory). Frees `u` either way. */
    int (*commit)(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err);
    void (*abort)(struct blob_upload *u); /* nothing is left. NULL accepted */
    /** @param ret  the caller's: blob_reader_close. ERR_NOT_FOUND. */
    int (*open_read)(struct blobs *b, const struct uuid *id, struct blob_reader **ret, struct err *err);
    int (*remove)(struct blobs *b, const struct uuid *id, struct err *err); /* absent is fine */

    /* Uploads that outlive their connection and the process. Written, hashed and committed as any other, but what a commit did not
     * make a blob stays, and nobody but discard() takes it away. Whoever keeps the row of such an upload says when that is. */
    /** Goes on with the upload of that id, or begins it. Bytes that a commit named are found whole: their row was never written, or is about to
     * be by another server. Nothing can be written to them (ERR_CONFLICT), and commit() tells what they are. Nothing here takes them away.
     * @param ret_offset  bytes there are: those of the latest sync(), or of later ones that were surely written; never holes */
    int (*resume)(struct blobs *b, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                  struct err *err);
    /** What was written is what resume() finds, after a power cut too. A failure sticks. */
    int (*sync)(struct blob_upload *u, struct err *err);
    void (*leave)(struct blob_upload *u); /* frees `u`; bytes since the latest sync may be gone. NULL accepted */
    /** What resume() would find, without touching it, or less: of what a commit named, what the latest sync() said. ERR_NOT_FOUND: never begun. */
    int (*offset)(struct blobs *b, const struct uuid *id, int64_t *ret, struct err *err);
    /** Forgets an upload: given up, or a blob since. The blob of that id stays. Absent is fine. */
    int (*discard)(struct blobs *b, const struct uuid *id, struct err *err);
    /** Ids of which discard() would find something; one may be there twice. */
    int (*unfinished)(struct blobs *b, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err);

    /** Optional: NULL where bytes come only through us. A URL by which whoever has it may GET the blob, ranges too, for some minutes from now
     * on. ERR_UNSUPPORTED: the configuration wants none.
     * @param filename  as which a browser saves it; NULL: its id */
    int (*url)(struct blobs *b, const struct uuid *id, const char *filename, struct buf *ret, struct err *err);

    /* Optional, all or none: parts of a resumable upload that its client sends straight to where the bytes are. Such an upload is not
     * resumed (ERR_CONFLICT), and one that was written to takes no parts (the same). Offset 0, discard, unfinished as of any other. */
    /** How large each part of an upload of `size` bytes is, but the last, which is the rest. 0: no parts are taken. */
    int64_t (*part_size)(struct blobs *b, int64_t size);
    /** URLs by which whoever has one may PUT that part for some minutes from now on, once or again: these bytes, by the MD5 and the size
     * that are signed, or none. What `unfinished` tells of is there before. ERR_CONFLICT, too: it is assembled already. */
    int (*part_urls)(struct blobs *b, const struct uuid *id, struct blob_part_url *parts, size_t n, struct err *err);
    /** @param each  in the order of their numbers  @param ret_assembled  they became the bytes that open_read() gives: `each` is not called */
    int (*parts)(struct blobs *b, const struct uuid *id, void (*each)(void *arg, const struct blob_part *part),
                 void *arg, bool *ret_assembled, struct err *err);
    /** Makes the parts what open_read() gives. `err` says which is missing or of another size: ERR_CONFLICT. Again: fine. */
    int (*assemble)(struct blobs *b, const struct uuid *id, int64_t size, struct err *err);

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
