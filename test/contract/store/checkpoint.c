/* A job's checkpoint: replaced as a whole, by whoever holds the job, and gone when nobody can need it. */
#include "suite.h"

static struct op *checkpoint_op(struct world *w, const struct job *job, const struct checkpoint_file *files, size_t n)
{
    struct op *op = op_make(w, OP_CHECKPOINT);

    op->u.checkpoint =
        (struct op_checkpoint){.job_id = job->job_id, .token = job->token, .files = files, .n_files = n, .percent = 40};
    return op;
}

static struct checkpoint checkpoint_of(struct world *w, const struct job *job)
{
    struct checkpoint cp;

    assert_int_equal(w->d->checkpoint(w->s, &job->job_id, w->arena, &cp, NULL), ERR_OK);
    return cp;
}

static void keep(struct world *w, const struct job *job, const struct checkpoint_file *files, size_t n)
{
    applied(w, checkpoint_op(w, job, files, n));
}

static void test_a_checkpoint_takes_the_place_of_the_last(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct uuid a = blob(w, "aaaa"), b = blob(w, "bb"), c = blob(w, "c");

    assert_int_equal(checkpoint_of(w, &job).attempt, 0);
    keep(w, &job, (struct checkpoint_file[]){{"x", ref(w, a), false}, {"y", ref(w, b), true}, {"z", ref(w, a), false}},
         3);
    assert_int_equal(refs(w, a), 2);
    assert_int_equal(refs(w, b), 1);
    struct checkpoint cp = checkpoint_of(w, &job);
    assert_int_equal(cp.attempt, 1);
    assert_int_equal(cp.n_files, 3);
    assert_int_equal(cp.bytes, 10);
    assert_true(cp.percent > 39 && cp.percent < 41);
    assert_string_equal(cp.files[1].name, "y");
    assert_true(cp.files[1].executable);
    assert_false(cp.files[0].executable);

    keep(w, &job, (struct checkpoint_file[]){{"x", ref(w, a), false}, {"w", ref(w, c), false}}, 2);
    assert_int_equal(refs(w, a), 1);
    assert_int_equal(refs(w, b), 0);
    assert_int_equal(refs(w, c), 1);
    cp = checkpoint_of(w, &job);
    assert_int_equal(cp.n_files, 2);
    assert_string_equal(cp.files[0].name, "w");
}

static void keep_as(struct world *w, const struct job *job, int64_t sequence, struct uuid blob_id)
{
    struct op *op = checkpoint_op(w, job, &(struct checkpoint_file){"x", ref(w, blob_id), false}, 1);

    op->u.checkpoint.sequence = sequence;
    apply(w, op);
    assert_ok(op);
}

static void test_a_checkpoint_that_comes_late_changes_nothing(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct uuid older = blob(w, "aaaa"), newer = blob(w, "bb");

    keep_as(w, &job, 1, older);
    keep_as(w, &job, 3, newer);
    keep_as(w, &job, 1, older); /* the network had kept it */
    keep_as(w, &job, 3, older); /* a repetition is known by its number */
    assert_int_equal(checkpoint_of(w, &job).bytes, 2);
    assert_int_equal(refs(w, older), 0);
    assert_int_equal(refs(w, newer), 1);

    apply(w, fail_op(w, &job, OUTCOME_INTERRUPTED, false));
    job = claim(w, w->other, "encode");
    keep_as(w, &job, 1, older); /* each attempt counts anew */
    assert_int_equal(checkpoint_of(w, &job).bytes, 4);
    keep(w, &job, &(struct checkpoint_file){"x", ref(w, newer), false},
         1); /* who does not count is taken as it comes */
    assert_int_equal(checkpoint_of(w, &job).bytes, 2);
}

static void progress(struct world *w, const struct job *job, double percent)
{
    struct op *op = op_make(w, OP_PROGRESS);

    op->u.progress = (struct op_progress){.job_id = job->job_id, .token = job->token, .percent = percent};
    apply(w, op);
    assert_ok(op);
}

/* Interrupted; what the next attempt is said to do once more, in percent. */
static int redone(struct world *w, struct job *job)
{
    struct attempt *list;
    size_t n;

    apply(w, fail_op(w, job, OUTCOME_INTERRUPTED, false));
    *job = claim(w, w->other, "encode");
    assert_int_equal(w->d->attempts(w->s, &job->job_id, w->arena, &list, &n, NULL), ERR_OK);
    assert_int_equal(n, job->attempt);
    return list[n - 1].redone < 0 ? -1 : (int)(list[n - 1].redone * 100 + 0.5);
}

static void test_P08_only_the_work_after_the_checkpoint_is_redone(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct uuid a = blob(w, "aaaa");

    assert_int_equal(redone(w, &job), -1); /* nobody said how far it was */
    progress(w, &job, 25);
    assert_int_equal(redone(w, &job), 25); /* and nothing was kept */
    progress(w, &job, 40);
    const int64_t version = get(w, job.job_id).version;
    keep(w, &job, &(struct checkpoint_file){"x", ref(w, a), false}, 1); /* at 40 */
    assert_true(get(w, job.job_id).version > version);                  /* whoever waits for news of the job is told */
    progress(w, &job, 90);
    assert_int_equal(redone(w, &job), 50);
    progress(w, &job, 30); /* it began again */
    assert_int_equal(redone(w, &job), 0);
    struct checkpoint cp;
    assert_int_equal(w->d->checkpoint(w->s, &job.job_id, NULL, &cp, NULL), ERR_OK);
    assert_int_equal(cp.n_files, 1);
    assert_int_equal(cp.bytes, 4);
    assert_null(cp.files);

    struct op *op = checkpoint_op(w, &job, &(struct checkpoint_file){"x", ref(w, a), false}, 1);
    op->u.checkpoint.percent = -1;
    apply(w, op);
    assert_ok(op);
    progress(w, &job, 60);
    assert_int_equal(redone(w, &job), -1); /* how far that was, nobody knows */
}

