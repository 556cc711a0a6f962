#include "unit.h"
#include "api/batch_items.h"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new(4u << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

static int split(const char *body, struct batch_item **ret, size_t *ret_n, struct err *err)
{
    err_clear(err);
    return batch_items(body, strlen(body), 3, arena, ret, ret_n, err);
}

static void test_items_are_borrowed_as_they_were_written(void **state)
{
    static const char body[] = "\n{ \"j\\u006fbs\" : [ {\"a\" : \"]},\\\"[{\"} ,[1, 2],\n-0.0 ] } ";
    static const char *const wanted[] = {"{\"a\" : \"]},\\\"[{\"}", "[1, 2]", "-0.0"};
    struct batch_item *items = NULL;
    struct err err;
    size_t n = 0;
    assert_int_equal(split(body, &items, &n, &err), ERR_OK);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(items[i].n, strlen(wanted[i]));
        assert_memory_equal(items[i].text, wanted[i], items[i].n);
        assert_true(items[i].text > body && items[i].text < body + sizeof(body));
    }
}

/* Every way to cut a batch short, and every byte of it turned into another: no read beyond it (for the sanitizers), and what
 * breaks the frame is refused. */
static void test_damaged_batches(void **state)
{
    static const char good[] = "{\"jobs\":[{\"a\":1},\"x\\\"]\",3]}", junk[] = "{}[]\",:\\ 0";
    struct batch_item *items = NULL;
    struct err err;
    size_t n = 0;
    for (size_t cut = 0; cut < sizeof(good) - 1; cut++) {
        char *body = malloc(cut + 1); /* its own, so that a read past the end is seen */
        assert_non_null(body);
        memcpy(body, good, cut);
        err_clear(&err);
        assert_int_not_equal(batch_items(body, cut, 3, arena, &items, &n, &err), ERR_OK);
        free(body);
    }
    for (size_t at = 0; at < sizeof(good) - 1; at++)
        for (size_t k = 0; k < sizeof(junk) - 1; k++) {
            char *body = malloc(sizeof(good) - 1);
            assert_non_null(body);
            memcpy(body, good, sizeof(good) - 1);
            body[at] = junk[k];
            err_clear(&err);
            int rc = batch_items(body, sizeof(good) - 1, 3, arena, &items, &n, &err);
            for (size_t i = 0; rc == ERR_OK && i < n; i++)
                assert_true(items[i].text >= body && items[i].text + items[i].n <= body + sizeof(good) - 1);
            free(body);
        }
}

static void refused(const char *body, enum err_code code, const char *field)
{
    struct batch_item *items = NULL;
    struct err err;
    size_t n = 0;
    int rc = split(body, &items, &n, &err);
    if (rc != (int)code || strcmp(err.field, field) != 0)
        print_error("%s -> %d '%s' %s\n", body, rc, err.field, err.msg);
    assert_int_equal(rc, code);
    assert_string_equal(err.field, field);
}

static void test_what_is_no_batch(void **state)
{
    refused("", ERR_MALFORMED, "");
    refused("[1]", ERR_INVALID, "");
    refused("{}", ERR_INVALID, "jobs");
    refused("{\"jobs\":7}", ERR_INVALID, "jobs");
    refused("{\"jobs\":[ ]}", ERR_INVALID, "jobs");
    refused("{\"jobs\":[1,2,3,4]}", ERR_TOO_LARGE, "jobs");
    refused("{\"jobs\":[1],\"more\":2}", ERR_INVALID, "more");
    refused("{\"jobs\":[1],\"jobs\":[2]}", ERR_MALFORMED, "");
    refused("{\"jobs\":[1 2]}", ERR_MALFORMED, "");
    refused("{\"jobs\":[1,]}", ERR_MALFORMED, "");
    refused("{\"jobs\":[,1]}", ERR_MALFORMED, "");
    refused("{\"jobs\":[1]]", ERR_MALFORMED, "");
}

/* Not JSON: the whole body's fault. JSON that is refused: the item's. */
static void test_whose_fault_an_item_is(void **state)
{
    static const struct {
        const char *text;
        bool breaks;
    } cases[] = {
        {"{\"a\":tru}", true},
        {"{\"a\":1", true},
        {"{\"a\":1]", true},
        {"\"\xff\"", true},
        {"'x'", true},
        {"{\"a\":1,\"a\":2}", false},
        {"1e999", false},
        {"9999999999999999999", false},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct batch_item item = {cases[i].text, strlen(cases[i].text)};
        struct err err;
        json_t *root = NULL;
        assert_int_equal(json_parse(item.text, item.n, &root, &err), ERR_MALFORMED);
        if (batch_item_breaks(&item, &err) != cases[i].breaks)
            fail_msg("%s", cases[i].text);
    }
    assert_false(batch_item_breaks(&(struct batch_item){"{", 1}, &(struct err){.code = ERR_INVALID}));
}

static void test_keys(void **state)
{
    char longest[JOB_KEY_MAX + 1];
    const char *key = "untouched";
    struct err err;
    memset(longest, 'x', sizeof(longest));
    longest[JOB_KEY_MAX - 4] = 0;
    assert_int_equal(batch_key(NULL, 3, arena, &key, &err), ERR_OK);
    assert_null(key);
    assert_int_equal(batch_key("a b", 17, arena, &key, &err), ERR_OK);
    assert_string_equal(key, "a b/17");
    assert_int_equal(batch_key(longest, 999, arena, &key, &err), ERR_OK);
    assert_int_equal(strlen(key), JOB_KEY_MAX);
    longest[JOB_KEY_MAX - 4] = 'x';
    longest[JOB_KEY_MAX - 3] = 0;
    assert_int_equal(batch_key(longest, 0, arena, &key, &err), ERR_INVALID);
    assert_string_equal(err.field, "Idempotency-Key");
    assert_int_equal(batch_key("", 0, arena, &key, &err), ERR_INVALID);
    assert_int_equal(batch_key("\xff", 0, arena, &key, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_items_are_borrowed_as_they_were_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whose_fault_an_item_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
