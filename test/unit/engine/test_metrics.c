/* What the engine counts, on a fake clock. */
#include "engine/metrics.h"
#include "world.h"

static struct engine_metrics snapshot(struct world *w)
{
    struct engine_metrics m;
    struct err err = {0};

    if (engine_metrics(w->engine, w->arena, &m, &err) != ERR_OK)
        fail_msg("metrics: %s", err.msg);
    return m;
}

static const struct metrics_pair *pair_of(const struct engine_metrics *m, const char *type)
{
    for (size_t i = 0; i < m->n_pairs; i++)
        if (strcmp(m->pairs[i].task_type, type) == 0)
            return &m->pairs[i];
    return NULL;
}

static const struct metrics_pair *encode(struct world *w)
{
    struct engine_metrics m = snapshot(w);
    const struct metrics_pair *pair = pair_of(&m, "encode");

    assert_non_null(pair);
    assert_string_equal(pair->queue, "encode");
    return pair;
}

static void test_start_latency_counts_from_when_a_job_became_due(void **state)
{
    struct world *w = *state;
    struct op *scheduled = submit_op(w, "encode", NULL);

    submit(w, "encode");
    pass(w, 7 * SEC);
    claim(w, 1, "p1");
    assert_int_equal(encode(w)->start_us.sum, 7 * SEC);
    claim(w, 1, "p1"); /* the same poll again: the same claim, counted once */
    assert_int_equal(histogram_total(&encode(w)->start_us), 1);
    scheduled->u.submit.delay_us = 1000 * SEC;
    assert_int_equal(decide(w, scheduled), ERR_OK);
    pass(w, 1003 * SEC); /* the first was lost meanwhile, and stands before it */
    claim(w, 2, "p2");
    claim(w, 2, "p3");
    const struct metrics_pair *pair = encode(w);
    assert_int_equal(histogram_total(&pair->start_us), 3);
    assert_int_equal(pair->ended[OUTCOME_UNCONFIRMED], 1);
    struct job lost = {.job_id = scheduled->u.submit.job.job_id};
    lost = look(w, lost.job_id);
    assert_int_equal(lost.started_at - lost.run_at, 3 * SEC);
    assert_int_equal(pair->start_us.counts[histogram_bucket(&metrics_start_bounds, 3 * SEC)], 1);
}

static void test_ends_and_run_times_are_counted_once(void **state)
{
    struct world *w = *state;
    struct op *op = op_new(w, OP_FAIL, NULL);

    submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    pass(w, 20 * SEC);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    assert_int_equal(complete(w, &job, NULL), ERR_OK); /* its answer was lost */
    submit(w, "encode");
    job = claim(w, 1, "p2");
    pass(w, 2 * SEC);
    op->u.fail.job_id = job.job_id;
    op->u.fail.token = job.token;
    op->u.fail.failure = (struct job_failure){.outcome = OUTCOME_TIMEOUT, .permanent = true};
    assert_int_equal(decide(w, op), ERR_OK);
    const struct metrics_pair *pair = encode(w);
    assert_int_equal(pair->ended[OUTCOME_SUCCESS], 1);
    assert_int_equal(pair->ended[OUTCOME_TIMEOUT], 1);
    assert_int_equal(histogram_total(&pair->run_us), 2);
    assert_int_equal(pair->run_us.sum, 22 * SEC);
}

static void test_submissions_are_told_apart(void **state)
{
    struct world *w = *state;
    struct op *op;

    for (int i = 0; i < 3; i++) {
        op = submit_op(w, "encode", NULL);
        op->u.submit.job.dedup_key = "k";
        op->u.submit.job.payload = i == 2 ? "{\"other\":1}" : "{}";
        op->u.submit.request_hash[0] = (uint8_t)i;
        assert_int_equal(decide(w, op), i == 2 ? ERR_CONFLICT : ERR_OK);
    }
    const struct metrics_pair *pair = encode(w);
    assert_int_equal(pair->submissions[SUBMISSION_ACCEPTED], 1);
    assert_int_equal(pair->submissions[SUBMISSION_DUPLICATE], 1);
    assert_int_equal(pair->submissions[SUBMISSION_REFUSED], 1);

    op = submit_op(w, "never-accepted", NULL);
    op->u.submit.job.payload_ref = "blob:nothing";
    assert_int_equal(decide(w, op), ERR_INVALID);
    struct engine_metrics m = snapshot(w);
    assert_null(pair_of(&m, "never-accepted"));
    assert_int_equal(m.pairs[0].submissions[SUBMISSION_REFUSED], 1);
}

