/* What decided ops tell beside their outcome, and what the store says of its size: metrics are made of it. */
#include "suite.h"

static void assert_ended(const struct op *op, enum outcome outcome, unsigned n, usec ran_us)
{
    assert_ok(op);
    assert_int_equal(op->n_ended, 1);
    assert_string_equal(op->ended[0].task_type, "encode");
    assert_string_equal(op->ended[0].queue, "encode");
    assert_int_equal(op->ended[0].outcome, outcome);
    assert_int_equal(op->ended[0].n, n);
    assert_int_equal(op->ended[0].ran_us, ran_us);
}

static void test_a_report_tells_the_end_and_the_time_once(void **state)
{
    struct world *w = *state;
    const usec ran_us = 90 * USEC_PER_SEC;

    submit(w, "encode");
    submit(w, "encode");
    struct job good = claim(w, w->worker, "encode"), bad = claim(w, w->worker, "encode");
    later(w, ran_us);
    struct op *op = complete_op(w, &good, NULL, 0), *again = complete_op(w, &good, NULL, 0);
    apply(w, op);
    assert_ended(op, OUTCOME_SUCCESS, 1, ran_us);
    assert_int_equal(op->ended[0].status, JOB_SUCCESS);
    assert_true(op->ended[0].took_us >= ran_us);
    apply(w, again); /* answered as before, and ends nothing again */
    assert_ok(again);
    assert_int_equal(again->n_ended, 0);
    op = fail_op(w, &bad, OUTCOME_OOM, false);
    again = fail_op(w, &bad, OUTCOME_OOM, false);
    apply(w, op);
    assert_ended(op, OUTCOME_OOM, 1, ran_us);
    apply(w, again);
    assert_int_equal(again->n_ended, 0);
    bad.token.secret[0] ^= 1;
    op = complete_op(w, &bad, NULL, 0);
    apply(w, op);
    assert_refused(op, ERR_STALE_TOKEN);
    assert_int_equal(op->n_ended, 0);
}

static void test_sweeps_tell_what_they_ended(void **state)
{
    struct world *w = *state;
    struct op *late = submit_op(w, "encode");

    for (int i = 0; i < 3; i++)
        submit(w, "encode");
    for (int i = 0; i < 2; i++) {
        struct job job = claim(w, w->worker, "encode");
        assert_ok(heartbeat(w, &job));
    }
    later(w, w->policy.lease_us);
    assert_ended(sweep(w, OP_SWEEP_LEASES), OUTCOME_LOST, 2, -1);
    claim(w, w->worker, "encode"); /* and no heartbeat */
    later(w, w->policy.confirm_us);
    assert_ended(sweep(w, OP_SWEEP_LEASES), OUTCOME_UNCONFIRMED, 1, -1);
    late->u.submit.start_within_us = USEC_PER_SEC;
    assert_int_equal(apply(w, late), ERR_OK);
    later(w, USEC_PER_SEC);
    assert_ended(sweep(w, OP_SWEEP_DUE), OUTCOME_EXPIRED, 1, -1);
}

static void test_a_repeated_poll_says_so(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct op *first = claim_op(w, w->worker, "p", "encode", 1), *second = claim_op(w, w->worker, "p", "encode", 1);
    apply(w, first);
    assert_int_equal(first->u.claim.n_claimed, 1);
    assert_false(first->u.claim.again);
    apply(w, second);
    assert_int_equal(second->u.claim.n_claimed, 1);
    assert_true(second->u.claim.again);
}

static void test_a_worker_is_busy_with_what_it_was_given(void **state)
{
    struct world *w = *state;
    struct worker_row *rows;
    size_t n;

    submit(w, "encode");
    submit(w, "encode");
    struct op *op = claim_op(w, w->worker, "p", "encode", 2);
    op->u.claim.slots_busy = 3;
    apply(w, op);
    assert_int_equal(op->u.claim.n_claimed, 2);
    assert_int_equal(w->d->workers(w->s, w->arena, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].slots_busy, 5);
}

static void assert_blobs(struct world *w, int64_t blobs, int64_t bytes)
{
    struct store_sizes sizes;

    w->d->sizes(w->s, &sizes);
    assert_int_equal(sizes.blobs, blobs);
    assert_int_equal(sizes.blob_bytes, bytes);
    assert_true(sizes.database_bytes + sizes.log_bytes > 0);
}

static void test_blobs_are_counted_as_they_come_and_go(void **state)
{
    struct world *w = *state;
    struct op *twice = op_make(w, OP_BLOB_ADD), *other = op_make(w, OP_BLOB_ADD);

    assert_blobs(w, 0, 0);
    struct uuid first = blob(w, "four");
    assert_blobs(w, 1, 4);
    w->d->blob_get(w->s, "default", &first, w->arena, &twice->u.blob_add.row, NULL);
    other->u.blob_add.row = twice->u.blob_add.row;
    other->u.blob_add.row.size = 99;
    apply_all(w, (struct op *[]){twice, other}, 2); /* the same again, and a refusal: neither is one more */
    assert_ok(twice);
    assert_refused(other, ERR_CONFLICT);
    assert_blobs(w, 1, 4);
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    assert_int_equal(apply(w, output_op(w, &job, "made")), ERR_OK); /* 4 bytes */
    assert_blobs(w, 2, 8);
    world_reopen(w);
    assert_blobs(w, 2, 8);
    later(w, w->policy.blob_unreferenced_us);
    assert_int_equal(sweep(w, OP_SWEEP_BLOBS)->u.sweep.n_removed, 1);
    assert_blobs(w, 1, 4);
    world_reopen(w);
    assert_blobs(w, 1, 4);
}

