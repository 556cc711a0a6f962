/* What text finds: where it is looked for, what is the same letter, and that no character of it means anything else. */
#include "check.h"
#include "core/search.h"

static struct job the_job(void)
{
    struct job job = fresh_job();

    assert_true(uuid_parse("01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f", &job.job_id));
    job.dedup_key = "order-4711/EU";
    job.labels = "{\"customer\":\"Größe 50%\",\"note\":\"a \\\"quoted\\\" word\\n\",\"path\":\"C:\\\\tmp\"}";
    job.error_log = "ffmpeg: No such file or directory: /in/caf\xc3\xa9.mp4\nexit status 1";
    return job;
}

static void test_where_it_is_found(void **state)
{
    static const char *const yes[] = {"01936d5e",   "01936D5E-7A2B", "01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f",
                                      "transcode",  "TRANS",         "cod",
                                      "4711/eu",    "größe",         "50%",
                                      "\"quoted\"", "word\n",        "c:\\tmp",
                                      "no SUCH",    "café.mp4",      "mp4\nexit"};
    static const char *const no[] = {"1936d5e", "7a2b-7c3d", "customer", "video",    "GRÖSSE", "5_%",    "*",
                                     "trans*",  "t.anscode", "\",\"",    "\\\"quot", "CAFÉ",   "mp4exit"};
    const struct job job = the_job();

    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (!job_has_text(&job, yes[i]))
            fail_msg("'%s' is not found", yes[i]);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (job_has_text(&job, no[i]))
            fail_msg("'%s' is found", no[i]);
}

static void test_what_is_not_there_is_passed_over(void **state)
{
    struct job job = {.job_id = {{1}}};

    assert_false(job_has_text(&job, "a"));
    job.labels = "{}";
    assert_false(job_has_text(&job, "}"));
    job.labels = "no JSON a";
    assert_false(job_has_text(&job, "a"));
    assert_true(job_has_text(&job, "01000000-"));
    assert_false(job_has_text(&job, "01000000-0000-0000-0000-0000000000000")); /* longer than an id */
}

static void test_labels_have_what_they_say(void **state)
{
    const char *const plain = "{\"customer\":\"acme\",\"draft\":\"\"}",
                      *const escaped = "{\"draft\":\"\",\"film\":\"\\u00fc \\\"7\\\"\",\"last\":\"x\"}";

    assert_true(labels_have(plain, "customer", "acme"));
    assert_true(labels_have(plain, "customer", NULL));
    assert_true(labels_have(plain, "draft", ""));
    assert_false(labels_have(plain, "customer", ""));
    assert_false(labels_have(plain, "customer", "acm"));
    assert_false(labels_have(plain, "customer", "acmes"));
    assert_false(labels_have(plain, "custom", NULL));
    assert_false(labels_have(plain, "acme", NULL));
    assert_true(labels_have(escaped, "film", "ü \"7\""));
    assert_true(labels_have(escaped, "last", "x"));
    assert_true(labels_have(escaped, "draft", NULL));
    assert_false(labels_have(escaped, "film", "7"));
    assert_false(labels_have(escaped, "first", NULL));
    assert_false(labels_have("{}", "film", NULL));
    assert_false(labels_have("no JSON", "film", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_it_is_found),
        cmocka_unit_test(test_what_is_not_there_is_passed_over),
        cmocka_unit_test(test_labels_have_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