static void assert_rates(struct world *w, const char *type, double submitted, double succeeded, double failed)
{
    const struct engine_metrics m = snapshot(w);
    const double want[RATE_COUNT] = {submitted, succeeded, failed};

    for (unsigned i = 0; i < RATE_COUNT; i++)
        assert_float_equal(rates_per_min(&pair_of(&m, type)->rates, (enum rates_what)i, m.began_boot_us, m.boot_us),
                           want[i], 1e-9);
}

static void fail_for_good(struct world *w, const struct job *job)
{
    struct op *op = op_new(w, OP_FAIL, NULL);

    op->u.fail.job_id = job->job_id;
    op->u.fail.token = job->token;
    op->u.fail.failure = (struct job_failure){.outcome = OUTCOME_ERROR, .permanent = true};
    assert_int_equal(decide(w, op), ERR_OK);
}

static void test_rates_are_of_five_minutes_and_of_each_type(void **state)
{
    struct world *w = *state;
    struct op *op;
    struct job job;

    world_engine(w, NULL);        /* begins now */
    for (int i = 0; i < 2; i++) { /* the second is a duplicate: one job */
        op = submit_op(w, "encode", NULL);
        op->u.submit.job.dedup_key = "k";
        assert_int_equal(decide(w, op), ERR_OK);
    }
    for (int i = 0; i < 5; i++)
        submit(w, "encode");
    job = claim(w, 1, "p1");
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    assert_int_equal(complete(w, &job, NULL), ERR_OK); /* its answer was lost: no second job */
    job = claim(w, 1, "p2");
    fail_for_good(w, &job);
    submit(w, "other-type");
    assert_rates(w, "encode", 6, 1, 1);
    assert_rates(w, "other-type", 1, 0, 0);
    pass(w, 130 * SEC);
    job = claim(w, 1, "p3");
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    pass(w, 150 * SEC);
    assert_rates(w, "encode", 6 * 60 / 290.0, 2 * 60 / 290.0, 60 / 290.0);
    pass(w, 30 * SEC);
    assert_rates(w, "encode", 0, 0.2, 0);
    pass(w, 300 * SEC);
    assert_rates(w, "encode", 0, 0, 0);
    submit(w, "encode");
    assert_rates(w, "encode", 0.2, 0, 0);
    world_engine(w, NULL); /* another server, or this one again: what it did not decide it does not count */
    assert_rates(w, "encode", 0, 0, 0);
}

static void test_pairs_that_share_a_name_are_told_apart(void **state)
{
    struct world *w = *state;
    const char *pairs[][2] = {{"a", "x"}, {"a", "y"}, {"b", "y"}, {"a", "x"}}; /* each beside the one before */

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct op *op = submit_op(w, pairs[i][1], NULL);

        op->u.submit.job.queue = pairs[i][0];
        assert_int_equal(decide(w, op), ERR_OK);
    }
    struct engine_metrics m = snapshot(w);
    for (size_t i = 0; i < 3; i++) {
        const struct metrics_pair *found = NULL;

        for (size_t k = 0; k < m.n_pairs; k++)
            if (strcmp(m.pairs[k].queue, pairs[i][0]) == 0 && strcmp(m.pairs[k].task_type, pairs[i][1]) == 0)
                found = &m.pairs[k];
        assert_non_null(found);
        assert_int_equal(found->submissions[SUBMISSION_ACCEPTED], i == 0 ? 2 : 1);
    }
}

static void test_a_full_queue_counts_as_refused(void **state)
{
    struct world *w = *state;
    int done = 0;

    submit(w, "encode");
    w->cfg.ops_max = 1;
    world_engine(w, NULL);
    engine_offer(w->engine, submit_op(w, "encode", &done));
    engine_offer(w->engine, submit_op(w, "encode", &done));
    assert_int_equal(done, 1);
    assert_int_equal(encode(w)->submissions[SUBMISSION_REFUSED], 1);
    assert_int_equal(snapshot(w).ops_waiting, 1);
    settle(w);
    assert_int_equal(snapshot(w).ops_waiting, 0);
}

