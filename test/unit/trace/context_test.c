/* W3C Trace Context: its own examples, and what its test suite sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/auto.h"
#include "trace/context.h"
#include <stdio.h>
#include <string.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"
#define WHOLE "00-" TRACE "-" SPAN "-01"

static void assert_read(const char *text, const char *as)
{
    struct trace_context c;
    char back[TRACEPARENT_MAX];

    assert_true(traceparent_parse(text, &c));
    traceparent_format(&c, back);
    assert_string_equal(back, as);
}

static void test_parent(void **state)
{
    struct trace_context c;

    assert_true(traceparent_parse(WHOLE, &c));
    assert_int_equal(c.trace_id[0], 0x4b);
    assert_int_equal(c.trace_id[15], 0x36);
    assert_int_equal(c.span_id[7], 0xb7);
    assert_int_equal(c.flags, TRACE_SAMPLED);
    assert_read(WHOLE, WHOLE);
    assert_read("00-" TRACE "-" SPAN "-00", "00-" TRACE "-" SPAN "-00");
    assert_read("00-" TRACE "-" SPAN "-03", "00-" TRACE "-" SPAN "-03");
    assert_read("00-" TRACE "-" SPAN "-ff", "00-" TRACE "-" SPAN "-03"); /* what we do not know is not handed on */
    assert_read("cc-" TRACE "-" SPAN "-01", WHOLE);
    assert_read("cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", WHOLE);
}

static void test_no_parent(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-1",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01.",
        "00-" TRACE "-" SPAN "-01-more",
        "cc-" TRACE "-" SPAN "-01.what-the-future-will-be-like",
        "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "00-" TRACE "-" SPAN "-0A",
        "00-" TRACE "-" SPAN "-.0",
        "00-.bf92f3577b34da6a3ce929d0e0e4736-" SPAN "-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        " 00-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-01 ",
    };
    struct trace_context c;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (traceparent_parse(bad[i], &c))
            fail_msg("taken: '%s'", bad[i]);
}

static void test_state(void **state)
{
    static const char *const
        good[] = {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
                  "a=1",
                  "foo=1 , bar=2",
                  "foo=1,,bar=2",
                  "foo=1,\tbar=2,",
                  "t@v=1",
                  "0a=1",
                  "a-_*/=~ !\"#"},
        *const bad[] = {"",      ",",         " ",        "foo",      "foo=",         "=1",   "foo=1=2",      "foo =1",
                        "FOO=1", "foo=1,bar", "foo=\x7f", "foo=a\nb", "foo=\xc3\xa4", "-a=1", "foo@=1,@bar=2"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!tracestate_valid(good[i]))
            fail_msg("refused: '%s'", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (tracestate_valid(bad[i]))
            fail_msg("taken: '%s'", bad[i]);
}

static void test_bounds_of_state(void **state)
{
    char text[TRACESTATE_MAX + 2] = "";
    size_t n = 0;

    for (int i = 0; i < TRACESTATE_MEMBERS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "k%d=v,", i);
    assert_true(tracestate_valid(text));
    snprintf(text + n, sizeof text - n, "one=more");
    assert_false(tracestate_valid(text));

    memset(text, 'v', sizeof text);
    memcpy(text, "k=", 2);
    text[2 + 256] = '\0';
    assert_true(tracestate_valid(text));
    text[2 + 256] = 'v';
    text[2 + 257] = '\0';
    assert_false(tracestate_valid(text));
    memcpy(text + 256, ",k2=", 4);
    text[TRACESTATE_MAX] = '\0';
    memset(text + 257 + 3, 'v', TRACESTATE_MAX - 260);
    assert_true(tracestate_valid(text));
    text[TRACESTATE_MAX] = 'v';
    text[TRACESTATE_MAX + 1] = '\0';
    assert_false(tracestate_valid(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parent),
        cmocka_unit_test(test_no_parent),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_bounds_of_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
