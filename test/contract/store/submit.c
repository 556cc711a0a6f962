/* Submission, keys, references, lists. */
#include "suite.h"

static void test_submitted_job_is_there(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.labels = "{\"k\": \"v\"}";
    op->u.submit.job.timeout_us = 5 * USEC_PER_SEC;
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->n_changes, 1);
    assert_int_equal(op->changes[0].delta, 1);
    assert_string_equal(op->changes[0].lane.task_type, "encode");
    struct job job = get(w, op->u.submit.job.job_id);
    assert_int_equal(job.status, JOB_PENDING);
    assert_string_equal(job.payload, "{\"a\": 1}");
    assert_string_equal(job.labels, "{\"k\": \"v\"}");
    assert_int_equal(job.max_attempts, w->policy.max_attempts);
    assert_int_equal(job.timeout_us, 5 * USEC_PER_SEC);
    assert_int_equal(job.created_at, w->d->now(w->s));
    assert_null(job.dedup_key);
    assert_true(job.progress < 0);
    assert_int_equal(ready(w, "encode"), 1);
    assert_counts(w);
}

static void test_unknown_job_is_not_found(void **state)
{
    struct world *w = *state;
    struct uuid id = id_make(w);
    struct job job = submit(w, "encode");

    assert_int_equal(w->d->job_get(w->s, "default", &id, w->arena, &job, NULL), ERR_NOT_FOUND);
    id = job.job_id;
    assert_int_equal(w->d->job_get(w->s, "another", &id, w->arena, &job, NULL), ERR_NOT_FOUND);
}

static struct op *keyed(struct world *w, const char *key, uint8_t hash)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.dedup_key = key;
    op->u.submit.request_hash[0] = hash;
    op->u.submit.dedup_us = 60 * USEC_PER_SEC;
    return op;
}

/* 500 submissions with one key in one batch, and 500 more in others: one job. */
static void test_P26_one_key_one_job(void **state)
{
    struct world *w = *state;
    struct op *ops[500];
    struct uuid first = {{0}};

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(ops); i++)
            ops[i] = keyed(w, "k", 1);
        apply_all(w, ops, ARRAY_LEN(ops));
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            assert_ok(ops[i]);
            if (round == 0 && i == 0)
                first = ops[0]->u.submit.job.job_id;
            assert_int_equal(ops[i]->u.submit.duplicate, round || i);
            assert_true(uuid_equal(&ops[i]->u.submit.job.job_id, &first));
        }
    }
    assert_int_equal(ready(w, "encode"), 1);
    assert_counts(w);
}

static void test_key_with_another_request_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct op *a = keyed(w, "k", 1), *b = keyed(w, "k", 2);

    apply(w, a);
    b->u.submit.job.payload = "{\"a\": 2}";
    apply(w, b);
    assert_refused(b, ERR_CONFLICT);
    assert_int_equal(ready(w, "encode"), 1);
}

/* Of a request that refers to nothing no hash is made: none is not like none, and an earlier server's is no obstacle. */
static void test_without_a_hash_the_content_decides(void **state)
{
    static const uint8_t before[] = {0, 1};
    struct world *w = *state;

    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        struct op *first = keyed(w, i ? "k1" : "k0", before[i]), *again = keyed(w, i ? "k1" : "k0", 0),
                  *other = keyed(w, i ? "k1" : "k0", 0);

        again->u.submit.delay_us = USEC_PER_SEC; /* when it is to run is not what */
        other->u.submit.job.priority = 9;
        apply_all(w, (struct op *[]){first, again, other}, 3);
        assert_ok(first);
        assert_ok(again);
        assert_true(again->u.submit.duplicate);
        assert_refused(other, ERR_CONFLICT);
    }
}

