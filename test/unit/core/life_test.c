/* Every row of DESIGN "The life of a job", and every cell of the table that is not a row. */
#include "check.h"

static const struct uuid worker = {.b = {7}};
static struct policy policy;
static struct err err;

enum event { CLAIM, HEARTBEAT, COMPLETE, FAIL, CANCEL, RETRY, EXPIRE, DEADLINE, EVENTS };

/** A job that came to `s` as jobs do, and the token its latest worker holds. */
static struct job job_in(enum job_status s, struct token *ret_token)
{
    struct job job = fresh_job();

    *ret_token = a_token(1, 0xa1);
    if (s == JOB_PENDING)
        return job;
    assert_int_equal(job_claim(&job, &policy, worker, ret_token, NOW, &err), ERR_OK);
    assert_int_equal(job_heartbeat(&job, &policy, ret_token, NOW, &err), ERR_OK);
    if (s == JOB_SUCCESS)
        assert_int_equal(job_complete(&job, ret_token, NOW, &err), ERR_OK);
    if (s == JOB_FAILED)
        assert_int_equal(job_fail(&job, &policy, ret_token,
                                  &(struct job_failure){.outcome = OUTCOME_ERROR, .permanent = true}, NOW, &err),
                         ERR_OK);
    if (s == JOB_CANCELLED) {
        assert_int_equal(job_cancel(&job, NOW, &err), ERR_OK);
        assert_int_equal(job_complete(&job, ret_token, NOW, &err), ERR_OK);
    }
    assert_int_equal(job.status, s);
    return job;
}

static int apply(struct job *job, enum event ev, const struct token *token)
{
    struct token next = a_token(0, 0xb2);
    struct job_end o;

    switch (ev) {
    case CLAIM:
        return job_claim(job, &policy, worker, &next, NOW, &err);
    case HEARTBEAT:
        return job_heartbeat(job, &policy, token, NOW, &err);
    case COMPLETE:
        return job_complete(job, token, NOW, &err);
    case FAIL:
        return job_fail(job, &policy, token, &(struct job_failure){.outcome = OUTCOME_ERROR}, NOW, &err);
    case CANCEL:
        return job_cancel(job, NOW, &err);
    case RETRY:
        return job_retry(job, NOW, &err);
    case EXPIRE:
        return job_expire(job, &policy, true, NOW + policy.lease_us, &o, &err);
    case DEADLINE:
        job->start_deadline_at = NOW;
        return job_miss_deadline(job, NOW, &o, &err);
    default:
        return ERR_INTERNAL;
    }
}

static void test_every_cell_of_the_table(void **state)
{
    enum {
        P = JOB_PENDING,
        R = JOB_RUNNING,
        S = JOB_SUCCESS,
        F = JOB_FAILED,
        C = JOB_CANCELLED,
        ILLEGAL = -1,
        STALE = -2
    };
    static const int expected[EVENTS][JOB_STATUS_COUNT] = {
        /*               pending  running  success  failed   cancelled */
        [CLAIM] = {R, ILLEGAL, ILLEGAL, ILLEGAL, ILLEGAL},
        [HEARTBEAT] = {STALE, R, STALE, STALE, STALE},
        [COMPLETE] = {STALE, S, STALE, STALE, STALE},
        [FAIL] = {STALE, P, STALE, STALE, STALE},
        [CANCEL] = {C, R, ILLEGAL, ILLEGAL, C},
        [RETRY] = {ILLEGAL, ILLEGAL, ILLEGAL, P, P},
        [EXPIRE] = {ILLEGAL, P, ILLEGAL, ILLEGAL, ILLEGAL},
        [DEADLINE] = {F, ILLEGAL, ILLEGAL, ILLEGAL, ILLEGAL},
    };

    for (int ev = 0; ev < EVENTS; ev++)
        for (int s = 0; s < JOB_STATUS_COUNT; s++) {
            struct token token;
            struct job job = job_in((enum job_status)s, &token), before;
            int want = expected[ev][s];

            if (ev == DEADLINE)
                job.start_deadline_at = NOW;
            memcpy(&before, &job, sizeof(job));
            err_clear(&err);
            int rc = apply(&job, (enum event)ev, &token);

            if (want < 0) {
                if (rc != (want == STALE ? ERR_STALE_TOKEN : ERR_ILLEGAL_STATE))
                    fail_msg("event %d on %s: %d '%s'", ev, job_status_name((enum job_status)s), rc, err.msg);
                assert_int_equal(err.code, rc);
                assert_memory_equal(&job, &before, sizeof(job)); /* a refusal changes nothing */
            } else if (rc != ERR_OK || (int)job.status != want) {
                fail_msg("event %d on %s: %d '%s', now %s", ev, job_status_name((enum job_status)s), rc, err.msg,
                         job_status_name(job.status));
            }
        }
}

