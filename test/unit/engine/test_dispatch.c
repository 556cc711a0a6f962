/* The dispatcher and the watches: who gets what, who hears what, and when. */
#include "world.h"
#include "engine/internal.h"

static void test_waiting_worker_gets_a_new_job_without_time_passing(void **state)
{
    struct world *w = *state;
    struct answer a;
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    assert_int_equal(a.calls, 0);
    struct uuid id = submit(w, "encode");
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &id));
    assert_int_equal(look(w, id).status, JOB_RUNNING);
}

static void test_submission_and_claim_are_one_transaction_where_a_worker_waits(void **state)
{
    struct world *w = *state;
    struct answer a;
    submit(w, "encode"); /* the lane is known from now on */
    struct job first = claim(w, 1, "p1");
    assert_int_equal(complete(w, &first, NULL), ERR_OK);
    world_engine_counted(w);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    submit(w, "encode"); /* lanes that stand empty are not loaded at a start: this one comes by two transactions */
    assert_int_equal(a.n, 1);
    engine_poll(w->engine, poll_new(w, 1, "p3", &a));
    settle(w);
    world_batches = 0;
    submit(w, "encode");
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(world_batches, 1);
    world_engine(w, NULL);
}

static void test_poll_is_answered_empty_at_its_end_and_never_with_a_foreign_type(void **state)
{
    struct world *w = *state;
    struct answer a;
    submit(w, "other");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, 29 * SEC);
    assert_int_equal(a.calls, 0);
    pass(w, 2 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.code, ERR_OK);
}

static void test_failed_job_backs_off_and_starts_when_due(void **state)
{
    struct world *w = *state;
    struct answer a;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    struct op *op = op_new(w, OP_FAIL, NULL);
    op->u.fail.job_id = id;
    op->u.fail.token = job.token;
    op->u.fail.failure =
        (struct job_failure){.outcome = OUTCOME_ERROR, .error_log = "boom", .retry_after_us = 20 * SEC};
    assert_int_equal(decide(w, op), ERR_OK);
    assert_int_equal(op->u.fail.status, JOB_PENDING);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    pass(w, 15 * SEC);
    assert_int_equal(a.calls, 0);
    pass(w, 10 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.job.attempt, 2);
    assert_int_equal(a.job.retries, 1);
}

static bool gone(struct lease_poll *p)
{
    (void)p;
    return false;
}

static void test_vanished_client_gets_no_lease(void **state)
{
    struct world *w = *state;
    struct answer a;
    struct lease_poll *p = poll_new(w, 1, "p1", &a);
    p->alive = gone;
    struct uuid id = submit(w, "encode");
    engine_poll(w->engine, p);
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.code, ERR_CANCELLED);
    assert_int_equal(look(w, id).status, JOB_PENDING);
}

static void fired(struct watch *watch)
{
    (*(int *)watch->owner)++;
}

static void test_drain_answers_those_who_wait(void **state)
{
    struct world *w = *state;
    struct answer a;
    int news = 0;
    struct uuid id = submit(w, "other");
    struct watch watch = {.job_id = id, .wait_us = 30 * SEC, .fire = fired, .owner = &news};
    engine_watch(w->engine, &watch);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    engine_drain(w->engine);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_int_equal(news, 1);
    assert_true(engine_idle(w->engine));
}

static void test_watch_fires_on_news_and_at_its_end(void **state)
{
    struct world *w = *state;
    int calm = 0, news = 0;
    struct uuid id = submit(w, "encode"), other = submit(w, "other");
    struct watch a = {.job_id = id, .wait_us = 30 * SEC, .fire = fired, .owner = &news};
    struct watch b = {.job_id = other, .wait_us = 30 * SEC, .fire = fired, .owner = &calm};
    engine_watch(w->engine, &a);
    engine_watch(w->engine, &b);
    claim(w, 1, "p");
    assert_int_equal(news, 1);
    assert_int_equal(calm, 0);
    pass(w, 31 * SEC);
    assert_int_equal(calm, 1);
    assert_int_equal(news, 1);
}

