#pragma once
/* Whether two ops ask for the same. Used by the unit test and the fuzz target of submissions. */
#include "api/submission_plain.h"

static inline bool text_alike(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/** What submission_plain and submission_strict fill in. */
static inline bool submissions_alike(const struct op_submit *a, const struct op_submit *b)
{
    const struct job *j = &a->job, *k = &b->job;

    return text_alike(j->task_type, k->task_type) && text_alike(j->queue, k->queue) &&
           text_alike(j->payload, k->payload) && text_alike(j->payload_ref, k->payload_ref) &&
           text_alike(j->labels, k->labels) && text_alike(j->dedup_key, k->dedup_key) &&
           text_alike(j->traceparent, k->traceparent) && text_alike(j->tracestate, k->tracestate) &&
           j->n_inputs == k->n_inputs && j->priority == k->priority && j->max_attempts == k->max_attempts &&
           j->timeout_us == k->timeout_us && j->no_progress_us == k->no_progress_us && j->run_at == k->run_at &&
           a->delay_us == b->delay_us && a->start_within_us == b->start_within_us && a->dedup_us == b->dedup_us;
}
