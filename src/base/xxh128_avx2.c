/* Compiled with -mavx2. */
#define XXH_VECTOR XXH_AVX2
#include "base/xxh128_update.h"

void xxh128_update_avx2(struct xxh128 *x, const void *p, size_t n)
{
    XXH3_128bits_update(&x->state, p, n);
}
