/* Everything can be repeated (law 4): the second call gets the first one's answer and changes nothing. */
#include "world.h"

static void restart(struct world *w)
{
    world_close(w);
    advance(w, SEC);
    world_open(w);
    settle(w);
}

static void test_repeated_poll_gets_the_same_claims(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    submit(w, "encode");
    submit(w, "encode");
    struct answer first, again;
    struct lease_poll *p = poll_new(w, 1, "same", &first), *q = poll_new(w, 1, "same", &again);
    p->want.slots = q->want.slots = 2;
    engine_poll(w->engine, p);
    settle(w);
    assert_int_equal(first.n, 2);
    for (int restarts = 0; restarts < 2; restarts++) {
        engine_poll(w->engine, q);
        settle(w);
        assert_int_equal(again.calls, restarts + 1);
        assert_int_equal(again.n, 2);
        assert_true(uuid_equal(&first.job.job_id, &again.job.job_id));
        assert_true(token_equal(&first.job.token, &again.job.token));
        restart(w);
    }
    assert_int_equal(claim(w, 1, "next").attempt, 1); /* the third is still there */
}

/* The client gave up on its connection and asked again: both questions are on their way, in one step. */
static void test_poll_repeated_while_it_waits_claims_once(void **state)
{
    struct world *w = *state;
    struct answer first, again;

    submit(w, "encode");
    submit(w, "encode");
    engine_poll(w->engine, poll_new(w, 1, "same", &first));
    engine_poll(w->engine, poll_new(w, 1, "same", &again));
    settle(w);
    assert_int_equal(first.calls, 1);
    assert_int_equal(again.calls, 1);
    assert_int_equal(again.n, 1);
    if (first.n)
        assert_true(token_equal(&first.job.token, &again.job.token));
    struct job_filter running = {.project = "default", .status = JOB_RUNNING, .limit = 10};
    struct job_page page;
    assert_int_equal(w->cfg.store_driver->job_list(w->cfg.store, &running, w->arena, &page, NULL), ERR_OK);
    assert_int_equal(page.n, 1);
}

static void test_repeated_completion_gets_the_stored_answer(void **state)
{
    struct world *w = *state;
    enum job_status status;

    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    stage(w, &job, "a");
    assert_int_equal(complete_with(w, &job, "a", &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    const char *before = everything(w);
    assert_int_equal(complete_with(w, &job, "a", &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(complete_with(w, &job, "b", &status), ERR_OK); /* whatever it says now: it was decided */
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, 0), ERR_OK);
    restart(w);
    assert_int_equal(complete_with(w, &job, "a", &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_string_equal(everything(w), before);
    assert_int_equal(published(w, job.job_id), 1);
}

static void test_repeated_failure_gets_the_stored_answer(void **state)
{
    struct world *w = *state;
    enum job_status status;

    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    assert_int_equal(fail_with(w, &job, OUTCOME_ERROR, 20 * SEC), ERR_OK);
    usec run_at = look(w, job.job_id).run_at;
    const char *before = everything(w);
    struct op *op = op_new(w, OP_FAIL, NULL);
    op->u.fail.job_id = job.job_id;
    op->u.fail.token = job.token;
    op->u.fail.failure = (struct job_failure){.outcome = OUTCOME_OOM, .permanent = true, .error_log = "another story"};
    assert_int_equal(decide(w, op), ERR_OK);
    assert_int_equal(op->u.fail.status, JOB_PENDING);
    assert_int_equal(op->u.fail.run_at, run_at);
    assert_string_equal(everything(w), before);
    pass(w, 21 * SEC); /* and after the next attempt has succeeded, too */
    struct job second = claim(w, 1, "p2");
    assert_int_equal(complete(w, &second, NULL), ERR_OK);
    restart(w);
    before = everything(w);
    assert_int_equal(decide(w, op), ERR_OK);
    assert_int_equal(op->u.fail.status, JOB_PENDING);
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_PENDING); /* what that attempt came to; not a second success */
    assert_string_equal(everything(w), before);
}

static int64_t append(struct world *w, const struct job *job, int64_t offset, const char *text)
{
    struct op *op = op_new(w, OP_LOG, NULL);

    op->u.log =
        (struct op_log){.job_id = job->job_id, .token = job->token, .offset = offset, .bytes = text, .n = strlen(text)};
    return decide(w, op) == ERR_OK ? op->u.log.next_offset : -1;
}

static void test_repeated_and_overlapping_log_is_kept_once(void **state)
{
    struct world *w = *state;
    char text[32] = "";
    size_t n = 0;
    struct log_part part;

    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    assert_int_equal(append(w, &job, 0, "one "), 4);
    assert_int_equal(append(w, &job, 0, "one "), 4);
    assert_int_equal(append(w, &job, 2, "e "), 4);
    assert_int_equal(append(w, &job, 0, "one two "), 8);
    assert_int_equal(append(w, &job, 9, "gap"), -1);
    restart(w);
    assert_int_equal(append(w, &job, 4, "two three"), 13);
    for (part.n = 0; n < 13; n += part.n)
        assert_int_equal(store_sqlite()->log_read(w->cfg.store, &job.job_id, 1, (int64_t)n, text + n,
                                                  sizeof text - 1 - n, &part, NULL),
                         ERR_OK);
    assert_int_equal(part.total, 13);
    assert_string_equal(text, "one two three");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_repeated_poll_gets_the_same_claims),         TEST(test_poll_repeated_while_it_waits_claims_once),
        TEST(test_repeated_completion_gets_the_stored_answer), TEST(test_repeated_failure_gets_the_stored_answer),
        TEST(test_repeated_and_overlapping_log_is_kept_once),
    };
    return cmocka_run_group_tests_name("engine-repeats", tests, NULL, NULL);
}
