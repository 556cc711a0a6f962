/* Leases: how they are kept, how they lapse, and what may still come. */
#include "world.h"

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

static void test_unconfirmed_claim_costs_nothing(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    claim(w, 1, "p");
    pass(w, w->cfg.policy.confirm_us + 2 * SEC);
    struct job job = look(w, id);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.losses, 0);
    assert_int_equal(job.retries, 0);
    assert_int_equal(job.last_outcome, OUTCOME_UNCONFIRMED);
}

static void test_P03_lost_attempt_is_claimed_again_and_its_token_is_stale(void **state)
{
    struct world *w = *state;
    enum job_status status;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job old = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &old), ERR_OK);
    pass(w, w->cfg.policy.lease_us + 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(look(w, id).losses, 1);
    struct job fresh = claim(w, 2, "p2");
    assert_true(fresh.token.attempt > old.token.attempt);
    struct job before = look(w, id);
    assert_int_equal(heartbeat(w, &old), ERR_STALE_TOKEN);
    assert_int_equal(complete(w, &old, NULL), ERR_STALE_TOKEN);
    struct job after = look(w, id);
    assert_int_equal(after.status, JOB_RUNNING);
    assert_int_equal(after.version, before.version);
    assert_int_equal(complete(w, &fresh, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
}

static void test_late_completion_by_the_latest_token_counts(void **state)
{
    struct world *w = *state;
    enum job_status status;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    pass(w, w->cfg.policy.lease_us + 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    struct answer a;
    engine_poll(w->engine, poll_new(w, 2, "p2", &a));
    settle(w);
    assert_int_equal(a.calls, 0); /* nothing is left to claim */
    pass(w, 31 * SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_P01_day_long_job_makes_one_attempt),
        TEST(test_unconfirmed_claim_costs_nothing),
        TEST(test_P03_lost_attempt_is_claimed_again_and_its_token_is_stale),
        TEST(test_late_completion_by_the_latest_token_counts),
    };
    return cmocka_run_group_tests_name("engine-leases", tests, NULL, NULL);
}
