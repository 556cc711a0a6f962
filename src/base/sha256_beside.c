#include "base/sha256_beside.h"
#include <errno.h>

#define WORTH_BYTES ((size_t)64 << 10) /* 50 us of hashing: below it, waking a thread costs more */

static void add(void *arg)
{
    struct sha256_beside *b = arg;
    sha256_add(b->hash, b->p, b->n);
    sem_post(&b->done); /* `b` may be gone from here on */
}

void sha256_beside_begin(struct sha256_beside *b, struct pool *pool, struct sha256 *hash, const void *p, size_t n)
{
    *b = (struct sha256_beside){.hash = hash, .p = p, .n = n};
    if (pool && n >= WORTH_BYTES && sem_init(&b->done, 0, 0) == 0) {
        b->away = pool_run(pool, add, b, NULL) == ERR_OK;
        if (!b->away)
            sem_destroy(&b->done);
    }
    if (!b->away)
        sha256_add(hash, p, n);
}

void sha256_beside_end(struct sha256_beside *b)
{
    if (!b->away)
        return;
    while (sem_wait(&b->done) != 0 && errno == EINTR)
        ;
    sem_destroy(&b->done);
    b->away = false;
}
