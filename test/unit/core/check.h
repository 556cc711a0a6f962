#pragma once
/* What the tests of core share: cmocka, a job to begin with, a seed that is printed and taken back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "core/job.h"
#include <inttypes.h>

#define NOW (INT64_C(1795582800) * USEC_PER_SEC)

static inline struct job fresh_job(void)
{
    return (struct job){
        .project = "default",
        .queue = "video",
        .task_type = "transcode",
        .priority = 5,
        .payload = "{}",
        .labels = "{}",
        .max_attempts = 5,
        .created_at = NOW,
        .run_at = NOW,
        .status = JOB_PENDING,
        .progress = -1,
        .version = 1,
    };
}

static inline struct token a_token(uint32_t attempt, uint8_t byte)
{
    struct token t = {.attempt = attempt};

    memset(t.secret, byte, sizeof(t.secret));
    return t;
}

/** HAUL_SEED in the environment replays a run. */
static inline struct rng_seeded test_seed(void)
{
    const char *given = getenv("HAUL_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : rng_u64(rng_real());

    print_message("seed: HAUL_SEED=%" PRIu64 "\n", seed);
    return (struct rng_seeded){.state = seed};
}
