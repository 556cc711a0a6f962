/* A store that other servers write to, too: what they do is found, told of or not. */
#include "world.h"

static struct store_driver shared;

static void share(struct world *w)
{
    shared = *store_sqlite();
    shared.shared = true;
    world_engine(w, &shared);
}

static void nothing(void *arg) {}

/** Another server's: this engine hears nothing of it. */
static struct op *elsewhere(struct world *w, struct op *op)
{
    shared.apply(w->cfg.store, &op, 1, nothing, NULL);
    assert_int_equal(op->err.code, ERR_OK);
    return op;
}

static void test_job_of_another_server_is_found_while_a_worker_waits(void **state)
{
    struct world *w = *state;
    struct answer a;
    share(w);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    elsewhere(w, submit_op(w, "encode", NULL));
    pass(w, SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    world_engine(w, NULL);
}

static void test_hint_wakes_at_once_and_a_wrong_one_wakes_nobody(void **state)
{
    struct world *w = *state;
    struct answer a;
    share(w);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    struct op *op = elsewhere(w, submit_op(w, "encode", NULL));
    struct lane lane = op->changes[0].lane;
    lane.lane_id += 1000; /* nobody stands there */
    engine_lanes_hint(w->engine, &lane, 1);
    settle(w);
    assert_int_equal(a.calls, 0);
    engine_lanes_hint(w->engine, &op->changes[0].lane, 1);
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    world_engine(w, NULL);
}

static void test_hint_by_names_of_a_lane_not_known_here(void **state)
{
    struct world *w = *state;
    struct answer a;
    share(w);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    struct lane lane = elsewhere(w, submit_op(w, "encode", NULL))->changes[0].lane;
    lane.lane_id = 0;
    engine_lanes_hint(w->engine, &lane, 1);
    pass(w, 100 * USEC_PER_MSEC);
    assert_int_equal(a.n, 1);
    world_engine(w, NULL);
}

static void test_lanes_that_others_emptied_are_forgotten(void **state)
{
    struct world *w = *state;
    struct answer a;
    share(w);
    struct uuid id = submit(w, "encode");
    struct op *cancel = op_new(w, OP_CANCEL, NULL);
    cancel->u.job.job_id = id;
    elsewhere(w, cancel);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, 2 * SEC);
    assert_int_equal(a.calls, 0);
    world_engine(w, NULL);
}

static void fired(struct watch *w)
{
    ++*(int *)w->owner;
}

static void test_watch_looks_again_soon(void **state)
{
    struct world *w = *state;
    int n = 0;
    share(w);
    struct watch watch = {.job_id = submit(w, "encode"), .wait_us = 30 * SEC, .fire = fired, .owner = &n};
    engine_watch(w->engine, &watch);
    pass(w, SEC);
    assert_int_equal(n, 1);
    world_engine(w, NULL);
}

static void test_times_of_another_servers_jobs_are_seen(void **state)
{
    struct world *w = *state;
    struct answer a;
    share(w);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    struct op *op = submit_op(w, "encode", NULL);
    op->u.submit.delay_us = 3 * SEC;
    elsewhere(w, op);
    pass(w, 2 * SEC);
    assert_int_equal(a.calls, 0);
    pass(w, 3 * SEC);
    assert_int_equal(a.n, 1);
    world_engine(w, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_job_of_another_server_is_found_while_a_worker_waits),
        TEST(test_hint_wakes_at_once_and_a_wrong_one_wakes_nobody),
        TEST(test_hint_by_names_of_a_lane_not_known_here),
        TEST(test_lanes_that_others_emptied_are_forgotten),
        TEST(test_watch_looks_again_soon),
        TEST(test_times_of_another_servers_jobs_are_seen),
    };
    return cmocka_run_group_tests_name("engine-shared", tests, NULL, NULL);
}
