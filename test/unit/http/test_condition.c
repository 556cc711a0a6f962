/* Conditions by the letter of RFC 9110; on the wire they are in test_bytes.c. */
#include "http/condition.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WHEN   "Sun, 06 Nov 1994 08:49:37 GMT"
#define WHEN_S 784111777
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"

static const struct http_validators is = {.etag = "\"a\"", .modified_s = WHEN_S};

static void match(const char *list, bool strong, bool weak)
{
    enum http_condition if_match = http_condition(&(struct http_conditions){.if_match = list}, &is);
    enum http_condition none = http_condition(&(struct http_conditions){.if_none_match = list}, &is);
    if ((if_match == HTTP_HOLDS) != strong || (none == HTTP_NOT_MODIFIED) != weak)
        fail_msg("%s: If-Match %d, If-None-Match %d", list, if_match, none);
}

static void test_lists_of_tags(void **state)
{
    match("\"a\"", true, true);
    match("W/\"a\"", false, true);
    match("*", true, true);
    match("\"b\", \"a\"", true, true);
    match(" ,, \"b\" ,\t\"a\" ,", true, true);
    match("W/\"b\",W/\"a\"", false, true);
    match("\"b\"", false, false);
    match("\"A\"", false, false);
    match("\"aa\"", false, false);
    match("\"\"", false, false);
    match("", false, false);
    /* a comma within a tag does not end it */
    match("\"b,\"a\"", false, false);
    match("\"b,c\", \"a\"", true, true);
    /* what is no list of tags matches nothing from there on */
    match("a", false, false);
    match("\"a", false, false);
    match("\"a\"x", false, false);
    match("w/\"a\"", false, false);
    match("*, \"b\"", false, false);
    match("b, \"a\"", false, false);
    match("\"a\", b", true, true);
}

static void test_nothing_to_compare_with(void **state)
{
    static const struct http_validators none = {0};
    assert_int_equal(http_condition(&(struct http_conditions){.if_match = "\"a\""}, &none), HTTP_FAILED);
    assert_int_equal(http_condition(&(struct http_conditions){.if_match = "*"}, &none), HTTP_HOLDS);
    assert_int_equal(http_condition(&(struct http_conditions){.if_none_match = "\"\""}, &none), HTTP_HOLDS);
    assert_int_equal(http_condition(&(struct http_conditions){.if_modified_since = WHEN}, &none), HTTP_HOLDS);
    assert_int_equal(http_condition(&(struct http_conditions){.if_unmodified_since = BEFORE}, &none), HTTP_HOLDS);
    assert_false(http_condition_range(&(struct http_conditions){.if_range = "\"a\""}, &none));
    assert_false(http_condition_range(&(struct http_conditions){.if_range = WHEN}, &none));
    assert_true(http_condition_range(&(struct http_conditions){0}, &none));
}

static enum http_condition since(const char *modified, const char *unmodified)
{
    return http_condition(&(struct http_conditions){.if_modified_since = modified, .if_unmodified_since = unmodified},
                          &is);
}

static void test_dates(void **state)
{
    assert_int_equal(since(WHEN, NULL), HTTP_NOT_MODIFIED);
    assert_int_equal(since("Mon, 07 Nov 1994 00:00:00 GMT", NULL), HTTP_NOT_MODIFIED);
    assert_int_equal(since(BEFORE, NULL), HTTP_HOLDS);
    assert_int_equal(since("yesterday", NULL), HTTP_HOLDS);
    assert_int_equal(since(NULL, WHEN), HTTP_HOLDS);
    assert_int_equal(since(NULL, BEFORE), HTTP_FAILED);
    assert_int_equal(since(NULL, "yesterday"), HTTP_HOLDS);
    assert_int_equal(since(WHEN, BEFORE), HTTP_FAILED);
}

static void test_tags_count_before_dates(void **state)
{
    struct http_conditions both = {.if_match = "\"a\"", .if_unmodified_since = BEFORE};
    assert_int_equal(http_condition(&both, &is), HTTP_HOLDS);
    both = (struct http_conditions){.if_none_match = "\"b\"", .if_modified_since = WHEN};
    assert_int_equal(http_condition(&both, &is), HTTP_HOLDS);
    both = (struct http_conditions){.if_match = "\"b\"", .if_none_match = "\"a\""};
    assert_int_equal(http_condition(&both, &is), HTTP_FAILED);
    both = (struct http_conditions){.if_match = "\"a\"", .if_none_match = "\"a\""};
    assert_int_equal(http_condition(&both, &is), HTTP_NOT_MODIFIED);
}

static bool part(const char *if_range)
{
    return http_condition_range(&(struct http_conditions){.if_range = if_range}, &is);
}

static void test_if_range(void **state)
{
    assert_true(part(NULL));
    assert_true(part("\"a\""));
    assert_true(part(WHEN));
    assert_true(part("Sunday, 06-Nov-94 08:49:37 GMT"));
    assert_false(part("\"b\""));
    assert_false(part("W/\"a\""));
    assert_false(part("\"a\", \"b\""));
    assert_false(part("*"));
    assert_false(part(BEFORE));
    assert_false(part("Mon, 07 Nov 1994 00:00:00 GMT")); /* later will not do: it has to be that very one */
    assert_false(part("yesterday"));
}

static void test_forms_of_a_date(void **state)
{
    static const char *const good[] = {WHEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "0",
                                      "784111777",
                                      "Sun, 06 Nov 1994",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 CET",
                                      WHEN " ",
                                      WHEN ", " WHEN,
                                      "Sun, 06 Nox 1994 08:49:37 GMT",
                                      "Sun, 31 Nov 1994 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:00:00 GMT",
                                      "Sun, 06 Nov 1994 08:60:00 GMT",
                                      "Sun, 06 Nov 1994 -8:49:37 GMT",
                                      "1994-11-06T08:49:37Z"};
    int64_t s;
    char text[HTTP_DATE_MAX];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        s = 0;
        assert_true(http_date_parse(good[i], &s));
        assert_int_equal(s, WHEN_S);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (http_date_parse(bad[i], &s))
            fail_msg("'%s' was taken for a date", bad[i]);
    assert_false(http_date_parse(NULL, &s));
    assert_true(http_date_parse("Fri, 30 Jun 1972 23:59:60 GMT", &s)); /* a leap second */
    assert_int_equal(s, 78796799);
    assert_true(http_date_parse("Thursday, 29-Feb-24 00:00:00 GMT", &s));
    assert_int_equal(s, 1709164800);
    http_date_format(WHEN_S, text);
    assert_string_equal(text, WHEN);
    http_date_format(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_of_tags), cmocka_unit_test(test_nothing_to_compare_with),
        cmocka_unit_test(test_dates),         cmocka_unit_test(test_tags_count_before_dates),
        cmocka_unit_test(test_if_range),      cmocka_unit_test(test_forms_of_a_date),
    };
    return cmocka_run_group_tests_name("http conditions", tests, NULL, NULL);
}
