/* A series is bounded, loses no spike, takes no nonsense, and is what it was once it was kept as bytes. */
#include "check.h"
#include "core/series.h"
#include <math.h>
#include <string.h>

static struct series s, back;

static bool add(usec at_us, double cpu, int64_t memory)
{
    return series_add(&s, &(struct sample){.at_us = at_us, .cpu = cpu, .memory_bytes = memory});
}

static void assert_range(struct series_range r, int64_t least, int64_t mean, int64_t most)
{
    assert_int_equal(r.least, least);
    assert_int_equal(r.mean, mean);
    assert_int_equal(r.most, most);
}

static void test_each_sample_is_a_point_at_first(void **state)
{
    s = (struct series){0};
    assert_true(add(1 * USEC_PER_SEC + 999, 1.5, 4096));
    assert_true(add(2 * USEC_PER_SEC, 0, 0));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.points[0].at_us, USEC_PER_SEC);
    assert_range(s.points[0].cpu_milli, 1500, 1500, 1500);
    assert_range(s.points[0].memory_bytes, 4096, 4096, 4096);
    assert_range(s.points[1].cpu_milli, 0, 0, 0);
}

static void test_a_full_one_keeps_its_spike_and_its_mean(void **state)
{
    s = (struct series){0};
    for (int i = 0; i < SERIES_POINTS_MAX; i++)
        assert_true(add(i * USEC_PER_SEC, i == 41 ? 64 : 1, i == 41 ? 900 : 100));
    assert_int_equal(s.n, SERIES_POINTS_MAX);
    assert_true(add(SERIES_POINTS_MAX * USEC_PER_SEC, 3, 300));
    assert_int_equal(s.n, SERIES_POINTS_MAX / 2 + 1);
    assert_int_equal(s.full, 2);
    assert_int_equal(s.points[20].at_us, 41 * USEC_PER_SEC);
    assert_range(s.points[20].cpu_milli, 1000, 32500, 64000);
    assert_range(s.points[20].memory_bytes, 100, 500, 900);
    assert_range(s.points[SERIES_POINTS_MAX / 2].cpu_milli, 3000, 3000, 3000);
    assert_true(add((SERIES_POINTS_MAX + 1) * USEC_PER_SEC, 1, 100)); /* joins the last point, which now holds two */
    assert_int_equal(s.n, SERIES_POINTS_MAX / 2 + 1);
    assert_range(s.points[SERIES_POINTS_MAX / 2].cpu_milli, 1000, 2000, 3000);
}

static void test_a_hundred_thousand_samples_are_bounded(void **state)
{
    unsigned char bytes[SERIES_BYTES_MAX];
    int64_t most = 0;

    s = (struct series){0};
    for (int i = 0; i < 100000; i++) {
        assert_true(add(i * 5 * USEC_PER_SEC, i == 77777 ? 9 : 2, 1 << 20));
        assert_in_range(s.n, 1, SERIES_POINTS_MAX);
    }
    assert_in_range(s.n, SERIES_POINTS_MAX / 2, SERIES_POINTS_MAX);
    for (unsigned i = 0; i < s.n; i++) {
        most = MAX(most, s.points[i].cpu_milli.most);
        assert_in_range(s.points[i].cpu_milli.mean, 2000, 2008);
        assert_int_equal(s.points[i].cpu_milli.least, 2000);
    }
    assert_int_equal(most, 9000);
    assert_int_equal(s.points[s.n - 1].at_us, 99999 * 5 * USEC_PER_SEC);
    assert_in_range(series_pack(&s, bytes), 1, SERIES_BYTES_MAX);
}

