/* Rates: what is within five minutes, and what a server that began just now says. */
#include "check.h"
#include "core/rates.h"

#define MINUTE (60 * USEC_PER_SEC)
#define STEP   RATES_STEP_US

static struct rates r;

static void assert_rate(enum rates_what what, usec began, usec now, double per_min)
{
    assert_float_equal(rates_per_min(&r, what, began, now), per_min, 1e-9);
}

static void test_five_minutes_are_told_by_the_minute(void **state)
{
    const usec now = 100 * MINUTE;

    r = (struct rates){0};
    assert_rate(RATE_SUBMITTED, 0, now, 0);
    rates_add(&r, RATE_SUBMITTED, 3, now);
    rates_add(&r, RATE_SUBMITTED, 2, now + STEP - 1);
    rates_add(&r, RATE_SUCCEEDED, 10, now + 2 * MINUTE);
    rates_add(&r, RATE_FAILED, 1, now + 4 * MINUTE);
    assert_rate(RATE_SUBMITTED, 0, now + 5 * MINUTE - 1, 1);
    assert_rate(RATE_SUBMITTED, 0, now + 5 * MINUTE, 0);
    assert_rate(RATE_SUCCEEDED, 0, now + 5 * MINUTE, 2);
    assert_rate(RATE_FAILED, 0, now + 5 * MINUTE, 0.2);
    assert_rate(RATE_FAILED, 0, now + 24 * 60 * MINUTE, 0);
}

static void test_places_are_used_again(void **state)
{
    usec now = 7 * MINUTE;

    r = (struct rates){0};
    for (int i = 0; i < 100; i++, now += STEP)
        rates_add(&r, RATE_SUCCEEDED, 4, now);
    assert_rate(RATE_SUCCEEDED, 0, now - 1, 24);
    rates_add(&r, RATE_FAILED, 1, now + 4 * MINUTE); /* in the place of a success */
    assert_rate(RATE_SUCCEEDED, 0, now + 4 * MINUTE, 4);
    assert_rate(RATE_FAILED, 0, now + 4 * MINUTE, 0.2);
}

static void test_who_began_just_now_divides_by_what_it_counted(void **state)
{
    const usec began = 1000 * MINUTE + STEP / 2;

    r = (struct rates){0};
    rates_add(&r, RATE_SUBMITTED, 12, began);
    assert_rate(RATE_SUBMITTED, began, began, 12); /* a minute at least */
    assert_rate(RATE_SUBMITTED, began, began + MINUTE - STEP, 12);
    assert_rate(RATE_SUBMITTED, began, began + 2 * MINUTE - STEP, 6);
    assert_rate(RATE_SUBMITTED, began, began + 4 * MINUTE - STEP, 3);
    assert_rate(RATE_SUBMITTED, began, began + 5 * MINUTE - STEP, 2.4);
    assert_rate(RATE_SUBMITTED, began, began + 5 * MINUTE, 0);
}

static void test_the_first_minutes_after_boot_and_huge_counts(void **state)
{
    r = (struct rates){0};
    rates_add(&r, RATE_FAILED, 6, 0);
    assert_rate(RATE_FAILED, 0, 0, 6);
    assert_rate(RATE_FAILED, 0, STEP, 6);
    rates_add(&r, RATE_FAILED, UINT64_C(1) << 40, STEP); /* is not wrapped */
    assert_rate(RATE_FAILED, 0, STEP, 6 + (double)UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_five_minutes_are_told_by_the_minute),
        cmocka_unit_test(test_places_are_used_again),
        cmocka_unit_test(test_who_began_just_now_divides_by_what_it_counted),
        cmocka_unit_test(test_the_first_minutes_after_boot_and_huge_counts),
    };
    return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
