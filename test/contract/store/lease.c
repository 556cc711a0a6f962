/* Leases: how they lapse, who pays, and what may still come. */
#include "suite.h"

static struct job held(struct world *w, struct uuid worker)
{
    submit(w, "encode");
    struct job job = claim(w, worker, "encode");
    assert_ok(heartbeat(w, &job));
    return job;
}

static void test_P02_lapsed_lease_makes_the_job_claimable(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *s = sweep(w, OP_SWEEP_LEASES);

    assert_int_equal(s->u.sweep.touched, 0);
    assert_int_equal(s->u.sweep.next_at, w->d->now(w->s) + w->policy.lease_us);
    later(w, w->policy.lease_us);
    s = sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(s->u.sweep.touched, 1);
    assert_false(s->u.sweep.more);
    assert_int_equal(s->u.sweep.next_at, USEC_NEVER);
    assert_int_equal(s->changes[0].delta, 1);
    struct job now = get(w, job.job_id);
    assert_int_equal(now.status, JOB_PENDING);
    assert_int_equal(now.losses, 1);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_LOST);
    assert_int_equal(claim(w, w->other, "encode").attempt, 2);
    assert_counts(w);
}

static void test_unconfirmed_claim_costs_nothing(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    later(w, w->policy.confirm_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
    struct job now = get(w, job.job_id);
    assert_int_equal(now.status, JOB_PENDING);
    assert_int_equal(now.losses + now.retries + now.interruptions, 0);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_UNCONFIRMED);
}

static void test_grace_holds_every_lease(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *grace = op_make(w, OP_GRACE);

    later(w, w->policy.lease_us);
    grace->u.grace.until = w->d->now(w->s) + w->policy.lease_us;
    assert_int_equal(apply(w, grace), ERR_OK);
    world_reopen(w); /* it is written */
    struct op *s = sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(s->u.sweep.touched, 0);
    assert_int_equal(s->u.sweep.next_at, grace->u.grace.until);
    assert_int_equal(get(w, job.job_id).status, JOB_RUNNING);
    later(w, w->policy.lease_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
}

static void test_P06_losses_of_several_workers_are_charged_to_none(void **state)
{
    struct world *w = *state;
    struct job a = held(w, w->worker), b = held(w, w->other);

    later(w, w->policy.lease_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 2);
    assert_int_equal(get(w, a.job_id).losses, 0);
    assert_int_equal(get(w, b.job_id).losses, 0);
    assert_int_equal(get(w, a.job_id).status, JOB_PENDING);
}

static void test_P06_too_many_losses_end_in_the_dead_letters(void **state)
{
    struct world *w = *state;
    struct job job = submit(w, "encode");

    for (uint32_t i = 0; i < w->policy.max_losses; i++) {
        struct job at = claim(w, w->worker, "encode");
        assert_ok(heartbeat(w, &at));
        later(w, w->policy.lease_us);
        assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
    }
    assert_int_equal(get(w, job.job_id).status, JOB_FAILED);
    assert_non_null(get(w, job.job_id).error_log);
    assert_counts(w);
}

/* The leases of a fleet that went away at once end as its renewals were staggered: each sweep sees one. */
static void test_P06_losses_within_one_heartbeat_are_one_event(void **state)
{
    struct world *w = *state;
    const usec heartbeat_us = w->policy.heartbeat_us;
    struct job a = held(w, w->worker);

    later(w, heartbeat_us);
    struct job b = held(w, w->other);
    later(w, w->policy.lease_us - heartbeat_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1); /* the first: the other has not lapsed yet */
    assert_int_equal(get(w, a.job_id).losses, 0);
    later(w, heartbeat_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1); /* the last: the other is gone already */
    assert_int_equal(get(w, b.job_id).losses, 0);
    assert_int_equal(attempt_of(w, a.job_id, 1).outcome, OUTCOME_LOST);
}

static void test_P06_loss_is_charged_while_others_are_well(void **state)
{
    struct world *w = *state;
    struct job a = held(w, w->worker), b = held(w, w->other);

    later(w, w->policy.lease_us - w->policy.heartbeat_us);
    assert_ok(heartbeat(w, &b)); /* as late as ever: about to renew again when the first lapses */
    later(w, w->policy.heartbeat_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
    assert_int_equal(get(w, a.job_id).losses, 1);
    assert_int_equal(get(w, b.job_id).status, JOB_RUNNING);
}

static void test_P06_losses_around_an_outage_are_charged_to_none(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *grace = op_make(w, OP_GRACE);

    later(w, 3 * w->policy.lease_us);
    grace->u.grace.until = w->d->now(w->s) + w->policy.lease_us;
    apply(w, grace);
    later(w, w->policy.lease_us);
    assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
    assert_int_equal(get(w, job.job_id).status, JOB_PENDING);
    assert_int_equal(get(w, job.job_id).losses, 0);
    job = claim(w, w->other, "encode"); /* and the next one, long after, is */
    assert_ok(heartbeat(w, &job));
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(get(w, job.job_id).losses, 1);
}

static void test_loss_is_given_back_when_the_attempt_goes_on(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);

    for (uint32_t i = 0; i < 2 * w->policy.max_losses; i++) { /* a bad line, and nobody else to take it */
        later(w, w->policy.lease_us);
        assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 1);
        assert_int_equal(get(w, job.job_id).losses, 1);
        assert_ok(heartbeat(w, &job));
        assert_int_equal(get(w, job.job_id).losses, 0);
    }
    assert_int_equal(get(w, job.job_id).attempt, 1);
}