/* Made ahead or by the store, they are the same, whatever was asked: each of a pair is the other's repetition. */
static void test_hashes_made_ahead_are_the_stores(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 64; i++) {
        struct op *pair[2], *other;
        const char *key = arena_printf(w->arena, "k%u", i);

        for (size_t k = 0; k < 3; k++) {
            struct op *op = keyed(w, key, 0);
            struct job *job = &op->u.submit.job;
            job->queue = i & 1 ? "q" : NULL;
            job->payload = i & 2 ? "{\"a\":1}" : NULL;
            job->labels = i & 4 ? "{\"l\":\"v\"}" : NULL;
            job->max_attempts = i & 8 ? 7 : 0;
            job->no_progress_us = i & 16 ? USEC_PER_SEC : 0;
            if (k == 2)
                job->timeout_us = 1;
            if (k == 2 || (k == 1) == (i < 32))
                assert_int_equal(submit_hash(op->project, &op->u.submit.job, &op->u.submit.hashes, NULL), ERR_OK);
            *(k == 2 ? &other : &pair[k]) = op;
        }
        apply_all(w, (struct op *[]){pair[0], pair[1], other}, 3);
        assert_ok(pair[0]);
        assert_ok(pair[1]);
        assert_true(pair[1]->u.submit.duplicate);
        assert_refused(other, ERR_CONFLICT);
    }
}

/* What is in a blob the store alone knows. */
static void test_no_hashes_of_what_refers(void **state)
{
    struct world *w = *state;
    struct op *op = keyed(w, "k", 1);

    op->u.submit.job.payload_ref = ref(w, blob(w, "bytes"));
    assert_int_equal(submit_hash(op->project, &op->u.submit.job, &op->u.submit.hashes, NULL), ERR_OK);
    assert_false(op->u.submit.hashes.made);
}

static void test_same_bytes_uploaded_twice_are_the_same_request(void **state)
{
    struct world *w = *state;
    struct uuid one = blob(w, "bytes"), two = blob(w, "bytes"), three = blob(w, "other");
    struct op *a = keyed(w, "k", 1), *b = keyed(w, "k", 2), *c = keyed(w, "k", 3);

    a->u.submit.job.payload_ref = ref(w, one);
    b->u.submit.job.payload_ref = ref(w, two);
    c->u.submit.job.payload_ref = ref(w, three);
    apply_all(w, (struct op *[]){a, b, c}, 3);
    assert_ok(a);
    assert_ok(b);
    assert_true(b->u.submit.duplicate);
    assert_refused(c, ERR_CONFLICT);
    assert_int_equal(refs(w, one), 1);
    assert_int_equal(refs(w, two), 0);
}

static void test_key_is_free_after_its_window(void **state)
{
    struct world *w = *state;
    struct op *a = keyed(w, "k", 1), *b = keyed(w, "k", 2);

    apply(w, a);
    later(w, 60 * USEC_PER_SEC);
    apply(w, b);
    assert_ok(b);
    assert_false(b->u.submit.duplicate);
    later(w, 60 * USEC_PER_SEC);
    assert_int_equal(sweep(w, OP_SWEEP_DEDUP)->u.sweep.touched, 1);
    assert_int_equal(sweep(w, OP_SWEEP_DEDUP)->u.sweep.touched, 0);
}

static void test_references_are_taken_with_the_submission(void **state)
{
    struct world *w = *state;
    struct uuid a = blob(w, "a"), b = blob(w, "b");
    struct op *op = submit_op(w, "encode"), *bad = submit_op(w, "encode"), *worse = submit_op(w, "encode");
    struct job_input inputs[] = {{"x", ref(w, b)}, {"y", ref(w, b)}};
    struct job_input missing[] = {{"x", ref(w, a)}, {"y", ref(w, id_make(w))}};

    op->u.submit.job.payload_ref = ref(w, a);
    op->u.submit.job.inputs = inputs;
    op->u.submit.job.n_inputs = 2;
    bad->u.submit.job.inputs = missing;
    bad->u.submit.job.n_inputs = 2;
    worse->u.submit.job.payload_ref = "s3://bucket/key";
    apply_all(w, (struct op *[]){bad, op, worse}, 3);
    assert_ok(op);
    assert_refused(bad, ERR_INVALID);
    assert_string_equal(bad->err.field, "inputs[1].ref");
    assert_refused(worse, ERR_INVALID);
    assert_string_equal(worse->err.field, "payload_ref");
    assert_int_equal(refs(w, a), 1);
    assert_int_equal(refs(w, b), 2);
    struct job job = get(w, op->u.submit.job.job_id);
    assert_int_equal(job.n_inputs, 2);
    assert_string_equal(job.inputs[1].name, "y");
    assert_string_equal(job.inputs[1].ref, inputs[1].ref);
}

