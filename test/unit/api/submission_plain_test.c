/* The short way of reading a submission against the long one: what it reads, it reads alike, whatever is cut, put in or turned round. */
#include "unit.h"
#include "alike.h"
#include "base/rng.h"
#include <stdlib.h>

#define MUTANTS  40000
#define TEXT_MAX 1024

static const char *const samples[] = {
    "{\"task_type\":\"encode_v1\"}",
    " { \"queue\" : \"q\" ,\n\t\"task_type\" : \"t\" } ",
    "{\"task_type\":\"encode_v1\",\"queue\":\"video\",\"payload\":{\"url\":\"s3://bucket/"
    "clip-1.mov\",\"n\":[1,2.5,-3,true,null]},"
    "\"labels\":{\"customer\":\"acme\"}}",
    "{\"task_type\":\"t\",\"labels\":{\"b\":\"2\",\"a\":\"1\",\"\xc3\xa9\":\"\xe2\x82\xac\",\"ab\":\"\"},\"priority\":"
    "9,"
    "\"max_attempts\":100,\"dedup_key\":\"order 7\"}",
    "{\"task_type\":\"t\",\"labels\":{},\"payload\":null,\"priority\":0,\"max_attempts\":1}",
    "{\"task_type\":\"t\",\"payload\":\"text\",\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
    "01\","
    "\"tracestate\":\"a=b,c=d\"}",
    "{\"task_type\":\"t\",\"payload\":[[[[{\"deep\":{}}]]]],\"dedup_key\":\"k\"}",
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static const struct policy policy = {.dedup_us = 77};

struct read {
    struct arena *arena;
    struct op_submit op;
    struct err err;
};

static void begin(struct read *r)
{
    memset(&r->op, 0xa5, sizeof(r->op)); /* nothing of before may be left */
    r->arena = arena_new(4u << 20);
    assert_non_null(r->arena);
    err_clear(&r->err);
}

/* @return did the short way read it? */
static bool compare(const char *text, size_t n, enum source source, const char *key)
{
    const struct origin from = {source, key};
    struct read plain, strict;
    begin(&plain);
    begin(&strict);
    bool read = submission_plain(text, n, &from, &policy, plain.arena, &plain.op);
    int rc = n ? submission_strict(text, n, &from, &policy, strict.arena, &strict.op, &strict.err) : ERR_MALFORMED;
    if (read && (rc != ERR_OK || !submissions_alike(&plain.op, &strict.op)))
        fail_msg("read though it is %s: %.*s", rc ? strict.err.msg : "something else", (int)n, text);
    arena_free(plain.arena);
    arena_free(strict.arena);
    return read;
}

/* Else nobody would notice that all go the long way. */
static void test_what_is_plain_is_read(void **state)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_true(compare(samples[i], strlen(samples[i]), SOURCE_REQUEST, NULL));
        assert_true(compare(samples[i], strlen(samples[i]), SOURCE_BATCH, "key/7"));
        assert_false(compare(samples[i], strlen(samples[i]), SOURCE_MESSAGE, "1-0"));
    }
    assert_true(compare(samples[0], strlen(samples[0]), SOURCE_REQUEST, "key"));
    assert_true(compare(samples[6], strlen(samples[6]), SOURCE_REQUEST, "k"));
    assert_false(compare(samples[6], strlen(samples[6]), SOURCE_REQUEST, "another"));
    assert_false(compare(samples[0], strlen(samples[0]), SOURCE_REQUEST, ""));
    assert_false(compare(samples[0], strlen(samples[0]), SOURCE_REQUEST, "\xff"));
}

