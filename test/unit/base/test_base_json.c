#include "test.h"

#include "base/json.h"
#include "base/json_plain.h"

static int parse(const char *s, struct err *err)
{
    json_t *v = NULL;
    int rc = json_parse(s, strlen(s), &v, err);
    json_decref(v);
    return rc;
}

static void test_values_are_accepted(void **state)
{
    static const char *const good[] = {
        "1", "\"x\"", "null", " [1, 2.5e3] ", "{\"a\":{\"b\":[]}}", "\"\\u00e9\"", "\"\\u0000\"", "\"[[[[\\\"[\""};
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(parse(good[i], &err), ERR_OK);
}

static void test_malformed_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "1 2",
                                      "{\"a\":1}x",
                                      "{\"a\":1,\"a\":2}",
                                      "{\"a\":1,\"\\u0061\":2}",
                                      "[1,]",
                                      "\"\xff\"",
                                      "{\"a\\u0000\":1}",
                                      "nul",
                                      "\"\\ud800\"",
                                      "'a'",
                                      "[1e999]",
                                      "99999999999999999999"};
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(bad[i], &err), ERR_MALFORMED);
    assert_int_equal(parse("{\n \"a\": x}", &err), ERR_MALFORMED);
    assert_non_null(strstr(err.msg, "line 2, column"));
    assert_int_equal(parse("{", NULL), ERR_MALFORMED);
}

/* What is plain is read as jansson reads it; what is not is left to jansson, which decides. */
static void same_as_strict(const char *text, size_t n, json_t *fast)
{
    struct err err;
    json_t *strict = NULL;
    assert_int_equal(json_parse_strict(text, n, &strict, &err), ERR_OK);
    char *one = json_dumps(fast, JSON_ENCODE_ANY), *two = json_dumps(strict, JSON_ENCODE_ANY);
    assert_string_equal(one, two);
    free(one);
    free(two);
    json_decref(fast);
    json_decref(strict);
}

static void test_plain_text_is_read_as_jansson_reads_it(void **state)
{
    static const char *const plain[] = {
        "0",
        "-0",
        "-7",
        "999999999999999999",
        "-999999999999999999",
        "0.25",
        "-0.0",
        "123456789.012345",
        "0.00000000000001",
        "1.00",
        "true",
        " false ",
        "null",
        "\"\"",
        "\"a/b\x7f\"",
        "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xac\"",
        "[]",
        "{}",
        " [ ] ",
        "\t{\r\n\"\" : [ 1 ,\"x\", {\"a\":null} ] }\n",
        "{\"task_type\":\"t\",\"payload\":{\"z\":1,\"a\":[true,false]},\"priority\":9,\"x y\":\"\xe2\x82\xac\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        for (size_t n = strlen(plain[i]), part = 0; part <= n; part++) { /* cut anywhere, too */
            json_t *fast = json_plain(plain[i], part);
            assert_true(part < n || fast);
            if (fast)
                same_as_strict(plain[i], part, fast);
        }
}

static void test_what_is_not_plain_is_left_to_jansson(void **state)
{
    static const char *const other[] = {" ",
                                        "01",
                                        "-",
                                        "-01",
                                        "1.",
                                        ".5",
                                        "1e3",
                                        "1.5E2",
                                        "1000000000000000000",
                                        "1234567890123.456",
                                        "+1",
                                        "1 2",
                                        "\"\\n\"",
                                        "\"a",
                                        "\"\xff\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\x1f\"",
                                        "\"\n\"",
                                        "tru",
                                        "True",
                                        "nulll",
                                        "[1,]",
                                        "[,]",
                                        "[1 2]",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{a:1}",
                                        "{\"a\":1,}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":1}x",
                                        "[}",
                                        "{]",
                                        "/*x*/1"};
    (void)state;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_null(json_plain(other[i], strlen(other[i])));
    assert_null(json_plain("1\0", 2));
    assert_null(json_plain("[\0]", 3));
    assert_null(json_plain("\"\0\"", 3));
}

