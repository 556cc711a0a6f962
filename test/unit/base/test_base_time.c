#include "test.h"

#include "base/timefmt.h"
#include "base/uuid.h"

static void expect_duration(const char *s, usec want, const char *formatted)
{
    usec got = -1;
    char text[48];
    struct err err;
    assert_int_equal(duration_parse(s, "f", &got, &err), ERR_OK);
    assert_int_equal(got, want);
    duration_format(got, text);
    assert_string_equal(text, formatted);
}

static void test_durations(void **state)
{
    (void)state;
    expect_duration("90", 90 * USEC_PER_SEC, "1m30s");
    expect_duration("0", 0, "0s");
    expect_duration("250ms", 250000, "250ms");
    expect_duration("10m", 600 * USEC_PER_SEC, "10m");
    expect_duration("1h30m", 5400 * USEC_PER_SEC, "1h30m");
    expect_duration("2d", 172800 * USEC_PER_SEC, "2d");
    expect_duration("1w1d1h1m1s1ms1us", 694861001001, "8d1h1m1s1ms1us");
    expect_duration("9223372036854775807us", INT64_MAX, "106751991d4h54s775ms807us");
}

static void test_bad_durations_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "-1s",
                                      "+1s",
                                      " 1s",
                                      "1 s",
                                      "1s ",
                                      "1m1h",
                                      "1m1m",
                                      "1h30",
                                      "h",
                                      "1.5s",
                                      "1x",
                                      "1S",
                                      "1hm",
                                      "9223372036854775808",
                                      "9223372036854775807s",
                                      "200000000d",
                                      "1e3"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        usec v = 77;
        struct err err;
        assert_int_equal(duration_parse(bad[i], "lease", &v, &err), ERR_INVALID);
        assert_string_equal(err.field, "lease");
        assert_int_equal(v, 77);
    }
}

static void expect_time(const char *s, const char *formatted)
{
    usec t;
    char text[RFC3339_MAX];
    assert_true(rfc3339_parse(s, &t));
    rfc3339_format(t, text);
    assert_string_equal(text, formatted);
}

static void test_rfc3339(void **state)
{
    usec t;
    (void)state;
    assert_true(rfc3339_parse("2026-11-25T04:50:55.123456Z", &t));
    assert_int_equal(t, 1795582255123456);
    expect_time("2026-11-25T04:50:55.123456Z", "2026-11-25T04:50:55.123456Z");
    expect_time("2026-11-25T04:50:55.1239999Z", "2026-11-25T04:50:55.123999Z");
    expect_time("2026-11-25T04:50:55.5z", "2026-11-25T04:50:55.500Z");
    expect_time("2026-11-25t06:50:55+02:00", "2026-11-25T04:50:55Z");
    expect_time("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z");
    expect_time("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z");
    expect_time("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z");
    expect_time("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
    expect_time("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
    expect_time("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z");
}

static void test_bad_times_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "2026-11-25",
                                      "2026-11-25T04:50:55",
                                      "2026-11-25 04:50:55Z",
                                      "2026-02-29T00:00:00Z",
                                      "1900-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-01-32T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:61Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00.1234567890Z",
                                      "2026-01-01T00:00:00+0200",
                                      "2026-01-01T00:00:00+24:00",
                                      "2026-01-01T00:00:00Zx",
                                      "26-01-01T00:00:00Z",
                                      "+026-01-01T00:00:00Z"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        usec t;
        assert_false(rfc3339_parse(bad[i], &t));
    }
}

static void test_every_day_survives_the_round_trip(void **state)
{
    (void)state;
    for (usec t = -2208988800 * USEC_PER_SEC; t < 7258118400 * USEC_PER_SEC; t += 86399 * USEC_PER_SEC * 7) {
        char text[RFC3339_MAX];
        usec back;
        rfc3339_format(t, text);
        assert_true(rfc3339_parse(text, &back));
        assert_int_equal(back, t);
    }
}

static void test_uuid_v7_sorts_by_microsecond(void **state)
{
    struct rng_seeded seeded = {.state = 1};
    struct rng rng = rng_seeded_view(&seeded);
    struct uuid last = uuid_v7(1795582255122999, rng);
    char text[UUID_STR_MAX], last_text[UUID_STR_MAX];
    (void)state;
    for (usec t = 1795582255123000; t < 1795582255126000; t++) {
        struct uuid u = uuid_v7(t, rng);
        assert_true(uuid_compare(&last, &u) < 0);
        uuid_format(&u, text);
        uuid_format(&last, last_text);
        assert_true(strcmp(last_text, text) < 0);
        assert_int_equal(text[14], '7');
        assert_non_null(strchr("89ab", text[19]));
        last = u;
    }
}

static void test_uuid_text(void **state)
{
    static const char *const bad[] = {"",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff",
                                      "017f22e279b07cc398c4dc0c0c07398f",
                                      "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
                                      "017f22e-279b0-7cc3-98c4-dc0c0c07398f",
                                      "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}"};
    struct uuid u, v;
    char text[UUID_STR_MAX];
    (void)state;
    assert_true(uuid_parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F", &u));
    uuid_format(&u, text);
    assert_string_equal(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    assert_true(uuid_parse(text, &v));
    assert_true(uuid_equal(&u, &v));
    assert_false(uuid_is_nil(&u));
    assert_true(uuid_parse("00000000-0000-0000-0000-000000000000", &v));
    assert_true(uuid_is_nil(&v));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(uuid_parse(bad[i], &v));
}

static void test_clocks_and_seeds(void **state)
{
    struct clock_fake fake = {.wall_us = 5, .boot_us = 7};
    struct clock clock = clock_fake_view(&fake), real = clock_real();
    struct rng_seeded a = {.state = 42}, b = {.state = 42};
    char hex[33];
    (void)state;
    clock_fake_advance(&fake, 10);
    assert_int_equal(clock.wall_us(clock.self), 15);
    assert_int_equal(clock.boot_us(clock.self), 17);
    assert_true(real.wall_us(real.self) > 1700000000 * USEC_PER_SEC);
    assert_true(rng_u64(rng_seeded_view(&a)) == rng_u64(rng_seeded_view(&b)));
    assert_true(rng_u64(rng_real()) != rng_u64(rng_real()));
    rng_hex128(rng_real(), hex);
    assert_int_equal(strspn(hex, "0123456789abcdef"), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_bad_durations_are_refused),
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_bad_times_are_refused),
        cmocka_unit_test(test_every_day_survives_the_round_trip),
        cmocka_unit_test(test_uuid_v7_sorts_by_microsecond),
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_clocks_and_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
