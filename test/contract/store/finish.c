/* How jobs end; what a person does to them; what is kept. */
#include "suite.h"

static void assert_outputs(struct world *w, struct uuid id, size_t expected, const char *first)
{
    struct output *rows = NULL;
    size_t n = 0;

    assert_int_equal(w->d->outputs(w->s, &id, w->arena, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, expected);
    if (expected)
        assert_string_equal(rows[0].name, first);
}

static void test_complete(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *op = complete_op(w, &job, NULL, 0), *again = complete_op(w, &job, NULL, 0);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.complete.status, JOB_SUCCESS);
    struct job now = get(w, job.job_id);
    assert_int_equal(now.status, JOB_SUCCESS);
    assert_int_equal(now.finished_at, w->d->now(w->s));
    assert_int_equal(now.lease_until, 0);
    later(w, USEC_PER_SEC);
    apply(w, again); /* the answer was lost on its way */
    assert_ok(again);
    assert_int_equal(again->u.complete.status, JOB_SUCCESS);
    assert_int_equal(get(w, job.job_id).version, now.version);
    struct attempt at = attempt_of(w, job.job_id, 1);
    assert_int_equal(at.outcome, OUTCOME_SUCCESS);
    assert_int_equal(at.usage.cpu_us, 1234);
    assert_int_equal(at.usage.peak_memory_bytes, 99);
    assert_counts(w);
}

static void test_fail_backs_off_and_repeats_its_answer(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *op = fail_op(w, &job, OUTCOME_ERROR, false), *again = fail_op(w, &job, OUTCOME_ERROR, true);
    op->u.fail.failure.retry_after_us = 30 * USEC_PER_SEC;
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.fail.status, JOB_PENDING);
    assert_int_equal(op->u.fail.run_at, w->d->now(w->s) + 30 * USEC_PER_SEC);
    assert_int_equal(ready(w, "encode"), 0);
    apply(w, again);
    assert_ok(again);
    assert_int_equal(again->u.fail.status, JOB_PENDING);
    assert_int_equal(again->u.fail.run_at, op->u.fail.run_at);
    struct job now = get(w, job.job_id);
    assert_int_equal(now.retries, 1);
    assert_string_equal(now.error_log, "it broke");
    assert_int_equal(attempt_of(w, job.job_id, 1).usage.exit_code, 3);
    assert_string_equal(attempt_of(w, job.job_id, 1).error, "it broke");
    later(w, 30 * USEC_PER_SEC);
    assert_int_equal(sweep(w, OP_SWEEP_DUE)->u.sweep.touched, 1);
    assert_int_equal(claim(w, w->worker, "encode").attempt, 2);
}

static void test_budget_spent_goes_to_the_dead_letters(void **state)
{
    struct world *w = *state;
    struct uuid id;
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.max_attempts = 2;
    apply(w, op);
    id = op->u.submit.job.job_id;
    for (int i = 0; i < 2; i++) {
        struct job job = claim(w, w->worker, "encode");
        op = fail_op(w, &job, OUTCOME_ERROR, false);
        apply(w, op);
        assert_ok(op);
        later(w, w->policy.backoff_cap_us);
        sweep(w, OP_SWEEP_DUE);
    }
    assert_int_equal(op->u.fail.status, JOB_FAILED);
    assert_int_equal(get(w, id).status, JOB_FAILED);
    op = job_op(w, OP_RETRY, id);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.job.job.status, JOB_PENDING);
    assert_int_equal(op->changes[0].delta, 1);
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(job.attempt, 3);
    assert_int_equal(job.retries, 0);
    apply(w, fail_op(w, &job, OUTCOME_ERROR, true));
    assert_int_equal(get(w, id).status, JOB_FAILED);
    assert_counts(w);
}