static void test_pairs_are_bounded_and_the_rest_is_other(void **state)
{
    struct world *w = *state;
    enum { MORE = 20 };
    int done = 0;
    char type[32];

    submit(w, METRICS_OTHER); /* a user's own name: no second series with the same labels */
    for (int i = 0; i < METRICS_PAIRS_MAX + MORE; i++) {
        snprintf(type, sizeof(type), "type-%d", i);
        engine_offer(w->engine, submit_op(w, arena_strdup(w->arena, type), &done));
    }
    while (done < METRICS_PAIRS_MAX + MORE)
        engine_step(w->engine);
    struct engine_metrics m = snapshot(w);
    assert_int_equal(m.n_pairs, METRICS_PAIRS_MAX + 1);
    assert_string_equal(m.pairs[0].queue, METRICS_OTHER);
    assert_int_equal(m.pairs[0].submissions[SUBMISSION_ACCEPTED], 1 + MORE);
    assert_int_equal(m.pairs[0].ready, 1 + MORE);
    assert_non_null(pair_of(&m, "type-0"));
    assert_null(pair_of(&m, type));
    for (size_t i = 1; i < m.n_pairs; i++)
        assert_int_equal(m.pairs[i].submissions[SUBMISSION_ACCEPTED], 1);

    world_close(w); /* jobs of before the start have their places first */
    world_open(w);
    submit(w, "newcomer");
    m = snapshot(w);
    assert_int_equal(m.n_pairs, METRICS_PAIRS_MAX + 1);
    assert_null(pair_of(&m, "newcomer"));
    assert_int_equal(m.pairs[0].submissions[SUBMISSION_ACCEPTED], 1);
    /* What is compared at the end of each test lists at most 1000. */
    for (int left = METRICS_PAIRS_MAX + MORE + 2; left > 900; left--) {
        struct job_filter f = {.project = "default", .status = JOB_PENDING, .limit = 1};
        struct job_page page;
        struct op *op = op_new(w, OP_CANCEL, NULL);

        assert_int_equal(w->cfg.store_driver->job_list(w->cfg.store, &f, w->arena, &page, NULL), ERR_OK);
        op->u.job.job_id = page.jobs[0].job_id;
        assert_int_equal(decide(w, op), ERR_OK);
    }
}

static void test_the_oldest_ready_job_is_the_one_that_is_left(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    usec first_at = snapshot(w).now;
    pass(w, 600 * SEC);
    submit(w, "encode");
    usec second_at = snapshot(w).now;
    pass(w, 30 * SEC);
    assert_int_equal(encode(w)->ready, 2);
    assert_int_equal(encode(w)->oldest_at, first_at);
    struct job job = claim(w, 1, "p1");
    assert_int_equal(encode(w)->ready, 1);
    assert_int_equal(encode(w)->oldest_at, second_at);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    job = claim(w, 1, "p2");
    assert_int_equal(encode(w)->ready, 0);
    assert_int_equal(encode(w)->oldest_at, 0);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
}

static struct world *slow_world;

static void apply_slowly(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    advance(slow_world, 30 * USEC_PER_MSEC);
    store_sqlite()->apply(s, ops, n, decided, arg);
}

static void test_batches_are_timed_and_polls_counted(void **state)
{
    struct world *w = *state;
    struct store_driver slow = *store_sqlite();
    struct answer a;
    int done = 0;

    settle(w); /* the sweeps of the start */
    slow.apply = apply_slowly;
    slow_world = w;
    world_engine(w, &slow);
    settle(w);
    struct engine_metrics before = snapshot(w);
    for (int i = 0; i < 5; i++)
        engine_offer(w->engine, submit_op(w, "other-type", &done));
    engine_step(w->engine);
    assert_int_equal(done, 5);
    struct engine_metrics m = snapshot(w);
    assert_int_equal(histogram_total(&m.commit_us), histogram_total(&before.commit_us) + 1);
    assert_int_equal(m.commit_us.sum - before.commit_us.sum, 30 * USEC_PER_MSEC);
    assert_int_equal(m.commit_ops.sum - before.commit_ops.sum, 5);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    assert_int_equal(snapshot(w).polls_held, 1);
    world_engine(w, NULL);
    assert_int_equal(snapshot(w).polls_held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_latency_counts_from_when_a_job_became_due),
        TEST(test_ends_and_run_times_are_counted_once),
        TEST(test_submissions_are_told_apart),
        TEST(test_rates_are_of_five_minutes_and_of_each_type),
        TEST(test_pairs_that_share_a_name_are_told_apart),
        TEST(test_a_full_queue_counts_as_refused),
        TEST(test_pairs_are_bounded_and_the_rest_is_other),
        TEST(test_the_oldest_ready_job_is_the_one_that_is_left),
        TEST(test_batches_are_timed_and_polls_counted),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
