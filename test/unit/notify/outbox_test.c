/* What a receiver is told, in which order, and when it is tried again: on a clock of the test's. */
#include "check.h"
#include "notify/outbox.h"
#include "base/rng.h"

#define SEC  USEC_PER_SEC
#define HOUR (3600 * SEC)
#define SIX  (6 * HOUR)

static void test_fires_and_ends(void **state)
{
    struct outbox o = {0};

    assert_false(outbox_want(&o, false, true, 1));
    assert_true(outbox_want(&o, true, true, 5));
    assert_true(o.waiting && o.firing && o.due == 5);
    assert_false(outbox_want(&o, true, true, 6));
    outbox_sent(&o, outbox_try(&o), true, 7);
    assert_false(o.waiting || outbox_want(&o, true, true, 8));
    assert_true(outbox_want(&o, false, true, 9));
    assert_true(o.waiting && !o.firing && o.due == 9);
    outbox_sent(&o, outbox_try(&o), false, 10);
    assert_false(o.waiting || outbox_want(&o, false, true, 11));
}

static void test_what_is_over_before_anybody_tried_is_not_told(void **state)
{
    struct outbox o = {0};

    assert_true(outbox_want(&o, true, true, 1));
    assert_false(outbox_want(&o, false, true, 2));
    assert_false(o.waiting);

    assert_true(outbox_want(&o, true, true, 3));
    outbox_sent(&o, outbox_try(&o), true, 3);
    assert_true(outbox_want(&o, false, true, 4)); /* and the other way round: it fires again before its end was told */
    assert_false(outbox_want(&o, true, true, 5));
    assert_false(o.waiting);
}

static void test_a_try_may_have_arrived(void **state)
{
    struct outbox o = {0};

    outbox_want(&o, true, true, 1);
    assert_true(outbox_failed(&o, outbox_try(&o), 0, SIX, 0, 2)); /* timed out, say: nobody knows */
    const usec due = o.due;
    assert_true(due > 2 && outbox_want(&o, false, true, 3));
    assert_true(o.waiting && !o.firing);
    assert_int_equal(o.due, due); /* news is no reason to hurry */
    assert_true(outbox_want(&o, true, true, 4));
    assert_true(outbox_want(&o, false, true, 5));
    outbox_sent(&o, outbox_try(&o), false, due);
    assert_false(o.waiting);
}

static void test_it_ends_while_it_is_being_told(void **state)
{
    struct outbox o = {0};

    outbox_want(&o, true, true, 1);
    uint64_t serial = outbox_try(&o);
    assert_true(outbox_want(&o, false, true, 2));
    outbox_sent(&o, serial, true, 3);
    assert_true(o.waiting && !o.firing && o.told == TOLD_FIRING && o.due == 3);
    serial = outbox_try(&o);
    assert_true(outbox_want(&o, true, true, 4)); /* and once more */
    outbox_sent(&o, serial, false, 5);
    assert_true(o.waiting && o.firing);
    serial = outbox_try(&o);
    outbox_want(&o, false, true, 6);
    outbox_refused(&o, serial, 7); /* its beginning was not taken, so of its end nothing is said */
    assert_false(o.waiting);
}

static void test_refused(void **state)
{
    struct outbox o = {0};

    outbox_want(&o, true, true, 1);
    outbox_refused(&o, outbox_try(&o), 2);
    assert_false(o.waiting || outbox_want(&o, true, true, 3) || outbox_want(&o, false, true, 4));
    assert_true(outbox_want(&o, true, true, 5)); /* another time it fires */
}

static void test_ends_that_nobody_wants_to_hear(void **state)
{
    struct outbox o = {0};

    outbox_want(&o, true, false, 1);
    outbox_sent(&o, outbox_try(&o), true, 2);
    assert_false(outbox_want(&o, false, false, 3));
    assert_true(outbox_want(&o, true, false, 4));
    outbox_failed(&o, outbox_try(&o), 0, SIX, 0, 5);
    assert_false(outbox_want(&o, false, false, 6));
    assert_false(o.waiting);
}

/* A webhook that answers 500 for an hour. */
static void test_an_hour_of_failures(void **state)
{
    struct outbox o = {0};
    struct rng_seeded seeded = {.state = 1};
    usec now = 1000, before = 0;
    unsigned tries = 0;

    outbox_want(&o, true, true, now);
    while (now < HOUR) {
        before = now;
        assert_true(outbox_failed(&o, outbox_try(&o), 0, SIX, rng_u64(rng_seeded_view(&seeded)), now));
        assert_true(o.waiting && o.due >= now + OUTBOX_WAIT_MIN / 2 && o.due <= now + OUTBOX_WAIT_MAX);
        assert_true(tries > 0 || o.due <= now + OUTBOX_WAIT_MIN);
        assert_true(tries < 10 || o.due >= now + OUTBOX_WAIT_MAX / 2);
        now = o.due;
        tries++;
    }
    assert_in_range(tries, 15, 40);
    assert_true(now - before <= OUTBOX_WAIT_MAX);
    outbox_sent(&o, outbox_try(&o), true, now);
    assert_true(!o.waiting && o.told == TOLD_FIRING);
    outbox_want(&o, false, true, now); /* and it is as quick again as before */
    outbox_failed(&o, outbox_try(&o), 0, SIX, 0, now);
    assert_true(o.due <= now + OUTBOX_WAIT_MIN);
}

static void test_it_is_given_up(void **state)
{
    struct outbox o = {0};
    usec now = 0;

    outbox_want(&o, true, true, now);
    while (outbox_failed(&o, outbox_try(&o), 0, SIX, 7, now))
        now = o.due;
    assert_in_range(now, SIX, SIX + OUTBOX_WAIT_MAX);
    assert_false(o.waiting || outbox_want(&o, true, true, now));

    o = (struct outbox){0};
    outbox_want(&o, true, true, now);
    assert_false(outbox_failed(&o, outbox_try(&o), 0, 0, 7, now)); /* no patience: one try */
}

static void test_it_waits_as_the_receiver_asks(void **state)
{
    struct outbox o = {0};

    outbox_want(&o, true, true, 0);
    outbox_failed(&o, outbox_try(&o), 120 * SEC, SIX, 0, 0);
    assert_int_equal(o.due, 120 * SEC);
    outbox_failed(&o, outbox_try(&o), 365 * 24 * HOUR, SIX, 0, 0);
    assert_int_equal(o.due, OUTBOX_LATER_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fires_and_ends),
                                       cmocka_unit_test(test_what_is_over_before_anybody_tried_is_not_told),
                                       cmocka_unit_test(test_a_try_may_have_arrived),
                                       cmocka_unit_test(test_it_ends_while_it_is_being_told),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_ends_that_nobody_wants_to_hear),
                                       cmocka_unit_test(test_an_hour_of_failures),
                                       cmocka_unit_test(test_it_is_given_up),
                                       cmocka_unit_test(test_it_waits_as_the_receiver_asks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
