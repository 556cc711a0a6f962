/* Objectives and alerts, on samples and a clock of the test's. */
#include "check.h"
#include "core/alert.h"
#include <math.h>
#include <string.h>

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static struct tally counts;

static struct objective starts(void)
{
    return (struct objective){
        .name = "starts", .kind = OBJECTIVE_START, .within_us = 5 * MINUTE, .target = 0.99, .window_us = 30 * DAY};
}

static struct objective succeeds(void)
{
    return (struct objective){.name = "succeeds", .kind = OBJECTIVE_SUCCESS, .target = 0.999, .window_us = 30 * DAY};
}

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) < 1e-9 * (1 + fabs(want))))
        fail_msg("%.12g is not %.12g", got, want);
}

static void test_what_an_objective_covers(void **state)
{
    struct objective o = succeeds();

    assert_true(objective_covers(&o, "q", "t"));
    o.task_type = "t";
    assert_true(objective_covers(&o, NULL, "t"));
    assert_false(objective_covers(&o, "t", "u"));
    o.queue = "q";
    assert_true(objective_covers(&o, "q", "t"));
    assert_false(objective_covers(&o, NULL, "t")); /* without a queue of its own it stands in its type's */
    o.queue = "t";
    assert_true(objective_covers(&o, NULL, "t"));
}

static void test_what_keeps_a_promise(void **state)
{
    struct objective o = starts();

    assert_int_equal(objective_start(&o, 5 * MINUTE), VERDICT_GOOD);
    assert_int_equal(objective_start(&o, 5 * MINUTE + 1), VERDICT_BAD);
    assert_int_equal(objective_end(&o, OUTCOME_SUCCESS, JOB_SUCCESS), VERDICT_NONE);
    assert_int_equal(objective_end(&o, OUTCOME_EXPIRED, JOB_FAILED), VERDICT_BAD); /* never started */
    o = succeeds();
    assert_int_equal(objective_start(&o, 0), VERDICT_NONE);
    assert_int_equal(objective_end(&o, OUTCOME_SUCCESS, JOB_SUCCESS), VERDICT_GOOD);
    assert_int_equal(objective_end(&o, OUTCOME_ERROR, JOB_PENDING), VERDICT_NONE); /* it is retried */
    assert_int_equal(objective_end(&o, OUTCOME_CANCELLED, JOB_CANCELLED), VERDICT_NONE);
    assert_int_equal(objective_end(&o, OUTCOME_ERROR, JOB_FAILED), VERDICT_BAD);
    o.keep_dead = true;
    assert_int_equal(objective_end(&o, OUTCOME_ERROR, JOB_FAILED), VERDICT_GOOD);
}

static void test_budget_and_burn(void **state)
{
    struct objective o = starts();
    struct objective_report r;

    counts = (struct tally){0};
    objective_judge(&o, &counts, NOW, &r);
    assert_near(r.budget_left, 1);
    assert_true(isnan(r.burn[BURN_5M]));
    assert_int_equal(r.state, OBJECTIVE_OK);
    tally_add(&counts, NOW - 20 * DAY, 9900, 0);
    tally_add(&counts, NOW - 20 * DAY, 50, 50); /* half a percent is bad: half the budget */
    objective_judge(&o, &counts, NOW, &r);
    assert_int_equal(r.window.good, 9950);
    assert_int_equal(r.window.bad, 50);
    assert_near(r.budget_left, 0.5);
    tally_add(&counts, NOW, 80, 20); /* 20 % bad: burns at 20 times */
    objective_judge(&o, &counts, NOW, &r);
    assert_near(r.burn[BURN_5M], 20);
    assert_near(r.burn[BURN_6H], 20);
    assert_int_equal(r.state, OBJECTIVE_FAST_BURN);
    objective_judge(&o, &counts, NOW + 10 * MINUTE, &r); /* it does not go on */
    assert_true(isnan(r.burn[BURN_5M]));
    assert_near(r.burn[BURN_30M], 20);
    assert_int_equal(r.state, OBJECTIVE_SLOW_BURN);
    objective_judge(&o, &counts, NOW + HOUR, &r);
    assert_int_equal(r.state, OBJECTIVE_OK);
    tally_add(&counts, NOW + HOUR, 0, 10000);
    objective_judge(&o, &counts, NOW + HOUR, &r);
    assert_true(r.budget_left < 0);
}

static void test_a_burn_that_an_objective_can_reach(void **state)
{
    struct objective o = starts();

    assert_near(objective_fast_burn(&o), 14.4); /* 2 % of 30 days in an hour */
    assert_near(objective_slow_burn(&o), 6);
    o.window_us = 7 * DAY;
    assert_near(objective_fast_burn(&o), 3.36);
    o.window_us = 30 * DAY;
    o.target = 0.9; /* ten times is all that it can burn */
    assert_near(objective_fast_burn(&o), 5);
    assert_near(objective_slow_burn(&o), 5);
}

