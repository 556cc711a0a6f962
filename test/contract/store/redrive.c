/* Redrives: what matched when they were made is taken once each, in passes that may be cut off anywhere. */
#include "suite.h"

static struct job dead_of(struct world *w, const char *type, const char *words, const char *labels)
{
    struct op *op = submit_op(w, type);
    op->u.submit.job.labels = labels;
    apply(w, op);
    later(w, 1000);
    struct job job = claim(w, w->worker, type);
    op = fail_op(w, &job, OUTCOME_ERROR, true);
    op->u.fail.failure.error_log = words;
    apply(w, op);
    assert_ok(op);
    later(w, 1000);
    return get(w, job.job_id);
}

static struct job dead(struct world *w)
{
    return dead_of(w, "encode", "disk full", "{}");
}

static struct op *redrive_op(struct world *w, enum redrive_action action)
{
    struct op *op = op_make(w, OP_REDRIVE);

    later(w, 1000);
    op->u.redrive.redrive = (struct redrive){.redrive_id = id_make(w), .action = action};
    return op;
}

static struct redrive made(struct world *w, struct op *op)
{
    apply(w, op);
    assert_ok(op);
    later(w, 1);
    return op->u.redrive.redrive;
}

static const struct rate fifty = {.n = 50, .per = USEC_PER_SEC}; /* 25 a pass */

static struct redrive redrive(struct world *w, struct uuid id)
{
    struct redrive r;
    struct err err = {0};

    if (w->d->redrive_get(w->s, "default", &id, w->arena, &r, &err) != ERR_OK)
        fail_msg("redrive: %s", err.msg);
    return r;
}

/* Passes until one says that nothing is due now; how many. */
static unsigned run(struct world *w)
{
    unsigned n = 0;

    do {
        n++;
        later(w, 1);
    } while (sweep(w, OP_SWEEP_DEAD)->u.sweep.more);
    return n;
}

static size_t of_status(struct world *w, enum job_status status)
{
    struct job_page page;

    assert_int_equal(w->d->job_list(w->s,
                                    &(struct job_filter){.project = "default", .status = (int)status, .limit = 1000},
                                    w->arena, &page, NULL),
                     ERR_OK);
    return page.n;
}

static void test_retry_takes_what_failed_before(void **state)
{
    struct world *w = *state;
    struct job jobs[3], other = dead_of(w, "encode", "no frame", "{}");

    for (int i = 0; i < 3; i++)
        jobs[i] = dead(w);
    struct op *op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.filter.fingerprint = jobs[0].fingerprint;
    struct redrive r = made(w, op);
    struct job late = dead(w);
    assert_true(r.state == REDRIVE_RUNNING && !r.counted);

    struct op *pass = sweep(w, OP_SWEEP_DEAD);
    assert_int_equal(pass->u.sweep.redrives, 1);
    r = redrive(w, r.redrive_id);
    assert_true(r.counted && r.matched == 3 && r.done == 0 && r.state == REDRIVE_RUNNING);
    apply(w, job_op(w, OP_RETRY, jobs[1].job_id)); /* somebody was faster */
    run(w);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_DONE && r.done == 2 && r.skipped == 1 && r.ended_at > r.created_at);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(w, jobs[i].job_id).status, JOB_PENDING);
    assert_int_equal(get(w, late.job_id).status, JOB_FAILED);
    assert_int_equal(get(w, other.job_id).status, JOB_FAILED);
    assert_int_equal(ready(w, "encode"), 3);
    assert_int_equal(sweep(w, OP_SWEEP_DEAD)->u.sweep.redrives, 0);
    assert_counts(w);
}

static void test_discard_and_filters(void **state)
{
    struct world *w = *state;
    struct job a = dead_of(w, "encode", "disk full", "{\"film\":\"7\"}"),
               b = dead_of(w, "encode", "disk full", "{\"film\":\"8\"}"),
               c = dead_of(w, "scale", "disk full", "{\"film\":\"7\"}");
    struct op *op = redrive_op(w, REDRIVE_DISCARD);
    struct job_filter *f = &op->u.redrive.redrive.filter;

    f->task_type = "encode";
    f->labels[f->n_labels++] = (struct label_filter){"film", "7"};
    f->labels[f->n_labels++] = (struct label_filter){"film", NULL};
    struct redrive r = made(w, op);
    run(w);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_DONE && r.matched == 1 && r.done == 1);
    assert_int_equal(r.filter.n_labels, 2);
    assert_string_equal(r.filter.labels[0].value, "7");
    assert_null(r.filter.labels[1].value);
    assert_int_equal(w->d->job_get(w->s, "default", &a.job_id, w->arena, &a, NULL), ERR_NOT_FOUND);

    op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.filter.failed_before = c.finished_at; /* exclusive */
    r = made(w, op);
    run(w);
    assert_int_equal(redrive(w, r.redrive_id).done, 1);
    assert_int_equal(get(w, b.job_id).status, JOB_PENDING);
    assert_int_equal(get(w, c.job_id).status, JOB_FAILED);
    assert_counts(w);
}

