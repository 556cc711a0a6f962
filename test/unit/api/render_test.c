#include "unit.h"
#include "api/render.h"

static struct arena *arena;
static struct buf body;
static struct json_writer w;

static int setup(void **state)
{
    arena = arena_new(4u << 20);
    buf_init(&body, 1u << 20);
    jw_init(&w, &body);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    buf_release(&body);
    arena_free(arena);
    return 0;
}

static struct job sample(void)
{
    struct job job = {.project = "default",
                      .queue = "q",
                      .task_type = "t",
                      .payload = "{\"a\": 1}",
                      .labels = "{\"k\":\"v\"}",
                      .max_attempts = 5,
                      .progress = -1,
                      .version = 3,
                      .created_at = 1000000,
                      .run_at = 1000000};
    assert_true(uuid_parse("0190a000-0000-7000-8000-000000000001", &job.job_id));
    return job;
}

static json_t *parsed(void)
{
    json_t *root = json_loads(buf_str(&body), 0, NULL);
    assert_non_null(root);
    return root;
}

static void test_job(void **state)
{
    struct job job = sample();
    render_job(&w, NULL, &job, &(struct job_view){.waiting_reason = "waiting for a free slot"});
    assert_non_null(strstr(buf_str(&body), "\"payload\":{\"a\": 1}"));
    json_t *o = parsed();
    assert_int_equal(json_object_size(o), 36);
    assert_string_equal(json_string_value(json_object_get(o, "job_id")), "0190a000-0000-7000-8000-000000000001");
    assert_string_equal(json_string_value(json_object_get(o, "status")), "pending");
    assert_true(json_is_null(json_object_get(o, "owner_id")));
    assert_true(json_is_null(json_object_get(o, "timeout_s")));
    assert_true(json_is_null(json_object_get(o, "fingerprint"))); /* of failed jobs only */
    assert_true(json_is_null(json_object_get(o, "outcome")));
    assert_true(json_is_null(json_object_get(o, "progress")));
    assert_string_equal(json_string_value(json_object_get(o, "created_at")), "1970-01-01T00:00:01Z");
    assert_int_equal(json_integer_value(json_object_get(o, "version")), 3);
    json_decref(o);
}

static void test_brief_job(void **state)
{
    struct job job = sample();
    job.progress = 12.5;
    job.progress_at = 2000000;
    render_job(&w, NULL, &job, &(struct job_view){.brief = true});
    json_t *o = parsed();
    assert_null(json_object_get(o, "payload"));
    assert_null(json_object_get(o, "waiting_reason"));
    assert_true(json_real_value(json_object_get(json_object_get(o, "progress"), "percent")) == 12.5);
    json_decref(o);
}

static void test_result_url(void **state)
{
    struct job job = sample();
    struct output outputs[2] = {{.name = "a"}, {.name = "b"}};
    assert_true(uuid_parse("0190a000-0000-7000-8000-000000000002", &outputs[0].blob_id));
    assert_null(render_result_url(arena, &job, outputs, 1));
    job.status = JOB_SUCCESS;
    assert_null(render_result_url(arena, &job, outputs, 0));
    assert_string_equal(render_result_url(arena, &job, outputs, 1), "/v1/blobs/0190a000-0000-7000-8000-000000000002");
    assert_string_equal(render_result_url(arena, &job, outputs, 2),
                        "/v1/jobs/0190a000-0000-7000-8000-000000000001/outputs");
}

static void test_waiting_reason(void **state)
{
    struct job job = sample();
    assert_string_equal(render_waiting_reason(arena, &job, SERVING_SOMEBODY, 1000000), "waiting for a free slot");
    assert_string_equal(render_waiting_reason(arena, &job, SERVING_NOBODY, 1000000),
                        "no worker that is known can run task type 't'");
    assert_string_equal(render_waiting_reason(arena, &job, SERVING_DRAINED, 1000000),
                        "all workers that can run task type 't' are drained");
    assert_string_equal(render_waiting_reason(arena, &job, SERVING_SOMEBODY, 0), "not due until 1970-01-01T00:00:01Z");
    job.retries = 1;
    assert_string_equal(render_waiting_reason(arena, &job, SERVING_SOMEBODY, 0),
                        "backing off until 1970-01-01T00:00:01Z");
    job.status = JOB_RUNNING;
    assert_null(render_waiting_reason(arena, &job, SERVING_SOMEBODY, 0));
}

static void test_attempt_exit_status(void **state)
{
    static const struct {
        enum outcome outcome;
        int exit_code, signal;
        bool has_code, has_signal;
    } cases[] = {
        {OUTCOME_NONE, 0, 0, false, false}, {OUTCOME_SUCCESS, 0, 0, true, false},
        {OUTCOME_ERROR, 3, 0, true, false}, {OUTCOME_SIGNAL, -1, 9, false, true},
        {OUTCOME_LOST, 0, 0, false, false}, {OUTCOME_TIMEOUT, -1, 0, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct attempt a = {.attempt = 1,
                            .outcome = cases[i].outcome,
                            .usage = {.exit_code = cases[i].exit_code, .signal = cases[i].signal}};
        buf_reset(&body);
        jw_init(&w, &body);
        render_attempt(&w, &a);
        json_t *o = parsed();
        assert_int_equal(json_is_integer(json_object_get(o, "exit_code")), cases[i].has_code);
        assert_int_equal(json_is_integer(json_object_get(o, "signal")), cases[i].has_signal);
        json_decref(o);
    }
}

static void test_worker_state(void **state)
{
    struct worker_row row = {.name = "w", .handlers = "{\"t\":\"1\"}", .last_seen = 1000000};
    render_worker(&w, &row, 1000000 + 90, 100);
    assert_non_null(strstr(buf_str(&body), "\"live\""));
    buf_reset(&body);
    jw_init(&w, &body);
    render_worker(&w, &row, 1000000 + 101, 100);
    assert_non_null(strstr(buf_str(&body), "\"gone\""));
    assert_int_equal(handlers_have(row.handlers, "t"), YES);
    assert_int_equal(handlers_have(row.handlers, "u"), NO);
    assert_int_equal(handlers_have(NULL, "t"), NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_brief_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_result_url, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attempt_exit_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker_state, setup, teardown),
    };
    return cmocka_run_group_tests_name("api render", tests, NULL, NULL);
}
