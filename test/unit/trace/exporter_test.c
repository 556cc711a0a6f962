/* What becomes of spans without a collector; what it is sent is looked at by test/blackbox/test_spans.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "trace/exporter.h"
#include <stdlib.h>

static void test_spans_beyond_the_bound_are_dropped_and_counted(void **state)
{
    const struct exporter_config config = {
        .url = "http://127.0.0.1:1/v1/traces", .flush_us = 1, .spans_max = 4, .gather_us = 3600 * USEC_PER_SEC};
    const struct span s = {.name = "n", .kind = SPAN_INTERNAL};
    struct exporter_counts counts;
    struct exporter *x = NULL;
    struct err err = {0};

    assert_int_equal(exporter_new(&config, &x, &err), ERR_OK);
    for (int i = 0; i < 10; i++)
        exporter_add(x, &s);
    exporter_counts(x, &counts);
    assert_int_equal(counts.exported, 0);
    assert_int_equal(counts.dropped, 6);
    exporter_free(x); /* at once, whoever still waits */
    exporter_free(NULL);
}

static void test_urls(void **state)
{
    struct err err = {0};
    char *url = NULL;

    assert_int_equal(exporter_url("http://127.0.0.1:4318", false, "f", &url, &err), ERR_OK);
    assert_string_equal(url, "http://127.0.0.1:4318/v1/traces");
    free(url);
    assert_int_equal(exporter_url("https://[::1]/otlp//", false, "f", &url, &err), ERR_OK);
    assert_string_equal(url, "https://[::1]/otlp/v1/traces");
    free(url);
    assert_int_equal(exporter_url("http://h/else/", true, "f", &url, &err), ERR_OK);
    assert_string_equal(url, "http://h/else/");
    free(url);
    assert_int_equal(exporter_url("h:4318", false, "otlp_endpoint", &url, &err), ERR_INVALID);
    assert_string_equal(err.field, "otlp_endpoint");
    assert_null(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans_beyond_the_bound_are_dropped_and_counted),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
