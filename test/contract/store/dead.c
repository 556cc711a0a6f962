/* Dead letters by what they failed of: grouped, listed, and gone from there once they are dead no more. */
#include "suite.h"
#include "core/fingerprint.h"

static struct job dead(struct world *w, const char *type, const char *words)
{
    submit(w, type);
    struct job job = claim(w, w->worker, type);
    struct op *op = fail_op(w, &job, OUTCOME_ERROR, true);
    op->u.fail.failure.error_log = words;
    apply(w, op);
    assert_ok(op);
    later(w, 1000);
    return get(w, job.job_id);
}

static struct dead_page groups(struct world *w, struct dead_filter f)
{
    struct dead_page page;
    struct err err = {0};

    f.project = f.project ? f.project : "default";
    if (w->d->dead_groups(w->s, &f, w->arena, &page, &err) != ERR_OK)
        fail_msg("groups: %s", err.msg);
    return page;
}

static size_t listed(struct world *w, struct job_filter f)
{
    struct job_page page = {0};
    size_t n = 0;

    f.project = "default";
    f.limit = 2;
    do {
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        for (size_t i = 0; i < page.n; i++)
            assert_true(!f.fingerprint || page.jobs[i].fingerprint == f.fingerprint);
        n += page.n;
        f.before = page.next;
    } while (page.more);
    return n;
}

static void test_groups_are_kept(void **state)
{
    struct world *w = *state;
    struct job many[3], one;

    assert_int_equal(groups(w, (struct dead_filter){0}).n, 0);
    for (int i = 0; i < 3; i++)
        many[i] = dead(w, "encode", i == 1 ? "no frame 7\n\nlog" : "no frame 11");
    one = dead(w, "encode", "disk full");
    assert_true(many[0].fingerprint == many[2].fingerprint && many[0].fingerprint != one.fingerprint);

    struct dead_page page = groups(w, (struct dead_filter){0});
    assert_true(page.complete && !page.more);
    assert_int_equal(page.n, 2);
    const struct dead_group *g = &page.groups[0];
    assert_true(g->fingerprint == many[0].fingerprint && g->jobs == 3);
    assert_string_equal(g->task_type, "encode");
    assert_int_equal(g->first_failed_at, many[0].finished_at);
    assert_int_equal(g->last_failed_at, many[2].finished_at);
    assert_true(uuid_equal(&g->job_id, &many[2].job_id));
    assert_string_equal(g->error_log, "no frame 11");
    assert_int_equal(g->outcome, OUTCOME_ERROR);
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED, .fingerprint = g->fingerprint}), 3);
    assert_int_equal(listed(w, (struct job_filter){.status = -1, .fingerprint = one.fingerprint}), 1);
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED,
                                                   .fingerprint = g->fingerprint,
                                                   .failed_before = many[2].finished_at}),
                     2);
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED, .failed_before = one.finished_at}), 3);
    assert_int_equal(
        listed(w, (struct job_filter){.status = JOB_FAILED, .fingerprint = g->fingerprint, .task_type = "other"}), 0);
    assert_counts(w);
}

static void test_retried_and_discarded_ones_leave(void **state)
{
    struct world *w = *state;
    struct job a = dead(w, "encode", "disk full"), b = dead(w, "encode", "disk full");

    assert_int_equal(apply(w, job_op(w, OP_RETRY, b.job_id)), ERR_OK);
    assert_true(get(w, b.job_id).fingerprint == 0);
    struct dead_page page = groups(w, (struct dead_filter){.fingerprint = a.fingerprint});
    assert_int_equal(page.n, 1);
    assert_int_equal(page.groups[0].jobs, 1);
    assert_true(uuid_equal(&page.groups[0].job_id, &a.job_id)); /* the last to fail is dead no more */
    assert_int_equal(page.groups[0].last_failed_at, b.finished_at);
    assert_counts(w);

    assert_int_equal(apply(w, job_op(w, OP_DISCARD, a.job_id)), ERR_OK);
    assert_int_equal(groups(w, (struct dead_filter){0}).n, 0);
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED, .fingerprint = a.fingerprint}), 0);
    struct job again = claim(w, w->worker, "encode"); /* b, to success, by way of history */
    assert_int_equal(apply(w, complete_op(w, &again, NULL, 0)), ERR_OK);
    assert_counts(w);
}

