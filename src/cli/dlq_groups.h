#pragma once
/* Dead letters of one fingerprint, counted. */
#include "cli/command.h"

#define DLQ_LOOK_DEFAULT 100000 /* dead letters looked at to group them */

struct groups {
    json_t *
        by_fingerprint; /* object: fingerprint -> {fingerprint, task_type, jobs, first_failed_at, last_failed_at, job_id, cause};
                             * job_id and cause are of the one that failed last. json_decref */
    int64_t looked_at;
};

/** One dead letter more; of filter_walk, `arg` is a struct groups. @return EXIT_OK, or the status of an error that was printed */
int groups_take(void *arg, json_t *job);
/** Their array, most jobs first. json_decref; NULL out of memory. */
json_t *groups_sorted(const struct groups *g);
/** First line of why a job failed; its outcome when nothing was said. free(); NULL out of memory. */
char *dlq_cause(const json_t *job);
