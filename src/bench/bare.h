#pragma once
/* What the disk, and SQLite on it, reach alone: the limits that a server's figures are read against. Measured in the same run and folder, in
 * slices before and after the load, because disks and neighbours change from minute to minute. */
#include "base/err.h"
#include "bench/latency.h"

struct bare_rate {
    unsigned batch; /* rows a transaction; of the disk: 1 */
    uint64_t done;  /* synced writes, or rows */
    int64_t ns;
    struct latency latency; /* of one sync, or one commit */
};

#define BARE_SQLITE 3

struct bare {
    struct bare_rate sync;
    struct bare_rate sqlite[BARE_SQLITE]; /* 1, 100, and the load's own batch when it is another */
    unsigned n_sqlite;
    char *dir; /* a folder of its own */
    int fd;
    uint64_t at;
    struct sqlite3 *db;
    uint64_t rows;
};

/** Makes `dir`, which must not be there. @param batch  of the load */
int bare_open(struct bare *b, const char *dir, unsigned batch, struct err *err);
/** Another slice of each: about `ns` long. */
int bare_slice(struct bare *b, int64_t ns, struct err *err);
/** One synced write: 4 KiB in the middle of a file, as pwrite and fdatasync. @param ret_ns  how long it took */
int bare_sync(struct bare *b, int64_t *ret_ns, struct err *err);
void bare_close(struct bare *b); /* and removes the folder */
double bare_per_second(const struct bare_rate *r);
