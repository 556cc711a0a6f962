/* Grace: a server that was away, late or confused about the time takes nobody's lease, and charges nobody. */
#include "world.h"

/* A worker that renews goes on with its attempt; one that is gone is noticed one lease after the start, not before, and the job
 * does not pay. */
static void server_was_away(struct world *w, usec away_us)
{
    const usec lease_us = w->cfg.policy.lease_us;
    struct uuid kept = submit(w, "encode"), gone = submit(w, "encode");
    struct job a = claim(w, 1, "a"), b = claim(w, 2, "b");

    assert_true(uuid_equal(&a.job_id, &kept));
    assert_int_equal(heartbeat(w, &a), ERR_OK);
    assert_int_equal(heartbeat(w, &b), ERR_OK);
    world_close(w);
    advance(w, away_us);
    world_open(w);
    settle(w);
    pass(w, lease_us - 5 * SEC);
    assert_int_equal(look(w, kept).status, JOB_RUNNING);
    assert_int_equal(look(w, gone).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &a), ERR_OK);
    pass(w, 6 * SEC);
    assert_int_equal(look(w, kept).status, JOB_RUNNING);
    assert_int_equal(look(w, gone).status, JOB_PENDING);
    assert_int_equal(look(w, gone).losses, 0);
    assert_int_equal(attempt_of(w, gone, 1).outcome, OUTCOME_LOST);
    pass(w, lease_us); /* and this one went alone, long after: it pays */
    assert_int_equal(look(w, kept).status, JOB_PENDING);
    assert_int_equal(look(w, kept).losses, 1);
    assert_int_equal(look(w, kept).attempt, 1);
}

static void test_restart_of_a_moment(void **state)
{
    server_was_away(*state, SEC);
}

static void test_restart_of_less_than_half_a_lease(void **state)
{
    server_was_away(*state, 29 * SEC);
}

static void test_restart_of_less_than_a_lease(void **state)
{
    server_was_away(*state, 59 * SEC);
}

static void test_restart_of_an_hour(void **state)
{
    server_was_away(*state, 3600 * SEC);
}

static void test_P01_day_long_job_survives_restarts_and_steps_of_the_clock(void **state)
{
    struct world *w = *state;
    enum job_status status;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p");

    for (int beat = 0; beat < 24 * 240; beat++) {
        assert_int_equal(heartbeat(w, &job), ERR_OK);
        if (beat % 1000 == 400) { /* a restart, the wall clock set forward or back meanwhile */
            world_close(w);
            advance(w, 20 * SEC);
            w->store_clock.wall_us += beat % 2000 == 400 ? 86400 * SEC : -2 * 86400 * SEC;
            world_open(w);
        }
        if (beat % 1000 == 900) /* a failover: the next server's clock is ahead */
            clock_fake_advance(&w->store_clock, 10 * w->cfg.policy.lease_us);
        advance(w, 15 * SEC);
        engine_step(w->engine);
    }
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(look(w, id).attempt, 1);
    assert_int_equal(look(w, id).losses, 0);
}

