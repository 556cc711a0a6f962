#pragma once
/* Dead letters counted by fingerprint, where the server does not keep the count. */
#include "cli/command.h"

/* Each as GET /v1/dlq has it: {fingerprint, task_type, jobs, first_failed_at, last_failed_at, job_id, outcome, error_log}; the last three of the
 * job that failed last. */
struct groups {
    json_t *by_fingerprint; /* object; json_decref */
};

/** One dead letter more; of filter_walk, `arg` is a struct groups. @return EXIT_OK, or the status of an error that was printed */
int groups_take(void *arg, json_t *job);
/** Their array, most jobs first. json_decref; NULL out of memory. */
json_t *groups_sorted(const struct groups *g);
/** First line of why a job, or the example of a group, failed; its outcome when nothing was said. free(); NULL out of memory. */
char *dlq_cause(const json_t *job);
