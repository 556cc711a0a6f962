#include "base/xxh128_update.h"
#include <stdlib.h>
#include <string.h>

struct xxh128 *xxh128_new(void)
{
    struct xxh128 *x = aligned_alloc(_Alignof(struct xxh128), sizeof(*x));

    if (x)
        xxh128_reset(x);
    return x;
}

void xxh128_free(struct xxh128 *x)
{
    free(x);
}

void xxh128_reset(struct xxh128 *x)
{
    XXH3_128bits_reset(&x->state);
}

void xxh128_update_any(struct xxh128 *x, const void *p, size_t n)
{
    XXH3_128bits_update(&x->state, p, n);
}

void xxh128_add(struct xxh128 *x, const void *p, size_t n)
{
    if (n == 0)
        return;
#ifdef XXH128_AVX2
    if (__builtin_cpu_supports("avx2")) {
        xxh128_update_avx2(x, p, n);
        return;
    }
#endif
    xxh128_update_any(x, p, n);
}

void xxh128_digest(const struct xxh128 *x, uint8_t ret[XXH128_BYTES])
{
    XXH128_canonical_t bytes;

    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(&x->state));
    memcpy(ret, bytes.digest, XXH128_BYTES);
}
