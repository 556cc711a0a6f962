/* Paused queues: nobody takes from them, and nothing else changes. */
#include "suite.h"

static struct op *pause_op(struct world *w, enum op_kind kind, const char *queue)
{
    struct op *op = op_make(w, kind);

    op->u.pause.pause.queue = queue;
    return op;
}

static struct op *paused(struct world *w, enum op_kind kind, const char *queue)
{
    struct op *op = pause_op(w, kind, queue);

    apply(w, op);
    assert_ok(op);
    return op;
}

static size_t pauses(struct world *w, struct pause **ret)
{
    struct err err = {0};
    size_t n = 0;

    assert_int_equal(w->d->pauses(w->s, "default", w->arena, ret, &n, &err), ERR_OK);
    return n;
}

/* A poll that was sent before its server heard of the pause. */
static void assert_nothing_taken(struct world *w, const char *poll_id)
{
    struct op *op = claim_op(w, w->worker, poll_id, "encode", 2);

    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.claim.n_claimed, 0);
    assert_true(op->u.claim.take[0].paused);
    assert_int_equal(op->n_changes, 0);
}

static bool lane_is_paused(struct world *w)
{
    struct lane *lanes = NULL;
    struct err err = {0};
    size_t n = 0;

    assert_int_equal(w->d->lanes(w->s, w->arena, &lanes, &n, &err), ERR_OK);
    assert_int_equal(n, 1);
    return lanes[0].paused;
}

static void test_nobody_takes_from_a_paused_queue(void **state)
{
    struct world *w = *state;
    struct job running = submit(w, "encode");
    running = claim(w, w->worker, "encode");

    struct op *op = paused(w, OP_PAUSE, "encode");
    assert_true(op->u.pause.changed);
    assert_int_equal(op->u.pause.pause.at, w->d->now(w->s));
    submit(w, "encode"); /* accepted all the same */
    assert_nothing_taken(w, "p1");
    assert_true(lane_is_paused(w));
    assert_int_equal(ready(w, "encode"), 1);

    struct op *done = complete_op(w, &running, NULL, 0); /* what runs goes on, and counts */
    apply(w, heartbeat(w, &running));
    apply(w, done);
    assert_ok(done);
    assert_int_equal(get(w, running.job_id).status, JOB_SUCCESS);

    op = paused(w, OP_RESUME, "encode");
    assert_true(op->u.pause.changed);
    assert_false(lane_is_paused(w));
    assert_int_equal(claim(w, w->worker, "encode").attempt, 1);
    assert_counts(w);
}

static void test_other_queues_are_served_by_the_same_poll(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    submit(w, "scale");
    struct op *op = claim_op(w, w->worker, "p", "encode", 2);
    const struct op *scale = claim_op(w, w->worker, "p", "scale", 1);
    op->u.claim.take[1] = scale->u.claim.take[0];
    op->u.claim.n_take = 2;
    paused(w, OP_PAUSE, "encode");
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.claim.n_claimed, 1);
    assert_string_equal(op->u.claim.claimed[0].job.task_type, "scale");
    assert_true(op->u.claim.take[0].paused);
    assert_false(op->u.claim.take[1].paused);
}

static void test_a_pause_in_the_same_batch_holds_for_what_stands_behind_it(void **state)
{
    struct world *w = *state;
    struct op *before, *after, *again;

    submit(w, "encode");
    submit(w, "encode");
    submit(w, "encode");
    before = claim_op(w, w->worker, "p1", "encode", 1);
    after = claim_op(w, w->worker, "p2", "encode", 1);
    again = claim_op(w, w->worker, "p3", "encode", 1);
    apply_all(
        w, (struct op *[]){before, pause_op(w, OP_PAUSE, "encode"), after, pause_op(w, OP_RESUME, "encode"), again}, 5);
    assert_int_equal(before->u.claim.n_claimed, 1);
    assert_int_equal(after->u.claim.n_claimed, 0);
    assert_int_equal(again->u.claim.n_claimed, 1);
}

