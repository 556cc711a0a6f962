/* Leases: how they are kept, how they lapse, and what may still come. */
#include "world.h"

/* A job whose lease lapsed: pending, nobody claimed it since. */
static struct job lapsed(struct world *w)
{
    pass(w, 2 * w->cfg.policy.lease_us);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    stage(w, &job, "film.mp4");
    pass(w, w->cfg.policy.lease_us + 5 * SEC);
    assert_int_equal(look(w, job.job_id).status, JOB_PENDING);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_LOST);
    return job;
}

static void nothing_left_to_claim(struct world *w)
{
    struct answer a;

    engine_poll(w->engine, poll_new(w, 9, "later", &a));
    settle(w);
    assert_int_equal(a.calls, 0);
    pass(w, 31 * SEC);
    assert_int_equal(a.n, 0);
}

static void test_P01_day_long_job_makes_one_attempt(void **state)
{
    struct world *w = *state;
    enum job_status status;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p");
    for (int beat = 0; beat < 24 * 120; beat++) {
        assert_int_equal(heartbeat(w, &job), ERR_OK);
        advance(w, 15 * SEC);
        engine_step(w->engine);
        advance(w, 15 * SEC);
        engine_step(w->engine);
    }
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(look(w, id).attempt, 1);
    assert_int_equal(look(w, id).losses, 0);
}

static void test_P02_lapsed_lease_is_claimable_within_two_leases(void **state)
{
    struct world *w = *state;
    struct answer a;

    pass(w, 2 * w->cfg.policy.lease_us);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    for (usec t = 0; t < 2 * w->cfg.policy.lease_us; t += w->cfg.policy.poll_us) {
        engine_poll(w->engine, poll_new(w, 2, "p2", &a));
        pass(w, w->cfg.policy.poll_us);
        if (a.n)
            break;
    }
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &job.job_id));
    assert_int_equal(a.job.attempt, 2);
}

static void test_unconfirmed_claims_cost_nothing(void **state)
{
    struct world *w = *state;
    struct job now;

    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(claim(w, (uint8_t)i, "p").attempt, i);
        pass(w, w->cfg.policy.confirm_us + 2 * SEC);
        now = look(w, id);
        assert_int_equal(now.status, JOB_PENDING);
        assert_int_equal(now.last_outcome, OUTCOME_UNCONFIRMED);
        assert_int_equal(attempt_of(w, id, i).outcome, OUTCOME_UNCONFIRMED);
    }
    assert_int_equal(now.retries + now.losses + now.interruptions, 0);
    assert_int_equal(now.attempt, 50);
}

static void test_late_completion_by_the_latest_token_counts(void **state)
{
    struct world *w = *state;
    enum job_status status;
    struct job job = lapsed(w);

    assert_int_equal(complete_with(w, &job, "film.mp4", &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(published(w, job.job_id), 1);
    assert_int_equal(look(w, job.job_id).attempt, 1);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_SUCCESS);
    nothing_left_to_claim(w);
}

static void test_late_heartbeat_goes_on_with_the_same_attempt(void **state)
{
    struct world *w = *state;
    struct job job = lapsed(w);

    assert_int_equal(look(w, job.job_id).losses, 1);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    struct job now = look(w, job.job_id);
    assert_int_equal(now.status, JOB_RUNNING);
    assert_int_equal(now.attempt, 1);
    assert_int_equal(now.losses, 0); /* it was not lost */
    assert_int_equal(attempt_of(w, job.job_id, 1).ended_at, 0);
    nothing_left_to_claim(w);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us + 5 * SEC); /* and its new lease lapses like any other */
    assert_int_equal(look(w, job.job_id).status, JOB_PENDING);
    assert_int_equal(look(w, job.job_id).losses, 1);
}

/* The lapse was charged, and the job runs again anyway: core/README.md. */
static void test_failure_reported_late_is_refused(void **state)
{
    struct world *w = *state;
    struct job job = lapsed(w);
    const char *before = everything(w);

    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, 0), ERR_ILLEGAL_STATE);
    assert_string_equal(everything(w), before);
    assert_int_equal(claim(w, 2, "p2").attempt, 2);
}

static void refuse_all(struct world *w, const struct job *job)
{
    struct op *progress = op_new(w, OP_PROGRESS, NULL), *log = op_new(w, OP_LOG, NULL),
              *out = op_new(w, OP_OUTPUT, NULL);

    progress->u.progress = (struct op_progress){.job_id = job->job_id, .token = job->token, .percent = 1};
    log->u.log = (struct op_log){.job_id = job->job_id, .token = job->token, .bytes = "x", .n = 1};
    out->u.output = (struct op_output){
        .job_id = job->job_id, .token = job->token, .name = "film.mp4", .blob_id = job->job_id, .size = 1};
    assert_int_equal(heartbeat(w, job), ERR_STALE_TOKEN);
    assert_int_equal(complete_with(w, job, "film.mp4", NULL), ERR_STALE_TOKEN);
    assert_int_equal(fail_with(w, job, OUTCOME_ERROR, 0), ERR_STALE_TOKEN);
    assert_int_equal(decide(w, progress), ERR_STALE_TOKEN);
    assert_int_equal(decide(w, log), ERR_STALE_TOKEN);
    assert_int_equal(decide(w, out), ERR_STALE_TOKEN);
}