static void test_limit_takes_the_newest_and_a_dry_run_none(void **state)
{
    struct world *w = *state;
    struct job jobs[4];

    for (int i = 0; i < 4; i++)
        jobs[i] = dead(w);
    struct op *op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.dry_run = true;
    struct redrive r = made(w, op);
    run(w);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_DONE && r.matched == 4 && r.done == 0 && r.skipped == 0);
    assert_int_equal(of_status(w, JOB_FAILED), 4);

    op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.limit = 3;
    r = made(w, op);
    run(w);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_DONE && r.matched == 3 && r.done == 3);
    assert_int_equal(get(w, jobs[0].job_id).status, JOB_FAILED);

    struct redrive_page page;
    assert_int_equal(
        w->d->redrives(w->s, &(struct redrive_filter){.project = "default", .limit = 1}, w->arena, &page, NULL),
        ERR_OK);
    assert_true(page.n == 1 && page.more && uuid_equal(&page.redrives[0].redrive_id, &r.redrive_id));
    struct uuid before = page.redrives[0].redrive_id;
    assert_int_equal(w->d->redrives(w->s, &(struct redrive_filter){.project = "default", .before = before, .limit = 1},
                                    w->arena, &page, NULL),
                     ERR_OK);
    assert_true(page.n == 1 && !page.more && page.redrives[0].dry_run);
}

/* The process ends between any two passes, and passes are undone and done again: each job is retried once, however it goes on. */
static void test_cut_off_anywhere_each_job_is_taken_once(void **state)
{
    struct world *w = *state;
    enum { N = 120 };
    struct uuid ids[N];

    for (int i = 0; i < N; i++)
        ids[i] = dead(w).job_id;
    const int64_t version = get(w, ids[0]).version;
    struct op *op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.rate = fifty;
    struct redrive r = made(w, op);
    for (unsigned passes = 0; redrive(w, r.redrive_id).state == REDRIVE_RUNNING; passes++) {
        assert_true(passes < 20);
        struct op *pass = op_make(w, OP_SWEEP_DEAD), *late = op_make(w, OP_COMPLETE);
        late->u.complete.job_id = ids[0]; /* refused */
        apply_all(w, (struct op *[]){pass, late}, 2);
        assert_ok(pass);
        const int64_t done = redrive(w, r.redrive_id).done;
        assert_int_equal(of_status(w, JOB_PENDING), done);
        world_reopen(w);
        later(w, USEC_PER_SEC);
    }
    r = redrive(w, r.redrive_id);
    assert_true(r.matched == N && r.done == N && r.skipped == 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(get(w, ids[i]).version, version + 1);
    assert_counts(w);
}

/* One pass tells of a bounded number of lanes, however many jobs it could take. */
static void test_jobs_of_many_lanes(void **state)
{
    struct world *w = *state;
    enum { N = OP_CHANGES_MAX + 30 };

    for (int i = 0; i < N; i++)
        dead_of(w, arena_printf(w->arena, "type%d", i), "disk full", "{}");
    struct redrive r = made(w, redrive_op(w, REDRIVE_RETRY));
    run(w);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_DONE && r.done == N && r.skipped == 0);
    assert_counts(w);
}

