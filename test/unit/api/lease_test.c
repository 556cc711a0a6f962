#include "unit.h"
#include "api/lease.h"

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

static int parse(const char *body, struct lease_request *ask, struct err *err)
{
    json_t *root = NULL;
    err_clear(err);
    int rc = json_parse(body, strlen(body), &root, err);
    if (!rc)
        rc = lease_parse(root, false, 30 * USEC_PER_SEC, arena, ask, err);
    json_decref(root);
    return rc;
}

#define ID "\"worker_id\":\"0190a000-0000-7000-8000-000000000001\",\"poll_id\":\"p1\""

static void test_whole(void **state)
{
    struct lease_request ask;
    struct err err;
    assert_int_equal(parse("{" ID ",\"name\":\"w\",\"host\":\"h\",\"version\":\"0.1\",\"isolation\":\"namespaces\","
                           "\"handlers\":{\"a\":\"1\",\"b\":\"2\"},"
                           "\"queues\":[\"q\"],\"slots\":3,\"slots_total\":4,\"slots_busy\":1,\"wait\":\"5s\","
                           "\"load\":{\"cpus\":8,\"cpu\":3.25,\"memory_bytes\":1,\"memory_total_bytes\":2}}",
                           &ask, &err),
                     ERR_OK);
    assert_string_equal(ask.poll_id, "p1");
    assert_string_equal(ask.name, "w");
    assert_int_equal(ask.want.n_task_types, 2);
    assert_string_equal(lease_handler_version(&ask, "a"), "1");
    assert_string_equal(lease_handler_version(&ask, "b"), "2");
    assert_null(lease_handler_version(&ask, "c"));
    assert_int_equal(ask.want.n_queues, 1);
    assert_string_equal(ask.want.queues[0], "q");
    assert_int_equal(ask.want.slots, 3);
    assert_int_equal(ask.slots_total, 4);
    assert_int_equal(ask.slots_busy, 1);
    assert_int_equal(ask.wait_us, 5 * USEC_PER_SEC);
    assert_string_equal(ask.load, "{\"cpus\":8,\"cpu\":3.250,\"memory_bytes\":1,\"memory_total_bytes\":2}");
    assert_string_equal(ask.handlers, "{\"a\":\"1\",\"b\":\"2\"}");
}

static void test_least(void **state)
{
    struct lease_request ask;
    struct err err;
    assert_int_equal(parse("{" ID ",\"handlers\":{\"a\":\"1\"},\"slots\":1}", &ask, &err), ERR_OK);
    assert_int_equal(ask.wait_us, 30 * USEC_PER_SEC);
    assert_null(ask.name);
    assert_int_equal(ask.want.n_queues, 0);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *body, *field;
    } cases[] = {
        {"{\"handlers\":{\"a\":\"1\"},\"slots\":1}", "worker_id"},
        {"{\"worker_id\":\"x\",\"poll_id\":\"p\",\"handlers\":{\"a\":\"1\"},\"slots\":1}", "worker_id"},
        {"{" ID ",\"slots\":1}", "handlers"},
        {"{" ID ",\"handlers\":{},\"slots\":1}", "handlers"},
        {"{" ID ",\"handlers\":{\"a\":1},\"slots\":1}", "handlers.a"},
        {"{" ID ",\"handlers\":{\"a\":\"1\"}}", "slots"},
        {"{" ID ",\"handlers\":{\"a\":\"1\"},\"slots\":65}", "slots"},
        {"{" ID ",\"handlers\":{\"a\":\"1\"},\"slots\":1,\"wait\":\"61s\"}", "wait"},
        {"{" ID ",\"handlers\":{\"a\":\"1\"},\"slots\":1,\"queues\":[\"a b\"]}", "queues[0]"},
        {"{" ID ",\"handlers\":{\"a\":\"1\"},\"slots\":1,\"more\":1}", "more"},
    };
    struct lease_request ask;
    struct err err;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(cases[i].body, &ask, &err), ERR_INVALID);
        assert_string_equal(err.field, cases[i].field);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_least, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests_name("api lease", tests, NULL, NULL);
}
