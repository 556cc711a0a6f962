/* Paused queues: waiting workers get nothing of them, and get it at once when they are resumed. A paused lane is not an empty one. */
#include "world.h"
#include "engine/internal.h"

static void act_on(struct world *w, enum op_kind kind, const char *queue)
{
    struct op *op = op_new(w, kind, NULL);

    op->u.pause.pause.queue = queue;
    assert_int_equal(decide(w, op), ERR_OK);
}

static void test_resuming_wakes_who_waits_without_time_passing(void **state)
{
    struct world *w = *state;
    struct answer a;

    submit(w, "encode");
    act_on(w, OP_PAUSE, "encode");
    submit(w, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, 20 * SEC);
    assert_int_equal(a.calls, 0);
    act_on(w, OP_RESUME, "encode");
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
}

static void test_nobody_asks_a_paused_lane_again_and_again(void **state)
{
    struct world *w = *state;
    struct answer a;

    submit(w, "encode");
    act_on(w, OP_PAUSE, "encode");
    world_engine_counted(w); /* starts while it is paused */
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    world_batches = 0;
    submit(w, "encode");
    submit(w, "encode");
    pass(w, USEC_PER_MSEC);
    assert_int_equal(world_batches, 2); /* the submissions */
    assert_int_equal(a.calls, 0);
    act_on(w, OP_RESUME, "encode");
    assert_int_equal(a.n, 1);
    world_engine(w, NULL);
}

static void test_a_lane_made_while_its_queue_is_paused_is_not_taken_for_empty(void **state)
{
    struct world *w = *state;
    struct answer a;

    act_on(w, OP_PAUSE, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    submit(w, "encode"); /* nobody here knows of that lane: the store says that it is paused */
    assert_int_equal(a.calls, 0);
    act_on(w, OP_RESUME, "encode");
    assert_int_equal(a.n, 1);
}

static void test_a_poll_is_answered_empty_at_its_end(void **state)
{
    struct world *w = *state;
    struct answer a;

    submit(w, "encode");
    act_on(w, OP_PAUSE, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, 31 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.code, ERR_OK);
}

static void test_what_runs_goes_on_and_what_is_returned_waits(void **state)
{
    struct world *w = *state;
    struct answer a;
    enum job_status status;

    submit(w, "encode");
    submit(w, "encode");
    struct job one = claim(w, 1, "p1"), two = claim(w, 2, "p2");
    act_on(w, OP_PAUSE, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p3", &a));
    assert_int_equal(heartbeat(w, &one), ERR_OK);
    assert_int_equal(complete(w, &one, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(fail_with(w, &two, OUTCOME_INTERRUPTED, 0), ERR_OK);
    pass(w, SEC);
    assert_int_equal(a.calls, 0);
    act_on(w, OP_RESUME, "encode");
    pass(w, SEC);
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &two.job_id));
}

/* --- beside other servers --- */

static struct store_driver shared;

static void nothing(void *arg) {}

static void elsewhere(struct world *w, enum op_kind kind, const char *queue)
{
    struct op *op = op_new(w, kind, NULL);

    op->u.pause.pause.queue = queue;
    shared.apply(w->cfg.store, &op, 1, nothing, NULL);
    assert_int_equal(op->err.code, ERR_OK);
}

static void share(struct world *w)
{
    shared = *store_sqlite();
    shared.shared = true;
    world_engine(w, &shared);
}

static void test_another_server_pauses_and_resumes(void **state)
{
    struct world *w = *state;
    struct answer a;

    share(w);
    submit(w, "encode");
    struct job job = claim(w, 1, "p0"); /* the lane is known */
    elsewhere(w, OP_PAUSE, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    submit(w, "encode");
    pass(w, 2 * SEC);
    assert_int_equal(a.calls, 0);
    elsewhere(w, OP_RESUME, "encode");
    pass(w, SEC);
    assert_int_equal(a.n, 1);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    world_engine(w, NULL);
}

static void test_a_lane_that_stood_empty_while_another_server_resumed_it(void **state)
{
    struct world *w = *state;
    struct answer a;

    share(w);
    submit(w, "encode");
    act_on(w, OP_PAUSE, "encode");
    struct op *cancel = op_new(w, OP_CANCEL, NULL);
    cancel->u.job.job_id = submit(w, "encode");
    assert_int_equal(decide(w, cancel), ERR_OK);
    elsewhere(w, OP_RESUME, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, SEC);
    assert_int_equal(a.n, 1);
    elsewhere(w, OP_PAUSE, "encode");
    submit(w, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    pass(w, SEC);
    assert_int_equal(a.calls, 0);
    world_engine(w, NULL);
}

/* --- a broker's messages --- */

struct broker {
    int announced;
};

static void note_job(struct broker *b, const struct broker_job *job)
{
    b->announced++;
}

static void note_want(struct broker *b, const char *queue, const char *task_type, int slots) {}

static const struct broker_driver noting = {.name = "noting", .announce = note_job, .want = note_want};

struct heard {
    struct lane_hint hint;
    int calls;
    enum broker_outcome outcome;
};

static void hear(struct lane_hint *h, enum broker_outcome outcome)
{
    struct heard *heard = h->owner;

    heard->calls++;
    heard->outcome = outcome;
}

/* It is neither held, which would take the room of others, nor given back, to come again and again: whoever resumes looks at the lanes. */
static void test_a_message_of_a_paused_queue_is_dropped(void **state)
{
    struct world *w = *state;
    struct broker b = {0};
    struct answer a;
    struct heard h = {
        .hint = {.queue = "encode", .task_type = "encode", .priority = 5, .jobs = 1, .done = hear, .owner = &h}};

    shared = *store_sqlite();
    shared.shared = true;
    w->cfg.broker_driver = &noting;
    w->cfg.broker = &b;
    world_engine(w, &shared);
    elsewhere(w, OP_PAUSE, "encode");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    submit(w, "encode");
    assert_int_equal(b.announced, 1);
    engine_hint(w->engine, &h.hint);
    settle(w);
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.outcome, BROKER_NOTHING);
    assert_int_equal(a.calls, 0);
    elsewhere(w, OP_RESUME, "encode");
    pass(w, SEC);
    assert_int_equal(a.n, 1);
    engine_free(w->engine);
    w->engine = NULL;
    w->cfg.broker_driver = NULL;
    world_engine(w, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_resuming_wakes_who_waits_without_time_passing),
        TEST(test_nobody_asks_a_paused_lane_again_and_again),
        TEST(test_a_lane_made_while_its_queue_is_paused_is_not_taken_for_empty),
        TEST(test_a_poll_is_answered_empty_at_its_end),
        TEST(test_what_runs_goes_on_and_what_is_returned_waits),
        TEST(test_another_server_pauses_and_resumes),
        TEST(test_a_lane_that_stood_empty_while_another_server_resumed_it),
        TEST(test_a_message_of_a_paused_queue_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
