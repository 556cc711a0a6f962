#pragma once
/* Blobs: immutable bytes, streamed, hashed on the way, visible only when whole. Rows and references are the store's. */
#include "base/err.h"
#include "base/uuid.h"
#include <stdint.h>
#include <sys/types.h>

struct blobs;
struct blob_upload;

#define BLOB_PATH_MAX 64

struct blob_driver {
    const char *name;
    /** @param dir  made if absent. Removes what unfinished uploads left. ret_id: the folder's own id, 36 characters. */
    int (*open)(const char *dir, struct blobs **ret, char ret_id[UUID_STR_MAX], struct err *err);
    void (*close)(struct blobs *b);
    int (*begin)(struct blobs *b, const struct uuid *id, struct blob_upload **ret, struct err *err);
    int (*write)(struct blob_upload *u, const void *p, size_t n, struct err *err);
    /** Makes it durable and visible (sync file, rename, sync directory). Frees `u` either way. */
    int (*commit)(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err);
    void (*abort)(struct blob_upload *u); /* nothing is left. NULL accepted */
    /** @param ret_fd  readable, seekable; caller closes. ERR_NOT_FOUND. */
    int (*open_read)(struct blobs *b, const struct uuid *id, int *ret_fd, int64_t *ret_size, struct err *err);
    int (*remove)(struct blobs *b, const struct uuid *id, struct err *err); /* absent is fine */

    /* Optional, all or none: for snapshots, where blobs are files below a folder. */
    const char *id_file; /* its file below the folder that holds the folder's id and a newline */
    /** Where a blob stands below the folder. */
    void (*path)(const struct uuid *id, char ret[BLOB_PATH_MAX]);
    /** Gives the blob a second name, below the folder `dir_fd`, which outlives remove(): a hard link, or a copy where there are none.
     * @param ret_size  of the bytes there are. ERR_NOT_FOUND. Any thread. */
    int (*link)(struct blobs *b, const struct uuid *id, int dir_fd, int64_t *ret_size, struct err *err);
};
