#pragma once
/* What of XXH3 takes the time: once for every processor, and once for those with AVX2, which take a third of it (33 instead of 12 GB/s in a
 * cache). xxhash chooses when it is compiled, hence two compilations; the state is the same for both. */
#define XXH_INLINE_ALL /* its code becomes ours: no library is linked */
#include "base/xxh128.h"
#include <xxhash.h>

struct xxh128 {
    XXH3_state_t state; /* aligned further than malloc would */
};

void xxh128_update_any(struct xxh128 *x, const void *p, size_t n);
#if defined(__x86_64__)
#define XXH128_AVX2
void xxh128_update_avx2(struct xxh128 *x, const void *p, size_t n); /* only where the processor has it */
#endif