/* Whatever a worker that was overtaken says, it is refused, and nothing of the job, its log or its outputs changes. */
static void test_P03_stale_token_changes_nothing(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job old = claim(w, w->worker, "encode");
    assert_ok(heartbeat(w, &old));
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    struct job held = claim(w, w->other, "encode");
    assert_int_equal(held.attempt, 2);
    struct job wrong = held; /* right attempt, another's secret */
    wrong.token = token_mint(2, w->rng);
    struct job before = get(w, held.job_id);
    const struct job *liars[] = {&old, &wrong};
    for (size_t i = 0; i < ARRAY_LEN(liars); i++) {
        struct op *progress = op_make(w, OP_PROGRESS), *beat = op_make(w, OP_HEARTBEAT);
        progress->u.progress = (struct op_progress){.job_id = held.job_id, .token = liars[i]->token, .percent = 1};
        beat->u.heartbeat.job_id = held.job_id;
        beat->u.heartbeat.token = liars[i]->token;
        struct op *ops[] = {beat,
                            progress,
                            log_op(w, liars[i], 0, "lies"),
                            output_op(w, liars[i], "out"),
                            complete_op(w, liars[i], NULL, 0),
                            fail_op(w, liars[i], OUTCOME_ERROR, true)};
        apply_all(w, ops, ARRAY_LEN(ops));
        for (size_t k = 0; k < ARRAY_LEN(ops); k++)
            assert_refused(ops[k], ERR_STALE_TOKEN);
        assert_int_equal(refs(w, ops[3]->u.output.blob_id), -1);
    }
    struct job after = get(w, held.job_id);
    assert_int_equal(after.version, before.version);
    assert_int_equal(after.status, JOB_RUNNING);
    assert_int_equal(after.lease_until, before.lease_until);
    assert_int_equal(attempt_of(w, held.job_id, 1).log_bytes + attempt_of(w, held.job_id, 2).log_bytes, 0);
    assert_ok(heartbeat(w, &held));
}

static void test_decided_token_writes_no_more(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    apply(w, fail_op(w, &job, OUTCOME_ERROR, false));
    struct op *op = log_op(w, &job, 0, "late");
    apply(w, op);
    assert_refused(op, ERR_STALE_TOKEN);
    assert_refused(heartbeat(w, &job), ERR_STALE_TOKEN);
}

static void test_P09_outputs_are_published_with_the_winner(void **state)
{
    struct world *w = *state;
    const char *names[] = {"a.mp4"}, *missing[] = {"a.mp4", "b.mp4"};

    submit(w, "encode");
    struct job loser = claim(w, w->worker, "encode");
    struct op *lost = output_op(w, &loser, "a.mp4");
    apply(w, lost);
    assert_ok(lost);
    assert_int_equal(refs(w, lost->u.output.blob_id), 1);
    assert_outputs(w, loser.job_id, 0, NULL);
    apply(w, fail_op(w, &loser, OUTCOME_INTERRUPTED, false));
    assert_int_equal(refs(w, lost->u.output.blob_id), 0);

    struct job job = claim(w, w->worker, "encode");
    struct op *first = output_op(w, &job, "a.mp4"), *second = output_op(w, &job, "a.mp4"),
              *unwanted = output_op(w, &job, "debug");
    apply_all(w, (struct op *[]){first, second, second, unwanted}, 4);
    assert_ok(second);
    assert_int_equal(refs(w, first->u.output.blob_id), 0);  /* replaced */
    assert_int_equal(refs(w, second->u.output.blob_id), 1); /* said twice */
    struct op *op = complete_op(w, &job, missing, 2);
    apply(w, op);
    assert_refused(op, ERR_INVALID);
    assert_string_equal(op->err.field, "outputs[1]");
    assert_outputs(w, job.job_id, 0, NULL);
    assert_int_equal(get(w, job.job_id).status, JOB_RUNNING);
    op = complete_op(w, &job, names, 1);
    apply(w, op);
    assert_ok(op);
    assert_outputs(w, job.job_id, 1, "a.mp4");
    assert_int_equal(refs(w, second->u.output.blob_id), 1);
    assert_int_equal(refs(w, unwanted->u.output.blob_id), 0);
}

