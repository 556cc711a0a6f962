#pragma once
/* A piece is hashed on another thread while its owner writes it: SHA-256 takes longer than anything else that is done with a large file. */
#include "base/pool.h"
#include "base/sha256.h"
#include <semaphore.h>

struct sha256_beside {
    struct sha256 *hash;
    const void *p;
    size_t n;
    sem_t done;
    bool away;
};

/**
 * Adds a piece to a digest, beside the caller when the pool has an idle thread, else at once.
 *
 * @param pool  made with a queue of 0; NULL: at once
 *
 * Until sha256_beside_end the piece must stay as it is, and nobody else touches `hash`. Never fails.
 */
void sha256_beside_begin(struct sha256_beside *b, struct pool *pool, struct sha256 *hash, const void *p, size_t n);
/** Waits until it is added. */
void sha256_beside_end(struct sha256_beside *b);
