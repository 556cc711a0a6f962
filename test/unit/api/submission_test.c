#include "unit.h"
#include "api/submission.h"

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

static int parse(const char *body, const char *key, struct op_submit *op, struct err *err)
{
    struct policy policy = policy_default();
    err_clear(err);
    return submission_parse(body, strlen(body), key, &policy, arena, op, err);
}

static void refused(const char *body, int code, const char *field)
{
    struct op_submit op;
    struct err err;
    int rc = parse(body, NULL, &op, &err);
    if (rc != code || strcmp(err.field, field) != 0)
        print_error("%s -> %d '%s' %s\n", body, rc, err.field, err.msg);
    assert_int_equal(rc, code);
    assert_string_equal(err.field, field);
}

static void test_defaults(void **state)
{
    struct op_submit op;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"encode_v1\"}", NULL, &op, &err), ERR_OK);
    assert_string_equal(op.job.task_type, "encode_v1");
    assert_string_equal(op.job.queue, "encode_v1");
    assert_string_equal(op.job.payload, "{}");
    assert_string_equal(op.job.labels, "{}");
    assert_null(op.job.dedup_key);
    assert_int_equal(op.job.priority, 5);
    assert_int_equal(op.job.max_attempts, 0); /* the store fills in what is configured */
    assert_int_equal(op.job.timeout_us, 0);
    assert_int_equal(op.delay_us, 0);
    assert_int_equal(op.job.n_inputs, 0);
}

static void test_payload_is_kept_as_written(void **state)
{
    struct op_submit op;
    struct err err;
    assert_int_equal(
        parse("{\"task_type\":\"t\",\"payload\":{\"b\": 1.50,\n \"a\":12345678901234567890123}}", NULL, &op, &err),
        ERR_MALFORMED);
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload\":{\"b\": 1.50,\n \"a\":\"\\u00e9\"}}", NULL, &op, &err),
                     ERR_OK);
    assert_string_equal(op.job.payload, "{\"b\": 1.50,\n \"a\":\"\\u00e9\"}");
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload\":null}", NULL, &op, &err), ERR_OK);
    assert_string_equal(op.job.payload, "null");
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload\":[1, 2]}", NULL, &op, &err), ERR_OK);
    assert_string_equal(op.job.payload, "[1, 2]");
}

static void test_payload_limit(void **state)
{
    static char body[JOB_PAYLOAD_MAX + 100];
    struct op_submit op;
    struct err err;
    for (int over = 0; over < 2; over++) {
        int n = snprintf(body, sizeof(body), "{\"task_type\":\"t\",\"payload\":\"");
        memset(body + n, 'x', JOB_PAYLOAD_MAX - 2 + (size_t)over);
        snprintf(body + n + JOB_PAYLOAD_MAX - 2 + over, 10, "\"}");
        assert_int_equal(parse(body, NULL, &op, &err), over ? ERR_TOO_LARGE : ERR_OK);
    }
    assert_string_equal(err.field, "payload");
}

#define REF       "blob:0190A000-0000-7000-8000-000000000001"
#define CANONICAL "blob:0190a000-0000-7000-8000-000000000001"

static void test_payload_ref_becomes_an_input(void **state)
{
    struct op_submit op;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload_ref\":\"" REF "\"}", NULL, &op, &err), ERR_OK);
    assert_string_equal(op.job.payload_ref, CANONICAL);
    assert_int_equal(op.job.n_inputs, 1);
    assert_string_equal(op.job.inputs[0].name, "payload");
    assert_string_equal(op.job.inputs[0].ref, CANONICAL);
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload_ref\":\"" REF
                           "\",\"inputs\":[{\"name\":\"a.mp4\",\"ref\":\"" REF "\"}]}",
                           NULL, &op, &err),
                     ERR_OK);
    assert_int_equal(op.job.n_inputs, 1);
    assert_string_equal(op.job.inputs[0].name, "a.mp4");
}

