#include "store/sqlite/key_filter.h"
#include <stdlib.h>
#include <string.h>

#define BITS_A_KEY 10
#define BLOCK_BITS 512
#define BLOCKS_MIN 64u   /* 4 KiB a share, */
#define BLOCKS_MAX 8192u /* to 512 */

struct share {
    uint64_t (*blocks)[BLOCK_BITS / 64];
    size_t n_blocks;     /* a power of two */
    int64_t added, most; /* since it was cleared; when it is to be made anew */
};

struct key_filter {
    struct share shares[KEY_FILTER_SHARES];
};

static size_t share_of(int64_t hash)
{
    return (size_t)((uint64_t)hash >> 58);
}

/** Looks at four bits of the hash's block, or sets them. @return whether all of them were set */
static bool bits(const struct share *s, int64_t hash, bool set)
{
    uint64_t h = (uint64_t)hash, *block = s->blocks[(h >> 40) & (s->n_blocks - 1)];
    bool all = true;

    for (int i = 0; i < 4; i++, h >>= 9) {
        uint64_t bit = UINT64_C(1) << (h & 63);
        all = all && (block[(h >> 6) & 7] & bit);
        if (set)
            block[(h >> 6) & 7] |= bit;
    }
    return all;
}

bool key_filter_may_hold(const struct key_filter *f, int64_t hash)
{
    return bits(&f->shares[share_of(hash)], hash, false);
}

void key_filter_add(struct key_filter *f, int64_t hash)
{
    struct share *s = &f->shares[share_of(hash)];

    bits(s, hash, true);
    s->added++;
}

int key_filter_full(const struct key_filter *f)
{
    for (unsigned i = 0; i < KEY_FILTER_SHARES; i++)
        if (f->shares[i].added > f->shares[i].most)
            return (int)i;
    return -1;
}

static size_t blocks_for(int64_t n)
{
    size_t blocks = BLOCKS_MIN;

    while (blocks < BLOCKS_MAX && (int64_t)blocks * BLOCK_BITS < n * BITS_A_KEY / 4 * 5)
        blocks *= 2;
    return blocks;
}

void key_filter_clear(struct key_filter *f, unsigned share, int64_t n)
{
    struct share *s = &f->shares[share];
    size_t blocks = blocks_for(n);
    void *larger = blocks == s->n_blocks ? NULL : calloc(blocks, sizeof(*s->blocks));

    if (larger) {
        free(s->blocks);
        s->blocks = larger;
        s->n_blocks = blocks;
    } else {
        memset(s->blocks, 0, s->n_blocks * sizeof(*s->blocks));
    }
    s->added = 0;
    s->most = (int64_t)s->n_blocks * BLOCK_BITS / BITS_A_KEY;
    if (s->most < 2 * n) /* it is as large as it may be, and must not be made anew for each key */
        s->most = 2 * n;
}

void key_filter_doubt(struct key_filter *f, unsigned share)
{
    memset(f->shares[share].blocks, 0xff, f->shares[share].n_blocks * sizeof(*f->shares[share].blocks));
}

struct key_filter *key_filter_new(void)
{
    struct key_filter *f = calloc(1, sizeof(*f));

    for (unsigned i = 0; f && i < KEY_FILTER_SHARES; i++) {
        struct share *s = &f->shares[i];
        if (!(s->blocks = calloc(BLOCKS_MIN, sizeof(*s->blocks)))) {
            key_filter_free(f);
            return NULL;
        }
        s->n_blocks = BLOCKS_MIN;
        s->most = (int64_t)BLOCKS_MIN * BLOCK_BITS / BITS_A_KEY;
    }
    return f;
}

void key_filter_free(struct key_filter *f)
{
    for (unsigned i = 0; f && i < KEY_FILTER_SHARES; i++)
        free(f->shares[i].blocks);
    free(f);
}
