/* Random lives: whatever happens in whatever order, the invariants of RELIABILITY hold. */
#include "check.h"

#define WALKS 2000
#define STEPS 200

struct walk {
    struct rng rng;
    struct policy policy;
    struct job job;
    struct token held[4]; /* what workers still hold, stale ones too */
    unsigned next;
    usec now;
    unsigned completions; /* accepted */
    int64_t retried;      /* times the budgets began again */
};

static uint64_t pick(struct walk *w, uint64_t n)
{
    return rng_u64(w->rng) % n;
}

static int step(struct walk *w, struct err *err)
{
    const struct token *t = &w->held[pick(w, ARRAY_LEN(w->held))];
    struct job_failure f = {
        .dice = rng_u64(w->rng), .permanent = pick(w, 20) == 0, .outcome = (enum outcome)pick(w, OUTCOME_COUNT)};
    struct token minted;
    struct job_end o;
    int rc;

    w->now += (usec)pick(w, 40) * USEC_PER_SEC;
    switch (pick(w, 10)) {
    case 0:
    case 1:
    case 2:
        minted = token_mint(w->job.attempt + 1, w->rng);
        rc = job_claim(&w->job, &w->policy, (struct uuid){.b = {1}}, &minted, w->now, err);
        if (rc == ERR_OK)
            w->held[w->next++ % ARRAY_LEN(w->held)] = minted;
        return rc;
    case 3:
    case 4:
        return job_heartbeat(&w->job, &w->policy, t, w->now, err);
    case 5:
        rc = pick(w, 4) ? ERR_BUSY : job_complete(&w->job, t, w->now, err);
        w->completions += rc == ERR_OK;
        return rc;
    case 6:
        return job_fail(&w->job, &w->policy, t, &f, w->now, err);
    case 7:
        return pick(w, 8) ? ERR_BUSY : job_cancel(&w->job, w->now, err);
    case 8:
        rc = job_retry(&w->job, w->now, err);
        w->retried += rc == ERR_OK;
        return rc;
    default:
        return job_expire(&w->job, &w->policy, pick(w, 2) == 0, w->now, &o, err);
    }
}

static void check(const struct walk *w, const struct job *was, int rc)
{
    const struct job *j = &w->job;

    if (rc != ERR_OK) {
        assert_memory_equal(j, was, sizeof(*j)); /* a refusal changes nothing */
        return;
    }
    assert_true(j->attempt == was->attempt || (j->attempt == was->attempt + 1 && j->status == JOB_RUNNING)); /* I4 */
    assert_int_equal(j->token.attempt, j->attempt);
    assert_true(was->status != JOB_SUCCESS); /* I5: success stays */
    if (was->status == JOB_FAILED || (was->status == JOB_CANCELLED && j->status != JOB_CANCELLED))
        assert_int_equal(j->status, JOB_PENDING);
    if (j->status != was->status)
        assert_int_equal(j->version, was->version + 1);
    assert_true((j->lease_until > 0) == (j->status == JOB_RUNNING));
    assert_true(j->retries < j->max_attempts); /* I9 */
    assert_true(j->interruptions <= w->policy.max_interruptions && j->losses <= w->policy.max_losses);
    if (j->status == JOB_PENDING)
        assert_true(j->cancel_requested_at == 0);
    if (j->status != JOB_PENDING && j->status != JOB_RUNNING) {
        assert_true(j->finished_at > 0);
        assert_false(token_equal(&j->token, &j->token)); /* decided: it opens nothing */
    }
    assert_true(w->completions <=
                1 + (unsigned)w->retried); /* I3: one a life, and only a cancelled life is given again */
}

static void test_I3_I4_I5_I9_over_random_lives(void **state)
{
    struct rng_seeded seed = test_seed();
    unsigned ended[JOB_STATUS_COUNT] = {0};

    for (int n = 0; n < WALKS; n++) {
        struct walk w = {.rng = rng_seeded_view(&seed), .policy = policy_default(), .job = fresh_job(), .now = NOW};

        w.policy.max_interruptions = 4;
        for (int i = 0; i < STEPS; i++) {
            struct job was;
            struct err err = {0};

            memcpy(&was, &w.job, sizeof(was));
            check(&w, &was, step(&w, &err));
        }
        ended[w.job.status]++;
    }
    for (int s = 0; s < JOB_STATUS_COUNT; s++) /* or the walks do not go where they should look */
        assert_true(ended[s] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_I3_I4_I5_I9_over_random_lives)};

    return cmocka_run_group_tests_name("core walk", tests, NULL, NULL);
}