static void test_unreferenced_blobs_are_swept(void **state)
{
    struct world *w = *state;
    struct uuid used = blob(w, "used"), unused = blob(w, "unused");
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.payload_ref = ref(w, used);
    apply(w, op);
    struct op *s = sweep(w, OP_SWEEP_BLOBS);
    assert_int_equal(s->u.sweep.touched, 0);
    assert_int_equal(s->u.sweep.next_at, w->d->now(w->s) + w->policy.blob_unreferenced_us);
    later(w, w->policy.blob_unreferenced_us);
    s = sweep(w, OP_SWEEP_BLOBS);
    assert_int_equal(s->u.sweep.n_removed, 1);
    assert_true(uuid_equal(&s->u.sweep.removed[0], &unused));
    assert_int_equal(refs(w, unused), -1);
    assert_int_equal(refs(w, used), 1);
    assert_int_equal(s->u.sweep.next_at, USEC_NEVER);
}

static void test_blob_added_twice(void **state)
{
    struct world *w = *state;
    struct op *op = op_make(w, OP_BLOB_ADD), *other;

    op->u.blob_add.row = (struct blob_row){.blob_id = id_make(w), .size = 1};
    assert_int_equal(apply(w, op), ERR_OK);
    assert_int_equal(apply(w, op), ERR_OK);
    other = op_make(w, OP_BLOB_ADD);
    other->u.blob_add.row = (struct blob_row){.blob_id = op->u.blob_add.row.blob_id, .size = 2};
    apply(w, other);
    assert_refused(other, ERR_CONFLICT);
}

static void test_blob_keeps_its_sum_if_there_is_one(void **state)
{
    struct world *w = *state;

    for (int summed = 0; summed < 2; summed++) {
        struct op *op = op_make(w, OP_BLOB_ADD);
        struct blob_row *row = &op->u.blob_add.row, got;

        *row = (struct blob_row){.blob_id = id_make(w), .size = 1, .summed = summed, .xxh128 = {0, 1, [15] = 255}};
        assert_int_equal(apply(w, op), ERR_OK);
        assert_int_equal(w->d->blob_get(w->s, "default", &row->blob_id, w->arena, &got, NULL), ERR_OK);
        assert_int_equal(got.summed, summed);
        if (summed)
            assert_memory_equal(got.xxh128, row->xxh128, sizeof(got.xxh128));
    }
}

static void test_scheduled_job_becomes_ready_when_due(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode"), *s;

    op->u.submit.delay_us = 10 * USEC_PER_SEC;
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->n_changes, 0);
    assert_int_equal(ready(w, "encode"), 0);
    s = sweep(w, OP_SWEEP_DUE);
    assert_int_equal(s->u.sweep.touched, 0);
    assert_int_equal(s->u.sweep.next_at, op->u.submit.job.run_at);
    later(w, 10 * USEC_PER_SEC);
    s = sweep(w, OP_SWEEP_DUE);
    assert_int_equal(s->u.sweep.touched, 1);
    assert_int_equal(s->n_changes, 1);
    assert_int_equal(s->changes[0].delta, 1);
    assert_int_equal(s->u.sweep.next_at, USEC_NEVER);
    assert_int_equal(ready(w, "encode"), 1);
}

static void test_missed_start_deadline_fails_the_job(void **state)
{
    struct world *w = *state;
    struct op *op = submit_op(w, "encode"), *s;

    op->u.submit.start_within_us = 10 * USEC_PER_SEC;
    apply(w, op);
    assert_int_equal(sweep(w, OP_SWEEP_DUE)->u.sweep.next_at, op->u.submit.job.start_deadline_at);
    later(w, 10 * USEC_PER_SEC);
    s = sweep(w, OP_SWEEP_DUE);
    assert_int_equal(s->u.sweep.touched, 1);
    assert_int_equal(s->changes[0].delta, -1);
    struct job job = get(w, op->u.submit.job.job_id);
    assert_int_equal(job.status, JOB_FAILED);
    assert_int_equal(job.last_outcome, OUTCOME_EXPIRED);
    assert_counts(w);
}

static void test_more_due_than_a_pass_takes(void **state)
{
    struct world *w = *state;
    size_t n = OP_CHANGES_MAX + 10, seen = 0;
    struct op *s;

    for (size_t i = 0; i < n; i++) { /* each in a lane of its own */
        struct op *op = submit_op(w, arena_printf(w->arena, "t%zu", i));
        op->u.submit.delay_us = 1;
        apply(w, op);
        assert_ok(op);
    }
    later(w, 1);
    do {
        s = sweep(w, OP_SWEEP_DUE);
        assert_true(s->u.sweep.touched <= OP_CHANGES_MAX);
        assert_int_equal(s->n_changes, s->u.sweep.touched);
        seen += s->u.sweep.touched;
    } while (s->u.sweep.more);
    assert_int_equal(seen, n);
}