/* Members that are set apart: as strict with them, and their text is the raw member's. */
static void test_a_member_apart_is_checked_as_all_is(void **state)
{
    static const char *const values[] = {
        "0",
        "01",
        "1e3",
        "-",
        "tru",
        "true ",
        " null",
        "\"x\"",
        "\"\\n\"",
        "\"\xff\"",
        "[]",
        "[1,[2,{}],\"x\"]",
        "[1,]",
        "[1 2]",
        "{}",
        "{\"a\":1,\"b\":{\"a\":[1.5]}}",
        "{\"k\":1,\"l\":2,\"k\":3}",
        "{\"k\" 1}",
        "{\"k\":}",
        "[}",
        "\"",
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":11,\"l\":12,\"m\":13,"
        "\"n\":14,\"o\":15,\"p\":16,\"q\":17}",
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":11,\"l\":12,\"m\":13,"
        "\"n\":14,\"o\":15,\"p\":16,\"q\":17,\"a\":18}",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"};
    static const char *const around[] = {"{\"b\":\"x\",\"a\":%s,\"c\":[2]}",
                                         "{ \"a\" : %s }",
                                         "{\"a\":%s,\"a\":1}",
                                         "{\"b\":{\"a\":%s}}",
                                         "[{\"a\":%s}]",
                                         "%s"};
    char text[600];
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) * sizeof(around) / sizeof(around[0]); i++) {
        const size_t n_around = sizeof(around) / sizeof(around[0]);
        struct err err = {0};
        json_t *whole = NULL, *rest = NULL;
        const char *part, *same = NULL;
        size_t n_part, n_same = 0;
        const char *at = strchr(around[i % n_around], '%');
        size_t n = (size_t)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - around[i % n_around]),
                                    around[i % n_around], values[i / n_around], at + 2);
        int rc = json_parse(text, n, &whole, &err);
        assert_int_equal(json_parse_apart(text, n, "a", &rest, &part, &n_part, &err), rc);
        if (rc == ERR_OK && json_is_object(whole)) {
            assert_int_equal(json_raw_member(text, n, "a", &same, &n_same), part != NULL);
            assert_ptr_equal(part, same);
            assert_int_equal(part ? n_part : 0, n_same);
            json_object_del(whole, "a");
            json_object_del(rest, "a");
        }
        assert_true(rc != ERR_OK || !json_is_object(whole) || json_equal(whole, rest));
        json_decref(whole);
        json_decref(rest);
    }
}

static void test_plain_text_is_as_deep_as_any(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 2];
    (void)state;
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        json_t *fast = json_plain(text, 2 * depth);
        assert_int_equal(fast != NULL, depth == JSON_DEPTH_MAX);
        if (fast)
            same_as_strict(text, 2 * depth, fast);
    }
}

/* jansson 2.14 passes over one behind a number. */
static void test_a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    static const char text[] = "{\"a\": [1, 2504, true], \"b\": \"c\"}";
    struct err err;
    (void)state;
    for (size_t i = 0; i <= sizeof(text) - 1; i++) {
        char with[sizeof(text) + 1];
        json_t *doc = NULL;
        memcpy(with, text, i);
        with[i] = '\0';
        memcpy(with + i + 1, text + i, sizeof(text) - 1 - i);
        assert_int_equal(json_parse(with, sizeof(text), &doc, &err), ERR_MALFORMED);
        assert_null(doc);
    }
}

static void nest(char *s, size_t n)
{
    memset(s, '[', n);
    memset(s + n, ']', n);
    s[2 * n] = '\0';
}

static void test_depth_bomb_is_refused(void **state)
{
    static char s[200001];
    struct err err;
    (void)state;
    nest(s, JSON_DEPTH_MAX);
    assert_int_equal(parse(s, &err), ERR_OK);
    nest(s, JSON_DEPTH_MAX + 1);
    assert_int_equal(parse(s, &err), ERR_MALFORMED);
    assert_string_equal(err.msg, "JSON, line 1, column 33: nested deeper than 32");
    nest(s, 100000);
    assert_int_equal(parse(s, &err), ERR_MALFORMED);
}

static void expect_raw(const char *text, const char *key, const char *want)
{
    const char *raw = NULL;
    size_t n = 0;
    bool found = json_raw_member(text, strlen(text), key, &raw, &n);
    assert_int_equal(found, want != NULL);
    if (!want)
        return;
    assert_int_equal(n, strlen(want));
    assert_memory_equal(raw, want, n);
}

