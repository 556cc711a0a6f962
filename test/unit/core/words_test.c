/* Whatever ends a job, its error_log says of what, names the limit that was hit, and shares a fingerprint with its like. */
#include "check.h"
#include "base/auto.h"
#include "core/fingerprint.h"
#include <string.h>

static struct policy policy;
static struct err err;

static struct job running(const char *type, uint8_t secret)
{
    struct job job = {.task_type = type,
                      .status = JOB_PENDING,
                      .max_attempts = 1,
                      .progress = -1,
                      .created_at = NOW - 90 * USEC_PER_SEC};
    struct token token = {.secret = {secret}};
    struct uuid worker = {{1}};
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_OK);
    assert_int_equal(job_heartbeat(&job, &policy, &job.token, NOW, &err), ERR_OK);
    return job;
}

/* What it says, and that another job of that end is of the same cause. */
static void says(const struct job *one, const struct job *two, const char *words)
{
    assert_int_equal(one->status, JOB_FAILED);
    if (!strstr(one->error_log, words))
        fail_msg("'%s' does not say '%s'", one->error_log, words);
    assert_true(one->fingerprint != 0 && one->fingerprint == two->fingerprint);
    assert_true(one->fingerprint == fingerprint_make(one->task_type, one->last_outcome, one->error_log));
}

static void test_a_report_without_words(void **state)
{
    static const struct {
        enum outcome outcome;
        const char *words;
    } ends[] = {{OUTCOME_ERROR, "did not say of what"},
                {OUTCOME_TIMEOUT, "time limit of 30m"},
                {OUTCOME_STALLED, "no_progress_timeout of 45s"},
                {OUTCOME_OOM, "memory"},
                {OUTCOME_SIGNAL, "signal"}};
    struct arena *arena = arena_new(65536);
    uint64_t seen[ARRAY_LEN(ends)];

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct job jobs[2];
        for (int k = 0; k < 2; k++) { /* other limits, the same cause */
            const struct job_failure f = {
                .outcome = ends[i].outcome, .permanent = true, .error_log = k ? "" : NULL, .arena = arena};
            jobs[k] = running("t", (uint8_t)(k + 1));
            jobs[k].timeout_us = (k ? 7 : 1800) * USEC_PER_SEC;
            jobs[k].no_progress_us = (k ? 7 : 45) * USEC_PER_SEC;
            assert_int_equal(job_fail(&jobs[k], &policy, &jobs[k].token, &f, NOW, &err), ERR_OK);
        }
        says(&jobs[0], &jobs[1], ends[i].words);
        seen[i] = jobs[0].fingerprint;
        for (size_t k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
    }
    arena_free(arena);
}

static void test_interrupted_too_often(void **state)
{
    struct arena *arena = arena_new(1 << 20);
    char tail[JOB_ERROR_LOG_MAX + 1];
    struct job jobs[2];

    memset(tail, 'x', sizeof(tail) - 1);
    memcpy(tail, "the worker was told to stop\n\n", 29);
    tail[sizeof(tail) - 1] = '\0';
    for (int k = 0; k < 2; k++) {
        const struct job_failure f = {.outcome = OUTCOME_INTERRUPTED,
                                      .error_log = k ? "the worker was told to stop\n\nline" : tail,
                                      .arena = arena};
        jobs[k] = running("t", (uint8_t)(k + 1));
        jobs[k].interruptions = policy.max_interruptions - 1;
        assert_int_equal(job_fail(&jobs[k], &policy, &jobs[k].token, &f, NOW, &err), ERR_OK);
    }
    says(&jobs[0], &jobs[1], "20 times; at last: the worker was told to stop\n\nxx");
    assert_true(strlen(jobs[0].error_log) <= JOB_ERROR_LOG_MAX);
    assert_non_null(strstr(jobs[1].error_log, "max_interruptions"));
    arena_free(arena);
}

static void test_lost(void **state)
{
    struct job jobs[2];
    struct job_end end[2];

    for (int k = 0; k < 2; k++) {
        jobs[k] = running("t", (uint8_t)(k + 1));
        jobs[k].losses = policy.max_losses - 1;
        assert_int_equal(job_expire(&jobs[k], &policy, true, jobs[k].lease_until, &end[k], &err), ERR_OK);
        assert_int_equal(end[k].outcome, OUTCOME_LOST);
    }
    says(&jobs[0], &jobs[1], "the lease of 1m lapsed, and 3 such losses are as many as a job may have (max_losses)");

    struct job job = running("t", 1);
    assert_int_equal(job_expire(&job, &policy, true, job.lease_until, &end[0], &err), ERR_OK);
    assert_int_equal(job.status, JOB_PENDING);
    assert_non_null(strstr(end[0].words, "before the lease of 1m lapsed"));
    assert_true(job.fingerprint == 0);
}

static void test_start_deadline(void **state)
{
    struct job jobs[2];
    struct job_end end[2];

    for (int k = 0; k < 2; k++) {
        jobs[k] =
            (struct job){.task_type = "t", .created_at = NOW - (k + 1) * 60 * USEC_PER_SEC, .start_deadline_at = NOW};
        assert_int_equal(job_miss_deadline(&jobs[k], NOW, &end[k], &err), ERR_OK);
    }
    says(&jobs[0], &jobs[1], "within 1m of its submission (start_within)");
    assert_int_equal(job_retry(&jobs[0], NOW, &err), ERR_OK);
    assert_true(jobs[0].fingerprint == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_report_without_words),
        cmocka_unit_test(test_interrupted_too_often),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_start_deadline),
    };

    policy = policy_default();
    return cmocka_run_group_tests_name("core words", tests, NULL, NULL);
}