static void test_P03_stale_token_changes_nothing_at_all(void **state)
{
    struct world *w = *state;
    struct job old = lapsed(w);
    enum job_status status;

    struct job fresh = claim(w, 2, "p2");
    assert_int_equal(fresh.attempt, 2);
    const char *before = everything(w);
    refuse_all(w, &old);
    assert_string_equal(everything(w), before);
    stage(w, &fresh, "film.mp4");
    assert_int_equal(complete_with(w, &fresh, "film.mp4", &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    before = everything(w);
    refuse_all(w, &old); /* nor when it stands in history */
    assert_string_equal(everything(w), before);
    assert_int_equal(published(w, fresh.job_id), 1);
}

static void test_start_deadline_ends_a_job_nobody_took(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode", NULL), *soon = submit_op(w, "encode", NULL);

    op->u.submit.start_within_us = 20 * SEC;
    assert_int_equal(decide(w, op), ERR_OK);
    struct uuid id = op->u.submit.job.job_id;
    pass(w, 15 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    pass(w, 6 * SEC);
    struct job now = look(w, id);
    assert_int_equal(now.status, JOB_FAILED);
    assert_int_equal(now.last_outcome, OUTCOME_EXPIRED);
    assert_non_null(now.error_log);
    soon->u.submit.start_within_us = 20 * SEC; /* one that started in time may take as long as it likes */
    assert_int_equal(decide(w, soon), ERR_OK);
    struct job job = claim(w, 1, "p");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, 30 * SEC);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    nothing_left_to_claim(w);
}

/* Found by test/sim: such a job stood in no lane, and no sweep was due that would have ended it. */
static void test_start_deadline_ends_a_job_that_lapsed_after_it(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode", NULL);

    op->u.submit.start_within_us = 20 * SEC;
    assert_int_equal(decide(w, op), ERR_OK);
    struct job job = claim(w, 1, "p");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us + 10 * SEC);
    assert_int_equal(look(w, job.job_id).last_outcome, OUTCOME_EXPIRED);
    assert_int_equal(look(w, job.job_id).status, JOB_FAILED);
}

/* Likewise: a dead letter that is retried before its deadline, and then nobody takes. */
static void test_start_deadline_ends_a_retried_job(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode", NULL), *soon = submit_op(w, "encode", NULL);

    op->u.submit.start_within_us = 60 * SEC;
    op->u.submit.job.max_attempts = 1;
    assert_int_equal(decide(w, op), ERR_OK);
    struct job job = claim(w, 1, "p");
    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, 0), ERR_OK);
    soon->u.submit.delay_us = 5 * SEC; /* brings a look at what is due, while there is nothing */
    assert_int_equal(decide(w, soon), ERR_OK);
    pass(w, 10 * SEC);
    assert_int_equal(act(w, OP_RETRY, job.job_id), ERR_OK);
    pass(w, 60 * SEC);
    assert_int_equal(look(w, job.job_id).last_outcome, OUTCOME_EXPIRED);
}

static void test_retry_starts_budgets_again_and_never_the_attempt(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, SEC), ERR_OK);
    pass(w, 2 * SEC);
    job = claim(w, 1, "p2");
    assert_int_equal(fail_with(w, &job, OUTCOME_INTERRUPTED, SEC), ERR_OK);
    pass(w, 2 * w->cfg.policy.lease_us);
    struct job third = claim(w, 1, "p3");
    assert_int_equal(heartbeat(w, &third), ERR_OK);
    pass(w, w->cfg.policy.lease_us + SEC);
    assert_int_equal(act(w, OP_CANCEL, job.job_id), ERR_OK);
    struct job now = look(w, job.job_id);
    assert_int_equal(now.status, JOB_CANCELLED);
    assert_int_equal(now.retries, 1);
    assert_int_equal(now.interruptions, 1);
    assert_int_equal(now.losses, 1);
    assert_int_equal(act(w, OP_RETRY, job.job_id), ERR_OK);
    now = look(w, job.job_id);
    assert_int_equal(now.status, JOB_PENDING);
    assert_int_equal(now.retries + now.interruptions + now.losses, 0);
    assert_int_equal(now.attempt, 3);
    assert_int_equal(heartbeat(w, &third), ERR_STALE_TOKEN); /* cancelling voided it, whatever came after */
    job = claim(w, 1, "p4");
    assert_int_equal(job.attempt, 4);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    assert_int_equal(act(w, OP_RETRY, job.job_id), ERR_ILLEGAL_STATE); /* success stays for ever */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_P01_day_long_job_makes_one_attempt),
        TEST(test_P02_lapsed_lease_is_claimable_within_two_leases),
        TEST(test_unconfirmed_claims_cost_nothing),
        TEST(test_late_completion_by_the_latest_token_counts),
        TEST(test_late_heartbeat_goes_on_with_the_same_attempt),
        TEST(test_failure_reported_late_is_refused),
        TEST(test_P03_stale_token_changes_nothing_at_all),
        TEST(test_start_deadline_ends_a_job_nobody_took),
        TEST(test_start_deadline_ends_a_job_that_lapsed_after_it),
        TEST(test_start_deadline_ends_a_retried_job),
        TEST(test_retry_starts_budgets_again_and_never_the_attempt),
    };
    return cmocka_run_group_tests_name("engine-leases", tests, NULL, NULL);
}