static void test_claim_mints_and_leases(void **state)
{
    struct job job = fresh_job();
    struct token token = a_token(0, 0xa1); /* the number is the job's to give */

    job.attempt = 41;
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_OK);
    assert_int_equal(job.attempt, 42);
    assert_int_equal(job.token.attempt, 42);
    assert_memory_equal(job.token.secret, token.secret, 16);
    assert_true(uuid_equal(&job.owner_id, &worker));
    assert_int_equal(job.lease_until, NOW + policy.confirm_us);
    assert_int_equal(job.started_at, NOW);
    assert_false(job.confirmed);
    assert_int_equal(job.version, 2);
}

static void test_claim_only_what_is_due(void **state)
{
    struct token token = a_token(1, 0xa1);
    struct job job = fresh_job();

    job.run_at = NOW + 1;
    assert_false(job_ready(&job, NOW));
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_ILLEGAL_STATE);
    assert_true(job_ready(&job, NOW + 1));

    job = fresh_job();
    job.waiting_on = 1;
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_ILLEGAL_STATE);
    assert_non_null(strstr(err.msg, "waits for other jobs")); /* the message says why, not only that */

    job = fresh_job();
    job.start_deadline_at = NOW;
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_ILLEGAL_STATE);

    job = fresh_job();
    token = a_token(1, 0); /* never minted */
    assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_INTERNAL);
    assert_int_equal(job.status, JOB_PENDING);
}

static void test_heartbeat_extends_unseen(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);
    int64_t version = job.version;

    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW + USEC_PER_SEC, &err), ERR_OK);
    assert_int_equal(job.lease_until, NOW + USEC_PER_SEC + policy.lease_us);
    assert_true(job.confirmed);
    assert_int_equal(job.version, version);
    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW, &err), ERR_OK); /* never shortened */
    assert_int_equal(job.lease_until, NOW + USEC_PER_SEC + policy.lease_us);
}

static void test_complete(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);

    job.error_log = "of an earlier attempt";
    assert_int_equal(job_complete(&job, &token, NOW + 5, &err), ERR_OK);
    assert_int_equal(job.status, JOB_SUCCESS);
    assert_int_equal(job.last_outcome, OUTCOME_SUCCESS);
    assert_int_equal(job.finished_at, NOW + 5);
    assert_int_equal(job.lease_until, 0);
    assert_null(job.error_log);
    assert_true(job_finished(job.status));
}

static void test_retries_until_the_budget_is_spent(void **state)
{
    struct job job = fresh_job();
    struct job_failure f = {.outcome = OUTCOME_TIMEOUT, .error_log = "slow", .dice = UINT64_MAX};
    usec now = NOW;

    for (uint32_t n = 1; n <= 5; n++) {
        struct token token = a_token(n, (uint8_t)n);

        now = job.run_at;
        assert_int_equal(job_claim(&job, &policy, worker, &token, now, &err), ERR_OK);
        assert_int_equal(job_fail(&job, &policy, &token, &f, now, &err), ERR_OK);
        assert_int_equal(job.last_outcome, OUTCOME_TIMEOUT);
        assert_string_equal(job.error_log, "slow");
        if (n < 5) {
            assert_int_equal(job.status, JOB_PENDING);
            assert_int_equal(job.retries, n);
            assert_int_equal(job.run_at, now + (policy.backoff_base_us << (n - 1)));
            assert_int_equal(job.finished_at, 0);
        }
    }
    assert_int_equal(job.status, JOB_FAILED);
    assert_int_equal(job.retries, 4); /* five attempts: the first and four retries */
    assert_int_equal(job.attempt, 5);
    assert_int_equal(job.finished_at, now);
    assert_false(job_finished(job.status)); /* a dead letter is kept among the living */
}