static void test_output_names_are_checked(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *op = output_op(w, &job, "../x");
    apply(w, op);
    assert_refused(op, ERR_INVALID);
}

static void test_cancel(void **state)
{
    struct world *w = *state;
    struct job waiting = submit(w, "encode");
    struct op *op = job_op(w, OP_CANCEL, waiting.job_id);

    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.job.job.status, JOB_CANCELLED);
    assert_int_equal(op->changes[0].delta, -1);
    apply(w, op); /* twice is fine */
    assert_ok(op);
    assert_int_equal(op->n_changes, 0);

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    const char *names[] = {"o"};
    struct op *out = output_op(w, &job, "o");
    apply(w, out);
    op = job_op(w, OP_CANCEL, job.job_id);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.job.job.status, JOB_RUNNING);
    assert_true(op->u.job.job.cancel_requested_at > 0);
    op = complete_op(w, &job, names, 1); /* it finished all the same */
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.complete.status, JOB_CANCELLED);
    assert_outputs(w, job.job_id, 0, NULL);
    assert_int_equal(refs(w, out->u.output.blob_id), 0);
    op = job_op(w, OP_RETRY, job.job_id);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(claim(w, w->worker, "encode").attempt, 2);
    assert_counts(w);
}

static void test_success_stays(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    apply(w, complete_op(w, &job, NULL, 0));
    struct op *retry = job_op(w, OP_RETRY, job.job_id), *cancel = job_op(w, OP_CANCEL, job.job_id);
    apply_all(w, (struct op *[]){retry, cancel}, 2);
    assert_refused(retry, ERR_ILLEGAL_STATE);
    assert_refused(cancel, ERR_ILLEGAL_STATE);
    assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
}

static void test_discard_takes_everything(void **state)
{
    struct world *w = *state;
    struct uuid in = blob(w, "in");
    struct op *op = submit_op(w, "encode"), *again = submit_op(w, "encode");
    struct job_input inputs[] = {{"x", ref(w, in)}};

    op->u.submit.job.inputs = inputs;
    op->u.submit.job.n_inputs = 1;
    op->u.submit.job.dedup_key = again->u.submit.job.dedup_key = "k";
    again->u.submit.request_hash[0] = 9;
    apply(w, op);
    struct op *early = job_op(w, OP_DISCARD, op->u.submit.job.job_id);
    apply(w, early);
    assert_refused(early, ERR_ILLEGAL_STATE);
    struct job job = claim(w, w->worker, "encode");
    struct op *out = output_op(w, &job, "o");
    apply_all(w, (struct op *[]){out, log_op(w, &job, 0, "text")}, 2);
    const char *names[] = {"o"};
    apply(w, complete_op(w, &job, names, 1));
    op = job_op(w, OP_DISCARD, job.job_id);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(w->d->job_get(w->s, "default", &job.job_id, w->arena, &job, NULL), ERR_NOT_FOUND);
    assert_int_equal(refs(w, in), 0);
    assert_int_equal(refs(w, out->u.output.blob_id), 0);
    assert_outputs(w, job.job_id, 0, NULL);
    apply(w, again); /* its key is free */
    assert_ok(again);
    assert_false(again->u.submit.duplicate);
    assert_counts(w);
}

static void test_discard_of_a_dead_letter(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    apply(w, fail_op(w, &job, OUTCOME_ERROR, true));
    assert_int_equal(apply(w, job_op(w, OP_DISCARD, job.job_id)), ERR_OK);
    assert_int_equal(apply(w, job_op(w, OP_DISCARD, job.job_id)), ERR_NOT_FOUND);
    assert_counts(w);
}

