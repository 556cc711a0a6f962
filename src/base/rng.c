#include "base/rng.h"

#include "base/auto.h"
#include "base/sha256.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

static void kernel_fill(void *p, size_t n)
{
    for (char *at = p; n > 0;) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* no randomness: tokens would repeat */
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

/* Ids and tokens take 16 bytes at a time: a thread asks the kernel for several of them at once. What was handed out is wiped, and a child
 * begins with nothing, so that no two processes give the same. */
#define STOCK_BYTES 512
static _Thread_local char stock[STOCK_BYTES];
static _Thread_local size_t stock_left; /* at its end */

static void forget_stock(void)
{
    explicit_bzero(stock, sizeof(stock));
    stock_left = 0;
}

static void heed_forks(void)
{
    if (pthread_atfork(NULL, NULL, forget_stock) != 0)
        abort(); /* no randomness: tokens would repeat */
}

static void real_fill(void *self, void *p, size_t n)
{
    (void)self;
    if (n > STOCK_BYTES / 4) {
        kernel_fill(p, n);
        return;
    }
    if (n > stock_left) {
        kernel_fill(stock, sizeof(stock));
        stock_left = sizeof(stock);
    }
    char *from = stock + sizeof(stock) - stock_left;
    memcpy(p, from, n);
    explicit_bzero(from, n);
    stock_left -= n;
}

struct rng rng_real(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, heed_forks);
    return (struct rng){.fill = real_fill};
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void seeded_fill(void *self, void *p, size_t n)
{
    struct rng_seeded *seeded = self;
    for (char *at = p; n > 0;) {
        uint64_t v = splitmix64(&seeded->state);
        size_t take = MIN(n, sizeof(v));
        memcpy(at, &v, take);
        at += take;
        n -= take;
    }
}

struct rng rng_seeded_view(struct rng_seeded *seeded)
{
    return (struct rng){.fill = seeded_fill, .self = seeded};
}

uint64_t rng_u64(struct rng rng)
{
    uint64_t v;
    rng.fill(rng.self, &v, sizeof(v));
    return v;
}

void rng_hex128(struct rng rng, char ret[33])
{
    uint8_t b[16];
    rng.fill(rng.self, b, sizeof(b));
    hex_format(b, sizeof(b), ret);
}
