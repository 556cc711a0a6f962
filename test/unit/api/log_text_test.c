#include "unit.h"
#include "api/log_text.h"

/* A log of 41 bytes of which 10 to 25 are gone, as a store would tell. */
#define TOTAL 41
static struct log_part shape = {.total = TOTAL, .cut_from = 10, .cut_to = 25, .ended = true};
static const char bytes[TOTAL + 1] = "0123456789---------------PQRSTUVWXYZabcde";
static size_t piece; /* the most it gives at once */

static int read_fake(struct store *s, const struct uuid *job_id, uint32_t attempt, int64_t offset, void *buf,
                     size_t max, struct log_part *ret, struct err *err)
{
    *ret = shape;
    ret->at = offset >= shape.cut_from && offset < shape.cut_to ? shape.cut_to : offset;
    int64_t end = ret->at < shape.cut_from ? shape.cut_from : shape.total;
    if (ret->at >= end)
        return ERR_OK;
    ret->n = max < piece ? max : piece;
    if ((int64_t)ret->n > end - ret->at)
        ret->n = (size_t)(end - ret->at);
    memcpy(buf, bytes + ret->at, ret->n);
    return ERR_OK;
}

static struct store_driver driver = {.log_read = read_fake};
static struct api api = {.store_driver = &driver};

static int64_t collect(struct log_text *t, char *to)
{
    char buf[LOG_TEXT_MIN];
    struct err err;
    int64_t n, done = 0;
    while ((n = log_text_read(t, buf, sizeof(buf), &err)) > 0) {
        memcpy(to + done, buf, (size_t)n);
        done += n;
    }
    assert_int_not_equal(n, -2);
    to[done] = 0;
    return n;
}

static const char whole[] = "0123456789\n[... haul left out 15 bytes here ...]\nPQRSTUVWXYZabcde";

/* Every part of the text is that part of the text, in pieces of any size. */
static void test_every_range_of_a_cut_log(void **state)
{
    const int64_t size = log_text_size(&shape);
    char got[256], expected[256];
    assert_int_equal(size, strlen(whole));
    for (piece = 1; piece < 20; piece += 6)
        for (int64_t from = 0; from <= size; from++)
            for (int64_t to = from; to <= size; to++) {
                struct log_text t = {.api = &api, .attempt = 1};
                log_text_seek(&t, &shape, from, to);
                assert_int_equal(collect(&t, got), -1);
                snprintf(expected, sizeof(expected), "%.*s", (int)(to - from), whole + from);
                assert_string_equal(got, expected);
            }
}

static void test_a_log_without_a_cut(void **state)
{
    struct log_part all = {.total = 10};
    struct log_text t = {.api = &api, .attempt = 1};
    char got[256];
    piece = 4;
    assert_int_equal(log_text_size(&all), 10);
    log_text_seek(&t, &all, 3, 9);
    collect(&t, got);
    assert_string_equal(got, "345678");
}

/* From an offset: in the cut the line tells what of it this reader misses. */
static void test_from_an_offset(void **state)
{
    static const struct {
        int64_t at;
        const char *text;
    } cases[] = {{0, whole},
                 {10, whole + 10},
                 {20, "\n[... haul left out 5 bytes here ...]\nPQRSTUVWXYZabcde"},
                 {25, "PQRSTUVWXYZabcde"},
                 {41, ""}};
    char got[256];
    piece = 100;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct log_text t = {.api = &api, .attempt = 1, .at = cases[i].at, .end = TOTAL, .left = INT64_MAX};
        assert_int_equal(collect(&t, got), -1);
        assert_string_equal(got, cases[i].text);
    }
}

/* A follower waits at the end of what grows, and ends with it; one that wants no more than there was when he came ends there, also when
 * all that was left of it has been cut out since. */
static void test_growing(void **state)
{
    struct log_text follower = {.api = &api, .attempt = 1, .at = 30, .end = -1, .left = INT64_MAX};
    struct log_text reader = {.api = &api, .attempt = 1, .at = 12, .end = 20, .left = INT64_MAX};
    char got[256];
    piece = 100;
    shape.ended = false;
    assert_int_equal(collect(&follower, got), 0);
    assert_string_equal(got, bytes + 30);
    shape.ended = true;
    assert_int_equal(collect(&follower, got), -1);
    assert_string_equal(got, "");
    assert_int_equal(collect(&reader, got), -1);
    assert_string_equal(got, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_range_of_a_cut_log),
        cmocka_unit_test(test_a_log_without_a_cut),
        cmocka_unit_test(test_from_an_offset),
        cmocka_unit_test(test_growing),
    };
    return cmocka_run_group_tests_name("api log text", tests, NULL, NULL);
}