static struct alert_rule depth(void)
{
    return (struct alert_rule){.name = "queue_depth",
                               .kind = ALERT_QUEUE_DEPTH,
                               .above = 500,
                               .clear_at = 450,
                               .for_us = MINUTE,
                               .severity = "critical"};
}

static void step(const struct alert_rule *rule, struct alert *a, double value, usec now, enum alert_state want,
                 bool news)
{
    bool got = alert_step(rule, a, value, now);

    assert_string_equal(alert_state_name(a->state), alert_state_name(want));
    assert_int_equal(got, news);
}

static void test_an_alert_waits_fires_holds_and_is_resolved(void **state)
{
    struct alert_rule rule = depth();
    struct alert a = {0};

    step(&rule, &a, 500, NOW, ALERT_OK, false); /* above, not at */
    step(&rule, &a, 501, NOW + 1, ALERT_PENDING, true);
    step(&rule, &a, 501, NOW + MINUTE, ALERT_PENDING, false);
    step(&rule, &a, 500, NOW + MINUTE, ALERT_OK, true); /* and begins anew */
    step(&rule, &a, 501, NOW + 2 * MINUTE, ALERT_PENDING, true);
    step(&rule, &a, 501, NOW + 3 * MINUTE, ALERT_FIRING, true);
    assert_int_equal(a.fired_at, NOW + 3 * MINUTE);
    step(&rule, &a, 451, NOW + 4 * MINUTE, ALERT_FIRING, false); /* hysteresis */
    assert_int_equal(a.since, NOW + 3 * MINUTE);
    step(&rule, &a, 450, NOW + 5 * MINUTE, ALERT_RESOLVED, true);
    assert_int_equal(a.resolved_at, NOW + 5 * MINUTE);
    step(&rule, &a, 450, NOW + 64 * MINUTE, ALERT_RESOLVED, false);
    step(&rule, &a, 450, NOW + 65 * MINUTE, ALERT_OK, true);
    assert_int_equal(a.fired_at, NOW + 3 * MINUTE); /* is still told */
}

static void test_an_alert_that_waits_for_nothing(void **state)
{
    struct alert_rule rule = depth();
    struct alert a = {0};

    rule.for_us = 0;
    step(&rule, &a, 501, NOW, ALERT_FIRING, true);
    step(&rule, &a, NAN, NOW + 1, ALERT_RESOLVED, true); /* nothing to measure */
    step(&rule, &a, 501, NOW + 2, ALERT_FIRING, true);
    rule.for_us = MINUTE;
    step(&rule, &a, 0, NOW + 3, ALERT_RESOLVED, true);
    step(&rule, &a, 501, NOW + 4, ALERT_PENDING, true);
    step(&rule, &a, NAN, NOW + 5, ALERT_OK, true);
}

static void test_what_alerts_look_at(void **state)
{
    struct objective_report r = {.burn = {[BURN_5M] = 7, [BURN_1H] = 20, [BURN_30M] = 9, [BURN_6H] = 8}};
    struct alert_facts facts = {
        .now_us = NOW, .ready = 7, .oldest_ready_us = 90 * USEC_PER_SEC, .jobs = &counts, .objectives = &r};
    struct alert_rule rule = {.window_us = 5 * MINUTE};
    static const double want[ALERT_KIND_COUNT] = {7, 0.25, 5, 90, 7, 8};

    counts = (struct tally){0};
    rule.kind = ALERT_FAILURE_RATE;
    assert_true(isnan(alert_value(&rule, &facts)));
    rule.kind = ALERT_DLQ_GROWTH;
    assert_near(alert_value(&rule, &facts), 0);
    tally_add(&counts, NOW - HOUR, 0, 1000);
    tally_add(&counts, NOW, 15, 5);
    for (int kind = 0; kind < ALERT_KIND_COUNT; kind++) {
        char text[256] = "";
        rule.kind = (enum alert_kind)kind;
        assert_near(alert_value(&rule, &facts), want[kind]);
        alert_text(&rule, text, sizeof(text));
        assert_true(strlen(text) > 20);
    }
    r.burn[BURN_6H] = NAN;
    assert_true(isnan(alert_value(&rule, &facts)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_an_objective_covers),
                                       cmocka_unit_test(test_what_keeps_a_promise),
                                       cmocka_unit_test(test_budget_and_burn),
                                       cmocka_unit_test(test_a_burn_that_an_objective_can_reach),
                                       cmocka_unit_test(test_an_alert_waits_fires_holds_and_is_resolved),
                                       cmocka_unit_test(test_an_alert_that_waits_for_nothing),
                                       cmocka_unit_test(test_what_alerts_look_at)};

    return cmocka_run_group_tests_name("alert", tests, NULL, NULL);
}