/* SIGSTOP, a suspended machine: the clock jumps while nobody calls. The lease would have lapsed within the jump. */
static void server_was_late(struct world *w, usec late_us)
{
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.confirm_us + SEC);
    assert_int_equal(heartbeat(w, &job),
                     ERR_OK); /* nothing is due before this lease ends: it sleeps as long as it dares */
    advance(w, late_us);
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    pass(w, w->cfg.policy.lease_us - 6 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(look(w, id).attempt, 1);
    pass(w, 6 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
}

static void test_pause_of_a_lease(void **state)
{
    server_was_late(*state, 60 * SEC);
}

static void test_pause_of_a_lease_and_a_half(void **state)
{
    server_was_late(*state, 90 * SEC);
}

static void test_pause_of_a_day(void **state)
{
    server_was_late(*state, 86400 * SEC);
}

/* A batch is on its way between two steps; the grace that the first pause asked for lapses in the second. */
static void test_pause_while_grace_is_written(void **state)
{
    struct world *w = *state;
    const usec lease_us = w->cfg.policy.lease_us;

    assert_int_equal(store_sqlite()->overlap(w->cfg.store, false, NULL), ERR_OK);
    pass(w, 2 * lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    advance(w, 2 * lease_us);
    engine_step(w->engine);
    advance(w, 2 * lease_us);
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    pass(w, lease_us - 5 * SEC);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    assert_int_equal(look(w, id).attempt, 1);
}

static void test_paused_server_charges_nobody(void **state)
{
    struct world *w = *state;

    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    advance(w, 2 * w->cfg.policy.lease_us);
    settle(w);
    pass(w, w->cfg.policy.lease_us + SEC); /* the worker went with it */
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(look(w, id).losses, 0);
}

/* Whichever of the two is wrong: nobody can say how old a lease really is. */
static void clocks_part(struct world *w, usec by_us)
{
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    w->store_clock.boot_us += by_us;
    settle(w);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    pass(w, 10 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(look(w, id).losses, 0);
}

static void test_store_clock_that_steps_forward_writes_grace(void **state)
{
    clocks_part(*state, 2 * SEC);
}

static void test_store_clock_that_steps_back_writes_grace(void **state)
{
    clocks_part(*state, -2 * SEC);
}

static void test_clocks_that_agree_within_a_second_write_none(void **state)
{
    struct world *w = *state;

    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    w->store_clock.boot_us += SEC / 2;
    pass(w, 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(look(w, id).losses, 1);
}

/* --- a store with a slow, or full, disk --- */

static struct world *slow_world;
static usec slow_us; /* what the next commits take */
static int slow_commits;

static void apply_slow(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    if (slow_commits > 0) {
        slow_commits--;
        advance(slow_world, slow_us);
    }
    store_sqlite()->apply(s, ops, n, decided, arg);
}

static void make_slow(struct world *w, struct store_driver *driver)
{
    *driver = *store_sqlite();
    driver->apply = apply_slow;
    slow_world = w;
    slow_commits = 0;
    world_engine(w, driver);
    settle(w);
    pass(w, 2 * w->cfg.policy.lease_us);
}

/* Every commit takes two seconds, hour after hour: no reason to hold a dead worker's job for ever. */
static void test_P02_slow_commits_do_not_hold_leases(void **state)
{
    struct world *w = *state;
    struct store_driver driver;

    make_slow(w, &driver);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    slow_us = 2 * SEC;
    slow_commits = 1000;
    for (usec start = w->clock.boot_us; w->clock.boot_us < start + 2 * w->cfg.policy.lease_us;)
        submit(w, "other");
    assert_int_equal(look(w, id).status, JOB_PENDING);
    world_engine(w, NULL);
}

/* The sweep stood in the queue behind a batch that took longer than a lease has left; so did the renewals. */
static void test_stalled_disk_between_two_batches_costs_no_lease(void **state)
{
    struct world *w = *state;
    struct store_driver driver;
    int done = 0;

    make_slow(w, &driver);
    struct uuid id = submit(w, "encode");
    submit(w, "encode");
    struct job job = claim(w, 1, "a");
    claim(w, 2, "b"); /* never confirmed: the sweep that will be due */
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.confirm_us - SEC);
    for (int i = 0; i < STORE_BATCH_MAX + 10; i++)
        engine_offer(w->engine, submit_op(w, "other", &done));
    advance(w, SEC);
    slow_us = w->cfg.policy.lease_us;
    slow_commits = 1;
    settle(w);
    assert_int_equal(done, STORE_BATCH_MAX + 10);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    world_engine(w, NULL);
}

static bool disk_full;

static void apply_full(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    if (!disk_full) {
        store_sqlite()->apply(s, ops, n, decided, arg);
        return;
    }
    for (size_t i = 0; i < n; i++)
        err_set(&ops[i]->err, ERR_NO_SPACE, 0, "commit");
    decided(arg);
}

static void test_nothing_expires_before_grace_is_written_and_nobody_spins(void **state)
{
    struct world *w = *state;
    struct store_driver driver = *store_sqlite();
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");

    assert_int_equal(heartbeat(w, &job), ERR_OK);
    driver.apply = apply_full;
    disk_full = true;
    world_close(w);
    advance(w, 5 * w->cfg.policy.lease_us);
    world_open(w);
    world_engine(w, &driver);
    for (int i = 0; i < 100; i++) {
        usec wake_us = engine_step(w->engine);
        assert_true(wake_us > w->clock.boot_us);
        advance(w, wake_us - w->clock.boot_us);
    }
    disk_full = false;
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    pass(w, w->cfg.policy.lease_us - 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    world_engine(w, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_restart_of_a_moment),
        TEST(test_restart_of_less_than_half_a_lease),
        TEST(test_restart_of_less_than_a_lease),
        TEST(test_restart_of_an_hour),
        TEST(test_P01_day_long_job_survives_restarts_and_steps_of_the_clock),
        TEST(test_pause_of_a_lease),
        TEST(test_pause_of_a_lease_and_a_half),
        TEST(test_pause_of_a_day),
        TEST(test_pause_while_grace_is_written),
        TEST(test_paused_server_charges_nobody),
        TEST(test_store_clock_that_steps_forward_writes_grace),
        TEST(test_store_clock_that_steps_back_writes_grace),
        TEST(test_clocks_that_agree_within_a_second_write_none),
        TEST(test_P02_slow_commits_do_not_hold_leases),
        TEST(test_stalled_disk_between_two_batches_costs_no_lease),
        TEST(test_nothing_expires_before_grace_is_written_and_nobody_spins),
    };
    return cmocka_run_group_tests_name("engine-outage", tests, NULL, NULL);
}