static void test_lists_newest_first_in_pages(void **state)
{
    struct world *w = *state;
    struct uuid id[7];
    struct job_filter f = {.project = "default", .status = -1, .limit = 3};
    struct job_page page;
    size_t seen = 0;

    for (size_t i = 0; i < ARRAY_LEN(id); i++)
        id[i] = submit(w, i % 2 ? "encode" : "scale").job_id;
    struct op *done = job_op(w, OP_CANCEL, id[3]); /* lies in history now, and still in its place */
    assert_int_equal(apply(w, done), ERR_OK);
    do {
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        for (size_t i = 0; i < page.n; i++, seen++)
            assert_true(uuid_equal(&page.jobs[i].job_id, &id[ARRAY_LEN(id) - 1 - seen]));
        f.before = page.jobs[page.n - 1].job_id;
    } while (page.more);
    assert_int_equal(seen, 7);
    f = (struct job_filter){
        .project = "default", .status = JOB_PENDING, .task_type = "encode", .queue = "encode", .limit = 10};
    assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
    assert_int_equal(page.n, 2);
    assert_false(page.more);
    f.project = "another";
    assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
    assert_int_equal(page.n, 0);
}

static void test_refusals_leave_neighbours_alone(void **state)
{
    struct world *w = *state;
    struct op *good = submit_op(w, "encode"), *bad = job_op(w, OP_CANCEL, id_make(w)), *same = submit_op(w, "encode"),
              *last = submit_op(w, "encode");

    same->u.submit.job.job_id = good->u.submit.job.job_id;
    apply_all(w, (struct op *[]){good, bad, same, last}, 4);
    assert_ok(good);
    assert_refused(bad, ERR_NOT_FOUND);
    assert_refused(same, ERR_INTERNAL);
    assert_ok(last);
    assert_int_equal(ready(w, "encode"), 2);
    assert_counts(w);
}

/* What submissions insert is written several jobs at a time: a row that cannot be is refused, wherever it stands among them. */
static void test_an_id_that_is_taken_is_refused_alone(void **state)
{
    struct world *w = *state;
    struct op *ops[22];

    for (size_t at = 0; at < ARRAY_LEN(ops); at++) {
        struct uuid taken = submit(w, "encode").job_id;

        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            ops[i] = submit_op(w, "encode");
            ops[i]->u.submit.job.dedup_key = i % 3 ? NULL : arena_printf(w->arena, "%zu/%zu", at, i);
        }
        ops[at]->u.submit.job.job_id = taken;
        apply_all(w, ops, ARRAY_LEN(ops));
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            assert_int_equal(ops[i]->err.code == ERR_OK, i != at);
            assert_int_equal(get(w, ops[i]->u.submit.job.job_id).status, JOB_PENDING);
        }
        assert_counts(w);
    }
}

/* Each kind of op sees what came before it in its batch. */
static void test_ops_see_the_submissions_before_them(void **state)
{
    struct world *w = *state;
    struct op *ops[] = {submit_op(w, "encode"), submit_op(w, "encode"), NULL, submit_op(w, "encode"),
                        submit_op(w, "encode")};

    ops[1]->u.submit.job.dedup_key = ops[3]->u.submit.job.dedup_key = "k";
    ops[2] = job_op(w, OP_CANCEL, ops[1]->u.submit.job.job_id);
    apply_all(w, ops, ARRAY_LEN(ops));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        assert_ok(ops[i]);
    assert_true(ops[3]->u.submit.duplicate);
    assert_true(uuid_equal(&ops[3]->u.submit.job.job_id, &ops[1]->u.submit.job.job_id));
    assert_int_equal(get(w, ops[1]->u.submit.job.job_id).status, JOB_CANCELLED);
    assert_int_equal(get(w, ops[4]->u.submit.job.job_id).status, JOB_PENDING);
    assert_counts(w);
}