static void test_two_of_the_same_group_retry_each_job_once(void **state)
{
    struct world *w = *state;
    enum { N = 60 };
    struct uuid ids[N];
    uint64_t fingerprint = 0;

    for (int i = 0; i < N; i++) {
        struct job job = dead(w);
        ids[i] = job.job_id;
        fingerprint = job.fingerprint;
    }
    const int64_t version = get(w, ids[0]).version;
    struct redrive r[2];
    for (int i = 0; i < 2; i++) {
        struct op *op = redrive_op(w, REDRIVE_RETRY);
        op->u.redrive.redrive.filter.fingerprint = fingerprint;
        op->u.redrive.redrive.rate = fifty;
        r[i] = made(w, op);
    }
    for (int i = 0; i < 10; i++) {
        run(w);
        later(w, USEC_PER_SEC);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = redrive(w, r[i].redrive_id);
        assert_true(r[i].state == REDRIVE_DONE);
        assert_int_equal(r[i].done + r[i].skipped, r[i].matched);
    }
    assert_int_equal(r[0].done + r[1].done, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(get(w, ids[i]).version, version + 1);
    assert_counts(w);
}

static void test_a_rate_is_kept(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 12; i++)
        dead(w);
    struct op *op = redrive_op(w, REDRIVE_RETRY);
    op->u.redrive.redrive.rate = (struct rate){.n = 4, .per = USEC_PER_SEC};
    struct redrive r = made(w, op);
    run(w);
    assert_int_equal(redrive(w, r.redrive_id).done, 2);
    usec next_at = sweep(w, OP_SWEEP_DEAD)->u.sweep.next_at;
    assert_true(next_at == redrive(w, r.redrive_id).next_at && next_at > w->d->now(w->s));
    later(w, 499 * USEC_PER_MSEC);
    run(w);
    assert_int_equal(redrive(w, r.redrive_id).done, 2);
    later(w, 2 * USEC_PER_MSEC);
    run(w);
    assert_int_equal(redrive(w, r.redrive_id).done, 4);
    later(w, 3600 * USEC_PER_SEC); /* away for an hour: no burst */
    world_reopen(w);
    run(w);
    assert_int_equal(redrive(w, r.redrive_id).done, 6);

    op = op_make(w, OP_REDRIVE_CANCEL);
    op->u.redrive.redrive.redrive_id = r.redrive_id;
    for (int i = 0; i < 2; i++) {
        apply(w, op);
        assert_ok(op);
        assert_true(op->u.redrive.redrive.state == REDRIVE_CANCELLED);
    }
    later(w, 10 * USEC_PER_SEC);
    assert_int_equal(run(w), 1);
    assert_int_equal(of_status(w, JOB_FAILED), 6);
    r = redrive(w, r.redrive_id);
    assert_true(r.state == REDRIVE_CANCELLED && r.done == 6);
}

static void test_what_cannot_be_made(void **state)
{
    struct world *w = *state;
    struct job job = dead(w);
    struct op *op = redrive_op(w, REDRIVE_RETRY);

    op->u.redrive.redrive.filter.fingerprint = ~job.fingerprint;
    apply(w, op);
    assert_refused(op, ERR_NOT_FOUND);
    op = op_make(w, OP_REDRIVE_CANCEL);
    op->u.redrive.redrive.redrive_id = id_make(w);
    apply(w, op);
    assert_refused(op, ERR_NOT_FOUND);

    struct redrive r = made(w, redrive_op(w, REDRIVE_RETRY));
    run(w);
    op->u.redrive.redrive.redrive_id = r.redrive_id;
    apply(w, op);
    assert_refused(op, ERR_ILLEGAL_STATE);
    op = op_make(w, OP_REDRIVE_CANCEL);
    op->project = "another";
    op->u.redrive.redrive.redrive_id = r.redrive_id;
    apply(w, op);
    assert_refused(op, ERR_NOT_FOUND);

    for (int i = 0; i < REDRIVES_RUNNING_MAX; i++)
        made(w, redrive_op(w, REDRIVE_RETRY));
    op = redrive_op(w, REDRIVE_RETRY);
    apply(w, op);
    assert_refused(op, ERR_BUSY);
}

static void test_a_key_makes_one(void **state)
{
    struct world *w = *state;
    struct op *op = redrive_op(w, REDRIVE_RETRY);

    op->u.redrive.key = "k";
    struct redrive first = made(w, op);
    for (int i = 0; i < 2; i++) {
        op = redrive_op(w, REDRIVE_RETRY);
        op->u.redrive.key = "k";
        struct redrive again = made(w, op);
        assert_true(uuid_equal(&again.redrive_id, &first.redrive_id));
        assert_true(op->u.redrive.duplicate);
        run(w); /* done by the second time: the same all the same */
    }
    op = redrive_op(w, REDRIVE_DISCARD);
    op->u.redrive.key = "k";
    op->u.redrive.request_hash[0] = 1;
    apply(w, op);
    assert_refused(op, ERR_CONFLICT);

    later(w, 25 * 3600 * USEC_PER_SEC); /* its day is over */
    op = redrive_op(w, REDRIVE_DISCARD);
    op->u.redrive.key = "k";
    op->u.redrive.request_hash[0] = 1;
    struct redrive second = made(w, op);
    assert_false(uuid_equal(&second.redrive_id, &first.redrive_id));
    assert_false(op->u.redrive.duplicate);
    assert_true(redrive(w, first.redrive_id).state == REDRIVE_DONE);
}

const struct CMUnitTest redrive_tests[] = {
    TEST(test_retry_takes_what_failed_before),
    TEST(test_discard_and_filters),
    TEST(test_limit_takes_the_newest_and_a_dry_run_none),
    TEST(test_cut_off_anywhere_each_job_is_taken_once),
    TEST(test_jobs_of_many_lanes),
    TEST(test_two_of_the_same_group_retry_each_job_once),
    TEST(test_a_rate_is_kept),
    TEST(test_what_cannot_be_made),
    TEST(test_a_key_makes_one),
};
const size_t n_redrive_tests = ARRAY_LEN(redrive_tests);
