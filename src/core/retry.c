#include "core/job.h"

usec backoff_us(const struct policy *p, uint32_t retries, uint64_t dice)
{
    usec ceiling = p->backoff_base_us;

    if (ceiling <= 0 || p->backoff_cap_us <= 0)
        return 0;
    for (uint32_t i = 0; i < retries && ceiling < p->backoff_cap_us; i++)
        ceiling = ceiling > p->backoff_cap_us / 2 ? p->backoff_cap_us : ceiling * 2;
    if (ceiling > p->backoff_cap_us)
        ceiling = p->backoff_cap_us;

    /* The dice scaled to 0..ceiling: the high half of a 128-bit product has less bias than a modulus and no loop. */
    unsigned __int128 product = (unsigned __int128)dice * ((uint64_t)ceiling + 1);

    return (usec)(product >> 64);
}
