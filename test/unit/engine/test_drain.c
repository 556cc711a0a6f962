/* Drained workers: their polls wait, want nothing and cost nothing; lanes that they did not look into are not empty. */
#include "world.h"
#include "engine/internal.h"

static void act_on(struct world *w, enum op_kind kind, const struct lease_poll *p)
{
    struct op *op = op_new(w, kind, NULL);

    op->u.drain.worker_id = p->worker_id;
    op->u.drain.gone_after_us = 90 * SEC;
    assert_int_equal(decide(w, op), ERR_OK);
}

static void test_a_drained_worker_waits_for_its_time_and_others_are_served(void **state)
{
    struct world *w = *state;
    struct lease_poll *p;
    struct answer a, b;

    engine_poll(w->engine, p = poll_new(w, 1, "p1", &a));
    settle(w);
    act_on(w, OP_DRAIN, p);
    assert_int_equal(a.calls, 1); /* so that it hears of it with its next poll */
    assert_int_equal(a.n, 0);
    engine_poll(w->engine, p = poll_new(w, 1, "p2", &a));
    settle(w);
    submit(w, "encode");
    pass(w, SEC);
    assert_int_equal(a.calls, 0);
    engine_poll(w->engine, poll_new(w, 2, "p3", &b));
    pass(w, USEC_PER_MSEC);
    assert_int_equal(b.calls, 1);
    assert_int_equal(b.n, 1);
    pass(w, 2 * SEC); /* long before the time that it gave itself */
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_true(p->drained);
}

static void test_resuming_has_it_ask_again_without_time_passing(void **state)
{
    struct world *w = *state;
    struct lease_poll *p;
    struct answer a;

    engine_poll(w->engine, p = poll_new(w, 1, "p1", &a));
    settle(w);
    act_on(w, OP_DRAIN, p);
    submit(w, "encode");
    engine_poll(w->engine, p = poll_new(w, 1, "p2", &a));
    settle(w);
    assert_int_equal(a.calls, 0);
    act_on(w, OP_UNDRAIN, p);
    assert_int_equal(a.calls, 1);
    engine_poll(w->engine, p = poll_new(w, 1, "p3", &a));
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_false(p->drained);
}

static void test_a_drained_worker_is_asked_for_once(void **state)
{
    struct world *w = *state;
    struct lease_poll *p;
    struct answer a;

    engine_poll(w->engine, p = poll_new(w, 1, "p1", &a));
    settle(w);
    act_on(w, OP_DRAIN, p);
    world_engine_counted(w);
    submit(w, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    settle(w);
    world_batches = 0;
    submit(w, "encode");
    submit(w, "encode");
    pass(w, USEC_PER_MSEC);
    assert_int_equal(world_batches, 2); /* the submissions */
    assert_int_equal(a.calls, 0);
    world_engine(w, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_drained_worker_waits_for_its_time_and_others_are_served),
        TEST(test_resuming_has_it_ask_again_without_time_passing),
        TEST(test_a_drained_worker_is_asked_for_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