static void test_refusals(void **state)
{
    refused("", ERR_MALFORMED, "");
    refused("{", ERR_MALFORMED, "");
    refused("{}", ERR_INVALID, "task_type");
    refused("{\"task_type\":\"a b\"}", ERR_INVALID, "task_type");
    refused("{\"task_type\":7}", ERR_INVALID, "task_type");
    refused("{\"task_type\":\"t\",\"priority\":10}", ERR_INVALID, "priority");
    refused("{\"task_type\":\"t\",\"max_attempts\":0}", ERR_INVALID, "max_attempts");
    refused("{\"task_type\":\"t\",\"surprise\":1}", ERR_INVALID, "surprise");
    refused("{\"task_type\":\"t\",\"delay\":\"1h\",\"run_at\":\"2027-01-01T00:00:00Z\"}", ERR_INVALID, "run_at");
    refused("{\"task_type\":\"t\",\"delay\":\"-1h\"}", ERR_INVALID, "delay");
    refused("{\"task_type\":\"t\",\"payload_ref\":\"s3://bucket/key\"}", ERR_INVALID, "payload_ref");
    refused("{\"task_type\":\"t\",\"payload_ref\":\"blob:zz\"}", ERR_INVALID, "payload_ref");
    refused("{\"task_type\":\"t\",\"labels\":{\"a\":1}}", ERR_INVALID, "labels.a");
    refused("{\"task_type\":\"t\",\"inputs\":[{\"name\":\"../x\",\"ref\":\"" REF "\"}]}", ERR_INVALID,
            "inputs[0].name");
    refused("{\"task_type\":\"t\",\"inputs\":[{\"name\":\"x\",\"ref\":\"" REF "\"},{\"name\":\"x\",\"ref\":\"" REF
            "\"}]}",
            ERR_INVALID, "inputs[1].name");
    refused("{\"task_type\":\"t\",\"inputs\":[{\"name\":\"x\",\"ref\":\"file:///etc/passwd\"}]}", ERR_INVALID,
            "inputs[0].ref");
    refused("{\"task_type\":\"t\",\"inputs\":[{\"name\":\"x\"}]}", ERR_INVALID, "inputs[0].ref");
}

static void test_idempotency_key(void **state)
{
    struct op_submit op;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"t\"}", "k1", &op, &err), ERR_OK);
    assert_string_equal(op.job.dedup_key, "k1");
    assert_true(op.dedup_us == INT64_C(86400) * USEC_PER_SEC);
    assert_int_equal(parse("{\"task_type\":\"t\",\"dedup_key\":\"k1\"}", "k1", &op, &err), ERR_OK);
    assert_int_equal(parse("{\"task_type\":\"t\",\"dedup_key\":\"k2\"}", "k1", &op, &err), ERR_INVALID);
    assert_string_equal(err.field, "Idempotency-Key");
}

/* P26: the key is outside the hash, all else inside. */
static void test_P26_hash_is_of_the_request(void **state)
{
#define PAYLOAD_REF "\"payload_ref\":\"blob:0197ba5e-0000-7000-8000-000000000001\""
    static const char *const others[] = {
        "{\"task_type\":\"u\"," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"queue\":\"q\"," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"payload\":[]," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"priority\":4," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"delay\":1," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"timeout\":1," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"max_attempts\":1," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"labels\":{\"a\":\"b\"}," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"start_within\":1," PAYLOAD_REF "}",
        "{\"task_type\":\"t\",\"payload_ref\":\"blob:0197ba5e-0000-7000-8000-000000000002\"}",
    };
    struct op_submit a, b;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"t\",\"dedup_key\":\"x\"," PAYLOAD_REF "}", NULL, &a, &err), ERR_OK);
    assert_int_equal(parse(" {\"task_type\" : \"t\", " PAYLOAD_REF "}", "y", &b, &err), ERR_OK);
    assert_memory_equal(a.request_hash, b.request_hash, 32);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(parse(others[i], "y", &b, &err), ERR_OK);
        assert_memory_not_equal(a.request_hash, b.request_hash, 32);
    }
}

/* Nobody looks at it: the store's hash of what is in the job does instead. */
static void test_no_hash_without_a_key_or_references(void **state)
{
    static const uint8_t none[32];
    struct op_submit op;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"t\"," PAYLOAD_REF "}", NULL, &op, &err), ERR_OK);
    assert_memory_equal(op.request_hash, none, 32);
    assert_int_equal(parse("{\"task_type\":\"t\",\"payload\":1}", "y", &op, &err), ERR_OK);
    assert_memory_equal(op.request_hash, none, 32);
}

static void test_label_order_is_no_difference(void **state)
{
    struct op_submit a, b;
    struct err err;
    assert_int_equal(parse("{\"task_type\":\"t\",\"labels\":{\"a\":\"1\",\"b\":\"2\"}," PAYLOAD_REF "}", "y", &a, &err),
                     ERR_OK);
    assert_int_equal(parse("{\"task_type\":\"t\",\"labels\":{\"b\":\"2\",\"a\":\"1\"}," PAYLOAD_REF "}", "y", &b, &err),
                     ERR_OK);
    assert_string_equal(a.job.labels, b.job.labels);
    assert_memory_equal(a.request_hash, b.request_hash, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_payload_is_kept_as_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_payload_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_payload_ref_becomes_an_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idempotency_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_P26_hash_is_of_the_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_hash_without_a_key_or_references, setup, teardown),
        cmocka_unit_test_setup_teardown(test_label_order_is_no_difference, setup, teardown),
    };
    return cmocka_run_group_tests_name("api submission", tests, NULL, NULL);
}
