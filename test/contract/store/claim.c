/* Polls: what they get, and what a holder may write. */
#include "suite.h"

static int64_t place(struct world *w, const struct job *job, unsigned max)
{
    struct err err = {0};
    int64_t before = -2;

    assert_int_equal(w->d->position(w->s, &job->job_id, max, &before, &err), ERR_OK);
    return before;
}

static void test_a_place_in_the_lane_is_told(void **state)
{
    struct world *w = *state;
    struct job a = submit(w, "encode"), b = submit(w, "encode"), c = submit(w, "encode"), other = submit(w, "count");
    struct job nobody = {.job_id = {{9}}};

    assert_int_equal(place(w, &a, 100), 0);
    assert_int_equal(place(w, &c, 100), 2);
    assert_int_equal(place(w, &c, 1), 1); /* no further */
    assert_int_equal(place(w, &other, 100), 0);
    assert_int_equal(place(w, &nobody, 100), -1);
    claim(w, w->worker, "encode");
    assert_int_equal(place(w, &a, 100), -1);
    assert_int_equal(place(w, &b, 100), 0);
}

static void test_claim_takes_the_head_of_the_lane(void **state)
{
    struct world *w = *state;
    struct job a = submit(w, "encode"), b = submit(w, "encode"), c = submit(w, "encode");
    struct op *op = claim_op(w, w->worker, "p1", "encode", 2);

    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.claim.n_claimed, 2);
    const struct job *got = &op->u.claim.claimed[0].job;
    assert_true(uuid_equal(&got->job_id, &a.job_id));
    assert_true(uuid_equal(&op->u.claim.claimed[1].job.job_id, &b.job_id));
    assert_int_equal(got->status, JOB_RUNNING);
    assert_int_equal(got->attempt, 1);
    assert_int_equal(got->token.attempt, 1);
    assert_int_equal(got->lease_until, w->d->now(w->s) + w->policy.confirm_us);
    assert_string_equal(got->payload, "{\"a\": 1}");
    assert_int_equal(op->n_changes, 1);
    assert_int_equal(op->changes[0].delta, -2);
    assert_int_equal(ready(w, "encode"), 1);
    struct attempt at = attempt_of(w, a.job_id, 1);
    assert_string_equal(at.handler_version, "7");
    assert_string_equal(at.worker_name, "w1");
    assert_int_equal(at.ended_at, 0);
    struct job last = claim(w, w->worker, "encode");
    assert_true(uuid_equal(&last.job_id, &c.job_id));
    assert_counts(w);
}

static void test_same_poll_same_claims(void **state)
{
    struct world *w = *state;
    struct job a = submit(w, "encode");
    struct op *one, *two, *three;

    submit(w, "encode");
    one = claim_op(w, w->worker, "p1", "encode", 1);
    two = claim_op(w, w->worker, "p1", "encode", 1);
    three = claim_op(w, w->other, "p1", "encode", 1); /* another worker's poll id is another poll */
    apply_all(w, (struct op *[]){one, two, three}, 3);
    assert_ok(two);
    assert_int_equal(two->u.claim.n_claimed, 1);
    assert_true(uuid_equal(&two->u.claim.claimed[0].job.job_id, &a.job_id));
    assert_true(token_equal(&two->u.claim.claimed[0].job.token, &one->u.claim.claimed[0].job.token));
    assert_int_equal(two->n_changes, 0);
    assert_false(uuid_equal(&three->u.claim.claimed[0].job.job_id, &a.job_id));
    /* ended attempts are not handed out again */
    apply(w, complete_op(w, &one->u.claim.claimed[0].job, NULL, 0));
    struct op *again = claim_op(w, w->worker, "p1", "encode", 1);
    apply(w, again);
    assert_ok(again);
    assert_int_equal(again->u.claim.n_claimed, 0);
}

static void test_claim_takes_no_more_than_tokens(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    submit(w, "encode");
    struct op *op = claim_op(w, w->worker, "p", "encode", 2);
    op->u.claim.n_tokens = 1;
    apply(w, op);
    assert_int_equal(op->u.claim.n_claimed, 1);
    op = claim_op(w, w->worker, "", "encode", 1);
    apply(w, op);
    assert_refused(op, ERR_INVALID);
    op = claim_op(w, w->worker, "q", "encode", 1);
    op->u.claim.handlers = "{";
    apply(w, op);
    assert_refused(op, ERR_INVALID);
    assert_int_equal(claim(w, w->worker, "encode").attempt, 1); /* the refused ones took nothing */
}

