#pragma once
/* Objectives: what share of jobs is promised to start in time, or to succeed; how much of the error budget is left, and how fast it burns.
 * Pure: tallies in, a judgement out. */
#include "core/job.h"
#include "core/tally.h"

#define OBJECTIVES_MAX        32
#define OBJECTIVE_WINDOW_MIN  (INT64_C(3600) * USEC_PER_SEC)
#define OBJECTIVE_WINDOW_MAX  TALLY_US
#define OBJECTIVE_BURNS_COUNT 4

enum objective_kind { OBJECTIVE_START, OBJECTIVE_SUCCESS };

struct objective {
    const char *name;
    const char *task_type, *queue; /* NULL: of all */
    enum objective_kind kind;
    usec within_us; /* START: from when a job became due to its claim */
    double target;  /* the share that is promised: above 0, below 1 */
    bool keep_dead; /* SUCCESS: a dead letter is a promise that was kept */
    usec window_us; /* over which the budget is */
};

enum objective_verdict { VERDICT_NONE, VERDICT_GOOD, VERDICT_BAD };

bool objective_covers(const struct objective *o, const char *queue, const char *task_type);
/** A claim of a job that it covers. @param waited_us  since the job became due */
enum objective_verdict objective_start(const struct objective *o, usec waited_us);
/** A job that it covers: an attempt ended in `outcome`, and the job became `status`. */
enum objective_verdict objective_end(const struct objective *o, enum outcome outcome, enum job_status status);

/* Over these spans burn rates are told: 1 is what spends the budget in just its window. */
enum objective_burn { BURN_5M, BURN_30M, BURN_1H, BURN_6H };
extern const usec objective_burn_spans[OBJECTIVE_BURNS_COUNT];

enum objective_state { OBJECTIVE_OK, OBJECTIVE_SLOW_BURN, OBJECTIVE_FAST_BURN };
struct objective_report {
    struct tally_sum window;            /* events in the window */
    double budget_left;                 /* 1: untouched; 0: spent; below: overspent */
    double burn[OBJECTIVE_BURNS_COUNT]; /* NaN: no event */
    enum objective_state state;
};
/** @param counts  its own tally */
void objective_judge(const struct objective *o, const struct tally *counts, usec now_us, struct objective_report *ret);
/** The rate that is a fast (an hour and five minutes at it) or a slow burn (six hours and 30 minutes): what spends 2 % of the budget in an
 * hour, 5 % in six; at most half of what the objective can burn at all. */
double objective_fast_burn(const struct objective *o);
double objective_slow_burn(const struct objective *o);
const char *objective_kind_name(enum objective_kind kind);    /* "start", "success" */
const char *objective_state_name(enum objective_state state); /* "ok", "slow_burn", "fast_burn" */
