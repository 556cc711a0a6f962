/* Tallies: what is within a span, what is kept as text, what is passed over. */
#include "check.h"
#include "core/tally.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)

static struct tally t, other;

static void assert_last(const struct tally *of, usec now, usec span, uint64_t good, uint64_t bad)
{
    struct tally_sum sum = tally_last(of, now, span);
    assert_int_equal(sum.good, good);
    assert_int_equal(sum.bad, bad);
}

static void test_a_span_is_whole_minutes_and_the_one_that_runs(void **state)
{
    t = (struct tally){0};
    assert_true(tally_empty(&t));
    assert_last(&t, NOW, 30 * 24 * HOUR, 0, 0);
    tally_add(&t, NOW, 3, 1);
    assert_false(tally_empty(&t));
    assert_last(&t, NOW, 5 * MINUTE, 3, 1);
    tally_add(&t, NOW + 5 * MINUTE, 10, 0);
    assert_last(&t, NOW + 5 * MINUTE, 5 * MINUTE, 13, 1);
    assert_last(&t, NOW + 6 * MINUTE, 5 * MINUTE, 10, 0);
    assert_last(&t, NOW + 6 * MINUTE, HOUR, 13, 1);
    assert_last(&t, NOW + 7 * HOUR, 6 * HOUR, 0, 0);
    assert_last(&t, NOW + 7 * HOUR, 24 * HOUR, 13, 1); /* by the hour */
    assert_last(&t, NOW + 31 * 24 * HOUR, TALLY_US, 0, 0);
}

static void test_places_are_used_again(void **state)
{
    t = (struct tally){0};
    for (int i = 0; i < 2000; i++)
        tally_add(&t, NOW + i * MINUTE, 1, 0);
    assert_last(&t, NOW + 1999 * MINUTE, 6 * HOUR, 361, 0);
    tally_add(&t, NOW + 1999 * MINUTE - 7 * HOUR, 5,
              5); /* too late: a newer one stands in its minute's place, its hour is kept */
    assert_last(&t, NOW + 1999 * MINUTE, 6 * HOUR, 361, 0);
    assert_last(&t, NOW + 1999 * MINUTE, TALLY_US, 2005, 5);
}

static void test_text_brings_back_what_is_young_enough(void **state)
{
    struct buf text;

    t = (struct tally){0};
    tally_add(&t, NOW - 7 * HOUR, 7, 0);
    tally_add(&t, NOW, 3, 2);
    buf_init(&text, TALLY_TEXT_MAX);
    tally_write(&t, NOW, &text);
    assert_false(text.failed);
    tally_read(&other, buf_str(&text));
    assert_last(&other, NOW, HOUR, 3, 2);
    assert_last(&other, NOW, 24 * HOUR, 10, 2);
    tally_merge(&other, &t); /* of two servers: the sum */
    assert_last(&other, NOW, HOUR, 6, 4);
    assert_last(&other, NOW, 24 * HOUR, 20, 4);
    buf_release(&text);
}

static void test_a_full_one_fits_its_bound(void **state)
{
    struct buf text;

    t = (struct tally){0};
    for (int i = 0; i < 30 * 24; i++)
        tally_add(&t, NOW + i * HOUR, UINT64_MAX / 1024, UINT64_MAX / 1024);
    for (int i = 0; i <= 360; i++)
        tally_add(&t, NOW + 30 * 24 * HOUR + i * MINUTE, UINT64_MAX / 1024, UINT64_MAX / 1024);
    buf_init(&text, TALLY_TEXT_MAX);
    tally_write(&t, NOW + 30 * 24 * HOUR + 6 * HOUR, &text);
    assert_false(text.failed);
    buf_release(&text);
}

static void test_what_is_no_tally_is_passed_over(void **state)
{
    static const char *const odd[] = {
        NULL, "", "\n", "m", "m 1", "m 5 5 5", "x 5 5 5\n", "m -5 5 5\n", "h 0 1 1\n", "m a b c\n", "garbage\nmore\n"};

    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        tally_read(&t, odd[i]);
        assert_true(tally_empty(&t));
    }
    tally_read(&t, "m 29926380 1 2\nnonsense\nh 498773 1 2\n");
    assert_last(&t, NOW, HOUR, 1, 2);
    assert_last(&t, NOW, 24 * HOUR, 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_span_is_whole_minutes_and_the_one_that_runs),
        cmocka_unit_test(test_places_are_used_again), cmocka_unit_test(test_text_brings_back_what_is_young_enough),
        cmocka_unit_test(test_a_full_one_fits_its_bound), cmocka_unit_test(test_what_is_no_tally_is_passed_over)};

    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
