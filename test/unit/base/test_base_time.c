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
                                      "+026-01-01T00:00:00Z",
                                      "9999-12-31T23:59:59-00:01",
                                      "0000-01-01T00:00:00+00:01"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        usec t;
        assert_false(rfc3339_parse(bad[i], &t));
    }
}

static void expect_when(const char *s, enum when way, const char *want)
{
    usec t;
    char text[RFC3339_MAX];
    struct err err;
    assert_int_equal(when_parse(s, "f", 1795582255000000, way, &t, &err), ERR_OK); /* now: 2026-11-25T04:50:55Z */
    rfc3339_format(t, text);
    assert_string_equal(text, want);
}

static void test_instants_as_people_write_them(void **state)
{
    static const struct {
        const char *s, *want;
    } rows[] = {
        {"now", "2026-11-25T04:50:55Z"},
        {"2026-12-01", "2026-12-01T00:00:00Z"},
        {"2026-12-01 10:00", "2026-12-01T10:00:00Z"},
        {"2026-12-01T10:00", "2026-12-01T10:00:00Z"},
        {"2026-12-01t10:00:30", "2026-12-01T10:00:30Z"},
        {"2026-12-01 10:00:30.25", "2026-12-01T10:00:30.250Z"},
        {"2026-12-01T10:00Z", "2026-12-01T10:00:00Z"},
        {"2026-12-01 10:00+02:00", "2026-12-01T08:00:00Z"},
        {"2026-12-01T10:00:00-05:30", "2026-12-01T15:30:00Z"},
        {"2026-11-25T04:50:55.123456Z", "2026-11-25T04:50:55.123456Z"},
        {"1969-12-31", "1969-12-31T00:00:00Z"},
    };
    (void)state;
    setenv("TZ", "UTC", 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect_when(rows[i].s, WHEN_AGO, rows[i].want);
        expect_when(rows[i].s, WHEN_AHEAD, rows[i].want);
    }
    expect_when("10m", WHEN_AGO, "2026-11-25T04:40:55Z");
    expect_when("10m", WHEN_AHEAD, "2026-11-25T05:00:55Z");
    expect_when("1h30m", WHEN_AGO, "2026-11-25T03:20:55Z");
    expect_when("2d", WHEN_AGO, "2026-11-23T04:50:55Z");
    expect_when("1w1ms", WHEN_AHEAD, "2026-12-02T04:50:55.001Z");
    expect_when("0s", WHEN_AGO, "2026-11-25T04:50:55Z");
}

static void test_instants_without_an_offset_are_local(void **state)
{
    usec t;
    struct err err;
    (void)state;
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    expect_when("2026-12-01", WHEN_AGO, "2026-11-30T23:00:00Z");
    expect_when("2026-07-01", WHEN_AGO, "2026-06-30T22:00:00Z");
    expect_when("2026-07-01 12:00:00.5", WHEN_AGO, "2026-07-01T10:00:00.500Z");
    expect_when("2026-12-01T10:00Z", WHEN_AGO, "2026-12-01T10:00:00Z");
    expect_when("2026-03-29 01:59:59", WHEN_AGO, "2026-03-29T00:59:59Z");
    expect_when("2026-03-29 03:00", WHEN_AGO, "2026-03-29T01:00:00Z");
    expect_when("2026-10-25 02:30", WHEN_AGO, "2026-10-25T00:30:00Z"); /* there twice: the earlier */
    expect_when("2026-10-25 03:00", WHEN_AGO, "2026-10-25T02:00:00Z");
    assert_int_equal(when_parse("2026-03-29 02:30", "f", 0, WHEN_AGO, &t, &err), ERR_INVALID); /* skipped */
    assert_non_null(strstr(err.msg, "does not exist"));
    setenv("TZ", "EST5", 1);
    expect_when("2026-12-01", WHEN_AGO, "2026-12-01T05:00:00Z");
    setenv("TZ", "UTC", 1);
}

static void test_bad_instants_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "90",
                                      "2026",
                                      "-10m",
                                      "+10m",
                                      "10",
                                      "10 m",
                                      "10m ago",
                                      "1.5h",
                                      "1m1h",
                                      "yesterday",
                                      "Now",
                                      "now ",
                                      "2026-12",
                                      "2026-12-1",
                                      "2026-13-01",
                                      "2026-02-29",
                                      "26-12-01",
                                      "2026-12-01T",
                                      "2026-12-01 ",
                                      "2026-12-01Z",
                                      "2026-12-01T10",
                                      "2026-12-01T10:",
                                      "2026-12-01T10:00:",
                                      "2026-12-01T24:00",
                                      "2026-12-01T10:60",
                                      "2026-12-01  10:00",
                                      "2026-12-01T10:00 Z",
                                      "2026-12-01T10:00+0200",
                                      "2026-12-01T10:00+02",
                                      "2026-12-01T10:00Zx",
                                      "2026-12-01T10:00.",
                                      "2026-12-01T10:00.5",
                                      "01.12.2026",
                                      "12/01/2026",
                                      "9223372036854775807us1us",
                                      "9999999999999999999d"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        usec t = 77;
        struct err err;
        assert_int_equal(when_parse(bad[i], "created_after", 1795582255000000, WHEN_AGO, &t, &err), ERR_INVALID);
        assert_string_equal(err.field, "created_after");
        assert_int_equal(t, 77);
    }
    usec t = 77;
    struct err err;
    assert_int_equal(when_parse("9223372036854775807us", "f", 1, WHEN_AHEAD, &t, &err), ERR_INVALID);
    assert_int_equal(when_parse(NULL, "f", 1, WHEN_AHEAD, &t, &err), ERR_INVALID);
    assert_int_equal(t, 77);
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
        cmocka_unit_test(test_instants_as_people_write_them),
        cmocka_unit_test(test_instants_without_an_offset_are_local),
        cmocka_unit_test(test_bad_instants_are_refused),
        cmocka_unit_test(test_every_day_survives_the_round_trip),
        cmocka_unit_test(test_uuid_v7_sorts_by_microsecond),
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_clocks_and_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
