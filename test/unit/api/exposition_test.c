/* The text format, byte by byte. */
#include "api/exposition.h"
#include "base/auto.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void assert_text(struct buf *buf, const char *text)
{
    assert_false(buf->failed);
    assert_string_equal(buf_str(buf), text);
    buf_reset(buf);
}

static void test_samples(void **state)
{
    struct buf buf;
    struct exposition x = {.buf = &buf};
    const struct label odd[] = {{"queue", "a\"b\\c\nd"}, {"task_type", "\xc3\xa4"}};

    buf_init(&buf, 65536);
    expo_metric(&x, METRIC_WAITING_OPS);
    expo_int(&x, NULL, 0, 7);
    assert_text(&buf, "# HELP haul_waiting_ops Writes that wait for the next batch.\n"
                      "# TYPE haul_waiting_ops gauge\nhaul_waiting_ops 7\n");
    expo_int(&x, odd, 2, -1);
    assert_text(&buf, "haul_waiting_ops{queue=\"a\\\"b\\\\c\\nd\",task_type=\"\xc3\xa4\"} -1\n");
    expo_usec(&x, NULL, 0, 1);
    expo_usec(&x, NULL, 0, 0);
    expo_usec(&x, NULL, 0, 100 * USEC_PER_SEC);
    expo_usec(&x, NULL, 0, INT64_C(1764057600120000));
    assert_text(&buf, "haul_waiting_ops 0.000001\nhaul_waiting_ops 0\nhaul_waiting_ops 100\n"
                      "haul_waiting_ops 1764057600.12\n");
    buf_release(&buf);
}

static void test_histograms_are_cumulative(void **state)
{
    static const struct histogram_bounds bounds = {3, {2500, USEC_PER_SEC, 60 * USEC_PER_SEC}};
    const struct label one[] = {{"task_type", "t"}};
    struct histogram h = {0};
    struct buf buf;
    struct exposition x = {.buf = &buf, .name = "m"};
    const int64_t values[] = {0, 2500, 2501, USEC_PER_SEC, 61 * USEC_PER_SEC};

    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        histogram_add(&h, &bounds, values[i]);
    buf_init(&buf, 65536);
    expo_histogram(&x, one, 1, &bounds, &h, true);
    assert_text(&buf, "m_bucket{task_type=\"t\",le=\"0.0025\"} 2\nm_bucket{task_type=\"t\",le=\"1\"} 4\n"
                      "m_bucket{task_type=\"t\",le=\"60\"} 4\nm_bucket{task_type=\"t\",le=\"+Inf\"} 5\n"
                      "m_sum{task_type=\"t\"} 62.005001\nm_count{task_type=\"t\"} 5\n");
    expo_histogram(&x, NULL, 0, &bounds, &h, false);
    assert_text(&buf, "m_bucket{le=\"2500\"} 2\nm_bucket{le=\"1000000\"} 4\nm_bucket{le=\"60000000\"} 4\n"
                      "m_bucket{le=\"+Inf\"} 5\nm_sum 62005001\nm_count 5\n");
    buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_histograms_are_cumulative),
    };
    return cmocka_run_group_tests_name("exposition", tests, NULL, NULL);
}
