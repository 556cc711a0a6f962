/* Messages of outside producers -> JSON. */
#include "broker/fields.h"
#include "base/auto.h"
#include "base/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int convert(struct buf *out, struct err *err, const struct broker_field *f, size_t n)
{
    buf_init(out, 1000);
    err_clear(err);
    return broker_fields_json(f, n, out, err);
}

#define F(name, value)                                                                                                 \
    {                                                                                                                  \
        name, value, sizeof(name) - 1, sizeof(value) - 1                                                               \
    }

static void test_text_is_quoted_and_json_stands_as_it_is(void **state)
{
    const struct broker_field f[] = {F("job_id", "0193"), F("task_type", "a \"b\"\n"),   F("payload_ref", ""),
                                     F("retries", "2"),   F("payload", " {\"x\": 1.0}"), F("timeout", "90")};
    struct buf out;
    struct err err;
    assert_int_equal(convert(&out, &err, f, ARRAY_LEN(f)), ERR_OK);
    assert_string_equal(buf_str(&out), "{\"job_id\":\"0193\",\"task_type\":\"a \\\"b\\\"\\n\",\"retries\":2,"
                                       "\"payload\": {\"x\": 1.0},\"timeout\":\"90\"}");
    buf_release(&out);
}

static void test_one_field_json_is_all_of_it(void **state)
{
    const struct broker_field f[] = {F("json", "{\"a\": 1}")};
    struct buf out;
    struct err err;
    assert_int_equal(convert(&out, &err, f, 1), ERR_OK);
    assert_string_equal(buf_str(&out), "{\"a\": 1}");
    buf_release(&out);
    const struct broker_field two[] = {F("json", "{}"),
                                       F("task_type", "x")}; /* then it is a member, of a name nobody knows */
    assert_int_equal(convert(&out, &err, two, 2), ERR_OK);
    assert_string_equal(buf_str(&out), "{\"json\":\"{}\",\"task_type\":\"x\"}");
    buf_release(&out);
}

static void test_what_cannot_be_said_in_json(void **state)
{
    static const struct {
        struct broker_field f;
        const char *says;
    } cases[] = {
        {F("payload", "{"), "payload: is not JSON"},
        {F("priority", ""), "priority: is not JSON"},
        {F("priority", "1,\"queue\":2"), "priority: is not JSON"},
        {F("task_type", "a\0b"), "task_type: is not UTF-8 text"},
        {F("task_type", "\xff"), "task_type: is not UTF-8 text"},
        {F("", "x"), "a field has a name that is none"},
        {F("\xff", "x"), "a field has a name that is none"},
        {F("0123456789012345678901234567890123456789012345678901234567890123", "x"), "a field has a name that is none"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        struct err err;
        assert_int_equal(convert(&out, &err, &cases[i].f, 1), ERR_MALFORMED);
        assert_string_equal(err.msg, cases[i].says);
        buf_release(&out);
    }
}

static void test_too_much(void **state)
{
    char text[1200];
    memset(text, 'x', sizeof(text));
    const struct broker_field f = {"task_type", text, 9, sizeof(text)};
    struct buf out;
    struct err err;
    assert_int_equal(convert(&out, &err, &f, 1), ERR_TOO_LARGE);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_quoted_and_json_stands_as_it_is),
        cmocka_unit_test(test_one_field_json_is_all_of_it),
        cmocka_unit_test(test_what_cannot_be_said_in_json),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