static void test_fail_says_when(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);
    struct job_failure f = {.outcome = OUTCOME_ERROR, .retry_after_us = 90 * USEC_PER_SEC, .dice = 1};

    assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_OK);
    assert_int_equal(job.run_at, NOW + 90 * USEC_PER_SEC);

    job = job_in(JOB_RUNNING, &token);
    f.retry_after_us = USEC_NEVER;
    assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_OK);
    assert_int_equal(job.run_at, USEC_NEVER);
}

static void test_permanent_goes_to_the_dead_letters(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);
    struct job_failure f = {.outcome = OUTCOME_ERROR, .permanent = true, .error_log = "no such codec"};

    assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_OK);
    assert_int_equal(job.status, JOB_FAILED);
    assert_int_equal(job.retries, 0);
    assert_string_equal(job.error_log, "no such codec");
}

static void test_what_a_worker_may_not_report(void **state)
{
    static const enum outcome wrong[] = {OUTCOME_NONE,        OUTCOME_SUCCESS, OUTCOME_LOST,
                                         OUTCOME_UNCONFIRMED, OUTCOME_EXPIRED, OUTCOME_COUNT};
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct job_failure f = {.outcome = wrong[i]};

        assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_INVALID);
        assert_string_equal(err.field, "outcome");
    }

    AUTO_FREE char *log = malloc(JOB_ERROR_LOG_MAX + 2);

    assert_non_null(log);
    memset(log, 'x', JOB_ERROR_LOG_MAX + 1);
    log[JOB_ERROR_LOG_MAX + 1] = '\0';
    assert_int_equal(
        job_fail(&job, &policy, &token, &(struct job_failure){.outcome = OUTCOME_ERROR, .error_log = log}, NOW, &err),
        ERR_INVALID);
    assert_string_equal(err.field, "error_log");
    assert_int_equal(job.status, JOB_RUNNING);
    log[JOB_ERROR_LOG_MAX] = '\0';
    assert_int_equal(
        job_fail(&job, &policy, &token, &(struct job_failure){.outcome = OUTCOME_ERROR, .error_log = log}, NOW, &err),
        ERR_OK);
}

static void test_interruptions_have_their_own_budget(void **state)
{
    struct job job = fresh_job();
    struct job_failure f = {.outcome = OUTCOME_INTERRUPTED, .permanent = true, .dice = UINT64_MAX};

    for (uint32_t n = 1; n <= policy.max_interruptions; n++) {
        struct token token = a_token(n, (uint8_t)n);

        assert_int_equal(job.status, JOB_PENDING);
        assert_int_equal(job_claim(&job, &policy, worker, &token, NOW, &err), ERR_OK);
        assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_OK);
        assert_int_equal(job.interruptions, n);
        assert_int_equal(job.retries, 0);
        assert_int_equal(job.last_outcome, OUTCOME_INTERRUPTED);
        assert_int_equal(job.run_at, NOW); /* a drain is no reason to wait */
    }
    assert_int_equal(job.status, JOB_FAILED);
    assert_non_null(job.error_log);
}

