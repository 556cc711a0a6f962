#pragma once
/* Rates: how many jobs were submitted, succeeded and failed in the last five minutes, in steps of ten seconds. Pure and small: the engine
 * keeps one for each pair of queue and task type, for as long as it runs. */
#include "base/clock.h"
#include <stdint.h>

#define RATES_STEP_US (10 * USEC_PER_SEC)
#define RATES_STEPS   30

enum rates_what { RATE_SUBMITTED, RATE_SUCCEEDED, RATE_FAILED, RATE_COUNT };

struct rates {
    struct rates_step {
        uint32_t at; /* steps of the boot clock */
        uint32_t n[RATE_COUNT];
    } steps[RATES_STEPS];
};

/** @param boot_us  never goes back */
void rates_add(struct rates *r, enum rates_what what, uint64_t n, usec boot_us);
/** Of the step that runs and the 29 before it; of those since `began_us` where these are fewer, of six at least: so the figures change by
 * themselves at most once in a step. */
double rates_per_min(const struct rates *r, enum rates_what what, usec began_us, usec boot_us);