static struct op *tally_op(struct world *w, const char *key, uint64_t good, uint64_t bad)
{
    struct tally *more = arena_alloc(w->arena, sizeof *more);
    struct op *op = op_make(w, OP_TALLY);

    tally_add(more, w->d->now(w->s), good, bad);
    op->u.tally.key = key;
    op->u.tally.more = more;
    return op;
}

static void assert_tally(struct world *w, const struct tally *t, uint64_t good, uint64_t bad)
{
    struct tally_sum sum = tally_last(t, w->d->now(w->s), TALLY_US);

    assert_int_equal(sum.good, good);
    assert_int_equal(sum.bad, bad);
}

static void test_tallies_add_up_and_are_kept(void **state)
{
    struct world *w = *state;
    struct op *ops[] = {tally_op(w, "tally/a", 3, 1), tally_op(w, "tally/b", 7, 0), tally_op(w, "tally/a", 1, 1)};
    const char *text = NULL;
    struct tally kept;

    apply_all(w, ops, ARRAY_LEN(ops));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        assert_ok(ops[i]);
    assert_tally(w, ops[0]->u.tally.total, 3, 1);
    assert_tally(w, ops[1]->u.tally.total, 7, 0);
    assert_tally(w, ops[2]->u.tally.total, 4, 2);
    world_reopen(w);
    assert_int_equal(w->d->meta_get(w->s, "tally/a", w->arena, &text, NULL), ERR_OK);
    tally_read(&kept, text);
    assert_tally(w, &kept, 4, 2);
    struct op *more = tally_op(w, "tally/a", 1, 0);
    apply(w, more);
    assert_tally(w, more->u.tally.total, 5, 2);
}

static struct op *office_op(struct world *w, const char *holder, usec for_us, const char *notes)
{
    struct op *op = op_make(w, OP_OFFICE);

    op->u.office = (struct op_office){.key = "office/x", .holder = holder, .for_us = for_us, .notes = notes};
    return op;
}

static void assert_office(struct world *w, const char *holder, usec for_us, const char *notes, bool held, bool taken,
                          const char *was)
{
    struct op *op = office_op(w, holder, for_us, notes);

    assert_int_equal(apply(w, op), ERR_OK);
    assert_int_equal(op->u.office.held, held);
    assert_int_equal(op->u.office.taken, taken);
    assert_string_equal(op->u.office.was, was);
}

static void test_an_office_is_held_by_one(void **state)
{
    const usec half = 10 * USEC_PER_SEC;
    struct world *w = *state;

    assert_office(w, "a", 2 * half, "not yet mine to leave", true, true, "");
    assert_office(w, "a", 2 * half, "a's notes", true, false, "");
    assert_office(w, "b", 2 * half, "b's notes", false, false, "a's notes");
    later(w, half);
    assert_office(w, "a", 2 * half, NULL, true, false, "a's notes");
    later(w, half + 1);
    assert_office(w, "b", 2 * half, NULL, false, false, "a's notes");
    world_reopen(w);
    later(w, half);
    assert_office(w, "b", 2 * half, "too early", true, true, "a's notes");
    assert_office(w, "a", 2 * half, "too late", false, false, "a's notes");
    assert_office(w, "b", 0, "b's notes", true, false, "a's notes"); /* given up: nobody has to wait */
    assert_office(w, "a", 2 * half, NULL, true, true, "b's notes");
}

static void test_two_in_one_batch_do_not_both_hold_an_office(void **state)
{
    struct world *w = *state;
    struct op *a = office_op(w, "a", USEC_PER_SEC, NULL), *b = office_op(w, "b", USEC_PER_SEC, NULL);

    apply_all(w, (struct op *[]){a, b}, 2);
    assert_ok(a);
    assert_ok(b);
    assert_int_equal(a->u.office.held + b->u.office.held, 1);
}

const struct CMUnitTest told_tests[] = {
    TEST(test_a_report_tells_the_end_and_the_time_once),
    TEST(test_sweeps_tell_what_they_ended),
    TEST(test_a_repeated_poll_says_so),
    TEST(test_a_worker_is_busy_with_what_it_was_given),
    TEST(test_blobs_are_counted_as_they_come_and_go),
    TEST(test_tallies_add_up_and_are_kept),
    TEST(test_an_office_is_held_by_one),
    TEST(test_two_in_one_batch_do_not_both_hold_an_office),
};
const size_t n_told_tests = ARRAY_LEN(told_tests);