static void lapse(struct job *job, bool confirm, bool charge, enum outcome want)
{
    struct token token = a_token(0, (uint8_t)(job->attempt + 1));
    static struct job_end end; /* the job may point there */

    assert_int_equal(job_claim(job, &policy, worker, &token, NOW, &err), ERR_OK);
    if (confirm)
        assert_int_equal(job_heartbeat(job, &policy, &job->token, NOW, &err), ERR_OK);
    job->run_at = 0;
    assert_int_equal(job_expire(job, &policy, charge, job->lease_until - 1, &end, &err), ERR_ILLEGAL_STATE);
    assert_int_equal(job_expire(job, &policy, charge, job->lease_until, &end, &err), ERR_OK);
    assert_int_equal(end.outcome, want);
    assert_int_equal(job->last_outcome, want);
    job->run_at = NOW; /* the next claim needs no other clock */
}

static void test_losses_have_their_own_budget(void **state)
{
    struct job job = fresh_job();

    for (int i = 0; i < 10; i++)
        lapse(&job, true, false, OUTCOME_LOST); /* around an outage: counted for none */
    assert_int_equal(job.losses, 0);
    lapse(&job, true, true, OUTCOME_LOST);
    lapse(&job, true, true, OUTCOME_LOST);
    assert_int_equal(job.losses, 2);
    assert_int_equal(job.status, JOB_PENDING);
    lapse(&job, true, true, OUTCOME_LOST);
    assert_int_equal(job.losses, 3);
    assert_int_equal(job.status, JOB_FAILED);
    assert_int_equal(job.retries, 0);
    assert_non_null(job.error_log);
}

static void test_unconfirmed_claims_are_free(void **state)
{
    struct job job = fresh_job();

    for (int i = 0; i < 100; i++)
        lapse(&job, false, true, OUTCOME_UNCONFIRMED);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.losses + job.retries + job.interruptions, 0);
    assert_int_equal(job.attempt, 100);
}

static void test_late_with_the_latest_token(void **state)
{
    struct job job = fresh_job(), lapsed;

    lapse(&job, true, true, OUTCOME_LOST);
    lapsed = job;

    struct token token = job.token;

    /* ten finished hours are not thrown away */
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_OK);
    assert_int_equal(job.status, JOB_SUCCESS);

    job = lapsed;
    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW, &err), ERR_OK);
    assert_int_equal(job.status, JOB_RUNNING);
    assert_int_equal(job.attempt, token.attempt);
    assert_int_equal(job.version, lapsed.version + 1);
    assert_int_equal(job.lease_until, NOW + policy.lease_us);
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_OK);

    /* a late failure is not in the table: the lapse was charged, the job runs again anyway */
    job = lapsed;
    assert_int_equal(job_fail(&job, &policy, &token, &(struct job_failure){.outcome = OUTCOME_ERROR}, NOW, &err),
                     ERR_ILLEGAL_STATE);

    /* somebody claimed since */
    struct token next = a_token(0, 0xee);

    job = lapsed;
    assert_int_equal(job_claim(&job, &policy, worker, &next, NOW, &err), ERR_OK);
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_STALE_TOKEN);
    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW, &err), ERR_STALE_TOKEN);

    /* cancelled since */
    job = lapsed;
    assert_int_equal(job_cancel(&job, NOW, &err), ERR_OK);
    assert_int_equal(job_retry(&job, NOW, &err), ERR_OK);
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_STALE_TOKEN);
}

static void test_P03_stale_token_is_refused(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);
    struct job_failure f = {.outcome = OUTCOME_ERROR};
    struct token wrong_secret = token, wrong_attempt = token;

    wrong_secret.secret[15] ^= 1;
    wrong_attempt.attempt++;
    assert_int_equal(job_complete(&job, &wrong_secret, NOW, &err), ERR_STALE_TOKEN);
    assert_int_equal(job_complete(&job, &wrong_attempt, NOW, &err), ERR_STALE_TOKEN);

    /* decided by this very token, and pending again: it opens nothing */
    assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_OK);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.token.attempt, 1);
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_STALE_TOKEN);
    assert_int_equal(job_heartbeat(&job, &policy, &token, NOW, &err), ERR_STALE_TOKEN);
    assert_int_equal(job_fail(&job, &policy, &token, &f, NOW, &err), ERR_STALE_TOKEN);

    /* nor does what a decided attempt holds now: zeros */
    struct token zeros = a_token(1, 0);

    assert_int_equal(job_complete(&job, &zeros, NOW, &err), ERR_STALE_TOKEN);
}

