/* xxh128.c's loop once more, compiled for processors with AVX2: half the time. The state is the same for both. */
#define XXH_INLINE_ALL
#include <stddef.h>
#include <xxhash.h>

void xxh128_add_avx2(XXH3_state_t *state, const void *p, size_t n);

void xxh128_add_avx2(XXH3_state_t *state, const void *p, size_t n)
{
    XXH3_128bits_update(state, p, n);
}