static void test_raw_member_is_the_text_itself(void **state)
{
    static const char text[] =
        " { \"x\" : [1, {\"payload\": 0}, \"}\"] ,\n\"pay\\u006coad\" :  { \"b\":1.50 , \"a\":\"\\\"}\" } , \"n\":-1e3,"
        "\"s\":\"a\\\\\",\"t\":true }";
    struct err err;
    (void)state;
    assert_int_equal(parse(text, &err), ERR_OK);
    expect_raw(text, "payload", "{ \"b\":1.50 , \"a\":\"\\\"}\" }");
    expect_raw(text, "x", "[1, {\"payload\": 0}, \"}\"]");
    expect_raw(text, "n", "-1e3");
    expect_raw(text, "s", "\"a\\\\\"");
    expect_raw(text, "t", "true");
    expect_raw(text, "a", NULL);
    expect_raw("{}", "a", NULL);
    expect_raw("[1]", "a", NULL);
    expect_raw("{\"a\":1}", "a", "1");
    expect_raw("{\"\":null}", "", "null");
}

static json_t *load(const char *s)
{
    json_t *v = NULL;
    assert_int_equal(json_parse(s, strlen(s), &v, NULL), ERR_OK);
    return v;
}

/* As many members as are plain come out; the text itself says how many those are, and whether that is all. */
static void test_plain_members_until_one_is_not(void **state)
{
    static const struct {
        const char *text;
        int members, end;
    } cases[] = {
        {"{}", 0, 0},
        {"{\"a\":\"\"}", 1, 0},
        {"{\"customer\":\"7\",\"film\":\"\xc3\xa9t\xc3\xa9\"}", 2, 0},
        {"{\"a\":\"1\",\"b\":\"x\\\"y\"}", 1, -1},
        {"{\"\\u0061\":\"1\"}", 0, -1},
        {"{\"a\": \"1\"}", 0, -1},
        {"{\"a\":1}", 0, -1},
        {"{\"a\":\"1\"", 1, -1},
        {"{\"a\":\"1\"} ", 1, -1},
        {"[]", 0, -1},
        {"", 0, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *key, *value;
        size_t pos = 0, n_key, n_value;
        int n = 0, rc;
        while ((rc = json_plain_member(cases[i].text, &pos, &key, &n_key, &value, &n_value)) == 1)
            n++;
        assert_int_equal(n, cases[i].members);
        assert_int_equal(rc, cases[i].end);
    }
    const char *key, *value;
    size_t pos = 0, n_key, n_value;
    assert_int_equal(json_plain_member("{\"k\":\"v w\"}", &pos, &key, &n_key, &value, &n_value), 1);
    assert_memory_equal(key, "k", n_key);
    assert_int_equal(n_value, 3);
    assert_memory_equal(value, "v w", n_value);
}

static void test_reader_reads_every_kind(void **state)
{
    json_t *v =
        load("{\"s\":\"abc\",\"i\":7,\"r\":1,\"b\":true,\"d\":\"1h30m\",\"e\":0.25,\"t\":\"1970-01-01T00:00:01Z\","
             "\"o\":{},\"any\":null,\"nul\":null}");
    struct json_reader r;
    struct err err;
    (void)state;
    json_reader_init(&r, v, "", &err);
    assert_string_equal(json_get_string(&r, "s", true, 1, 3), "abc");
    assert_int_equal(json_get_int(&r, "i", 0, 0, 9), 7);
    assert_true(json_get_real(&r, "r", 0, 0, 1) > 0.9);
    assert_true(json_get_bool(&r, "b", false));
    assert_int_equal(json_get_duration(&r, "d", 0, 0, USEC_NEVER), 5400 * USEC_PER_SEC);
    assert_int_equal(json_get_duration(&r, "e", 0, 0, USEC_NEVER), 250000);
    assert_int_equal(json_get_time(&r, "t", 0), USEC_PER_SEC);
    assert_non_null(json_get_value(&r, "o", true, JSON_OBJECT));
    assert_true(json_is_null(json_get_any(&r, "any")));
    assert_int_equal(json_get_int(&r, "nul", 42, 0, 9), 42);
    assert_null(json_get_string(&r, "gone", false, 0, 9));
    assert_int_equal(json_reader_end(&r), ERR_OK);
    json_decref(v);
}

enum read_as { STRING, NEED, INT, REAL, BOOL, DURATION, TIME, OBJECT };

static void expect_refused(const char *text, enum read_as as, const char *part)
{
    json_t *v = load(text);
    struct json_reader r;
    struct err err = {.code = ERR_OK};
    json_reader_init(&r, v, "in[2].", &err);
    switch (as) {
    case STRING:
        assert_null(json_get_string(&r, "k", false, 1, 8));
        break;
    case NEED:
        assert_null(json_get_string(&r, "k", true, 1, 8));
        break;
    case INT:
        json_get_int(&r, "k", 0, 0, 9);
        break;
    case REAL:
        json_get_real(&r, "k", 0, 0, 9);
        break;
    case BOOL:
        json_get_bool(&r, "k", false);
        break;
    case DURATION:
        json_get_duration(&r, "k", 0, 0, USEC_PER_SEC);
        break;
    case TIME:
        json_get_time(&r, "k", 0);
        break;
    case OBJECT:
        json_get_value(&r, "k", true, JSON_OBJECT);
        break;
    }
    assert_null(json_get_any(&r, "later")); /* the first error sticks */
    assert_int_equal(json_reader_end(&r), ERR_INVALID);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.field, "in[2].k");
    assert_non_null(strstr(err.msg, part));
    json_decref(v);
}