static void test_every_way_to_fail_is_grouped(void **state)
{
    struct world *w = *state;
    struct op *op;
    struct job job;

    for (uint32_t i = 0; i < w->policy.max_losses; i++) {
        if (i == 0)
            submit(w, "encode");
        job = claim(w, w->worker, "encode");
        heartbeat(w, &job);
        later(w, w->policy.lease_us + 1);
        sweep(w, OP_SWEEP_LEASES);
        assert_non_null(strstr(attempt_of(w, job.job_id, i + 1).error, "lease of 1m lapsed"));
        later(w, 600 * USEC_PER_SEC); /* nobody else was lost about then */
        sweep(w, OP_SWEEP_DUE);
    }
    job = get(w, job.job_id);
    assert_int_equal(job.status, JOB_FAILED);
    assert_non_null(strstr(job.error_log, "max_losses"));
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED, .fingerprint = job.fingerprint}), 1);

    op = submit_op(w, "encode");
    op->u.submit.start_within_us = USEC_PER_SEC;
    apply(w, op);
    later(w, 2 * USEC_PER_SEC);
    sweep(w, OP_SWEEP_DUE);
    job = get(w, op->u.submit.job.job_id);
    assert_non_null(strstr(job.error_log, "within 1s of its submission"));
    assert_int_equal(listed(w, (struct job_filter){.status = JOB_FAILED, .fingerprint = job.fingerprint}), 1);

    submit(w, "encode");
    job = claim(w, w->worker, "encode");
    op = fail_op(w, &job, OUTCOME_TIMEOUT, true);
    op->u.fail.failure.error_log = NULL;
    apply(w, op);
    assert_non_null(strstr(attempt_of(w, job.job_id, 1).error, "time limit"));
    job = get(w, job.job_id);
    assert_non_null(strstr(job.error_log, "time limit"));

    submit(w, "encode");
    job = claim(w, w->worker, "encode");
    later(w, w->policy.confirm_us + 1);
    sweep(w, OP_SWEEP_LEASES);
    assert_non_null(strstr(attempt_of(w, job.job_id, 1).error, "no heartbeat came within 10s of the claim"));
    assert_int_equal(groups(w, (struct dead_filter){0}).n, 3);
    assert_counts(w);
}

static void test_groups_come_in_pages(void **state)
{
    struct world *w = *state;
    static const char *const words[] = {"a", "b", "c", "d", "e"};
    struct dead_filter f = {.limit = 2};
    struct dead_page page;
    int64_t before = INT64_MAX;
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (size_t k = 0; k < (i == 3 ? 3 : 1); k++)
            dead(w, "encode", words[i]);
    dead(w, "scale", "a");
    do {
        page = groups(w, f);
        assert_true(page.n > 0 && page.n <= 2);
        for (size_t i = 0; i < page.n; i++, n++) {
            assert_true(page.groups[i].jobs <= before);
            before = page.groups[i].jobs;
        }
        f.before_jobs = page.groups[page.n - 1].jobs;
        f.before = page.groups[page.n - 1].fingerprint;
    } while (page.more);
    assert_int_equal(n, 6);
    assert_int_equal(groups(w, (struct dead_filter){.task_type = "scale"}).n, 1);
    assert_int_equal(groups(w, (struct dead_filter){.project = "another"}).n, 0);
}

const struct CMUnitTest dead_tests[] = {
    TEST(test_groups_are_kept),
    TEST(test_retried_and_discarded_ones_leave),
    TEST(test_every_way_to_fail_is_grouped),
    TEST(test_groups_come_in_pages),
};
const size_t n_dead_tests = ARRAY_LEN(dead_tests);
