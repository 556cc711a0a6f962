#include "http/range.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check(const char *header, int64_t total, enum http_range kind, int64_t from, int64_t end)
{
    int64_t got_from = -1, got_end = -1;
    assert_int_equal(http_range_parse(header, total, &got_from, &got_end), kind);
    if (kind != HTTP_RANGE_BAD) {
        assert_int_equal(got_from, from);
        assert_int_equal(got_end, end);
    }
}

static void test_ranges(void **state)
{
    check(NULL, 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=0-3", 10, HTTP_RANGE_PART, 0, 4);
    check("bytes=3-", 10, HTTP_RANGE_PART, 3, 10);
    check("bytes=3-99", 10, HTTP_RANGE_PART, 3, 10);
    check("bytes=-4", 10, HTTP_RANGE_PART, 6, 10);
    check("bytes=-40", 10, HTTP_RANGE_PART, 0, 10);
    check("bytes=10-", 10, HTTP_RANGE_BAD, 0, 0);
    check("bytes=-0", 10, HTTP_RANGE_BAD, 0, 0);
    check("bytes=0-", 0, HTTP_RANGE_BAD, 0, 0);
    check("bytes=-4", 0, HTTP_RANGE_ALL, 0, 0);
    check("bytes=-0", 0, HTTP_RANGE_BAD, 0, 0);
    check("BYTES=0-3", 10, HTTP_RANGE_PART, 0, 4);
    check("bytes=", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=-", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=1", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=+1-2", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=1-2x", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=0-0, -1", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=5-3", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=0-1,3-4", 10, HTTP_RANGE_ALL, 0, 10);
    check("lines=0-1", 10, HTTP_RANGE_ALL, 0, 10);
    check("bytes=99999999999999999999-", 10, HTTP_RANGE_BAD, 0, 0);
    check("bytes=0-99999999999999999999", 10, HTTP_RANGE_PART, 0, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranges)};
    return cmocka_run_group_tests_name("http range", tests, NULL, NULL);
}
