/* Cancelling: whoever comes first wins, and what was cancelled does not come back. */
#include "world.h"

static struct job running(struct world *w)
{
    pass(w, 2 * w->cfg.policy.lease_us);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    return job;
}

static bool told_to_cancel(struct world *w, const struct job *job)
{
    struct op *op = op_new(w, OP_HEARTBEAT, NULL);

    op->u.heartbeat.job_id = job->job_id;
    op->u.heartbeat.token = job->token;
    assert_int_equal(decide(w, op), ERR_OK);
    return op->u.heartbeat.cancel;
}

static void nobody_gets_it(struct world *w)
{
    struct answer a;

    engine_poll(w->engine, poll_new(w, 7, "later", &a));
    pass(w, 31 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
}

static void assert_cancelled(struct world *w, struct uuid id)
{
    struct job job = look(w, id);

    assert_int_equal(job.status, JOB_CANCELLED);
    assert_true(job.cancel_requested_at > 0);
    assert_true(job.finished_at > 0);
    assert_int_equal(job.retries + job.losses + job.interruptions, 0);
    assert_int_equal(published(w, id), 0);
    nobody_gets_it(w);
    assert_int_equal(look(w, id).status, JOB_CANCELLED);
}

static void test_cancel_of_a_waiting_job(void **state)
{
    struct world *w = *state;
    struct uuid id = submit(w, "encode");

    assert_int_equal(act(w, OP_CANCEL, id), ERR_OK);
    assert_cancelled(w, id);
    const char *before = everything(w);
    assert_int_equal(act(w, OP_CANCEL, id), ERR_OK);
    assert_string_equal(everything(w), before);
}

static void test_cancel_in_back_off(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, 20 * SEC), ERR_OK);
    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    assert_int_equal(look(w, job.job_id).status, JOB_CANCELLED);
    nobody_gets_it(w);
    assert_int_equal(look(w, job.job_id).status, JOB_CANCELLED);
}

static void test_cancel_of_a_running_job_is_told_and_reported(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    assert_false(told_to_cancel(w, &job));
    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    assert_int_equal(look(w, job.job_id).status, JOB_RUNNING);
    assert_true(told_to_cancel(w, &job));
    assert_int_equal(fail_with(w, &job, OUTCOME_CANCELLED, 0), ERR_OK);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_CANCELLED);
    assert_cancelled(w, job.job_id);
}

static void test_cancelled_job_whose_worker_is_gone_ends_with_its_lease(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    pass(w, w->cfg.policy.lease_us + SEC);
    assert_cancelled(w, job.job_id);
    assert_int_equal(heartbeat(w, &job), ERR_STALE_TOKEN); /* it comes back too late */
    assert_int_equal(complete(w, &job, NULL), ERR_STALE_TOKEN);
}

static void test_cancelled_claim_that_nobody_confirmed_does_not_come_back(void **state)
{
    struct world *w = *state;

    pass(w, 2 * w->cfg.policy.lease_us);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    pass(w, w->cfg.policy.confirm_us + SEC);
    assert_cancelled(w, job.job_id);
}

static void test_cancel_of_a_lapsed_job_voids_its_token(void **state)
{
    struct world *w = *state;
    struct job job = running(w);

    pass(w, w->cfg.policy.lease_us + SEC);
    assert_int_equal(look(w, job.job_id).status, JOB_PENDING);
    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    assert_int_equal(heartbeat(w, &job), ERR_STALE_TOKEN);
    assert_int_equal(complete(w, &job, NULL), ERR_STALE_TOKEN);
    assert_int_equal(look(w, job.job_id).status, JOB_CANCELLED);
}

/* Both on their way at once, in this order: no step between them, or one. */
static void race(struct world *w, bool cancel_first, bool step_between)
{
    struct job job = running(w);
    int cancelled = 0, completed = 0;
    const char *name = "film.mp4";
    struct op *cancel = op_new(w, OP_CANCEL, &cancelled), *done = op_new(w, OP_COMPLETE, &completed);
    struct op *order[] = {cancel_first ? cancel : done, cancel_first ? done : cancel};

    stage(w, &job, name);
    cancel->u.job.job_id = job.job_id;
    done->u.complete = (struct op_complete){.job_id = job.job_id, .token = job.token, .outputs = &name, .n_outputs = 1};
    engine_offer(w->engine, order[0]);
    if (step_between)
        settle(w);
    engine_offer(w->engine, order[1]);
    settle(w);
    assert_int_equal(cancelled + completed, 2);
    assert_int_equal(done->err.code, ERR_OK);
    if (cancel_first) {
        assert_int_equal(cancel->err.code, ERR_OK);
        assert_int_equal(done->u.complete.status, JOB_CANCELLED);
        assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_CANCELLED);
        assert_cancelled(w, job.job_id);
    } else {
        assert_int_equal(cancel->err.code, ERR_ILLEGAL_STATE);
        assert_int_equal(done->u.complete.status, JOB_SUCCESS);
        assert_int_equal(look(w, job.job_id).status, JOB_SUCCESS);
        assert_int_equal(look(w, job.job_id).cancel_requested_at, 0);
        assert_int_equal(published(w, job.job_id), 1);
    }
    /* and a repeat hears the same */
    enum job_status status;
    assert_int_equal(complete_with(w, &job, name, &status), ERR_OK);
    assert_int_equal(status, cancel_first ? JOB_CANCELLED : JOB_SUCCESS);
}

static void test_cancel_then_completion_together(void **state)
{
    race(*state, true, false);
}

static void test_cancel_then_completion_apart(void **state)
{
    race(*state, true, true);
}

static void test_completion_then_cancel_together(void **state)
{
    race(*state, false, false);
}

static void test_completion_then_cancel_apart(void **state)
{
    race(*state, false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel_of_a_waiting_job),
        TEST(test_cancel_in_back_off),
        TEST(test_cancel_of_a_running_job_is_told_and_reported),
        TEST(test_cancelled_job_whose_worker_is_gone_ends_with_its_lease),
        TEST(test_cancelled_claim_that_nobody_confirmed_does_not_come_back),
        TEST(test_cancel_of_a_lapsed_job_voids_its_token),
        TEST(test_cancel_then_completion_together),
        TEST(test_cancel_then_completion_apart),
        TEST(test_completion_then_cancel_together),
        TEST(test_completion_then_cancel_apart),
    };
    return cmocka_run_group_tests_name("engine-cancel", tests, NULL, NULL);
}