static void test_cancelled_job_ends_with_its_lease(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *out = output_op(w, &job, "o");

    apply(w, out);
    apply(w, job_op(w, OP_CANCEL, job.job_id));
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(get(w, job.job_id).status, JOB_CANCELLED);
    assert_int_equal(refs(w, out->u.output.blob_id), 0);
    assert_counts(w);
}

/* Ten finished hours are not thrown away: nobody claimed since. */
static void test_P10_late_completion_with_the_latest_token(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    const char *names[] = {"o", "p"};
    struct op *early = output_op(w, &job, "o"), *late = output_op(w, &job, "p"), *op;

    apply(w, early);
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(get(w, job.job_id).status, JOB_PENDING);
    apply(w, late);
    assert_ok(late);
    op = complete_op(w, &job, names, 2);
    apply(w, op);
    assert_ok(op);
    assert_int_equal(op->u.complete.status, JOB_SUCCESS);
    assert_int_equal(op->changes[0].delta, -1);
    assert_int_equal(refs(w, early->u.output.blob_id), 1);
    assert_int_equal(ready(w, "encode"), 0);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_SUCCESS);
    assert_counts(w);
}

static void test_late_heartbeat_resumes(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *op;

    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    op = heartbeat(w, &job);
    assert_ok(op);
    assert_int_equal(op->u.heartbeat.was, JOB_PENDING);
    assert_int_equal(op->changes[0].delta, -1);
    assert_int_equal(get(w, job.job_id).status, JOB_RUNNING);
    assert_int_equal(attempt_of(w, job.job_id, 1).ended_at, 0);
    assert_int_equal(ready(w, "encode"), 0);
    assert_counts(w);
}

static void test_the_next_claim_drops_what_the_lapsed_attempt_staged(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);
    struct op *out = output_op(w, &job, "o");

    apply(w, out);
    later(w, w->policy.lease_us);
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(refs(w, out->u.output.blob_id), 1);
    claim(w, w->other, "encode");
    assert_int_equal(refs(w, out->u.output.blob_id), 0);
}

