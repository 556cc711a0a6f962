/* What an attempt used over time: taken in with heartbeats and reports, kept with the attempt, refused from a stale token. */
#include "suite.h"

static struct series series_of(struct world *w, struct uuid job_id, uint32_t attempt)
{
    struct series ret;
    struct err err = {0};

    assert_int_equal(w->d->series(w->s, &job_id, attempt, &ret, &err), ERR_OK);
    return ret;
}

static struct op *beat(struct world *w, const struct job *job, const struct sample *samples, size_t n)
{
    struct op *op = op_make(w, OP_HEARTBEAT);

    op->u.heartbeat =
        (struct op_heartbeat){.job_id = job->job_id, .token = job->token, .samples = samples, .n_samples = n};
    apply(w, op);
    return op;
}

static void assert_times(struct series s, unsigned n, const usec *at_s)
{
    assert_int_equal(s.n, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(s.points[i].at_us, at_s[i] * USEC_PER_SEC);
}

static void test_samples_are_taken_in_once_and_in_order(void **state)
{
    struct world *w = *state;
    const struct sample first[] = {{5 * USEC_PER_SEC, 1.5, 4096}, {10 * USEC_PER_SEC, 0, 0}};
    const struct sample again[] = {{5 * USEC_PER_SEC, 9, 9},
                                   {10 * USEC_PER_SEC, 9, 9},
                                   {9 * USEC_PER_SEC, 9, 9},
                                   {12 * USEC_PER_SEC, 2, 8192},
                                   {-1, 9, 9},
                                   {USEC_NEVER, 9, 9},
                                   {3600 * USEC_PER_SEC, 9, 9}, /* of a time that has not come */
                                   {13 * USEC_PER_SEC, 3, 100}};

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(series_of(w, job.job_id, 1).n, 0);
    later(w, 10 * USEC_PER_SEC);
    assert_ok(beat(w, &job, first, 2));
    assert_ok(beat(w, &job, NULL, 0));
    assert_ok(beat(w, &job, again, ARRAY_LEN(again)));
    struct series s = series_of(w, job.job_id, 1);
    assert_times(s, 4, (const usec[]){5, 10, 12, 13});
    assert_int_equal(s.points[0].cpu_milli.mean, 1500);
    assert_int_equal(s.points[2].memory_bytes.most, 8192);
    world_reopen(w);
    s = series_of(w, job.job_id, 1);
    assert_times(s, 4, (const usec[]){5, 10, 12, 13});
}

static void test_each_attempt_keeps_its_own(void **state)
{
    struct world *w = *state;
    const struct sample one = {1 * USEC_PER_SEC, 1, 1}, two = {2 * USEC_PER_SEC, 2, 2},
                        three = {3 * USEC_PER_SEC, 3, 3};

    submit(w, "encode");
    struct job old = claim(w, w->worker, "encode");
    assert_ok(beat(w, &old, &one, 1));
    struct op *op = fail_op(w, &old, OUTCOME_INTERRUPTED, false);
    op->u.fail.usage.samples = &two;
    op->u.fail.usage.n_samples = 1;
    apply(w, op);
    assert_ok(op);
    assert_times(series_of(w, old.job_id, 1), 2, (const usec[]){1, 2});
    apply(w, op); /* the answer was lost: the same one again, and nothing is taken in twice */
    assert_ok(op);
    assert_refused(beat(w, &old, &three, 1), ERR_STALE_TOKEN);

    later(w, 3600 * USEC_PER_SEC);
    sweep(w, OP_SWEEP_DUE);
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(job.attempt, 2);
    assert_refused(beat(w, &old, &three, 1), ERR_STALE_TOKEN);
    assert_ok(beat(w, &job, &one, 1));
    op = complete_op(w, &job, NULL, 0);
    op->u.complete.usage.samples = &three;
    op->u.complete.usage.n_samples = 1;
    apply(w, op);
    assert_ok(op);
    assert_times(series_of(w, job.job_id, 1), 2, (const usec[]){1, 2});
    assert_times(series_of(w, job.job_id, 2), 2, (const usec[]){1, 3});
    struct series s;
    assert_int_equal(w->d->series(w->s, &job.job_id, 3, &s, NULL), ERR_NOT_FOUND);
    assert_counts(w);
}

static void test_a_day_of_samples_is_bounded(void **state)
{
    struct world *w = *state;
    struct sample samples[60];

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    for (int i = 0; i < 20; i++) {
        for (size_t k = 0; k < ARRAY_LEN(samples); k++)
            samples[k] =
                (struct sample){((usec)i * 60 + (usec)k + 1) * 72 * USEC_PER_SEC, i == 7 && k == 7 ? 64 : 1, 1 << 20};
        later(w, 60 * 72 * USEC_PER_SEC);
        assert_ok(beat(w, &job, samples, ARRAY_LEN(samples)));
    }
    struct series s = series_of(w, job.job_id, 1);
    int64_t most = 0;
    assert_in_range(s.n, SERIES_POINTS_MAX / 2, SERIES_POINTS_MAX);
    assert_int_equal(s.points[s.n - 1].at_us, INT64_C(86400) * USEC_PER_SEC);
    for (unsigned i = 0; i < s.n; i++)
        most = MAX(most, s.points[i].cpu_milli.most);
    assert_int_equal(most, 64000);
}

const struct CMUnitTest series_tests[] = {
    TEST(test_samples_are_taken_in_once_and_in_order),
    TEST(test_each_attempt_keeps_its_own),
    TEST(test_a_day_of_samples_is_bounded),
};
const size_t n_series_tests = ARRAY_LEN(series_tests);
