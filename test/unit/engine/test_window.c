/* What was counted lately. */
#include "engine/window.h"
#include "world.h"

static struct window_totals at(usec when, uint64_t good)
{
    struct window_totals t = {.at = when * SEC, .finished = {[JOB_SUCCESS] = good}};
    t.start_us.counts[3] = good;
    t.start_us.sum = (int64_t)good;
    return t;
}

static void test_a_window_is_the_difference_of_two_samples(void **state)
{
    struct windows *w = calloc(1, sizeof *w);
    struct window_totals got, now = at(1000, 7);

    assert_non_null(w);
    assert_true(windows_due(w, 0));
    windows_last(w, &now, 60 * SEC, &got); /* nothing is kept: all of it, and no time is known */
    assert_int_equal(got.finished[JOB_SUCCESS], 7);
    assert_int_equal(got.at, 0);
    for (usec i = 0; i < 3 * WINDOW_KEPT; i++) {
        struct window_totals t = at(1000 + 5 * i, (uint64_t)(10 * i));
        windows_add(w, &t);
        assert_false(windows_due(w, t.at + WINDOW_EVERY_US - 1));
        assert_true(windows_due(w, t.at + WINDOW_EVERY_US));
    }
    now = at(1000 + 5 * 3 * WINDOW_KEPT, 10 * 3 * WINDOW_KEPT);
    windows_last(w, &now, 60 * SEC, &got);
    assert_int_equal(got.at, 60 * SEC);
    assert_int_equal(got.finished[JOB_SUCCESS], 120);
    assert_int_equal(got.start_us.counts[3], 120);
    assert_int_equal(got.start_us.sum, 120);
    windows_last(w, &now, 300 * SEC, &got);
    assert_int_equal(got.finished[JOB_SUCCESS], 600);
    windows_last(w, &now, 3600 * SEC, &got); /* no more than is kept */
    assert_int_equal(got.at, 5 * WINDOW_KEPT * SEC);
    free(w);
}

static void test_a_quantile_is_prometheus_estimate(void **state)
{
    static const struct histogram_bounds bounds = {3, {10, 20, 40}};
    struct histogram h = {{0}, 0};

    assert_true(histogram_quantile(&h, &bounds, 0.5) < 0);
    h.counts[0] = 1;
    h.counts[1] = 2;
    h.counts[3] = 1;
    assert_true(histogram_quantile(&h, &bounds, 0.25) == 10);
    assert_true(histogram_quantile(&h, &bounds, 0.5) == 15);
    assert_true(histogram_quantile(&h, &bounds, 0.75) == 20);
    assert_true(histogram_quantile(&h, &bounds, 0.99) == 40); /* above the last bound: that bound */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_window_is_the_difference_of_two_samples),
                                       cmocka_unit_test(test_a_quantile_is_prometheus_estimate)};
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
