/* "2/s" and what follows from it. */
#include "base/rate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct rate good(const char *s)
{
    struct rate r = {0};
    struct err err = {0};
    assert_int_equal(rate_parse(s, "--rate", &r, &err), ERR_OK);
    return r;
}

static void bad(const char *s, const char *why)
{
    struct rate r;
    struct err err = {0};
    assert_int_equal(rate_parse(s, "--rate", &r, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, why));
}

static void test_parse(void **state)
{
    struct rate r = good("2/s");
    assert_int_equal(r.n, 2);
    assert_int_equal(r.per, USEC_PER_SEC);
    assert_int_equal(good("30/m").per, 60 * USEC_PER_SEC);
    assert_int_equal(good("1/h").per, 3600 * USEC_PER_SEC);
    assert_int_equal(good("1000000/s").n, RATE_MAX);
    bad("0/s", "never");
    bad("000/h", "never");
    bad("1000001/s", "at most");
    bad("99999999999999999999/s", "at most");
    const char *const others[] = {"",     "0",    "2",    "/s",   "2/",    "2/d", "2/ss",
                                  "2 /s", " 2/s", "-2/s", "+2/s", "0.5/s", "2s",  "0x2/s"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        bad(others[i], "whole number");
}

/* Whatever the batches, never faster than was asked for, and not slower by more than the rounding. */
static void test_pace(void **state)
{
    static const char *const rates[] = {"1/h", "7/m", "2/s", "3/s", "10/s", "999/s", "1000000/s"};
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        struct rate r = good(rates[i]);
        size_t n = rate_batch(&r, 1000);
        usec gap = rate_gap(&r, n);
        assert_in_range(n, 1, 1000);
        assert_true(gap * r.n >= (usec)n * r.per);
        assert_true((gap - USEC_PER_MSEC) * r.n <= (usec)n * r.per);
    }
    struct rate r = good("10/s"), none = {0};
    assert_int_equal(rate_batch(&r, 1000), 5);
    assert_int_equal(rate_gap(&r, 5), USEC_PER_SEC / 2);
    assert_int_equal(rate_batch(&none, 1000), 1000);
    assert_int_equal(rate_gap(&none, 1000), 0);

    const usec now = 100 * USEC_PER_SEC;
    assert_int_equal(rate_next(&none, 1, now, 1000), now);
    assert_int_equal(rate_next(&r, now, now, 5), now + USEC_PER_SEC / 2);
    assert_int_equal(rate_next(&r, now - 1000, now, 5), now - 1000 + USEC_PER_SEC / 2); /* a little late: made up for */
    assert_int_equal(rate_next(&r, 0, now, 5), now + USEC_PER_SEC / 2);                 /* away: no burst */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_pace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