enum { INVENTED = 4200, AT_ONCE = 300 }; /* more than a choice looks at */

/* One op of the kind for each of the invented task types; `ids` are their jobs. */
static void each_invented(struct world *w, enum op_kind kind, struct uuid ids[INVENTED])
{
    static struct op ops[AT_ONCE];
    static char types[AT_ONCE][16];
    int done = 0;

    for (size_t from = 0; from < INVENTED; from += AT_ONCE, settle(w))
        for (size_t i = 0; i < AT_ONCE; i++) {
            snprintf(types[i], sizeof types[i], "t%zu", from + i);
            if (kind == OP_SUBMIT) {
                ops[i] = *submit_op(w, types[i], &done);
                ids[from + i] = ops[i].u.submit.job.job_id;
            } else {
                ops[i] = *op_new(w, kind, &done);
                ops[i].u.job.job_id = ids[from + i];
            }
            engine_offer(w->engine, &ops[i]);
        }
    assert_int_equal(done, INVENTED);
}

static void test_invented_task_types_neither_starve_others_nor_stay(void **state)
{
    struct world *w = *state;
    static struct uuid ids[INVENTED];

    each_invented(w, OP_SUBMIT, ids);
    submit(w, "encode");
    struct job job = claim(w, 1, "p1"); /* although there are 4200 lanes before its own */
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    pass(w, 2 * 60 * SEC);
    assert_int_equal(HASH_COUNT(w->engine->lanes), INVENTED + 1 - 1); /* only the empty one went */

    submit(w, "encode");
    job = claim(w, 1, "p2");
    each_invented(w, OP_CANCEL, ids);
    pass(w, 2 * 60 * SEC);
    assert_in_range(HASH_COUNT(w->engine->lanes), 1, LANES_KEPT);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, SEC), ERR_OK);
    pass(w, 2 * SEC); /* comes back to a lane of its kind, though its own may be gone */
    struct job again = claim(w, 1, "p3");
    assert_true(uuid_equal(&again.job_id, &job.job_id));
    assert_int_equal(act(w, OP_RETRY, ids[0]), ERR_OK);
    assert_int_equal(look(w, ids[0]).status, JOB_PENDING);
    assert_int_equal(act(w, OP_CANCEL, ids[0]), ERR_OK);
    each_invented(w, OP_DISCARD, ids);
}

/* Found by test/sim: a repeated poll takes nothing from the lane it was meant for, and that is no news of the lane. */
static void test_repeated_poll_says_nothing_about_a_lane(void **state)
{
    struct world *w = *state;
    struct uuid first = submit(w, "encode");
    struct job job = claim(w, 1, "p");
    struct op *op = submit_op(w, "encode", NULL);

    op->u.submit.job.priority = 9;
    assert_int_equal(decide(w, op), ERR_OK);
    for (int i = 0; i < 3; i++) {
        job = claim(w, 1, "p");
        assert_true(uuid_equal(&job.job_id, &first));
    }
    job = claim(w, 2, "q");
    assert_true(uuid_equal(&job.job_id, &op->u.submit.job.job_id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_repeated_poll_says_nothing_about_a_lane),
        TEST(test_waiting_worker_gets_a_new_job_without_time_passing),
        TEST(test_submission_and_claim_are_one_transaction_where_a_worker_waits),
        TEST(test_poll_is_answered_empty_at_its_end_and_never_with_a_foreign_type),
        TEST(test_failed_job_backs_off_and_starts_when_due),
        TEST(test_vanished_client_gets_no_lease),
        TEST(test_drain_answers_those_who_wait),
        TEST(test_watch_fires_on_news_and_at_its_end),
        TEST(test_invented_task_types_neither_starve_others_nor_stay),
    };
    return cmocka_run_group_tests_name("engine-dispatch", tests, NULL, NULL);
}
