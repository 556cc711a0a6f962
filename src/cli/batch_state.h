#pragma once
/* How far a batch has come: a small file beside the batch's own, so that the same command goes on where it stopped. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>

#define BATCH_KEY_MAX 200

/* What tells one content of a file from another, without reading all of it. */
struct batch_identity {
    int64_t size, mtime_ns;
    char head_sha256[65]; /* of the first 64 KiB */
};

struct batch_state {
    struct batch_identity file;
    char key[BATCH_KEY_MAX + 1]; /* the run's: batches derive their Idempotency-Key from it */
    char *server;                /* keys mean nothing elsewhere */
    char *options;               /* the line's defaults as the user gave them ("10m") */
    char *defaults;              /* and as they are sent: an instant stays the one of the first start */
    int64_t offset, line;        /* acknowledged: bytes, and the number of the last line */
    int64_t created, duplicates, refused;
    int64_t ids_bytes, rejects_bytes; /* lengths of --ids and --rejects at that point */
    bool under_way;                   /* a batch may have been sent of which nothing is recorded here */
    usec saved_at;
};

/** @param fd  a regular file; its offset is not moved */
int batch_identity_read(int fd, struct batch_identity *ret, struct err *err);
bool batch_identity_equal(const struct batch_identity *a, const struct batch_identity *b);

/** ERR_NOT_FOUND when there is none; ERR_CORRUPT when it cannot be read as one. batch_state_release. */
int batch_state_load(const char *path, struct batch_state *ret, struct err *err);
/** Durable when it returns. */
int batch_state_save(const char *path, const struct batch_state *s, struct err *err);
void batch_state_release(struct batch_state *s);