/* More rows than are written at once, of ids in no order; all of one kind but for what is each one's own, or of many kinds. */
static void many_in_one_batch(struct world *w, bool alike)
{
    struct op *ops[319]; /* rows that wait are written 256 at once, then the other 63 in statements of each size */
    struct job asked[ARRAY_LEN(ops)];

    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct op *op = ops[i] = keyed(w, i % 3 ? arena_printf(w->arena, "%d-%zu", alike, i) : NULL, 0);
        struct job *job = &op->u.submit.job;
        job->payload = arena_printf(w->arena, "{\"i\":%zu}", i);
        job->labels = i % 4 ? arena_printf(w->arena, "{\"a\":\"%zu\",\"b\":\"%zu\"}", i, i % 7) : "{}";
        job->traceparent = i % 5 ? NULL : arena_printf(w->arena, "trace %zu", i);
        job->tracestate = i % 10 ? NULL : "state";
        if (!alike) {
            job->queue = arena_printf(w->arena, "q%zu", i % 2);
            job->priority = (int)(i % 10);
            job->max_attempts = (uint32_t)(1 + i % 9);
            job->timeout_us = (usec)i;
            job->no_progress_us = (usec)(i * 2);
            op->u.submit.delay_us = i % 6 ? 0 : USEC_PER_SEC;
        }
        asked[i] = *job;
        later(w, 1000);
    }
    for (size_t i = 0, k = 0; i < ARRAY_LEN(ops); i++, k = (k + 7) % ARRAY_LEN(ops)) { /* 7 and 319 share no factor */
        struct uuid id = asked[i].job_id;
        asked[i].job_id = ops[i]->u.submit.job.job_id = asked[k].job_id;
        asked[k].job_id = ops[k]->u.submit.job.job_id = id;
    }
    apply_all(w, ops, ARRAY_LEN(ops));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_ok(ops[i]);
        struct job got = get(w, asked[i].job_id);
        assert_string_equal(got.queue, asked[i].queue);
        assert_string_equal(got.payload, asked[i].payload);
        assert_string_equal(got.labels, asked[i].labels);
        assert_string_equal(got.dedup_key ? got.dedup_key : "-", asked[i].dedup_key ? asked[i].dedup_key : "-");
        assert_string_equal(got.traceparent ? got.traceparent : "-", asked[i].traceparent ? asked[i].traceparent : "-");
        assert_string_equal(got.tracestate ? got.tracestate : "-", asked[i].tracestate ? asked[i].tracestate : "-");
        assert_int_equal(got.priority, asked[i].priority);
        assert_int_equal(got.timeout_us, asked[i].timeout_us);
        assert_int_equal(got.no_progress_us, asked[i].no_progress_us);
        assert_int_equal(got.run_at - got.created_at, ops[i]->u.submit.delay_us);
        if (!alike)
            assert_int_equal(got.max_attempts, asked[i].max_attempts);
    }
    assert_counts(w);
}

static void test_many_alike_in_one_batch(void **state)
{
    many_in_one_batch(*state, true);
}

static void test_many_kinds_in_one_batch(void **state)
{
    many_in_one_batch(*state, false);
}

const struct CMUnitTest submit_tests[] = {
    TEST(test_submitted_job_is_there),
    TEST(test_unknown_job_is_not_found),
    TEST(test_P26_one_key_one_job),
    TEST(test_key_with_another_request_is_a_conflict),
    TEST(test_without_a_hash_the_content_decides),
    TEST(test_hashes_made_ahead_are_the_stores),
    TEST(test_no_hashes_of_what_refers),
    TEST(test_same_bytes_uploaded_twice_are_the_same_request),
    TEST(test_key_is_free_after_its_window),
    TEST(test_references_are_taken_with_the_submission),
    TEST(test_unreferenced_blobs_are_swept),
    TEST(test_blob_added_twice),
    TEST(test_blob_keeps_its_sum_if_there_is_one),
    TEST(test_scheduled_job_becomes_ready_when_due),
    TEST(test_missed_start_deadline_fails_the_job),
    TEST(test_more_due_than_a_pass_takes),
    TEST(test_lists_newest_first_in_pages),
    TEST(test_refusals_leave_neighbours_alone),
    TEST(test_an_id_that_is_taken_is_refused_alone),
    TEST(test_ops_see_the_submissions_before_them),
    TEST(test_many_alike_in_one_batch),
    TEST(test_many_kinds_in_one_batch),
};
const size_t n_submit_tests = ARRAY_LEN(submit_tests);
