/* What a batch reads ahead it locks as an op alone would: another server, played by a connection of the test's own, holds what they meet in. */
#include "fixture.h"
#include "fresh_postgres.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

const struct store_driver *contract_driver;

static bool tried(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);
    bool done = PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK;

    PQclear(res);
    return done;
}

/** `%s` of sql is the job's id. */
static bool tried_of(PGconn *pg, const char *sql, struct uuid id)
{
    char text[1024], job[UUID_STR_MAX];
    const char *at = strstr(sql, "%s");

    uuid_format(&id, job);
    assert_non_null(at);
    assert_true(snprintf(text, sizeof(text), "%.*s'%s'%s", (int)(at - sql), sql, job, at + 2) < (int)sizeof(text));
    return tried(pg, text);
}

struct batch {
    struct world *w;
    struct op **ops;
    size_t n;
    pthread_t thread;
};

static void *batch_main(void *arg)
{
    struct batch *b = arg;

    apply_all(b->w, b->ops, b->n);
    return NULL;
}

/** Begins to apply; returns when the batch waits for a lock. */
static void begin(struct batch *b, PGconn *other)
{
    bool waits = false;

    assert_int_equal(pthread_create(&b->thread, NULL, batch_main, b), 0);
    while (!waits) {
        PGresult *res = PQexec(other, "SELECT pid FROM pg_locks WHERE NOT granted");
        waits = PQntuples(res) > 0;
        PQclear(res);
        usleep(1000);
    }
}

static void end(struct batch *b, PGconn *other)
{
    assert_true(tried(other, "COMMIT"));
    assert_int_equal(pthread_join(b->thread, NULL), 0);
    PQfinish(other);
}

static void test_claims_pass_by_what_another_server_holds(void **state)
{
    struct world *w = *state;
    struct job held = submit(w, "encode"), second = submit(w, "encode"), third = submit(w, "encode");
    struct op *ops[] = {claim_op(w, id_make(w), "p", "encode", 1), claim_op(w, id_make(w), "p", "encode", 1)};
    PGconn *other = connect_other();

    assert_true(tried(other, "BEGIN") &&
                tried_of(other, "SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", held.job_id));
    uint64_t before = store_postgres_round_trips(w->s);
    apply_all(w, ops, ARRAY_LEN(ops));
    assert_true(store_postgres_round_trips(w->s) - before <= 6); /* not after a time limit, op by op */
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_ok(ops[i]);
        assert_int_equal(ops[i]->u.claim.n_claimed, 1);
    }
    assert_true(uuid_equal(&ops[0]->u.claim.claimed[0].job.job_id, &second.job_id));
    assert_true(uuid_equal(&ops[1]->u.claim.claimed[0].job.job_id, &third.job_id));
    assert_true(tried(other, "COMMIT"));
    PQfinish(other);
    assert_counts(w);
}

static void test_what_another_server_changed_meanwhile_is_seen(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *ops[] = {heartbeat(w, &job)};
    struct batch b = {.w = w, .ops = ops, .n = 1};
    PGconn *other = connect_other();

    assert_true(tried(other, "BEGIN") &&
                tried_of(other, "UPDATE jobs SET token = sha256('another') WHERE job_id = %s", job.job_id));
    begin(&b, other);
    end(&b, other);
    assert_refused(ops[0], ERR_STALE_TOKEN);
}

/* Else two servers, each with the two jobs in a batch, could wait for one another. */
static void test_rows_are_locked_in_one_order(void **state)
{
    struct world *w = *state;
    struct job job[2];
    submit(w, "encode");
    submit(w, "encode");
    for (size_t i = 0; i < 2; i++)
        job[i] = claim(w, w->worker, "encode");
    size_t low = memcmp(job[0].job_id.b, job[1].job_id.b, sizeof(job[0].job_id.b)) < 0 ? 0 : 1;
    struct op *ops[] = {heartbeat(w, &job[!low]), heartbeat(w, &job[low])};
    struct batch b = {.w = w, .ops = ops, .n = 2};
    PGconn *other = connect_other();

    assert_true(tried(other, "BEGIN") &&
                tried_of(other, "SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", job[low].job_id));
    begin(&b, other);
    assert_true(tried_of(other, "SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE NOWAIT", job[!low].job_id));
    end(&b, other);
    assert_ok(ops[0]);
    assert_ok(ops[1]);
}

/* A worker whose poll's answer was lost asks another server while the first one is still at it. */
static void test_poll_that_another_server_is_at_gets_what_that_one_gave(void **state)
{
    struct world *w = *state;
    const struct uuid worker = id_make(w);
    struct job first = submit(w, "encode");
    struct op *ops[] = {claim_op(w, worker, "p", "encode", 1)};
    struct batch b = {.w = w, .ops = ops, .n = 1};
    PGconn *other = connect_other();

    submit(w, "encode");
    assert_true(
        tried(other, "BEGIN") &&
        tried_of(other,
                 "INSERT INTO workers (worker_id, slots_total, slots_busy, first_seen, last_seen)"
                 " VALUES (%s, 1, 0, 0, 0)",
                 worker) &&
        tried_of(other, "UPDATE jobs SET status = 1, attempt = 1, ready_seq = NULL WHERE job_id = %s", first.job_id) &&
        tried_of(
            other,
            "INSERT INTO attempts (job_id, attempt, project, token, poll_id, worker_id, started_at, ended_at, outcome,"
            " exit_code, signal, cpu_us, peak_memory_bytes, bytes_in, bytes_out, log_bytes, decided, answer_status,"
            " answer_run_at) SELECT %s, 1, 'default', '', 'p', worker_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0"
            " FROM workers WHERE last_seen = 0",
            first.job_id));
    begin(&b, other);
    end(&b, other);
    assert_ok(ops[0]);
    assert_true(ops[0]->u.claim.again);
    assert_int_equal(ops[0]->u.claim.n_claimed, 1);
    assert_true(uuid_equal(&ops[0]->u.claim.claimed[0].job.job_id, &first.job_id));
}