static void test_cancel_while_running(void **state)
{
    struct token token;
    struct job asked = job_in(JOB_RUNNING, &token), job;
    struct job_end o;

    assert_int_equal(job_cancel(&asked, NOW + 1, &err), ERR_OK);
    assert_int_equal(asked.status, JOB_RUNNING);
    assert_int_equal(asked.cancel_requested_at, NOW + 1);

    int64_t version = asked.version;

    assert_int_equal(job_cancel(&asked, NOW + 2, &err), ERR_OK); /* asking again changes nothing */
    assert_int_equal(asked.cancel_requested_at, NOW + 1);
    assert_int_equal(asked.version, version);

    job = asked; /* a completion that arrives meanwhile */
    assert_int_equal(job_complete(&job, &token, NOW, &err), ERR_OK);
    assert_int_equal(job.status, JOB_CANCELLED);
    assert_int_equal(job.last_outcome, OUTCOME_CANCELLED);

    static const enum outcome ends[] = {OUTCOME_CANCELLED, OUTCOME_SIGNAL, OUTCOME_INTERRUPTED};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        job = asked;
        assert_int_equal(job_fail(&job, &policy, &token, &(struct job_failure){.outcome = ends[i]}, NOW, &err), ERR_OK);
        assert_int_equal(job.status, JOB_CANCELLED);
        assert_int_equal(job.interruptions + job.retries, 0);
    }

    job = asked; /* the lease lapses, confirmed or not */
    assert_int_equal(job_expire(&job, &policy, true, job.lease_until, &o, &err), ERR_OK);
    assert_int_equal(job.status, JOB_CANCELLED);
    assert_int_equal(o.outcome, OUTCOME_CANCELLED);
    job = asked;
    job.confirmed = false;
    assert_int_equal(job_expire(&job, &policy, true, job.lease_until, &o, &err), ERR_OK);
    assert_int_equal(job.status, JOB_CANCELLED);
    assert_int_equal(job.losses, 0);
}

static void test_cancelled_by_nobody_is_an_error(void **state)
{
    struct token token;
    struct job job = job_in(JOB_RUNNING, &token);

    assert_int_equal(job_fail(&job, &policy, &token, &(struct job_failure){.outcome = OUTCOME_CANCELLED}, NOW, &err),
                     ERR_OK);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.last_outcome, OUTCOME_ERROR);
    assert_int_equal(job.retries, 1);
}

static void test_start_deadline(void **state)
{
    struct job job = fresh_job();
    struct job_end end;

    job.start_deadline_at = NOW;
    assert_int_equal(job_miss_deadline(&job, NOW - 1, &end, &err), ERR_ILLEGAL_STATE);
    assert_int_equal(job_miss_deadline(&job, NOW, &end, &err), ERR_OK);
    assert_int_equal(job.status, JOB_FAILED);
    assert_int_equal(job.last_outcome, OUTCOME_EXPIRED);
    assert_non_null(job.error_log);

    assert_int_equal(job_retry(&job, NOW, &err),
                     ERR_OK); /* asked for by name: the old deadline must not kill it again */
    assert_true(job_ready(&job, NOW));
    assert_int_equal(job.start_deadline_at, 0);

    job = fresh_job(); /* none set */
    assert_int_equal(job_miss_deadline(&job, NOW, &end, &err), ERR_ILLEGAL_STATE);
}