static void test_reader_refuses_and_names_the_field(void **state)
{
    (void)state;
    expect_refused("{\"k\":1}", STRING, "must be a string");
    expect_refused("{\"k\":\"\"}", STRING, "1 to 8 bytes, got 0");
    expect_refused("{\"k\":\"123456789\"}", STRING, "1 to 8 bytes, got 9");
    expect_refused("{\"k\":\"a\\nb\"}", STRING, "control");
    expect_refused("{\"k\":\"a\\u007fb\"}", STRING, "control");
    expect_refused("{}", NEED, "required");
    expect_refused("{\"k\":null}", NEED, "required");
    expect_refused("{\"k\":10}", INT, "0 to 9, got 10");
    expect_refused("{\"k\":1.0}", INT, "integer");
    expect_refused("{\"k\":\"1\"}", REAL, "number");
    expect_refused("{\"k\":-0.5}", REAL, "0 to 9");
    expect_refused("{\"k\":1}", BOOL, "true or false");
    expect_refused("{\"k\":\"2s\"}", DURATION, "must be 0s to 1s, got 2s");
    expect_refused("{\"k\":\"-2s\"}", DURATION, "not a duration");
    expect_refused("{\"k\":1e300}", DURATION, "out of range");
    expect_refused("{\"k\":9223372036854775807}", DURATION, "out of range");
    expect_refused("{\"k\":[]}", DURATION, "duration");
    expect_refused("{\"k\":\"yesterday\"}", TIME, "RFC 3339");
    expect_refused("{\"k\":[]}", OBJECT, "must be an object");
}

static void test_unknown_member_is_refused(void **state)
{
    json_t *v = load("{\"a\":1,\"zz\":2}"), *list = load("[]");
    struct json_reader r;
    struct err err;
    (void)state;
    json_reader_init(&r, v, "", &err);
    json_get_int(&r, "a", 0, 0, 9);
    json_get_int(&r, "b", 0, 0, 9);
    assert_int_equal(json_reader_end(&r), ERR_INVALID);
    assert_string_equal(err.field, "zz");
    assert_string_equal(err.msg, "zz: unknown member; known: a, b");
    json_reader_init(&r, list, "x.", &err);
    assert_int_equal(json_get_int(&r, "a", 3, 0, 9), 3);
    assert_int_equal(json_reader_end(&r), ERR_INVALID);
    assert_string_equal(err.field, "x");
    json_reader_init(&r, NULL, "", NULL);
    assert_int_equal(json_reader_end(&r), ERR_INVALID);
    json_decref(v);
    json_decref(list);
}

