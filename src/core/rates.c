/* A step's place is its time modulo their number, as in tally.c. */
#include "core/rates.h"
#include "base/auto.h"

#define STEPS_A_MINUTE INT64_C(6)

_Static_assert(STEPS_A_MINUTE *RATES_STEP_US == 60 * USEC_PER_SEC, "a minute");

void rates_add(struct rates *r, enum rates_what what, uint64_t n, usec boot_us)
{
    const uint32_t at = (uint32_t)(boot_us / RATES_STEP_US);
    struct rates_step *step = &r->steps[at % RATES_STEPS];

    if (step->at != at)
        *step = (struct rates_step){.at = at};
    step->n[what] = (uint32_t)MIN(step->n[what] + n, (uint64_t)UINT32_MAX);
}

double rates_per_min(const struct rates *r, enum rates_what what, usec began_us, usec boot_us)
{
    const int64_t now = boot_us / RATES_STEP_US, counted = now - began_us / RATES_STEP_US + 1;
    const int64_t steps = MIN(MAX(counted, STEPS_A_MINUTE), (int64_t)RATES_STEPS);
    uint64_t sum = 0;

    for (size_t i = 0; i < RATES_STEPS; i++)
        if (r->steps[i].at > now - RATES_STEPS)
            sum += r->steps[i].n[what];
    return (double)sum * (double)STEPS_A_MINUTE / (double)steps;
}
