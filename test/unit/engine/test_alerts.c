/* Objectives and alerts of the engine, on a fake clock: what is counted, what a restart knows still, when somebody is told. */
#include "engine/metrics.h"
#include "world.h"

static const struct objective objectives[] = {
    {.name = "starts",
     .task_type = "encode",
     .kind = OBJECTIVE_START,
     .within_us = 5 * SEC,
     .target = 0.9,
     .window_us = 24 * 3600 * SEC},
    {.name = "succeeds", .kind = OBJECTIVE_SUCCESS, .target = 0.9, .window_us = 24 * 3600 * SEC},
    {.name = "others", .task_type = "other", .kind = OBJECTIVE_SUCCESS, .target = 0.9, .window_us = 24 * 3600 * SEC},
};
static const struct alert_rule rules[] = {
    {.name = "queue_depth", .kind = ALERT_QUEUE_DEPTH, .above = 1, .clear_at = 0, .for_us = 10 * SEC},
    {.name = "dlq_growth", .kind = ALERT_DLQ_GROWTH, .above = 0, .clear_at = 0, .window_us = 300 * SEC},
};

static struct {
    const char *name;
    enum alert_state state;
} told[16];
static size_t n_told;

static enum alert_state seen[ARRAY_LEN(rules)];

/* Keeps what became of them. */
static void looked(void *self, struct engine *e, const struct alert *alerts)
{
    assert_ptr_equal(self, told);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const enum alert_state state = alerts[i].state;
        if (state != seen[i] && (state == ALERT_FIRING || state == ALERT_RESOLVED)) {
            assert_true(n_told < ARRAY_LEN(told));
            told[n_told].name = rules[i].name;
            told[n_told++].state = state;
        }
        seen[i] = state;
    }
}

static void with_alerts(struct world *w)
{
    n_told = 0;
    memset(seen, 0, sizeof seen);
    w->cfg.alerts = (struct engine_alerts_config){.objectives = objectives,
                                                  .n_objectives = ARRAY_LEN(objectives),
                                                  .rules = rules,
                                                  .n_rules = ARRAY_LEN(rules),
                                                  .every_us = 5 * SEC,
                                                  .looked = looked,
                                                  .self = told};
    world_engine(w, NULL);
}

static struct engine_alerts alerts_now(struct world *w)
{
    struct engine_metrics m;
    struct err err = {0};

    assert_int_equal(engine_metrics(w->engine, w->arena, &m, &err), ERR_OK);
    return m.alerts;
}

static void assert_window(struct world *w, size_t i, uint64_t good, uint64_t bad)
{
    struct engine_alerts a = alerts_now(w);

    assert_int_equal(a.objectives[i].window.good, good);
    assert_int_equal(a.objectives[i].window.bad, bad);
}

/* One starts late and succeeds, one starts in time and fails. */
static void two_jobs(struct world *w)
{
    submit(w, "encode");
    pass(w, 6 * SEC);
    struct job job = claim(w, 1, "p1");
    claim(w, 1, "p1"); /* the same poll again starts nothing */
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    submit(w, "encode");
    job = claim(w, 1, "p2");
    struct op *op = op_new(w, OP_FAIL, NULL);
    op->u.fail.job_id = job.job_id;
    op->u.fail.token = job.token;
    op->u.fail.failure = (struct job_failure){.outcome = OUTCOME_ERROR, .permanent = true};
    assert_int_equal(decide(w, op), ERR_OK);
}

static void test_promises_are_counted_once_and_outlive_a_restart(void **state)
{
    struct world *w = *state;

    with_alerts(w);
    two_jobs(w);
    assert_window(w, 0, 1, 1);
    assert_window(w, 1, 1, 1);
    assert_window(w, 2, 0, 0);
    assert_int_equal(alerts_now(w).counted[0].bad, 1);
    pass(w, 61 * SEC); /* kept */
    world_close(w);
    world_open(w);
    assert_window(w, 0, 1, 1);
    assert_window(w, 1, 1, 1);
    assert_int_equal(alerts_now(w).counted[0].bad, 0);
    two_jobs(w);
    engine_drain(w->engine); /* kept at once */
    settle(w);
    world_close(w);
    world_open(w);
    assert_window(w, 0, 2, 2);
    assert_window(w, 1, 2, 2);
}

static void failing(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    for (size_t i = 0; i < n; i++)
        err_set(&ops[i]->err, ERR_IO, 0, "no disk");
    decided(arg);
}

static void test_a_write_that_failed_is_made_again(void **state)
{
    struct world *w = *state;
    struct store_driver broken = *store_sqlite();

    with_alerts(w);
    two_jobs(w);
    w->cfg.store_driver = &broken;
    broken.apply = store_sqlite()->apply;
    world_engine(w, &broken); /* what was not kept is gone */
    assert_window(w, 0, 0, 0);
    two_jobs(w);
    broken.apply = failing;
    pass(w, 61 * SEC);
    assert_window(w, 0, 1, 1);
    broken.apply = store_sqlite()->apply;
    pass(w, 61 * SEC);
    world_engine(w, NULL);
    assert_window(w, 0, 1, 1);
}

static void test_alerts_fire_are_resolved_and_told(void **state)
{
    struct world *w = *state;

    with_alerts(w);
    submit(w, "encode");
    submit(w, "encode");
    settle(w);
    pass(w, 5 * SEC);
    assert_int_equal(alerts_now(w).alerts[0].state, ALERT_PENDING);
    assert_int_equal(n_told, 0);
    pass(w, 15 * SEC);
    assert_int_equal(alerts_now(w).alerts[0].state, ALERT_FIRING);
    assert_int_equal(n_told, 1);
    for (int i = 0; i < 2; i++) {
        struct job job = claim(w, 1, i ? "p2" : "p1");
        assert_int_equal(complete(w, &job, NULL), ERR_OK);
    }
    pass(w, 5 * SEC);
    assert_int_equal(alerts_now(w).alerts[0].state, ALERT_RESOLVED);
    assert_int_equal(n_told, 2);
    assert_string_equal(told[1].name, "queue_depth");
    assert_int_equal(told[1].state, ALERT_RESOLVED);
    two_jobs(w);
    pass(w, 5 * SEC);
    assert_int_equal(n_told, 3);
    assert_string_equal(told[2].name, "dlq_growth");
    pass(w, 400 * SEC);
    assert_int_equal(n_told, 4);
    assert_int_equal(told[3].state, ALERT_RESOLVED);
}

static void test_nobody_asked_for_alerts(void **state)
{
    struct world *w = *state;

    two_jobs(w);
    assert_null(alerts_now(w).alerts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_promises_are_counted_once_and_outlive_a_restart), TEST(test_a_write_that_failed_is_made_again),
        TEST(test_alerts_fire_are_resolved_and_told), TEST(test_nobody_asked_for_alerts)};

    return cmocka_run_group_tests_name("alerts", tests, NULL, NULL);
}