static void test_writer(void **state)
{
    struct buf buf;
    struct json_writer w;
    (void)state;
    buf_init(&buf, 4096);
    jw_init(&w, &buf);
    jw_object(&w, NULL);
    jw_string(&w, "s", "a\"\\\n\x01\xc3\xa9\xff\xe2\x82");
    jw_string(&w, "nil", NULL);
    jw_array(&w, "l");
    jw_int(&w, NULL, INT64_MIN);
    jw_real(&w, NULL, 0.1);
    jw_real(&w, NULL, 1.0 / 3);
    jw_real(&w, NULL, __builtin_nan(""));
    jw_object(&w, NULL);
    jw_object_end(&w);
    jw_bool(&w, NULL, false);
    jw_array_end(&w);
    jw_time(&w, "t", USEC_PER_SEC);
    jw_time(&w, "never", USEC_NEVER);
    jw_duration_s(&w, "d", 1500000);
    jw_duration_s(&w, "e", 10 * USEC_PER_SEC);
    jw_duration_s(&w, "z", 0);
    jw_raw(&w, "raw", "{\"x\": 1}", 8);
    jw_object_end(&w);
    assert_string_equal(buf_str(&buf),
                        "{\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"nil\":null,"
                        "\"l\":[-9223372036854775808,0.1,0.33333333333333331,null,{},false],"
                        "\"t\":\"1970-01-01T00:00:01Z\",\"never\":null,\"d\":1.5,\"e\":10,\"z\":0,\"raw\":{\"x\": 1}}");
    assert_int_equal(parse(buf_str(&buf), NULL), ERR_OK);
    buf_release(&buf);
}

static void test_map_text_is_what_jansson_writes(void **state)
{
    static const char *const maps[] = {"{}",
                                       "{\"a\":\"1\"}",
                                       "{\"b\":\"\",\"a\":\"2\",\"ab\":\"/\",\"\":\"x y\",\"B\":\"~\"}",
                                       "{\"q\":\"a\\\"b\",\"a\":\"\\\\\"}",
                                       "{\"z\":\"\x7f\",\"a\":\"\"}",
                                       "{\"\xc3\xbc\":\"\xe2\x82\xac\",\"a\":\"\"}",
                                       "{\"n\":\"\\n\\u0001\",\"a\":\"\"}",
                                       "{\"q\":\"\",\"p\":\"\",\"o\":\"\",\"n\":\"\",\"m\":\"\",\"l\":\"\",\"k\":\"\","
                                       "\"j\":\"\",\"i\":\"\",\"h\":\"\",\"g\":\"\","
                                       "\"f\":\"\",\"e\":\"\",\"d\":\"\",\"c\":\"\",\"b\":\"\"}",
                                       "{\"q\":\"\",\"p\":\"\",\"o\":\"\",\"n\":\"\",\"m\":\"\",\"l\":\"\",\"k\":\"\","
                                       "\"j\":\"\",\"i\":\"\",\"h\":\"\",\"g\":\"\","
                                       "\"f\":\"\",\"e\":\"\",\"d\":\"\",\"c\":\"\",\"b\":\"\",\"a\":\"\"}"};
    struct arena *arena = arena_new(1 << 16);
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        json_t *map = NULL;
        assert_int_equal(json_parse(maps[i], strlen(maps[i]), &map, &err), ERR_OK);
        char *text = json_dumps(map, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(json_map_text(map, arena), text);
        free(text);
        json_decref(map);
    }
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_accepted),
        cmocka_unit_test(test_malformed_is_refused),
        cmocka_unit_test(test_plain_text_is_read_as_jansson_reads_it),
        cmocka_unit_test(test_what_is_not_plain_is_left_to_jansson),
        cmocka_unit_test(test_a_member_apart_is_checked_as_all_is),
        cmocka_unit_test(test_plain_text_is_as_deep_as_any),
        cmocka_unit_test(test_a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(test_depth_bomb_is_refused),
        cmocka_unit_test(test_raw_member_is_the_text_itself),
        cmocka_unit_test(test_plain_members_until_one_is_not),
        cmocka_unit_test(test_reader_reads_every_kind),
        cmocka_unit_test(test_reader_refuses_and_names_the_field),
        cmocka_unit_test(test_unknown_member_is_refused),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_map_text_is_what_jansson_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
