/* Drained workers: they are given nothing more, and nothing else changes. */
#include "suite.h"

#define GONE_US (90 * USEC_PER_SEC)

static struct op *drain_op(struct world *w, enum op_kind kind, struct uuid worker)
{
    struct op *op = op_make(w, kind);

    op->u.drain.worker_id = worker;
    op->u.drain.gone_after_us = GONE_US;
    return op;
}

static struct op *drained(struct world *w, enum op_kind kind, struct uuid worker)
{
    struct op *op = drain_op(w, kind, worker);

    apply(w, op);
    assert_ok(op);
    return op;
}

static struct worker_row row_of(struct world *w, struct uuid worker)
{
    struct worker_row *rows = NULL;
    struct err err = {0};
    size_t n = 0;

    assert_int_equal(w->d->workers(w->s, w->arena, &rows, &n, &err), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (uuid_equal(&rows[i].worker_id, &worker))
            return rows[i];
    fail_msg("the worker is not known");
    return (struct worker_row){0};
}

static struct op *polled(struct world *w, struct uuid worker, const char *poll_id)
{
    struct op *op = claim_op(w, worker, poll_id, "encode", 2);

    apply(w, op);
    assert_ok(op);
    return op;
}

static void test_a_drained_worker_is_given_nothing(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    submit(w, "encode");
    struct job running = claim(w, w->worker, "encode");

    struct op *op = drain_op(w, OP_DRAIN, w->worker);
    op->u.drain.by = "ada";
    apply(w, op);
    assert_ok(op);
    assert_true(op->u.drain.changed);
    assert_int_equal(op->u.drain.at, w->d->now(w->s));
    assert_int_equal(row_of(w, w->worker).drained_at, op->u.drain.at);
    assert_string_equal(row_of(w, w->worker).drained_by, "ada");

    op = polled(w, w->worker, "p1");
    assert_true(op->u.claim.drained);
    assert_int_equal(op->u.claim.n_claimed, 0);
    assert_int_equal(op->n_changes, 0);
    assert_int_equal(ready(w, "encode"), 1);

    struct op *done = complete_op(w, &running, NULL, 0); /* what runs goes on, and counts */
    apply(w, heartbeat(w, &running));
    apply(w, done);
    assert_ok(done);
    assert_int_equal(get(w, running.job_id).status, JOB_SUCCESS);

    assert_true(drained(w, OP_UNDRAIN, w->worker)->u.drain.changed);
    assert_int_equal(row_of(w, w->worker).drained_at, 0);
    op = polled(w, w->worker, "p2");
    assert_false(op->u.claim.drained);
    assert_int_equal(op->u.claim.n_claimed, 1);
    assert_counts(w);
}

static void test_what_a_poll_was_given_before_it_is_given_again(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    assert_int_equal(polled(w, w->worker, "p")->u.claim.n_claimed, 1);
    drained(w, OP_DRAIN, w->worker);
    struct op *op = polled(w, w->worker, "p"); /* its answer was lost: the job is this worker's */
    assert_true(op->u.claim.again);
    assert_false(op->u.claim.drained);
    assert_int_equal(op->u.claim.n_claimed, 1);
}

static void test_others_are_served(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    polled(w, w->worker, "p0");
    submit(w, "encode");
    drained(w, OP_DRAIN, w->worker);
    assert_int_equal(polled(w, w->other, "p1")->u.claim.n_claimed, 1);
    assert_int_equal(row_of(w, w->other).drained_at, 0);
}

static void test_a_drain_in_the_same_batch_holds_for_what_stands_behind_it(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    submit(w, "encode");
    submit(w, "encode");
    struct op *before = claim_op(w, w->worker, "p1", "encode", 1), *drain = drain_op(w, OP_DRAIN, w->worker);
    struct op *after = claim_op(w, w->worker, "p2", "encode", 1), *again = drain_op(w, OP_UNDRAIN, w->worker);
    struct op *last = claim_op(w, w->worker, "p3", "encode", 1);
    apply_all(w, (struct op *[]){before, drain, after, again, last}, 5);
    assert_ok(drain);
    assert_ok(again);
    assert_int_equal(before->u.claim.n_claimed, 1);
    assert_true(after->u.claim.drained);
    assert_int_equal(after->u.claim.n_claimed, 0);
    assert_int_equal(last->u.claim.n_claimed, 1);
    assert_counts(w);
}

static void test_a_drain_outlives_the_process(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    claim(w, w->worker, "encode");
    submit(w, "encode");
    drained(w, OP_DRAIN, w->worker);
    world_reopen(w);
    assert_true(polled(w, w->worker, "p1")->u.claim.drained);
}

static void test_a_second_drain_is_the_first(void **state)
{
    struct world *w = *state;
    polled(w, w->worker, "p");
    struct op *op = drain_op(w, OP_DRAIN, w->worker);
    op->u.drain.by = "ada";
    apply(w, op);
    const usec at = op->u.drain.at;
    later(w, USEC_PER_SEC);
    op = drain_op(w, OP_DRAIN, w->worker);
    op->u.drain.by = "bob";
    apply(w, op);
    assert_ok(op);
    assert_false(op->u.drain.changed);
    assert_int_equal(op->u.drain.at, at);
    assert_string_equal(op->u.drain.by, "ada");
    assert_true(drained(w, OP_UNDRAIN, w->worker)->u.drain.changed);
    assert_false(drained(w, OP_UNDRAIN, w->worker)->u.drain.changed);
}

static void test_who_is_not_known_or_gone_is_refused(void **state)
{
    struct world *w = *state;
    struct op *op = drain_op(w, OP_DRAIN, w->worker);
    apply(w, op);
    assert_refused(op, ERR_NOT_FOUND);
    op = drain_op(w, OP_UNDRAIN, w->worker);
    apply(w, op);
    assert_refused(op, ERR_NOT_FOUND);

    polled(w, w->worker, "p");
    drained(w, OP_DRAIN, w->worker);
    later(w, GONE_US + USEC_PER_SEC);
    op = drain_op(w, OP_DRAIN, w->worker);
    apply(w, op);
    assert_refused(op, ERR_ILLEGAL_STATE);
    assert_true(drained(w, OP_UNDRAIN, w->worker)->u.drain.changed); /* so that it takes jobs when it comes back */
}

const struct CMUnitTest drain_tests[] = {
    TEST(test_a_drained_worker_is_given_nothing),
    TEST(test_what_a_poll_was_given_before_it_is_given_again),
    TEST(test_others_are_served),
    TEST(test_a_drain_in_the_same_batch_holds_for_what_stands_behind_it),
    TEST(test_a_drain_outlives_the_process),
    TEST(test_a_second_drain_is_the_first),
    TEST(test_who_is_not_known_or_gone_is_refused),
};
const size_t n_drain_tests = ARRAY_LEN(drain_tests);
