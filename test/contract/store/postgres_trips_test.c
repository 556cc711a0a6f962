/* A batch costs as many round trips with a hundred ops as with one. */
#include "fixture.h"
#include "fresh_postgres.h"
#include <libpq-fe.h>
#include <stdlib.h>

#define MANY      100
#define TRIPS_MAX 6

const struct store_driver *contract_driver;

/** Round trips of a batch, whose ops all succeed. */
static uint64_t trips(struct world *w, struct op **ops, size_t n)
{
    uint64_t before = store_postgres_round_trips(w->s);

    apply_all(w, ops, n);
    for (size_t i = 0; i < n; i++)
        assert_ok(ops[i]);
    return store_postgres_round_trips(w->s) - before;
}

static uint64_t submits(struct world *w, size_t n)
{
    struct op *ops[MANY];

    for (size_t i = 0; i < n; i++) {
        struct uuid id = id_make(w);
        char text[UUID_STR_MAX];
        uuid_format(&id, text);
        ops[i] = submit_op(w, "encode");
        ops[i]->u.submit.job.dedup_key = arena_strdup(w->arena, text);
        ops[i]->u.submit.job.labels = "{\"a\": \"1\", \"b\": \"2\"}";
        ops[i]->u.submit.dedup_us = 60 * USEC_PER_SEC;
    }
    return trips(w, ops, n);
}

static uint64_t claims(struct world *w, struct job *ret, size_t n)
{
    struct op *ops[MANY];

    for (size_t i = 0; i < n; i++)
        ops[i] = claim_op(w, id_make(w), "poll", "encode", 1);
    uint64_t made = trips(w, ops, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ops[i]->u.claim.n_claimed, 1);
        ret[i] = ops[i]->u.claim.claimed[0].job;
        for (size_t k = 0; k < i; k++)
            assert_false(uuid_equal(&ret[i].job_id, &ret[k].job_id));
    }
    return made;
}

static uint64_t heartbeats(struct world *w, const struct job *jobs, size_t n)
{
    struct op *ops[MANY];

    for (size_t i = 0; i < n; i++)
        ops[i] = heartbeat(w, &jobs[i]);
    return trips(w, ops, n);
}

static uint64_t completes(struct world *w, const struct job *jobs, size_t n)
{
    struct op *ops[MANY];

    for (size_t i = 0; i < n; i++)
        ops[i] = complete_op(w, &jobs[i], NULL, 0);
    return trips(w, ops, n);
}

static void test_round_trips_do_not_grow_with_the_batch(void **state)
{
    struct world *w = *state;
    struct job job[MANY];
    uint64_t one[4], many[4];

    submit(w, "encode"); /* its lane is known from now on */
    claim(w, w->worker, "encode");
    one[0] = submits(w, 1);
    one[1] = claims(w, job, 1);
    one[2] = heartbeats(w, job, 1);
    one[3] = completes(w, job, 1);
    many[0] = submits(w, MANY);
    many[1] = claims(w, job, MANY);
    many[2] = heartbeats(w, job, MANY);
    many[3] = completes(w, job, MANY);
    for (size_t i = 0; i < ARRAY_LEN(one); i++) {
        print_message("%s: %d and %d\n", (const char *const[]){"submit", "claim", "heartbeat", "complete"}[i],
                      (int)one[i], (int)many[i]);
        assert_int_equal(one[i], many[i]);
        assert_true(many[i] <= TRIPS_MAX);
    }
    assert_counts(w);
}

/* One that is refused after looks: its neighbours go on, and nothing is asked one by one. */
static void test_a_refusal_costs_its_neighbours_no_round_trip(void **state)
{
    struct world *w = *state;
    struct op *ops[MANY];
    struct job job[MANY];

    submits(w, MANY);
    claims(w, job, MANY);
    job[7].token.secret[0] ^= 1;
    for (size_t i = 0; i < MANY; i++)
        ops[i] = complete_op(w, &job[i], NULL, 0);
    uint64_t before = store_postgres_round_trips(w->s);
    apply_all(w, ops, MANY);
    assert_true(store_postgres_round_trips(w->s) - before <= TRIPS_MAX);
    for (size_t i = 0; i < MANY; i++)
        if (i == 7)
            assert_refused(ops[i], ERR_STALE_TOKEN);
        else
            assert_ok(ops[i]);
    assert_int_equal(get(w, job[7].job_id).status, JOB_RUNNING);
    assert_int_equal(get(w, job[8].job_id).status, JOB_SUCCESS);
    assert_counts(w);
}

/* What ops of one batch do to the same job is seen by the later ones, whatever was read ahead. */
static void test_ops_of_a_batch_see_one_another(void **state)
{
    struct world *w = *state;
    struct job first = submit(w, "encode"), second = submit(w, "encode");
    struct op *ops[] = {job_op(w, OP_CANCEL, first.job_id), claim_op(w, w->worker, "p", "encode", 2),
                        claim_op(w, w->worker, "p", "encode", 2), job_op(w, OP_DISCARD, first.job_id),
                        job_op(w, OP_CANCEL, first.job_id)};

    apply_all(w, ops, ARRAY_LEN(ops));
    for (size_t i = 0; i < 4; i++)
        assert_ok(ops[i]);
    assert_refused(ops[4], ERR_NOT_FOUND);
    assert_int_equal(ops[1]->u.claim.n_claimed, 1);
    assert_true(uuid_equal(&ops[1]->u.claim.claimed[0].job.job_id, &second.job_id));
    assert_true(ops[2]->u.claim.again);
    assert_true(uuid_equal(&ops[2]->u.claim.claimed[0].job.job_id, &second.job_id));
    assert_counts(w);
}

/* Of a table that the planner knows nothing of, a claim reads its lane's rows and no others: not by two indexes whose rows are then intersected. */
static void test_a_claim_reads_no_other_lane(void **state)
{
    struct world *w = *state;

    submit(w, "other");
    for (size_t i = 0; i < 60; i++)
        submits(w, MANY);
    claim(w, w->worker, "other");
    /* What they counted is told when they end. */
    ask("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database() AND backend_type = 'client backend'");
    assert_in_range(ask("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'jobs'"
                        " AND indexrelname <> 'jobs_ready'"),
                    1, 100);
}

/* Statements are kept, and their plans. What no longer fits them is prepared again, on a new connection, and all is as it was. */
static void test_tables_may_change_under_kept_statements(void **state)
{
    struct world *w = *state;
    uint64_t made[4];
    struct job job;

    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        submit(w, "encode");
        if (i == 2)
            ask("ALTER TABLE jobs ALTER COLUMN interruptions TYPE integer");
        made[i] = claims(w, &job, 1);
        completes(w, &job, 1);
        assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
    }
    assert_true(made[2] > made[1]);
    assert_int_equal(made[3], made[1]);
    assert_counts(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trips_do_not_grow_with_the_batch, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_refusal_costs_its_neighbours_no_round_trip, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_ops_of_a_batch_see_one_another, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_claim_reads_no_other_lane, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_tables_may_change_under_kept_statements, world_setup, world_teardown),
    };

    contract_driver = store_postgres();
    contract_fresh = fresh_postgres;
    contract_check = check_postgres;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
