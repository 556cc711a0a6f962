/* What is kept is kept for its time, and then goes with everything that belongs to it, a bounded pass at a time. */
#include "suite.h"

static bool gone(struct world *w, struct uuid id)
{
    struct job job;

    return w->d->job_get(w->s, "default", &id, w->arena, &job, NULL) == ERR_NOT_FOUND;
}

static struct job finished(struct world *w)
{
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    apply(w, complete_op(w, &job, NULL, 0));
    return job;
}

static void test_retention_begins_at_the_end_and_leaves_dead_letters(void **state)
{
    struct world *w = *state;
    struct job done = finished(w);

    submit(w, "encode");
    struct job dead = claim(w, w->worker, "encode");
    apply(w, fail_op(w, &dead, OUTCOME_ERROR, true));
    assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.next_at,
                     get(w, done.job_id).finished_at + w->policy.retention_us);
    struct job young = finished(w); /* a moment later */
    usec end = get(w, done.job_id).finished_at + w->policy.retention_us;
    later(w, end - w->d->now(w->s) - 1);
    assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.touched, 0);
    assert_int_equal(get(w, done.job_id).status, JOB_SUCCESS);
    later(w, 1);
    struct op *s = sweep(w, OP_SWEEP_RETENTION);
    assert_int_equal(s->u.sweep.touched, 1);
    assert_false(s->u.sweep.more);
    assert_true(gone(w, done.job_id));
    assert_int_equal(get(w, young.job_id).status, JOB_SUCCESS);
    later(w, 100 * w->policy.retention_us);
    sweep(w, OP_SWEEP_RETENTION);
    assert_true(gone(w, young.job_id));
    assert_int_equal(get(w, dead.job_id).status, JOB_FAILED);
    assert_counts(w);
}

static void assert_nothing_of(struct world *w, struct uuid id)
{
    struct attempt *attempts;
    struct output *outputs;
    size_t n = 1;
    struct log_part part;
    char byte;

    assert_true(gone(w, id));
    assert_int_equal(w->d->attempts(w->s, &id, w->arena, &attempts, &n, NULL), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(w->d->outputs(w->s, &id, w->arena, &outputs, &n, NULL), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(w->d->log_read(w->s, &id, 2, 0, &byte, 1, &part, NULL), ERR_NOT_FOUND);
}

static struct op *rich_op(struct world *w, const struct job_input *input)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.dedup_key = "k";
    op->u.submit.dedup_us = 100 * w->policy.retention_us;
    op->u.submit.job.labels = "{\"film\":\"7\"}";
    op->u.submit.job.payload_ref = input[0].ref;
    op->u.submit.job.inputs = input + 1;
    op->u.submit.job.n_inputs = 1;
    return op;
}

static void test_retention_takes_everything_a_job_had(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"made"};
    struct uuid payload = blob(w, "payload"), in = blob(w, "in");
    struct job_input refs_of[] = {{"payload", ref(w, payload)}, {"film", ref(w, in)}};
    struct op *op = rich_op(w, refs_of);

    apply(w, op);
    assert_ok(op);
    struct job job = claim(w, w->worker, "encode");
    apply(w, fail_op(w, &job, OUTCOME_ERROR, false));
    later(w, w->policy.backoff_cap_us);
    sweep(w, OP_SWEEP_DUE);
    job = claim(w, w->worker, "encode");
    apply(w, log_op(w, &job, 0, "line\n"));
    struct op *out = output_op(w, &job, "made");
    apply(w, out);
    apply(w, complete_op(w, &job, names, 1));
    assert_int_equal(refs(w, out->u.output.blob_id), 1);

    later(w, w->policy.retention_us);
    assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.touched, 2); /* and its worker, silent since */
    assert_nothing_of(w, job.job_id);
    struct uuid blobs[] = {payload, in, out->u.output.blob_id};
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++)
        assert_int_equal(refs(w, blobs[i]), 0);
    op = rich_op(w, refs_of);
    op->u.submit.job.payload_ref = NULL;
    op->u.submit.job.n_inputs = 0;
    apply(w, op); /* though its window goes on, the key is free */
    assert_ok(op);
    assert_false(op->u.submit.duplicate);

    later(w, w->policy.blob_unreferenced_us);
    assert_int_equal(sweep(w, OP_SWEEP_BLOBS)->u.sweep.n_removed, ARRAY_LEN(blobs));
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++)
        assert_int_equal(refs(w, blobs[i]), -1);
    assert_counts(w);
}

static void test_retention_passes_are_bounded(void **state)
{
    struct world *w = *state;
    const size_t jobs = OP_CHANGES_MAX + 20;
    size_t left = jobs, passes = 0;

    for (size_t i = 0; i < jobs; i++)
        finished(w);
    later(w, w->policy.retention_us);
    for (bool more = true; more; passes++) {
        struct op *s = sweep(w, OP_SWEEP_RETENTION);
        assert_in_range(s->u.sweep.touched, 1, OP_CHANGES_MAX);
        left -= MIN(left, s->u.sweep.touched); /* the last pass forgets the worker, too */
        more = s->u.sweep.more;
        assert_int_equal(more, left > 0);
        assert_counts(w);
    }
    assert_true(passes >= 2);
    assert_int_equal(left, 0);
}

static void assert_workers(struct world *w, size_t expected)
{
    struct worker_row *rows;
    size_t n;

    assert_int_equal(w->d->workers(w->s, w->arena, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, expected);
}

static void test_workers_are_forgotten_after_the_retention(void **state)
{
    struct world *w = *state;
    const usec hour = 3600 * USEC_PER_SEC;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    apply(w, claim_op(w, w->other, "p", "encode", 1));
    later(w, w->policy.retention_us - hour);
    assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.touched, 0);
    assert_ok(heartbeat(w, &job)); /* the first one lives */
    later(w, hour);
    assert_int_equal(sweep(w, OP_SWEEP_RETENTION)->u.sweep.touched, 1);
    assert_workers(w, 1);
    assert_string_equal(attempt_of(w, job.job_id, 1).worker_name, "w1");

    w->policy.retention_us = USEC_PER_SEC; /* a short one is about jobs */
    world_reopen(w);
    later(w, 22 * hour);
    sweep(w, OP_SWEEP_RETENTION);
    assert_workers(w, 1);
    later(w, hour);
    sweep(w, OP_SWEEP_RETENTION);
    assert_workers(w, 0);
}

const struct CMUnitTest retention_tests[] = {
    TEST(test_retention_begins_at_the_end_and_leaves_dead_letters),
    TEST(test_retention_takes_everything_a_job_had),
    TEST(test_retention_passes_are_bounded),
    TEST(test_workers_are_forgotten_after_the_retention),
};
const size_t n_retention_tests = ARRAY_LEN(retention_tests);