static void test_P08_a_stale_worker_changes_no_checkpoint(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job first = claim(w, w->worker, "encode");
    struct uuid a = blob(w, "a"), b = blob(w, "b");

    keep(w, &first, &(struct checkpoint_file){"x", ref(w, a), false}, 1);
    apply(w, fail_op(w, &first, OUTCOME_INTERRUPTED, false));
    struct job second = claim(w, w->other, "encode");
    assert_int_equal(second.attempt, 2);
    struct checkpoint cp = checkpoint_of(w, &second); /* it goes on from there */
    assert_int_equal(cp.attempt, 1);
    assert_int_equal(cp.n_files, 1);

    struct op *stale = checkpoint_op(w, &first, &(struct checkpoint_file){"x", ref(w, b), false}, 1);
    apply(w, stale);
    assert_refused(stale, ERR_STALE_TOKEN);
    assert_int_equal(refs(w, a), 1);
    assert_int_equal(refs(w, b), 0);
    assert_true(uuid_equal(&checkpoint_of(w, &second).files[0].blob_id, &a));
}

static void test_a_bad_file_leaves_the_last_checkpoint(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct uuid a = blob(w, "a"), none = id_make(w);
    const struct checkpoint_file good = {"x", ref(w, a), false};

    keep(w, &job, &good, 1);
    const struct checkpoint_file bad[][2] = {{good, {"y", ref(w, none), false}},
                                             {good, good},
                                             {good, {"..", ref(w, a), false}},
                                             {good, {"d/y", ref(w, a), false}}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct op *op = checkpoint_op(w, &job, bad[i], 2);
        apply(w, op);
        assert_refused(op, ERR_INVALID);
        assert_int_equal(refs(w, a), 1);
        assert_int_equal(checkpoint_of(w, &job).n_files, 1);
    }
    struct checkpoint_file *many = arena_array(w->arena, JOB_CHECKPOINT_MAX + 1, sizeof(*many));
    struct op *op = checkpoint_op(w, &job, many, JOB_CHECKPOINT_MAX + 1);
    apply(w, op);
    assert_refused(op, ERR_TOO_LARGE);
    assert_int_equal(checkpoint_of(w, &job).n_files, 1);
}

/* Kept for whoever retries a failed job; a live one's bytes are never swept. */
static void test_a_checkpoint_lives_as_long_as_it_can_be_needed(void **state)
{
    struct world *w = *state;
    const struct job sent = submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct uuid a = blob(w, "a");

    keep(w, &job, &(struct checkpoint_file){"x", ref(w, a), false}, 1);
    apply(w, fail_op(w, &job, OUTCOME_ERROR, true));
    assert_int_equal(get(w, sent.job_id).status, JOB_FAILED);
    later(w, w->policy.blob_unreferenced_us * 2);
    sweep(w, OP_SWEEP_BLOBS);
    assert_int_equal(refs(w, a), 1);
    apply(w, job_op(w, OP_RETRY, sent.job_id));
    job = claim(w, w->worker, "encode");
    assert_int_equal(checkpoint_of(w, &job).n_files, 1);
    apply(w, complete_op(w, &job, NULL, 0));
    assert_int_equal(get(w, sent.job_id).status, JOB_SUCCESS);
    assert_int_equal(checkpoint_of(w, &job).attempt, 0);
    assert_int_equal(refs(w, a), 0);
}

static void test_a_cancelled_or_discarded_job_gives_its_checkpoint_up(void **state)
{
    struct world *w = *state;
    struct uuid a = blob(w, "a");
    const enum op_kind ends[] = {OP_CANCEL, OP_DISCARD};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        submit(w, "encode");
        struct job job = claim(w, w->worker, "encode");
        keep(w, &job, &(struct checkpoint_file){"x", ref(w, a), false}, 1);
        assert_int_equal(refs(w, a), 1);
        apply(w, fail_op(w, &job, ends[i] == OP_CANCEL ? OUTCOME_INTERRUPTED : OUTCOME_ERROR, true));
        struct op *end = job_op(w, ends[i], job.job_id);
        apply(w, end);
        assert_ok(end);
        assert_int_equal(refs(w, a), 0);
        assert_int_equal(checkpoint_of(w, &job).attempt, 0);
    }
}

const struct CMUnitTest checkpoint_tests[] = {
    TEST(test_a_checkpoint_takes_the_place_of_the_last),
    TEST(test_a_checkpoint_that_comes_late_changes_nothing),
    TEST(test_P08_only_the_work_after_the_checkpoint_is_redone),
    TEST(test_P08_a_stale_worker_changes_no_checkpoint),
    TEST(test_a_bad_file_leaves_the_last_checkpoint),
    TEST(test_a_checkpoint_lives_as_long_as_it_can_be_needed),
    TEST(test_a_cancelled_or_discarded_job_gives_its_checkpoint_up),
};
const size_t n_checkpoint_tests = ARRAY_LEN(checkpoint_tests);