static void test_policy_of_a_type_fills_what_was_not_said(void **state)
{
    const struct type_policy types[] = {
        {"a", 5, 6, 7, 8}, {"b", USEC_NEVER, 0, 0, 0}, {"c", 0, 0, 0, 3}}; /* sorted, as they must be */
    struct policy p = policy;
    struct job asked = {.task_type = "a", .run_at = NOW}, job = asked;

    p.types = types;
    p.n_types = ARRAY_LEN(types);
    policy_fill(&p, &job);
    assert_int_equal(job.start_deadline_at, NOW + 5);
    assert_int_equal(job.timeout_us, 6);
    assert_int_equal(job.no_progress_us, 7);
    assert_int_equal(job.max_attempts, 8);
    job = (struct job){.task_type = "a",
                       .run_at = NOW,
                       .start_deadline_at = 1,
                       .timeout_us = 2,
                       .no_progress_us = 3,
                       .max_attempts = 4};
    policy_fill(&p, &job);
    assert_int_equal(job.start_deadline_at, 1);
    assert_int_equal(job.timeout_us, 2);
    assert_int_equal(job.no_progress_us, 3);
    assert_int_equal(job.max_attempts, 4);
    static const struct {
        const char *type;
        usec deadline_at;
        uint32_t attempts;
    } rows[] = {{"b", USEC_NEVER, 5}, {"c", 0, 3}, {"aa", 0, 5}, {"d", 0, 5}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        job = (struct job){.task_type = rows[i].type, .run_at = NOW};
        policy_fill(&p, &job);
        assert_int_equal(job.start_deadline_at, rows[i].deadline_at);
        assert_int_equal(job.max_attempts, rows[i].attempts);
        assert_int_equal(job.timeout_us, 0);
    }
    job = asked;
    policy_fill(&policy, &job); /* no types at all */
    assert_int_equal(job.max_attempts, policy.max_attempts);
    assert_int_equal(job.start_deadline_at, 0);
}

static void test_retry_starts_budgets_again_but_not_attempts(void **state)
{
    struct job job = fresh_job();

    job.status = JOB_FAILED;
    job.attempt = 9;
    job.token = a_token(9, 3);
    job.retries = 4;
    job.interruptions = 20;
    job.losses = 3;
    job.finished_at = NOW;
    job.cancel_requested_at = NOW;
    assert_int_equal(job_retry(&job, NOW + 7, &err), ERR_OK);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.retries + job.interruptions + job.losses, 0);
    assert_int_equal(job.attempt, 9);
    assert_int_equal(job.run_at, NOW + 7);
    assert_int_equal(job.finished_at, 0);
    assert_int_equal(job.cancel_requested_at, 0);
    assert_int_equal(job.version, 2);
}

static void test_names(void **state)
{
    enum job_status s;
    enum outcome o;

    for (int i = 0; i < JOB_STATUS_COUNT; i++) {
        assert_true(job_status_parse(job_status_name((enum job_status)i), &s));
        assert_int_equal(s, i);
    }
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        assert_true(outcome_parse(outcome_name((enum outcome)i), &o));
        assert_int_equal(o, i);
    }
    assert_false(job_status_parse("done", &s));
    assert_false(outcome_parse("fine", &o));
    assert_string_equal(outcome_name(OUTCOME_NONE), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_of_the_table),
        cmocka_unit_test(test_claim_mints_and_leases),
        cmocka_unit_test(test_claim_only_what_is_due),
        cmocka_unit_test(test_heartbeat_extends_unseen),
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_retries_until_the_budget_is_spent),
        cmocka_unit_test(test_fail_says_when),
        cmocka_unit_test(test_permanent_goes_to_the_dead_letters),
        cmocka_unit_test(test_what_a_worker_may_not_report),
        cmocka_unit_test(test_interruptions_have_their_own_budget),
        cmocka_unit_test(test_losses_have_their_own_budget),
        cmocka_unit_test(test_unconfirmed_claims_are_free),
        cmocka_unit_test(test_late_with_the_latest_token),
        cmocka_unit_test(test_P03_stale_token_is_refused),
        cmocka_unit_test(test_cancel_while_running),
        cmocka_unit_test(test_cancelled_by_nobody_is_an_error),
        cmocka_unit_test(test_start_deadline),
        cmocka_unit_test(test_policy_of_a_type_fills_what_was_not_said),
        cmocka_unit_test(test_retry_starts_budgets_again_but_not_attempts),
        cmocka_unit_test(test_names),
    };

    policy = policy_default();
    return cmocka_run_group_tests_name("core life", tests, NULL, NULL);
}