/* Two jobs that fail for good in the same way meet in a row. */
static void test_writes_that_meet_in_a_row_are_made_one_by_one(void **state)
{
    struct world *w = *state;
    struct op *ops[2];

    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        submit(w, "encode");
        struct job job = claim(w, w->worker, "encode");
        ops[i] = fail_op(w, &job, OUTCOME_ERROR, true);
    }
    uint64_t before = store_postgres_round_trips(w->s);
    apply_all(w, ops, ARRAY_LEN(ops));
    assert_true(store_postgres_round_trips(w->s) - before <= 4);
    assert_ok(ops[0]);
    assert_ok(ops[1]);
    assert_counts(w);
}

/* --- batches side by side: each at a writer of its own, the first that is idle --- */

struct beside {
    struct world *w;
    struct op *op;
    bool decided;
};

static void beside_decided(void *arg)
{
    ((struct beside *)arg)->decided = true;
}

static void beside_begin(struct beside *b)
{
    b->w->d->apply(b->w->s, &b->op, 1, beside_decided, b);
}

static void beside_end(struct beside *b)
{
    while (!b->decided)
        b->w->d->poll(b->w->s, true);
    assert_ok(b->op);
}

static struct op *keyed_op(struct world *w, const char *key)
{
    struct op *op = submit_op(w, "encode");

    op->u.submit.job.dedup_key = key;
    op->u.submit.dedup_us = 60 * USEC_PER_SEC;
    return op;
}

/** A submission with this key, which waits at its writer until `other` ends its transaction. */
static struct beside held_back(struct world *w, PGconn *other, const char *key)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "INSERT INTO dedup VALUES ('default', '%s', gen_random_uuid(), '', '', 0)", key);
    assert_true(tried(other, "BEGIN") && tried(other, sql));
    return (struct beside){.w = w, .op = keyed_op(w, key)};
}

static void until_it_waits(struct world *w, PGconn *other)
{
    for (bool waits = false; !waits; usleep(1000)) {
        PGresult *res = PQexec(other, "SELECT pid FROM pg_locks WHERE NOT granted");
        waits = PQntuples(res) > 0;
        PQclear(res);
    }
    w->d->poll(w->s, false); /* what the writer's thread saw of the clock is behind it */
    later(w, USEC_PER_MSEC);
}

static int woken;

static void wake(void *arg)
{
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

static void test_a_batch_that_waits_holds_up_no_other(void **state)
{
    struct world *w = *state;
    PGconn *other = connect_other();
    struct err err = {0};

    submit(w, "encode");
    assert_int_equal(w->d->overlap(w->s, true, &err), ERR_OK);
    w->d->wakes(w->s, wake, &woken);
    struct beside first = held_back(w, other, "k");
    beside_begin(&first);
    until_it_waits(w, other);
    struct beside second = {.w = w, .op = submit_op(w, "encode")};
    beside_begin(&second);
    beside_end(&second);
    assert_false(first.decided);
    const int before = __atomic_load_n(&woken, __ATOMIC_SEQ_CST);
    assert_true(before > 0);
    assert_true(tried(other, "ROLLBACK"));
    beside_end(&first);
    assert_int_equal(__atomic_load_n(&woken, __ATOMIC_SEQ_CST), before + 1);
    assert_counts(w);
    PQfinish(other);
}

/* Ready before what was taken meanwhile, and committed after: it is found at once all the same. */
static void test_no_mark_passes_what_is_not_committed_yet(void **state)
{
    struct world *w = *state;
    PGconn *other = connect_other();
    struct err err = {0};

    submit(w, "encode");
    claim(w, w->worker, "encode");
    assert_int_equal(w->d->overlap(w->s, true, &err), ERR_OK);
    struct beside late = held_back(w, other, "k");
    beside_begin(&late);
    until_it_waits(w, other);
    submit(w, "encode");
    claim(w, id_make(w), "encode"); /* the second writer's mark */
    assert_true(tried(other, "ROLLBACK"));
    beside_end(&late);
    struct beside again = held_back(w, other, "l"); /* so that the second writer is asked again */
    beside_begin(&again);
    until_it_waits(w, other);
    struct job job = claim(w, id_make(w), "encode");
    assert_true(uuid_equal(&job.job_id, &late.op->u.submit.job.job_id));
    assert_true(tried(other, "ROLLBACK"));
    beside_end(&again);
    PQfinish(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_claims_pass_by_what_another_server_holds, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_another_server_changed_meanwhile_is_seen, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_rows_are_locked_in_one_order, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_poll_that_another_server_is_at_gets_what_that_one_gave, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_writes_that_meet_in_a_row_are_made_one_by_one, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_that_waits_holds_up_no_other, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_no_mark_passes_what_is_not_committed_yet, world_setup, world_teardown),
    };

    contract_driver = store_postgres();
    contract_fresh = fresh_postgres;
    contract_check = check_postgres;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
