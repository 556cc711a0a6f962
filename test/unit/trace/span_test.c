/* Ids that follow from a job's, which jobs are recorded, and OTLP's JSON of a span. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/auto.h"
#include "trace/span.h"
#include <string.h>

static struct uuid id(const char *text)
{
    struct uuid u;

    assert_true(uuid_parse(text, &u));
    return u;
}

static void test_ids_follow_from_the_job(void **state)
{
    const struct uuid a = id("0190a000-0000-7000-8000-000000000001"), b = id("0190a000-0000-7000-8000-000000000002");
    uint8_t one[8], same[8], others[4][8];

    span_id(&a, 1, "run", one);
    span_id(&a, 1, "run", same);
    assert_memory_equal(one, same, 8);
    span_id(&b, 1, "run", others[0]);
    span_id(&a, 2, "run", others[1]);
    span_id(&a, 1, "wait", others[2]);
    span_id(&a, 0, "run", others[3]);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_memory_not_equal(one, others[i], 8);
}

static bool recorded(const char *job_id, double share)
{
    const struct uuid u = id(job_id);
    struct trace_context c;

    trace_of_job(&u, share, &c);
    assert_memory_equal(c.trace_id, u.b, 16);
    assert_true(c.flags & TRACE_RANDOM);
    return c.flags & TRACE_SAMPLED;
}

static void test_a_share_of_jobs_is_recorded(void **state)
{
    static const char low[] = "0190a000-0000-7000-8000-000000000000", half[] = "0190a000-0000-7000-8080-000000000000",
                      below[] = "0190a000-0000-7000-807f-ffffffffffff", high[] = "0190a000-0000-7000-80ff-ffffffffffff";

    assert_true(recorded(low, 1) && recorded(half, 1) && recorded(below, 1) && recorded(high, 1));
    assert_false(recorded(low, 0) || recorded(half, 0) || recorded(below, 0) || recorded(high, 0));
    assert_true(recorded(half, 0.5) && recorded(high, 0.5));
    assert_false(recorded(below, 0.5) || recorded(low, 0.5));
}

static void test_a_span_as_json(void **state)
{
    struct span s = {
        .name = "attempt", .kind = SPAN_CONSUMER, .start_at = 1700000000000001, .end_at = 1700000000000000};
    struct buf b;
    struct json_writer w;

    memset(s.context.trace_id, 0xab, sizeof s.context.trace_id);
    memset(s.context.span_id, 0xcd, sizeof s.context.span_id);
    s.context.flags = TRACE_SAMPLED;
    span_text(&s, "queue", "q\"");
    span_text(&s, "nothing", NULL);
    span_number(&s, "n", INT64_MIN);
    buf_init(&b, 65536);
    jw_init(&w, &b);
    span_write(&w, &s);
    assert_string_equal(
        buf_str(&b),
        "{\"traceId\":\"abababababababababababababababab\",\"spanId\":\"cdcdcdcdcdcdcdcd\",\"flags\":1,\"name\":"
        "\"attempt\","
        "\"kind\":5,\"startTimeUnixNano\":\"1700000000000001000\",\"endTimeUnixNano\":\"1700000000000001000\","
        "\"attributes\":[{\"key\":\"queue\",\"value\":{\"stringValue\":\"q\\\"\"}},"
        "{\"key\":\"n\",\"value\":{\"intValue\":\"-9223372036854775808\"}}]}");
    buf_release(&b);
}

static void test_a_message_is_cut_between_characters(void **state)
{
    char message[SPAN_MESSAGE_MAX + 8];
    struct span s = {.name = "n", .failed = true, .message = message};
    struct buf b;
    struct json_writer w;
    json_t *root = NULL;
    struct err err = {0};

    memset(message, 'x', sizeof message);
    memcpy(message + SPAN_MESSAGE_MAX - 1, "\xc3\xa4", 3);
    s.parent_id[0] = 1;
    buf_init(&b, 65536);
    jw_init(&w, &b);
    span_write(&w, &s);
    assert_int_equal(json_parse(buf_str(&b), b.len, &root, &err), ERR_OK);
    const json_t *status = json_object_get(root, "status");
    assert_int_equal(json_integer_value(json_object_get(status, "code")), 2);
    assert_int_equal(json_string_length(json_object_get(status, "message")), SPAN_MESSAGE_MAX - 1);
    assert_string_equal(json_string_value(json_object_get(root, "parentSpanId")), "0100000000000000");
    json_decref(root);
    buf_release(&b);
}

static void test_attributes_are_bounded(void **state)
{
    struct span s = {.name = "n"};

    for (int i = 0; i < SPAN_ATTRIBUTES_MAX + 3; i++)
        span_number(&s, "k", i);
    assert_int_equal(s.n_attributes, SPAN_ATTRIBUTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_follow_from_the_job), cmocka_unit_test(test_a_share_of_jobs_is_recorded),
        cmocka_unit_test(test_a_span_as_json),          cmocka_unit_test(test_a_message_is_cut_between_characters),
        cmocka_unit_test(test_attributes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