static void test_claim_from_several_lanes(void **state)
{
    struct world *w = *state;
    struct op *op;

    submit(w, "encode");
    submit(w, "scale");
    op = claim_op(w, w->worker, "p", "encode", 3);
    op->u.claim.take[1].lane_id = claim_op(w, w->worker, "p", "scale", 1)->u.claim.take[0].lane_id;
    op->u.claim.take[1].count = 2;
    op->u.claim.take[2].lane_id = 4711; /* no such lane */
    op->u.claim.take[2].count = 1;
    op->u.claim.n_take = 3;
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.claim.n_claimed, 2);
    assert_int_equal(op->n_changes, 2);
}

static void test_returned_jobs_are_behind_the_mark_no_longer(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    for (uint32_t i = 1; i <= 4; i++) {
        struct job job = claim(w, w->worker, "encode");
        assert_int_equal(job.attempt, i);
        struct op *op = fail_op(w, &job, OUTCOME_INTERRUPTED, false);
        apply(w, op);
        assert_ok(op);
        assert_int_equal(op->changes[0].delta, 1);
    }
    struct op *op = claim_op(w, w->worker, "start", "encode", 1);
    op->u.claim.take[0].from_start = true;
    apply(w, op);
    assert_int_equal(op->u.claim.n_claimed, 1);
}

static void test_workers_are_recorded(void **state)
{
    struct world *w = *state;
    struct worker_row *rows = NULL;
    size_t n = 0;
    struct op *op = claim_op(w, w->worker, "p", "none", 1);

    op->u.claim.worker_host = "h";
    op->u.claim.load = "{\"cpus\":1}";
    apply(w, op);
    assert_ok(op);
    assert_int_equal(w->d->workers(w->s, w->arena, &rows, &n, NULL), ERR_OK);
    assert_string_equal(rows[0].load, "{\"cpus\":1}");
    later(w, 5);
    op = claim_op(w, w->worker, "p2", "none", 1);
    op->u.claim.worker_name = NULL;
    apply(w, op);
    assert_int_equal(w->d->workers(w->s, w->arena, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].name, "w1");
    assert_string_equal(rows[0].host, "h");
    assert_int_equal(rows[0].slots_total, 8);
    assert_null(rows[0].load); /* it is of the last poll */
    assert_int_equal(rows[0].last_seen - rows[0].first_seen, 5);
}

static void test_heartbeat_extends(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    later(w, 5 * USEC_PER_SEC);
    struct op *op = heartbeat(w, &job);
    assert_ok(op);
    assert_int_equal(op->u.heartbeat.lease_until, w->d->now(w->s) + w->policy.lease_us);
    assert_int_equal(op->u.heartbeat.was, JOB_RUNNING);
    assert_false(op->u.heartbeat.cancel);
    assert_true(get(w, job.job_id).confirmed);
    apply(w, job_op(w, OP_CANCEL, job.job_id));
    assert_true(heartbeat(w, &job)->u.heartbeat.cancel);
}

static void test_progress(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *op = op_make(w, OP_PROGRESS);
    op->u.progress =
        (struct op_progress){.job_id = job.job_id, .token = job.token, .percent = 41.5, .message = "frame 3"};
    apply(w, op);
    assert_ok(op);
    struct job now = get(w, job.job_id);
    assert_true(now.progress > 41.4 && now.progress < 41.6);
    assert_string_equal(now.progress_message, "frame 3");
    assert_true(now.version > job.version);
    op->u.progress.percent = 101;
    apply(w, op);
    assert_refused(op, ERR_INVALID);
}

const struct CMUnitTest claim_tests[] = {
    TEST(test_claim_takes_the_head_of_the_lane),
    TEST(test_a_place_in_the_lane_is_told),
    TEST(test_same_poll_same_claims),
    TEST(test_claim_takes_no_more_than_tokens),
    TEST(test_claim_from_several_lanes),
    TEST(test_returned_jobs_are_behind_the_mark_no_longer),
    TEST(test_workers_are_recorded),
    TEST(test_heartbeat_extends),
    TEST(test_progress),
};
const size_t n_claim_tests = ARRAY_LEN(claim_tests);
