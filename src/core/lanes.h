#pragma once
/* Lanes: where ready jobs stand, and who is next. Pure: values in, a decision out. */
#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lane {
    int64_t lane_id;
    const char *project, *queue, *task_type;
    int priority;
    uint64_t ready; /* jobs standing in it */
    usec oldest_at; /* when its head became ready; 0 unknown */
    bool paused;    /* its queue is: nobody takes from it */
};

struct want {
    const char *const *task_types; /* what the worker can run */
    size_t n_task_types;
    const char *const *queues; /* empty: any queue */
    size_t n_queues;
    unsigned slots;
};

bool lane_fits(const struct lane *lane, const struct want *want);

/** Chooses what a worker gets: priorities high first, ageing one step of priority for every `age_us` waited; equal lanes share
 * round robin by oldest head.
 * @param ret_take  how many to take from each lane, same order as `lanes`; sums to at most want->slots. Never fails. */
void lanes_choose(const struct lane *lanes, size_t n, const struct want *want, usec now_us, unsigned *ret_take);

#define LANE_AGE_US (INT64_C(60) * USEC_PER_SEC)
