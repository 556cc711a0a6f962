#include "unit.h"
#include "api/report.h"

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

static int fail_of_a(bool newer, const char *body, struct op_fail *op, struct err *err)
{
    json_t *root = NULL;
    memset(op, 0, sizeof(*op));
    err_clear(err);
    int rc = json_parse(body, strlen(body), &root, err);
    if (!rc)
        rc = fail_parse(root, newer, arena, op, err);
    json_decref(root);
    return rc;
}

static int fail_of(const char *body, struct op_fail *op, struct err *err)
{
    return fail_of_a(false, body, op, err);
}

static void test_complete(void **state)
{
    const char *body = "{\"outputs\":[\"a.mp4\",\"b "
                       "c.txt\"],\"exit_code\":0,\"cpu_s\":1.5,\"peak_memory_bytes\":7,\"bytes_in\":8,\"bytes_out\":9}";
    struct op_complete op = {0};
    struct err err;
    json_t *root = NULL;
    err_clear(&err);
    assert_int_equal(json_parse(body, strlen(body), &root, &err), ERR_OK);
    assert_int_equal(complete_parse(root, false, arena, &op, &err), ERR_OK);
    json_decref(root);
    assert_int_equal(op.n_outputs, 2);
    assert_string_equal(op.outputs[1], "b c.txt");
    assert_int_equal(op.usage.cpu_us, 1500000);
    assert_int_equal(op.usage.bytes_out, 9);
}

static void test_fail(void **state)
{
    struct op_fail op;
    struct err err;
    assert_int_equal(fail_of("{\"outcome\":\"error\",\"permanent\":true,\"error_log\":\"line\\nline\",\"exit_code\":3,"
                             "\"retry_after\":\"2m\"}",
                             &op, &err),
                     ERR_OK);
    assert_int_equal(op.failure.outcome, OUTCOME_ERROR);
    assert_true(op.failure.permanent);
    assert_string_equal(op.failure.error_log, "line\nline");
    assert_int_equal(op.usage.exit_code, 3);
    assert_int_equal(op.failure.retry_after_us, 120 * USEC_PER_SEC);
    assert_int_equal(fail_of("{\"outcome\":\"signal\",\"signal\":9}", &op, &err), ERR_OK);
    assert_int_equal(op.usage.exit_code, -1);
    assert_int_equal(op.usage.signal, 9);
}

/* What only the server may decide is no report. */
static void test_fail_outcomes(void **state)
{
    static const char *const bad[] = {"success", "lost", "unconfirmed", "expired", "whatever"};
    struct op_fail op;
    struct err err;
    char body[64];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(body, sizeof(body), "{\"outcome\":\"%s\"}", bad[i]);
        assert_int_equal(fail_of(body, &op, &err), ERR_INVALID);
        assert_string_equal(err.field, "outcome");
    }
}

static void test_a_newer_worker_may_say_more(void **state)
{
    const char *body = "{\"outcome\":\"melted\",\"degrees\":900,\"exit_code\":3}";
    struct op_fail op;
    struct err err;
    assert_int_equal(fail_of_a(false, body, &op, &err), ERR_INVALID);
    assert_int_equal(fail_of_a(true, body, &op, &err), ERR_OK);
    assert_int_equal(op.failure.outcome, OUTCOME_ERROR);
    assert_int_equal(op.usage.exit_code, 3);
    assert_int_equal(fail_of_a(true, "{\"outcome\":\"lost\"}", &op, &err), ERR_INVALID);
    assert_int_equal(fail_of_a(true, "{\"outcome\":\"error\",\"exit_code\":\"x\"}", &op, &err), ERR_INVALID);
}

static void test_token_must_be_of_the_attempt(void **state)
{
    struct token t;
    struct err err;
    const char *text = "3.000102030405060708090a0b0c0d0e0f";
    err_clear(&err);
    assert_int_equal(token_of(text, "3", &t, &err), ERR_OK);
    assert_int_equal(t.attempt, 3);
    assert_int_equal(token_of(text, "4", &t, &err), ERR_STALE_TOKEN);
    assert_int_equal(token_of(text, "x", &t, &err), ERR_NOT_FOUND);
    assert_int_equal(token_of("nonsense", "3", &t, &err), ERR_INVALID);
    assert_int_equal(token_of(NULL, "3", &t, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_complete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fail_outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_newer_worker_may_say_more, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token_must_be_of_the_attempt, setup, teardown),
    };
    return cmocka_run_group_tests_name("api report", tests, NULL, NULL);
}
