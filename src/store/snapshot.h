#pragma once
/* Snapshots: a copy of the database as it was at one commit, made while batches go on, and what can be asked of such a copy.
 * Optional (store_driver.snapshots): a database that has tools of its own for this needs none of it. */
#include "store/store.h"

#define STORE_META_BLOB_FOLDER "blob_folder_id" /* whose blobs the rows speak of */

struct store_snapshot;
struct store_copy;

struct store_copy_info {
    int64_t bytes;  /* of the file */
    int64_t schema; /* the driver's version of its tables */
    int64_t jobs;   /* in every status */
    int64_t blobs, blob_bytes;
    usec time_us; /* the store's time at its last commit */
};
struct store_copy_blob {
    struct uuid blob_id;
    int64_t size;
    uint8_t sha256[32];
};

struct store_snapshots {
    const char *file; /* the copy's name in its folder, which is also the database's in the data folder */

    /** About how many bytes a copy takes. Any thread. */
    int (*bytes)(struct store *s, int64_t *ret, struct err *err);
    /* On the thread that applies, between two batches; one at a time. `step` copies a little more (a few milliseconds; more than batches added since) and says
     * when the copy is whole: then it is the state after the last batch applied. What batches change meanwhile is kept up with.
     * After an error only `end` may follow. `end` before the store is closed, whatever happened. */
    int (*begin)(struct store *s, const char *dir, struct store_snapshot **ret, struct err *err);
    int (*step)(struct store_snapshot *snapshot, bool *ret_whole, struct err *err);
    void (*end)(struct store_snapshot *snapshot); /* NULL accepted */

    /* A copy that lies still: any thread, one at a time. Nothing is written beside it. */
    /** ERR_UNSUPPORTED when a newer program wrote it, ERR_CORRUPT when it is not ours or its tables are not those of its schema. */
    int (*open)(const char *dir, struct store_copy **ret, struct store_copy_info *ret_info, struct err *err);
    /** Reads all of it: ERR_CORRUPT when it is damaged. */
    int (*check)(struct store_copy *c, struct err *err);
    int (*meta)(struct store_copy *c, const char *key, char *ret, size_t size, struct err *err); /* "" when absent */
    /** The next blob by id; *ret_more false: no more, and the next call begins again. */
    int (*next_blob)(struct store_copy *c, struct store_copy_blob *ret, bool *ret_more, struct err *err);
    void (*close)(struct store_copy *c); /* NULL accepted */
};
