#include "base/sha256_behind.h"

#define WORTH_BYTES ((size_t)64 << 10) /* 50 us of hashing: below it, waking a thread costs more */

void sha256_behind_init(struct sha256_behind *b, struct sha256 *hash, struct pool *pool)
{
    *b = (struct sha256_behind){.hash = hash, .pool = pool};
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->moved, NULL);
}

static void follow(void *arg)
{
    struct sha256_behind *b = arg;
    pthread_mutex_lock(&b->lock);
    while (b->hashed < b->added) {
        const void *p = b->pieces[b->hashed % SHA256_BEHIND].p;
        const size_t n = b->pieces[b->hashed % SHA256_BEHIND].n;
        pthread_mutex_unlock(&b->lock);
        sha256_add(b->hash, p, n);
        pthread_mutex_lock(&b->lock);
        b->hashed++;
        pthread_cond_signal(&b->moved);
    }
    b->follows = false;
    pthread_cond_signal(&b->moved);
    pthread_mutex_unlock(&b->lock); /* `b` may be gone from here on */
}

bool sha256_behind_add(struct sha256_behind *b, const void *p, size_t n)
{
    pthread_mutex_lock(&b->lock);
    while (b->added - b->hashed == SHA256_BEHIND)
        pthread_cond_wait(&b->moved, &b->lock);
    if (!b->follows)
        b->follows = b->pool && n >= WORTH_BYTES && pool_run(b->pool, follow, b, NULL) == ERR_OK;
    const bool away = b->follows;
    if (away) {
        b->pieces[b->added % SHA256_BEHIND].p = p;
        b->pieces[b->added % SHA256_BEHIND].n = n;
        b->added++;
    }
    pthread_mutex_unlock(&b->lock);
    if (!away)
        sha256_add(b->hash, p, n);
    return away;
}

void sha256_behind_wait(struct sha256_behind *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->follows)
        pthread_cond_wait(&b->moved, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void sha256_behind_release(struct sha256_behind *b)
{
    pthread_cond_destroy(&b->moved);
    pthread_mutex_destroy(&b->lock);
}
