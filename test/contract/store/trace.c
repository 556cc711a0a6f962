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

const struct CMUnitTest trace_tests[] = {
    TEST(test_a_trace_is_kept_to_the_end_and_beyond),
    TEST(test_without_a_trace_there_is_none),
    TEST(test_the_first_job_of_a_key_keeps_its_trace),
};
const size_t n_trace_tests = ARRAY_LEN(trace_tests);
