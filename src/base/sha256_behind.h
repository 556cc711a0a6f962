#pragma once
/* A large file is hashed on another thread behind its owner, who may be some pieces ahead: SHA-256 takes longer than anything else that is done
 * with it, and neither waits for the other at each piece. */
#include "base/pool.h"
#include "base/sha256.h"
#include <pthread.h>

#define SHA256_BEHIND 2 /* pieces that may not be hashed yet */

struct sha256_behind {
    struct sha256 *hash;
    struct pool *pool;
    struct {
        const void *p;
        size_t n;
    } pieces[SHA256_BEHIND]; /* by their number */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t added, hashed; /* pieces. lock */
    bool follows;         /* a task does, until it has caught up. lock */
};

/** @param hash  borrowed; nobody else touches it, unless sha256_behind_wait() was called last
 * @param pool  borrowed; made with a queue of 0: where it has no idle thread pieces are hashed at once. NULL: always */
void sha256_behind_init(struct sha256_behind *b, struct sha256 *hash, struct pool *pool);
/** The next bytes. They stay as they are until SHA256_BEHIND more pieces were added, or until the next sha256_behind_wait().
 * @return false when they are hashed already */
bool sha256_behind_add(struct sha256_behind *b, const void *p, size_t n);
/** All of it is hashed. */
void sha256_behind_wait(struct sha256_behind *b);
void sha256_behind_release(struct sha256_behind *b); /* after sha256_behind_wait() */