/* P01 on the store's side: as long as it is renewed, a day is one attempt. */
static void test_P01_a_day_of_heartbeats_is_one_attempt(void **state)
{
    struct world *w = *state;
    struct job job = held(w, w->worker);

    for (usec t = 0; t < 24 * 3600 * USEC_PER_SEC; t += 45 * USEC_PER_SEC) {
        later(w, 45 * USEC_PER_SEC);
        assert_int_equal(sweep(w, OP_SWEEP_LEASES)->u.sweep.touched, 0);
        assert_ok(heartbeat(w, &job));
    }
    assert_int_equal(get(w, job.job_id).attempt, 1);
}

/* Random ops on a few jobs: the counters, the lanes and the statuses always agree. */
static void test_counts_agree_after_anything(void **state)
{
    struct world *w = *state;
    struct job held_jobs[16] = {0};
    struct uuid id[16];
    uint64_t seed = 20261125;
    struct rng_seeded dice = {seed};

    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < ARRAY_LEN(id); i++)
        id[i] = submit(w, i % 2 ? "encode" : "scale").job_id;
    int64_t lane_sum = 16;
    for (int step = 0; step < 600; step++) {
        uint64_t r = rng_u64(rng_seeded_view(&dice));
        size_t i = r % 16;
        struct op *op = NULL;

        switch ((r >> 8) % 9) {
        case 0:
        case 1:
        case 2:
            op = claim_op(w, r & 4096 ? w->worker : w->other, arena_printf(w->arena, "p%d", step),
                          r & 1 ? "encode" : "scale", 2);
            break;
        case 3:
            op = held_jobs[i].attempt ? fail_op(w, &held_jobs[i], OUTCOME_ERROR, r & 2048) : NULL;
            break;
        case 4:
            op = job_op(w, r & 2048 ? OP_CANCEL : OP_RETRY, id[i]);
            break;
        case 5:
            op = job_op(w, OP_RETRY, id[i]);
            break;
        case 6:
            later(w, (usec)(r >> 16) % (40 * USEC_PER_SEC));
            op = op_make(w, OP_SWEEP_LEASES);
            break;
        case 7:
            op = op_make(w, OP_SWEEP_DUE);
            break;
        default:
            if (held_jobs[i].attempt) {
                op = op_make(w, OP_HEARTBEAT);
                op->u.heartbeat.job_id = id[i];
                op->u.heartbeat.token = held_jobs[i].token;
            }
        }
        if (!op)
            continue;
        apply(w, op);
        for (size_t k = 0; k < op->n_changes; k++)
            lane_sum += op->changes[k].delta;
        for (size_t k = 0; op->kind == OP_CLAIM && k < op->u.claim.n_claimed; k++)
            for (size_t j = 0; j < 16; j++)
                if (uuid_equal(&id[j], &op->u.claim.claimed[k].job.job_id))
                    held_jobs[j] = op->u.claim.claimed[k].job;
        assert_int_equal(lane_sum, ready(w, "encode") + ready(w, "scale"));
        if (step % 20 == 0)
            assert_counts(w);
    }
    assert_counts(w);
}

const struct CMUnitTest lease_tests[] = {
    TEST(test_P02_lapsed_lease_makes_the_job_claimable),
    TEST(test_unconfirmed_claim_costs_nothing),
    TEST(test_grace_holds_every_lease),
    TEST(test_P06_losses_of_several_workers_are_charged_to_none),
    TEST(test_P06_losses_within_one_heartbeat_are_one_event),
    TEST(test_P06_loss_is_charged_while_others_are_well),
    TEST(test_P06_losses_around_an_outage_are_charged_to_none),
    TEST(test_loss_is_given_back_when_the_attempt_goes_on),
    TEST(test_P06_too_many_losses_end_in_the_dead_letters),
    TEST(test_cancelled_job_ends_with_its_lease),
    TEST(test_P10_late_completion_with_the_latest_token),
    TEST(test_late_heartbeat_resumes),
    TEST(test_the_next_claim_drops_what_the_lapsed_attempt_staged),
    TEST(test_P01_a_day_of_heartbeats_is_one_attempt),
    TEST(test_counts_agree_after_anything),
};
const size_t n_lease_tests = ARRAY_LEN(lease_tests);
