#pragma once
/* What the engine counts of its own work. Counted and copied on the engine's thread, without locks; rendered by whoever wants it. */
#include "base/arena.h"
#include "base/err.h"
#include "base/histogram.h"
#include "core/job.h"
#include "core/rates.h"
#include "engine/alerts.h"
#include "engine/window.h"
#include "store/store.h"

struct engine;

/* Pairs of queue and task type that are told apart. Those that come later are counted together, as METRICS_OTHER. */
#define METRICS_PAIRS_MAX 1000
#define METRICS_OTHER     "other"
/* Lanes that a copy looks at for the age of what stands in them. */
#define METRICS_LANES_MAX 10000

enum submission { SUBMISSION_ACCEPTED, SUBMISSION_DUPLICATE, SUBMISSION_REFUSED, SUBMISSION_COUNT };

struct metrics_pair {
    const char *queue, *task_type; /* borrowed from the engine: live as long as it does */
    uint64_t submissions[SUBMISSION_COUNT];
    uint64_t ended[OUTCOME_COUNT]; /* attempts; EXPIRED: jobs whose start deadline passed */
    uint64_t finished
        [JOB_STATUS_COUNT]; /* jobs that became success, failed or cancelled by the end of an attempt, or expired */
    struct rates rates;     /* jobs: accepted; become success; become failed */
    struct histogram complete_us; /* from a job's submission to its success */
    struct histogram start_us;    /* from when a job became due to its claim */
    struct histogram run_us;      /* from the claim to the worker's report */
    uint64_t ready;               /* in a copy: jobs that stand in lanes */
    usec oldest_at;               /* in a copy: when the oldest of them became ready; 0 none */
};

struct engine_metrics {
    struct metrics_pair *pairs; /* [0] is METRICS_OTHER */
    size_t n_pairs;
    struct histogram commit_us, commit_ops; /* a batch: until it was decided, and how many ops it had */
    uint64_t commits_failed;
    size_t redrives;                         /* that run */
    uint64_t redriven[REDRIVE_ACTION_COUNT]; /* jobs */
    size_t ops_waiting, polls_held;
    struct window_totals last_1m, last_5m; /* of all pairs; `at`: how long that was */
    usec now;                              /* the store's */
    usec boot_us, began_boot_us;           /* the engine's now, and when it began to count: for rates */
    struct engine_alerts alerts;
};

extern const struct histogram_bounds metrics_start_bounds, metrics_run_bounds, metrics_commit_bounds,
    metrics_batch_bounds;

/** Keeps the totals of now, every few seconds. */
void metrics_sample(struct engine *e);
/** On the engine's thread: copies bounded arrays into `arena` and nothing more. */
int engine_metrics(struct engine *e, struct arena *arena, struct engine_metrics *ret, struct err *err);
