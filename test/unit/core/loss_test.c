/* Whose fault a lost attempt is. */
#include "check.h"

static struct policy policy;

static int setup(void **state)
{
    (void)state;
    policy = policy_default();
    return 0;
}

static struct loss alone(void)
{
    return (struct loss){.lease_until = NOW};
}

static void test_P06_worker_that_went_alone_is_its_jobs_doing(void **state)
{
    struct loss loss = alone();

    (void)state;
    assert_true(loss_charged(&policy, &loss));
    loss.grace_until = NOW; /* renewed when the outage was over */
    assert_true(loss_charged(&policy, &loss));
}

static void test_P06_outages_are_nobodys(void **state)
{
    struct loss with_others = alone(), away = alone();

    (void)state;
    with_others.others = true;
    assert_false(loss_charged(&policy, &with_others));
    away.grace_until = NOW + 1;
    assert_false(loss_charged(&policy, &away));
}

static void test_P06_the_benefit_of_the_doubt_is_bounded(void **state)
{
    struct loss loss = alone();

    (void)state;
    loss.others = true;
    loss.grace_until = NOW + 1;
    loss.before = policy.max_interruptions - 1;
    assert_false(loss_charged(&policy, &loss));
    loss.before = policy.max_interruptions;
    assert_true(loss_charged(&policy, &loss));
}

/* It holds what one event ends, and never a worker that is well, however the server is configured. */
static void test_window_lies_between_a_heartbeat_and_what_a_healthy_worker_has_left(void **state)
{
    static const usec heartbeats[] = {1, 10, 15, 20, 30, 45, 59};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heartbeats); i++) {
        policy.heartbeat_us = heartbeats[i] * USEC_PER_SEC;
        assert_true(loss_window_us(&policy) >= 0);
        assert_true(loss_window_us(&policy) < policy.lease_us - policy.heartbeat_us);
        if (policy.heartbeat_us <= policy.lease_us / 3)
            assert_true(loss_window_us(&policy) >= policy.heartbeat_us * 5 / 4);
    }
    policy.heartbeat_us = 2 * policy.lease_us; /* senseless, but no reason to charge nobody */
    assert_int_equal(loss_window_us(&policy), 0);
}

static void test_attempt_that_goes_on_gets_its_loss_back(void **state)
{
    struct job job = fresh_job();
    struct token token = a_token(1, 0xa1);
    struct job_end o;

    (void)state;
    assert_int_equal(job_claim(&job, &policy, (struct uuid){.b = {7}}, &token, NOW, NULL), ERR_OK);
    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW, NULL), ERR_OK);
    for (int charged = 0; charged <= 1; charged++) {
        usec at = job.lease_until;
        assert_int_equal(job_expire(&job, &policy, charged, at, &o, NULL), ERR_OK);
        assert_int_equal(job.losses, charged);
        job.loss_charged = charged;
        assert_int_equal(job_heartbeat(&job, &policy, &token, at, NULL), ERR_OK);
        assert_int_equal(job.losses, 0);
        assert_int_equal(job.status, JOB_RUNNING);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_P06_worker_that_went_alone_is_its_jobs_doing, setup),
        cmocka_unit_test_setup(test_P06_outages_are_nobodys, setup),
        cmocka_unit_test_setup(test_P06_the_benefit_of_the_doubt_is_bounded, setup),
        cmocka_unit_test_setup(test_window_lies_between_a_heartbeat_and_what_a_healthy_worker_has_left, setup),
        cmocka_unit_test_setup(test_attempt_that_goes_on_gets_its_loss_back, setup),
    };

    return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}
