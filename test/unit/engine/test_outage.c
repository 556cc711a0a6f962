/* Grace: a server that was away takes nobody's lease. */
#include "world.h"

static void test_restart_gives_every_lease_a_full_period(void **state)
{
    struct world *w = *state;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    world_close(w);
    advance(w, 10 * w->cfg.policy.lease_us);
    world_open(w);
    settle(w);
    pass(w, w->cfg.policy.lease_us - 10 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, 20 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(look(w, id).attempt, 1);
    pass(w, 2 * w->cfg.policy.lease_us);
    assert_int_equal(look(w, id).status, JOB_PENDING);
}

static void test_paused_server_writes_grace_before_it_expires(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    advance(w, 2 * w->cfg.policy.lease_us); /* one jump: the engine was not there */
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
}

static void test_pause_of_a_lease_and_a_half_loses_no_job(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    /* Nothing else is due: the engine would sleep until the lease ends. */
    advance(w, w->cfg.policy.lease_us * 3 / 2);
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(look(w, id).losses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_restart_gives_every_lease_a_full_period),
        TEST(test_paused_server_writes_grace_before_it_expires),
        TEST(test_pause_of_a_lease_and_a_half_loses_no_job),
    };
    return cmocka_run_group_tests_name("engine-outage", tests, NULL, NULL);
}
