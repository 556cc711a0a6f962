#pragma once
/* A blob's bytes are held against what its row knows of them whenever they are read, the sum where that counts, else the SHA-256: what a disk has changed is never
 * served as good. */
#include "base/clock.h"
#include "base/err.h"
#include "blob/blob.h"
#include "http/http.h"
#include "store/store.h"
#include <pthread.h>
#include <stdatomic.h>

#define BLOB_CHECKS_KEPT 256

/** A blob that was read in full and found good: its bytes as they were then. */
struct blob_checked {
    struct uuid blob_id;
    uint64_t stamp[2];
    usec at_us; /* CLOCK_BOOTTIME */
};

struct blob_checks {
    struct clock clock;
    pthread_mutex_t lock;
    struct blob_checked kept[BLOB_CHECKS_KEPT]; /* a ring */
    size_t next;
    atomic_uint_least64_t damaged; /* how often damage was met */
};
void blob_checks_init(struct blob_checks *c, struct clock clock);
void blob_checks_release(struct blob_checks *c);

/** Whether the row's fast sum may stand for its SHA-256: it is there, and the bytes lie with us. It shows damage, not forgery, and is no proof against a store's
 * owner (ADR 39). */
bool blob_sum_counts(const struct blob_reader *r, const struct blob_row *row);

/** Up to this size, bytes are looked at before the answer begins, so that damage is a plain error. */
#define BLOB_CHECK_FIRST_MAX (INT64_C(1) << 20)

/** Reads all of it, unless that was done within the last hour and nobody has written to the bytes since. ERR_CORRUPT: these are not the
 * bytes that were stored. For a part of a blob, and for small ones. Any thread that may wait for a disk. */
int blob_check_all(struct blob_checks *c, struct blob_reader *r, const struct blob_row *row, struct err *err);
/** For a whole one, while it is sent: the last piece is held back until they are found good, else the answer is cut before it.
 * @param row  copied. `add` NULL: no memory. */
struct http_file_check blob_check_sent(struct blob_checks *c, const struct blob_reader *r, const struct blob_row *row);