/* What is wrong, or right in a way that one reader of it is enough for. */
static void test_the_rest_is_left_to_the_long_way(void **state)
{
    static const char *const left[] = {
        "",
        "{}",
        "[]",
        "{\"task_type\":\"\"}",
        "{\"task_type\":\"a b\"}",
        "{\"task_type\":7}",
        "{\"task_type\":null}",
        "{\"task_type\":\"t\",\"task_type\":\"t\"}",
        "{\"task_type\":\"t\",}",
        "{,\"task_type\":\"t\"}",
        "{\"task_type\":\"t\"} x",
        "{\"task_type\":\"\\u0074\"}",
        "{\"task_type\":\"t\",\"queue\":null}",
        "{\"task_type\":\"t\",\"unknown\":1}",
        "{\"task_type\":\"t\",\"priority\":10}",
        "{\"task_type\":\"t\",\"priority\":-1}",
        "{\"task_type\":\"t\",\"priority\":5.0}",
        "{\"task_type\":\"t\",\"priority\":5e0}",
        "{\"task_type\":\"t\",\"priority\":05}",
        "{\"task_type\":\"t\",\"max_attempts\":0}",
        "{\"task_type\":\"t\",\"max_attempts\":101}",
        "{\"task_type\":\"t\",\"labels\":{\"a\":1}}",
        "{\"task_type\":\"t\",\"labels\":{\"\":\"1\"}}",
        "{\"task_type\":\"t\",\"labels\":{\"a\":\"1\",\"a\":\"1\"}}",
        "{\"task_type\":\"t\",\"labels\":{\"a\":\"1\"},\"labels\":{}}",
        "{\"task_type\":\"t\",\"labels\":[]}",
        "{\"task_type\":\"t\",\"dedup_key\":\"\"}",
        "{\"task_type\":\"t\",\"dedup_key\":\"\x7f\"}",
        "{\"task_type\":\"t\",\"payload\":{\"a\":1,\"a\":2}}",
        "{\"task_type\":\"t\",\"payload\":}",
        "{\"task_type\":\"t\",\"tracestate\":\"a=b\"}",
        "{\"task_type\":\"t\",\"traceparent\":\"00\"}",
        "{\"task_type\":\"t\",\"delay\":\"1h\"}",
    };
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
        if (compare(left[i], strlen(left[i]), SOURCE_REQUEST, NULL))
            fail_msg("read: %s", left[i]);
}

/* Each text of a submission, at all lengths around its bound. */
static void test_bounds(void **state)
{
    static const struct {
        const char *before, *behind;
        size_t most;
    } texts[] = {{"{\"task_type\":\"", "\"}", JOB_NAME_MAX},
                 {"{\"task_type\":\"t\",\"queue\":\"", "\"}", JOB_NAME_MAX},
                 {"{\"task_type\":\"t\",\"dedup_key\":\"", "\"}", JOB_KEY_MAX},
                 {"{\"task_type\":\"t\",\"labels\":{\"k\":\"", "\"}}", JOB_LABEL_VALUE_MAX},
                 {"{\"task_type\":\"t\",\"labels\":{\"", "\":\"v\"}}", JOB_LABEL_KEY_MAX}};
    char text[TEXT_MAX];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t n = texts[i].most - 1; n < texts[i].most + 3; n++) {
            int len = snprintf(text, sizeof(text), "%s%0*d%s", texts[i].before, (int)n, 7, texts[i].behind);
            assert_int_equal(compare(text, (size_t)len, SOURCE_REQUEST, NULL), n <= texts[i].most);
        }
}

static size_t below(struct rng rng, size_t n)
{
    uint32_t v;
    rng.fill(rng.self, &v, sizeof(v));
    return v % n;
}

/* A byte becomes another, goes, or comes twice; a piece of another sample comes in. */
static size_t mutate(struct rng rng, char *text, size_t n)
{
    static const char likely_bytes[] = "{}[]\",:\\ 0159-.eE\n\t\x7f\x01\xc3\xa9nult";
    size_t at = below(rng, n), piece;
    const char *other;
    switch (below(rng, 4)) {
    case 0:
        text[at] = likely_bytes[below(rng, sizeof(likely_bytes))];
        return n;
    case 1:
        memmove(text + at, text + at + 1, n - at - 1);
        return n - 1;
    case 2:
        memmove(text + at + 1, text + at, n - at);
        return n + 1;
    default:
        other = samples[below(rng, SAMPLES)];
        piece = 1 + below(rng, strlen(other));
        memmove(text + at + piece, text + at, n - at);
        memcpy(text + at, other + below(rng, strlen(other) - piece + 1), piece);
        return n + piece;
    }
}

static void test_mutants(void **state)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 35;
    struct rng_seeded source = {.state = seed};
    struct rng rng = rng_seeded_view(&source);
    size_t read = 0;
    char text[TEXT_MAX * 2];

    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < MUTANTS; i++) {
        const char *sample = samples[below(rng, SAMPLES)];
        size_t n = strlen(sample);
        memcpy(text, sample, n);
        for (size_t k = 1 + below(rng, 3); k > 0 && n > 1 && n < TEXT_MAX; k--)
            n = mutate(rng, text, n);
        read += compare(text, n, below(rng, 2) ? SOURCE_REQUEST : SOURCE_BATCH, below(rng, 2) ? "k" : NULL);
    }
    assert_true(read > MUTANTS / 20); /* and not only what is wrong in both */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_plain_is_read),
        cmocka_unit_test(test_the_rest_is_left_to_the_long_way),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_mutants),
    };
    return cmocka_run_group_tests_name("api submission plain", tests, NULL, NULL);
}
