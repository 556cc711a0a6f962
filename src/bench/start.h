#pragma once
/* How soon an idle system answers: one submission; one until a waiting worker holds its lease; one until its handler runs. */
#include "bench/bench.h"
#include "bench/form.h"
#include "bench/ground.h"

struct start {
    struct ground *ground; /* borrowed */
    const struct names
        *names; /* borrowed: one for each server; jobs are submitted to the first and leased at the last */
    unsigned samples;
    bool (*stop)(void);
    struct bench_step steps[BENCH_STEPS];
    unsigned n_steps;
};

int start_run(struct start *s, struct err *err);
