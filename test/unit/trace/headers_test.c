/* Headers of text; files, and every way to be refused, are looked at by test/blackbox/test_spans.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "trace/headers.h"
#include <string.h>

static void test_values_are_decoded(void **state)
{
    struct string_list made;
    struct err err = {0};

    assert_int_equal(headers_parse("api-key=a%2Cb%25=+; c ,\tX_1 = \"%c3%A4\" ,", ",", "f", &made, &err), ERR_OK);
    assert_int_equal(made.n, 2);
    assert_string_equal(made.items[0], "api-key: a,b%=+; c");
    assert_string_equal(made.items[1], "X_1: \"\xc3\xa4\"");
    headers_release(&made);
    headers_release(&made);
}

static void test_a_refusal_says_which_one_and_not_what(void **state)
{
    static const char *const texts[] = {"a=b,secret", "a=b,secret: 1=2", "a=b,a=secret", "a=b,c=secret%",
                                        "a=b,c=secret%0a"};
    struct string_list made;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct err err = {0};
        assert_int_equal(headers_parse(texts[i], ",", "f", &made, &err), ERR_INVALID);
        assert_string_equal(err.field, "f");
        assert_non_null(strstr(err.msg, "header 2 "));
        assert_null(strstr(err.msg, "secret"));
        headers_release(&made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_decoded),
        cmocka_unit_test(test_a_refusal_says_which_one_and_not_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