static void test_a_pause_outlives_the_process(void **state)
{
    struct world *w = *state;
    struct op *op = pause_op(w, OP_PAUSE, "encode");
    struct pause *p = NULL;

    op->u.pause.pause.by = "ada";
    op->u.pause.pause.reason = "the disk is full";
    apply(w, op);
    assert_ok(op);
    const usec at = op->u.pause.pause.at;
    paused(w, OP_PAUSE, "archive");
    world_reopen(w);
    submit(w, "encode");
    assert_nothing_taken(w, "p1");
    assert_int_equal(pauses(w, &p), 2);
    assert_string_equal(p[0].queue, "archive");
    assert_null(p[0].by);
    assert_null(p[0].reason);
    assert_string_equal(p[1].queue, "encode");
    assert_string_equal(p[1].by, "ada");
    assert_string_equal(p[1].reason, "the disk is full");
    assert_int_equal(p[1].at, at);
}

static void test_a_second_time_changes_nothing(void **state)
{
    struct world *w = *state;
    struct op *op = pause_op(w, OP_PAUSE, "encode");
    struct pause *p = NULL;

    op->u.pause.pause.reason = "first";
    apply(w, op);
    assert_ok(op);
    const usec at = op->u.pause.pause.at;
    later(w, USEC_PER_SEC);
    op = pause_op(w, OP_PAUSE, "encode");
    op->u.pause.pause.reason = "second";
    apply(w, op);
    assert_ok(op);
    assert_false(op->u.pause.changed);
    assert_string_equal(op->u.pause.pause.reason, "first");
    assert_int_equal(op->u.pause.pause.at, at);
    op = paused(w, OP_RESUME, "encode");
    assert_true(op->u.pause.changed);
    assert_string_equal(op->u.pause.pause.reason, "first");
    assert_false(paused(w, OP_RESUME, "encode")->u.pause.changed);
    assert_int_equal(pauses(w, &p), 0);
}

static void test_a_project_pauses_its_own(void **state)
{
    struct world *w = *state;
    struct op *op = pause_op(w, OP_PAUSE, "encode");
    struct pause *p = NULL;

    op->project = "another";
    apply(w, op);
    assert_ok(op);
    submit(w, "encode");
    assert_int_equal(claim(w, w->worker, "encode").attempt, 1);
    assert_int_equal(pauses(w, &p), 0);
}

static void test_no_more_than_so_many(void **state)
{
    struct world *w = *state;
    struct op *ops[PAUSES_MAX / 4], *op;

    for (int part = 0; part < 4; part++) {
        for (size_t i = 0; i < ARRAY_LEN(ops); i++)
            ops[i] = pause_op(w, OP_PAUSE, arena_printf(w->arena, "q%d.%zu", part, i));
        apply_all(w, ops, ARRAY_LEN(ops));
        assert_ok(ops[ARRAY_LEN(ops) - 1]);
    }
    op = pause_op(w, OP_PAUSE, "encode");
    apply(w, op);
    assert_refused(op, ERR_CONFLICT);
    assert_false(paused(w, OP_PAUSE, "q0.0")->u.pause.changed); /* of those that are */
    paused(w, OP_RESUME, "q0.0");
    assert_true(paused(w, OP_PAUSE, "encode")->u.pause.changed);
}

const struct CMUnitTest pause_tests[] = {
    TEST(test_nobody_takes_from_a_paused_queue),
    TEST(test_other_queues_are_served_by_the_same_poll),
    TEST(test_a_pause_in_the_same_batch_holds_for_what_stands_behind_it),
    TEST(test_a_pause_outlives_the_process),
    TEST(test_a_second_time_changes_nothing),
    TEST(test_a_project_pauses_its_own),
    TEST(test_no_more_than_so_many),
};
const size_t n_pause_tests = ARRAY_LEN(pause_tests);
