/* The trace that a job is part of goes with its row, wherever that is moved. */
#include "suite.h"

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define STATE  "rojo=00f067aa0ba902b7"

static void assert_traced(const struct job *job)
{
    assert_string_equal(job->traceparent, PARENT);
    assert_string_equal(job->tracestate, STATE);
}

static void assert_kept(struct world *w, struct uuid id)
{
    struct job job = get(w, id);

    assert_traced(&job);
}

static struct op *traced_op(struct world *w, const char *key)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.traceparent = PARENT;
    op->u.submit.job.tracestate = STATE;
    op->u.submit.job.dedup_key = key;
    return op;
}

static void test_a_trace_is_kept_to_the_end_and_beyond(void **state)
{
    struct world *w = *state;
    struct op *op = traced_op(w, NULL);

    apply(w, op);
    assert_ok(op);
    assert_traced(&op->u.submit.job);
    struct job job = claim(w, w->worker, "encode");
    assert_traced(&job);
    apply(w, op = fail_op(w, &job, OUTCOME_ERROR, true)); /* a dead letter */
    assert_ok(op);
    assert_kept(w, job.job_id);
    apply(w, op = job_op(w, OP_RETRY, job.job_id));
    assert_ok(op);
    job = claim(w, w->worker, "encode");
    assert_traced(&job);
    apply(w, op = complete_op(w, &job, NULL, 0)); /* moved to history */
    assert_ok(op);
    assert_kept(w, job.job_id);
}

static void test_without_a_trace_there_is_none(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode"), kept = get(w, job.job_id);
    assert_null(job.traceparent);
    assert_null(job.tracestate);
    assert_null(kept.traceparent);
}

static void test_the_first_job_of_a_key_keeps_its_trace(void **state)
{
    struct world *w = *state;
    struct op *first = traced_op(w, "k"), *again = traced_op(w, "k");

    again->u.submit.job.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00";
    again->u.submit.job.tracestate = NULL;
    apply(w, first);
    apply(w, again);
    assert_ok(again);
    assert_true(again->u.submit.duplicate);
    assert_traced(&again->u.submit.job);
}

static void assert_end(const struct op *op, const struct job *job, enum outcome outcome, usec took_us)
{
    assert_ok(op);
    assert_int_equal(op->n_ends, 1);
    const struct attempt_end *end = &op->ends[0];
    assert_true(uuid_equal(&end->job_id, &job->job_id));
    assert_int_equal(end->attempt, job->attempt);
    assert_int_equal(end->outcome, outcome);
    assert_int_equal(end->ended_at - end->began_at, took_us);
    assert_string_equal(end->queue, "encode");
    assert_string_equal(end->traceparent, PARENT);
    assert_string_equal(end->tracestate, STATE);
}

static void test_each_end_of_an_attempt_is_told_once(void **state)
{
    struct world *w = *state;
    struct op *op = traced_op(w, NULL), *again;

    apply(w, op);
    struct job job = claim(w, w->worker, "encode");
    later(w, USEC_PER_SEC);
    op = fail_op(w, &job, OUTCOME_ERROR, true);
    again = fail_op(w, &job, OUTCOME_ERROR, true);
    apply(w, op);
    assert_end(op, &job, OUTCOME_ERROR, USEC_PER_SEC);
    assert_int_equal(op->ends[0].status, JOB_FAILED);
    assert_non_null(op->ends[0].error);
    assert_true(uuid_equal(&op->ends[0].worker_id, &w->worker));
    apply(w, again);
    assert_ok(again);
    assert_int_equal(again->n_ends, 0);
    apply(w, job_op(w, OP_RETRY, job.job_id));
    job = claim(w, w->worker, "encode");
    assert_ok(heartbeat(w, &job));
    later(w, w->policy.lease_us);
    op = sweep(w, OP_SWEEP_LEASES);
    assert_end(op, &job, OUTCOME_LOST, w->policy.lease_us);
    assert_null(op->ends[0].error); /* the words of the attempt before are none of this one's */
    job = claim(w, w->worker, "encode");
    apply(w, op = complete_op(w, &job, NULL, 0));
    assert_end(op, &job, OUTCOME_SUCCESS, 0);
    assert_null(op->ends[0].error);
}

static void test_an_expired_job_is_told_with_its_wait(void **state)
{
    struct world *w = *state;
    struct op *op = traced_op(w, NULL);

    op->u.submit.start_within_us = USEC_PER_SEC;
    apply(w, op);
    struct job job = op->u.submit.job;
    later(w, 2 * USEC_PER_SEC);
    assert_end(sweep(w, OP_SWEEP_DUE), &job, OUTCOME_EXPIRED, 2 * USEC_PER_SEC);
}

const struct CMUnitTest trace_tests[] = {
    TEST(test_a_trace_is_kept_to_the_end_and_beyond),  TEST(test_without_a_trace_there_is_none),
    TEST(test_the_first_job_of_a_key_keeps_its_trace), TEST(test_each_end_of_an_attempt_is_told_once),
    TEST(test_an_expired_job_is_told_with_its_wait),
};
const size_t n_trace_tests = ARRAY_LEN(trace_tests);