static void test_nonsense_changes_nothing(void **state)
{
    s = (struct series){0};
    assert_true(add(10 * USEC_PER_SEC, 1, 1));
    const struct series before = s;
    assert_false(add(10 * USEC_PER_SEC, 2, 2)); /* a repeat */
    assert_false(add(9 * USEC_PER_SEC, 2, 2));  /* time goes back */
    assert_false(add(10 * USEC_PER_SEC + 900, 2, 2));
    assert_false(add(-1, 2, 2));
    assert_false(add(INT64_MAX, 2, 2));
    assert_false(add(20 * USEC_PER_SEC, NAN, 2));
    assert_false(add(20 * USEC_PER_SEC, INFINITY, 2));
    assert_false(add(20 * USEC_PER_SEC, -0.1, 2));
    assert_false(add(20 * USEC_PER_SEC, 1, -1));
    assert_false(add(20 * USEC_PER_SEC, 1, INT64_MAX));
    assert_memory_equal(&s, &before, sizeof(s));
}

static void test_bytes_and_back(void **state)
{
    unsigned char bytes[SERIES_BYTES_MAX];

    s = (struct series){0};
    assert_true(series_unpack(&back, bytes, series_pack(&s, bytes)));
    assert_int_equal(back.n, 0);
    assert_true(series_unpack(&back, NULL, 0));
    for (int i = 0; i < 5 * SERIES_POINTS_MAX + 1; i++) {
        assert_true(add(i * INT64_C(7654321000), (i * 37 % 101) / 7.0, i * INT64_C(123456789)));
        assert_true(series_unpack(&back, bytes, series_pack(&s, bytes)));
        assert_int_equal(back.n, s.n);
        assert_int_equal(back.full, s.full);
        assert_int_equal(back.last, s.last);
        assert_memory_equal(back.points, s.points, s.n * sizeof(s.points[0]));
    }
}

static void test_the_largest_fits(void **state)
{
    unsigned char bytes[SERIES_BYTES_MAX];

    s = (struct series){.n = SERIES_POINTS_MAX, .full = INT64_C(1) << 40, .last = INT64_C(1) << 40};
    for (unsigned i = 0; i < SERIES_POINTS_MAX; i++)
        s.points[i] = (struct series_point){SAMPLE_AT_MAX_US - (SERIES_POINTS_MAX - i) * USEC_PER_SEC,
                                            {0, INT64_C(1000) * SAMPLE_CPU_MAX, INT64_C(1000) * SAMPLE_CPU_MAX},
                                            {0, SAMPLE_MEMORY_MAX, SAMPLE_MEMORY_MAX}};
    assert_true(series_unpack(&back, bytes, series_pack(&s, bytes)));
    assert_memory_equal(back.points, s.points, sizeof(s.points));
    assert_true(add(SAMPLE_AT_MAX_US, 0, 0));
}

static void test_other_bytes_are_refused(void **state)
{
    unsigned char bytes[SERIES_BYTES_MAX], other[SERIES_BYTES_MAX];

    s = (struct series){0};
    for (int i = 0; i < 9; i++)
        add((i + 1) * USEC_PER_SEC, i, i * 1000);
    const size_t n = series_pack(&s, bytes);
    for (size_t i = 1; i < n; i++) { /* each cut short */
        assert_false(series_unpack(&back, bytes, i));
        assert_int_equal(back.n, 0);
    }
    bytes[n] = 0;
    assert_false(series_unpack(&back, bytes, n + 1));
    for (size_t i = 0; i < n; i++) /* each byte another: refused, or within bounds */
        for (int c = 0; c < 256; c++) {
            memcpy(other, bytes, n);
            other[i] = (unsigned char)c;
            if (!series_unpack(&back, other, n))
                continue;
            assert_in_range(back.n, 0, SERIES_POINTS_MAX);
            for (unsigned k = 0; k < back.n; k++) {
                assert_in_range(back.points[k].at_us, 0, SAMPLE_AT_MAX_US);
                assert_in_range(back.points[k].memory_bytes.mean, 0, SAMPLE_MEMORY_MAX);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_sample_is_a_point_at_first),
        cmocka_unit_test(test_a_full_one_keeps_its_spike_and_its_mean),
        cmocka_unit_test(test_a_hundred_thousand_samples_are_bounded),
        cmocka_unit_test(test_nonsense_changes_nothing),
        cmocka_unit_test(test_bytes_and_back),
        cmocka_unit_test(test_the_largest_fits),
        cmocka_unit_test(test_other_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
