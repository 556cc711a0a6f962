#include "check.h"
#include "core/fingerprint.h"
#include <string.h>

static void folds(const char *text, const char *want)
{
    char cause[FINGERPRINT_CAUSE_MAX];
    fingerprint_cause(text, cause);
    assert_string_equal(cause, want);
}

static void test_what_differs_between_jobs_is_folded(void **state)
{
    folds("took 3 s, not 2.5", "took # s, not #");
    folds("job 01936d5e-0000-7123-8456-5a6b7c8d9e0f at 2026-12-01T10:00:00Z: gone", "job # at #: gone");
    folds("object deadbeefcafe is bad", "object # is bad");
    folds("/srv/in/a.mp4: No such file", "*: No such file");
    folds("get https://host/x?id=1: refused", "get *: refused");
    folds("cannot open 'my file.mp4' or \"b\" or `c'", "cannot open '*' or '*' or '*'");
    folds("frame=17 of [1]", "frame=# of [#]");
    folds("a\n  b\t c \n", "a b c");
}

static void test_what_tells_causes_apart_stays(void **state)
{
    folds("exit status 3", "exit status 3");
    folds("killed by signal 9 (SIGKILL)", "killed by signal 9 (SIGKILL)");
    folds("status 1234567", "status #");
    folds("java.io.IOException: bad face", "java.io.IOException: bad face");
    folds("can't open it, don't ask", "can't open it, don't ask");
    folds("never 'closed", "never 'closed");
}

static void test_only_the_message_counts(void **state)
{
    folds("exit status 3\n\nframe one\nframe two", "exit status 3");
    folds("broken\nexit status 3\n\nlog", "broken exit status 3");
    folds(NULL, "");
    folds("", "");
    folds(" \n\n", "");
}

static void test_any_length(void **state)
{
    char text[4 * FINGERPRINT_CAUSE_MAX], cause[FINGERPRINT_CAUSE_MAX];
    for (size_t n = 0; n < sizeof(text); n++) {
        memset(text, 'x', n);
        text[n] = 0;
        fingerprint_cause(text, cause);
        assert_int_equal(strlen(cause), n < sizeof(cause) - 1 ? n : sizeof(cause) - 1);
    }
}

static void test_equal_causes_share_one(void **state)
{
    const uint64_t a = fingerprint_make("t", OUTCOME_ERROR, "/tmp/a: bad frame 1\n\nx");
    assert_true(a == fingerprint_make("t", OUTCOME_ERROR, "/var/b: bad frame 22\n\ny"));
    assert_true(a != fingerprint_make("u", OUTCOME_ERROR, "/tmp/a: bad frame 1"));
    assert_true(a != fingerprint_make("t", OUTCOME_TIMEOUT, "/tmp/a: bad frame 1"));
    assert_true(a != fingerprint_make("t", OUTCOME_ERROR, "/tmp/a: bad block 1"));
}

static void test_written_and_read(void **state)
{
    static const char *const wrong[] = {"",
                                        "0",
                                        "0123456789abcde",
                                        "0123456789abcdef0",
                                        "0123456789ABCDEF",
                                        "0123456789abcdeg",
                                        " 123456789abcdef",
                                        "0x23456789abcdef",
                                        "0000000000000000"};
    static const uint64_t all[] = {1, UINT64_MAX, UINT64_C(0x8000000000000000), UINT64_C(0x0123456789abcdef)};
    char text[FINGERPRINT_MAX];
    uint64_t got = 7;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        fingerprint_format(all[i], text);
        assert_int_equal(strlen(text), 16);
        assert_true(fingerprint_parse(text, &got) && got == all[i]);
    }
    got = 7;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(fingerprint_parse(wrong[i], &got));
    assert_true(got == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_differs_between_jobs_is_folded),
        cmocka_unit_test(test_what_tells_causes_apart_stays),
        cmocka_unit_test(test_only_the_message_counts),
        cmocka_unit_test(test_any_length),
        cmocka_unit_test(test_equal_causes_share_one),
        cmocka_unit_test(test_written_and_read),
    };

    return cmocka_run_group_tests_name("core fingerprint", tests, NULL, NULL);
}
