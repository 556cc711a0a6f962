#pragma once
/* The requests, made once and patched in place: what changes from one to the next has a fixed width. They are those of an ordinary client:
 * its headers, a key that makes asking again safe, a payload and labels of ordinary size. */
#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

#define FORM_ITEM_BYTES 512 /* at most, of one submission */

/** A submission of `batch` jobs. */
struct form {
    struct buf text;
    unsigned batch;
    size_t key_at, item_at, stride, number_in_item, stamp_in_item;
};

struct names {
    const char *host, *type, *queue; /* borrowed; type and queue are names of the API: no escaping */
    char run[17];                    /* 16 hex digits, other ones in each run */
};

int form_init(struct form *f, const struct names *names, unsigned batch, struct err *err);
void form_release(struct form *f);
/** Jobs first..first+batch-1, stamped with when they are asked for: life and start find the stamp in the claim's payload. */
void form_fill(struct form *f, uint64_t first, uint64_t stamp_ns);

/** Headers of a POST with a JSON body of `n` bytes; `extra` is "" or whole header lines. */
void request_head(struct buf *b, const char *host, const char *path, const char *extra, size_t n);

void request_get(struct buf *b, const char *host, const char *path);

/** What a claim says of a job. */
struct claim {
    char job_id[37];
    char token[96];
    unsigned attempt;
    uint64_t stamp_ns; /* 0: no job of this run */
};
void lease_write(struct buf *b, const struct names *names, const char *worker_id, uint64_t poll, unsigned slots,
                 const char *wait);
void complete_write(struct buf *b, const struct names *names, const struct claim *c);
/** The claims in a lease's answer: one a call, *pos = 0 at first. @return 1: one; 0: no more; -1: this is no such answer */
int claim_next(const char *text, size_t n, const struct names *names, size_t *pos, struct claim *ret);