/* Where many are asked for, payloads are not read: the arena would not hold a thousand of them. */
static void test_ids_only(void **state)
{
    struct world *w = *state;
    static const struct {
        enum op_kind kind;
        enum job_status after;
    } steps[] = {
        {OP_CANCEL, JOB_CANCELLED}, {OP_RETRY, JOB_PENDING}, {OP_CANCEL, JOB_CANCELLED}, {OP_DISCARD, JOB_CANCELLED}};
    char payload[JOB_PAYLOAD_MAX + 1] = {0};

    memset(payload, '1', JOB_PAYLOAD_MAX);
    for (int i = 0; i < 2; i++) {
        struct op *op = submit_op(w, "encode");
        op->u.submit.job.payload = payload;
        op->u.submit.job.dedup_key = "k";
        op->u.submit.id_only = true;
        op->arena = arena_new(1024);
        assert_int_equal(apply(w, op), ERR_OK);
        assert_int_equal(op->u.submit.duplicate, i == 1);
        w->other = i == 0 ? op->u.submit.job.job_id : w->other;
        assert_true(uuid_equal(&op->u.submit.job.job_id, &w->other));
        arena_free(op->arena);
    }
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct op *op = job_op(w, steps[i].kind, w->other);
        op->u.job.id_only = true;
        op->arena = arena_new(1024);
        assert_int_equal(apply(w, op), ERR_OK);
        assert_int_equal(op->u.job.job.status, steps[i].after);
        if (i + 1 < ARRAY_LEN(steps))
            assert_string_equal(get(w, w->other).payload, payload);
        arena_free(op->arena);
    }
    assert_int_equal(w->d->job_get(w->s, "default", &w->other, w->arena, &(struct job){0}, NULL), ERR_NOT_FOUND);
    assert_counts(w);
}

static void test_reopening_keeps_everything(void **state)
{
    struct world *w = *state;
    struct err err = {0};
    const char *value;

    assert_int_equal(w->d->meta_set(w->s, "blobs", "folder-1", &err), ERR_OK);
    submit(w, "encode");
    submit(w, "encode");
    submit(w, "encode");
    struct job running = claim(w, w->worker, "encode"), done = claim(w, w->worker, "encode");
    apply(w, log_op(w, &running, 0, "text"));
    apply(w, complete_op(w, &done, NULL, 0));
    usec before = w->d->now(w->s);
    w->clock.boot_us = 5; /* the machine came up again, an hour behind */
    w->clock.wall_us -= 3600 * USEC_PER_SEC;
    world_reopen(w);
    assert_true(w->d->now(w->s) >= before);
    assert_int_equal(get(w, done.job_id).status, JOB_SUCCESS);
    assert_int_equal(get(w, running.job_id).status, JOB_RUNNING);
    assert_int_equal(ready(w, "encode"), 1);
    assert_ok(heartbeat(w, &running));
    assert_int_equal(attempt_of(w, running.job_id, 1).log_bytes, 4);
    submit(w, "encode");
    claim(w, w->worker, "encode");
    claim(w, w->worker, "encode");
    assert_int_equal(w->d->meta_get(w->s, "blobs", w->arena, &value, &err), ERR_OK);
    assert_string_equal(value, "folder-1");
    assert_int_equal(w->d->meta_get(w->s, "absent", w->arena, &value, &err), ERR_OK);
    assert_null(value);
    assert_counts(w);
}

const struct CMUnitTest finish_tests[] = {
    TEST(test_complete),
    TEST(test_fail_backs_off_and_repeats_its_answer),
    TEST(test_budget_spent_goes_to_the_dead_letters),
    TEST(test_P03_stale_token_changes_nothing),
    TEST(test_decided_token_writes_no_more),
    TEST(test_P09_outputs_are_published_with_the_winner),
    TEST(test_output_names_are_checked),
    TEST(test_cancel),
    TEST(test_success_stays),
    TEST(test_discard_takes_everything),
    TEST(test_discard_of_a_dead_letter),
    TEST(test_ids_only),
    TEST(test_reopening_keeps_everything),
};
const size_t n_finish_tests = ARRAY_LEN(finish_tests);
