#pragma once
/* Which keys are surely not in the index: most of those that are looked for are new, and a look for them would read pages in vain. A Bloom
 * filter in blocks of a cache line. Its shares, of the hashes by their highest bits, grow one by one: ten bits a key, which is one look in a
 * hundred in vain, up to 32 MiB (27 million keys). Keys that went stay in a share until it is made anew. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_FILTER_SHARES 64u

struct key_filter;
/** Every share empty. NULL: no memory. To be freed. */
struct key_filter *key_filter_new(void);
void key_filter_free(struct key_filter *f); /* NULL accepted */
bool key_filter_may_hold(const struct key_filter *f, int64_t hash);
void key_filter_add(struct key_filter *f, int64_t hash);
/** A share that holds more keys than it tells apart; -1: none does. */
int key_filter_full(const struct key_filter *f);
/** The hashes of a share, from `ret` on: so many. */
#define KEY_FILTER_SPAN (INT64_C(1) << 58)
static inline int64_t key_filter_first(unsigned share)
{
    return (int64_t)((uint64_t)share << 58);
}
/** Empties a share, and makes room for n keys and a quarter as many again, at least. Without memory it stays as large as it was. */
void key_filter_clear(struct key_filter *f, unsigned share, int64_t n);
/** Takes every key of a share for one that it may hold. */
void key_filter_doubt(struct key_filter *f, unsigned share);
