#include "unit.h"
#include "api/event_id.h"

static void test_what_is_written_is_read(void **state)
{
    struct event_id id = {UINT64_MAX, 12345678901, 7, INT64_C(10) << 40}, again;
    char text[EVENT_ID_MAX];
    event_id_format(&id, text);
    assert_true(event_id_parse(text, &again));
    assert_true(again.epoch == id.epoch && again.place == id.place && again.attempt == id.attempt &&
                again.offset == id.offset);
}

static void test_what_is_no_id_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "7",
        "0-0-0-0",
        "000000000000000a-1-1",
        "000000000000000a-1-1--1",
        "000000000000000a-1-1-1 ",
        " 000000000000000a-1-1-1",
        "000000000000000A-1-1-1",
        "000000000000000a-+1-1-1",
        "000000000000000a-99999999999999999999999-1-1",
        "000000000000000a-1-4294967296-1",
        "000000000000000a-1-1-1-000000000000000a-1-1-1-000000000000000a-1-1-1-000000000000000a"};
    struct event_id id;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(event_id_parse(wrong[i], &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_written_is_read),
                                       cmocka_unit_test(test_what_is_no_id_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
