/* Where a Redis is. What is refused is the black-box tests' matter (test_redis.py). */
#include "broker/redis/url.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct redis_url parse(const char *text)
{
    struct redis_url u;
    struct err err = {0};
    if (redis_url_parse(text, &u, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.msg);
    return u;
}

static void test_all_there_is(void **state)
{
    struct redis_url u = parse("redis://a%40b:c%3Ad%2f@redis.example:7000/12?reclaim=30s");
    assert_string_equal(u.user, "a@b");
    assert_string_equal(u.password, "c:d/");
    assert_string_equal(u.host, "redis.example");
    assert_string_equal(u.port, "7000");
    assert_int_equal(u.db, 12);
    assert_int_equal(u.reclaim_us, 30 * USEC_PER_SEC);
    assert_false(u.tls);
}

static void test_what_is_left_out(void **state)
{
    struct redis_url u = parse("redis://localhost");
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "");
    assert_string_equal(u.port, "6379");
    assert_int_equal(u.db, 0);
    assert_int_equal(u.reclaim_us, 10 * USEC_PER_SEC);
    u = parse("redis://:only@localhost/");
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "only");
}

static void test_other_ways(void **state)
{
    struct redis_url u = parse("rediss://[2001:db8::1]:6380/1?ca=/etc/ca%20dir/ca.pem&reclaim=1s");
    assert_true(u.tls);
    assert_string_equal(u.host, "2001:db8::1");
    assert_string_equal(u.port, "6380");
    assert_string_equal(u.ca, "/etc/ca dir/ca.pem");
    u = parse("redis+unix:///run/redis/redis.sock?db=2");
    assert_string_equal(u.path, "/run/redis/redis.sock");
    assert_string_equal(u.host, "");
    assert_int_equal(u.db, 2);
}

static void test_errors_repeat_nothing(void **state)
{
    static const char *const bad[] = {"redis://u:secret@",    "redis://secret",   "redis://u:%secret@h",
                                      "redis://u:secret@h:x", "redis://h/secret", "redis://h?secret"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct redis_url u;
        struct err err = {0};
        redis_url_parse(bad[i], &u, &err);
        assert_null(strstr(err.msg, "secret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_there_is),
        cmocka_unit_test(test_what_is_left_out),
        cmocka_unit_test(test_other_ways),
        cmocka_unit_test(test_errors_repeat_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
