/* The engine on a fake clock, without threads, over the real SQLite store. */
#include "base/auto.h"
#include "base/fs.h"
#include "engine/engine.h"
#include "store/sqlite/sqlite.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SEC USEC_PER_SEC

struct world {
    char dir[64];
    struct clock_fake clock;
    struct rng_seeded dice;
    struct engine_config cfg;
    struct engine *engine;
    struct arena *arena;
};

static void world_open(struct world *w)
{
    struct err err = {0};
    struct store_config sc = {
        .dir = w->dir, .clock = clock_fake_view(&w->clock), .rng = rng_seeded_view(&w->dice), .policy = w->cfg.policy};

    w->cfg.store_driver = store_sqlite();
    if (w->cfg.store_driver->open(&sc, &w->cfg.store, &err) != ERR_OK)
        fail_msg("open: %s", err.msg);
    w->cfg.clock = sc.clock;
    w->cfg.rng = sc.rng;
    if (engine_new(&w->cfg, &w->engine, &err) != ERR_OK)
        fail_msg("engine: %s", err.msg);
}

static void world_close(struct world *w)
{
    engine_free(w->engine);
    w->cfg.store_driver->close(w->cfg.store);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "%s/haul-engine-XXXXXX", fs_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    w->clock.wall_us = INT64_C(1800000000) * SEC;
    w->clock.boot_us = 5000 * SEC;
    w->dice.state = 42;
    w->cfg.policy = policy_default();
    w->arena = arena_new(64u << 20);
    world_open(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    world_close(w);
    arena_free(w->arena);
    fs_remove_tree(w->dir, NULL);
    free(w);
    return 0;
}

static void settle(struct world *w)
{
    for (int i = 0; i < 8; i++)
        engine_step(w->engine);
}

/* Time passes in steps small enough that the engine is never late. */
static void pass(struct world *w, usec by)
{
    while (by > 0) {
        usec step = MIN(by, 5 * SEC);
        clock_fake_advance(&w->clock, step);
        settle(w);
        by -= step;
    }
}

static void count_done(struct op *op)
{
    (*(int *)op->owner)++;
}

static struct op *op_new(struct world *w, enum op_kind kind, int *done)
{
    struct op *op = arena_alloc(w->arena, sizeof *op);
    *op = (struct op){.kind = kind, .project = "default", .arena = w->arena, .done = count_done, .owner = done};
    return op;
}

static int decide(struct world *w, struct op *op)
{
    int done = 0;
    op->owner = &done;
    engine_offer(w->engine, op);
    settle(w);
    assert_int_equal(done, 1);
    return (int)op->err.code;
}

static struct op *submit_op(struct world *w, const char *type, int *done)
{
    struct op *op = op_new(w, OP_SUBMIT, done);
    struct job *job = &op->u.submit.job;
    job->job_id = uuid_v7(w->clock.wall_us, w->cfg.rng);
    job->project = "default";
    job->queue = job->task_type = type;
    job->priority = 5;
    job->payload = job->labels = "{}";
    job->max_attempts = 5;
    op->u.submit.dedup_us = w->cfg.policy.dedup_us;
    return op;
}

static struct uuid submit(struct world *w, const char *type)
{
    struct op *op = submit_op(w, type, NULL);
    assert_int_equal(decide(w, op), ERR_OK);
    return op->u.submit.job.job_id;
}

struct answer {
    int calls;
    size_t n;
    enum err_code code;
    struct job job;
};

static void polled(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err)
{
    struct answer *a = p->owner;
    a->calls++;
    a->n = n;
    a->code = err ? err->code : ERR_OK;
    if (n)
        a->job = claimed[0].job;
}

static struct lease_poll *poll_new(struct world *w, uint8_t worker, const char *id, struct answer *a)
{
    static const char *const types[] = {"encode"};
    struct lease_poll *p = arena_alloc(w->arena, sizeof *p);
    memset(a, 0, sizeof *a);
    p->worker_id.b[15] = worker;
    snprintf(p->poll_id, sizeof p->poll_id, "%s", id);
    p->worker_name = p->worker_host = "w";
    p->worker_version = "1";
    p->isolation = "none";
    p->handlers = "{\"encode\":\"1\"}";
    p->want = (struct want){.task_types = types, .n_task_types = 1, .slots = 1};
    p->slots_total = 1;
    p->wait_us = 30 * SEC;
    p->arena = w->arena;
    p->done = polled;
    p->owner = a;
    return p;
}

static struct job claim(struct world *w, uint8_t worker, const char *id)
{
    struct answer a;
    engine_poll(w->engine, poll_new(w, worker, id, &a));
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    return a.job;
}

static int heartbeat(struct world *w, const struct job *job)
{
    struct op *op = op_new(w, OP_HEARTBEAT, NULL);
    op->u.heartbeat.job_id = job->job_id;
    op->u.heartbeat.token = job->token;
    return decide(w, op);
}

static int complete(struct world *w, const struct job *job, enum job_status *ret)
{
    struct op *op = op_new(w, OP_COMPLETE, NULL);
    op->u.complete.job_id = job->job_id;
    op->u.complete.token = job->token;
    int rc = decide(w, op);
    if (ret)
        *ret = op->u.complete.status;
    return rc;
}

static struct job look(struct world *w, struct uuid id)
{
    struct job job;
    struct err err = {0};
    if (w->cfg.store_driver->job_get(w->cfg.store, "default", &id, w->arena, &job, &err) != ERR_OK)
        fail_msg("job_get: %s", err.msg);
    return job;
}

static void test_waiting_worker_gets_a_new_job_without_time_passing(void **state)
{
    struct world *w = *state;
    struct answer a;
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    assert_int_equal(a.calls, 0);
    struct uuid id = submit(w, "encode");
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &id));
    assert_int_equal(look(w, id).status, JOB_RUNNING);
}

static const struct store_driver *counted;
static int batches;

static void apply_counted(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    batches++;
    counted->apply(s, ops, n, decided, arg);
}

static void test_submission_and_claim_are_one_transaction_where_a_worker_waits(void **state)
{
    struct world *w = *state;
    struct store_driver counting = *(counted = store_sqlite());
    struct err err = {0};
    struct answer a;
    submit(w, "encode"); /* the lane is known from now on */
    struct job first = claim(w, 1, "p1");
    assert_int_equal(complete(w, &first, NULL), ERR_OK);
    engine_free(w->engine);
    counting.apply = apply_counted;
    w->cfg.store_driver = &counting;
    assert_int_equal(engine_new(&w->cfg, &w->engine, &err), ERR_OK);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    submit(w, "encode"); /* lanes that stand empty are not loaded at a start: this one comes by two transactions */
    assert_int_equal(a.n, 1);
    engine_poll(w->engine, poll_new(w, 1, "p3", &a));
    settle(w);
    batches = 0;
    submit(w, "encode");
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(batches, 1);
    engine_free(w->engine);
    w->engine = NULL;
    w->cfg.store_driver = counted;
}

static void test_poll_is_answered_empty_at_its_end_and_never_with_a_foreign_type(void **state)
{
    struct world *w = *state;
    struct answer a;
    submit(w, "other");
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    pass(w, 29 * SEC);
    assert_int_equal(a.calls, 0);
    pass(w, 2 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.code, ERR_OK);
}

static void test_repeated_poll_gets_the_same_claims(void **state)
{
    struct world *w = *state;
    submit(w, "encode");
    submit(w, "encode");
    struct job first = claim(w, 1, "same"), again = claim(w, 1, "same");
    assert_true(uuid_equal(&first.job_id, &again.job_id));
    assert_true(token_equal(&first.token, &again.token));
}

static void test_P01_day_long_job_makes_one_attempt(void **state)
{
    struct world *w = *state;
    enum job_status status;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p");
    for (int beat = 0; beat < 24 * 120; beat++) {
        assert_int_equal(heartbeat(w, &job), ERR_OK);
        clock_fake_advance(&w->clock, 15 * SEC);
        engine_step(w->engine);
        clock_fake_advance(&w->clock, 15 * SEC);
        engine_step(w->engine);
    }
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    assert_int_equal(look(w, id).attempt, 1);
    assert_int_equal(look(w, id).losses, 0);
}

static void test_unconfirmed_claim_costs_nothing(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    claim(w, 1, "p");
    pass(w, w->cfg.policy.confirm_us + 2 * SEC);
    struct job job = look(w, id);
    assert_int_equal(job.status, JOB_PENDING);
    assert_int_equal(job.losses, 0);
    assert_int_equal(job.retries, 0);
    assert_int_equal(job.last_outcome, OUTCOME_UNCONFIRMED);
}

static void test_P03_lost_attempt_is_claimed_again_and_its_token_is_stale(void **state)
{
    struct world *w = *state;
    enum job_status status;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job old = claim(w, 1, "p1");
    assert_int_equal(heartbeat(w, &old), ERR_OK);
    pass(w, w->cfg.policy.lease_us + 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(look(w, id).losses, 1);
    struct job fresh = claim(w, 2, "p2");
    assert_true(fresh.token.attempt > old.token.attempt);
    struct job before = look(w, id);
    assert_int_equal(heartbeat(w, &old), ERR_STALE_TOKEN);
    assert_int_equal(complete(w, &old, NULL), ERR_STALE_TOKEN);
    struct job after = look(w, id);
    assert_int_equal(after.status, JOB_RUNNING);
    assert_int_equal(after.version, before.version);
    assert_int_equal(complete(w, &fresh, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
}

static void test_late_completion_by_the_latest_token_counts(void **state)
{
    struct world *w = *state;
    enum job_status status;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    pass(w, w->cfg.policy.lease_us + 5 * SEC);
    assert_int_equal(look(w, id).status, JOB_PENDING);
    assert_int_equal(complete(w, &job, &status), ERR_OK);
    assert_int_equal(status, JOB_SUCCESS);
    struct answer a;
    engine_poll(w->engine, poll_new(w, 2, "p2", &a));
    settle(w);
    assert_int_equal(a.calls, 0); /* nothing is left to claim */
    pass(w, 31 * SEC);
}

static void test_restart_gives_every_lease_a_full_period(void **state)
{
    struct world *w = *state;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    world_close(w);
    clock_fake_advance(&w->clock, 10 * w->cfg.policy.lease_us);
    world_open(w);
    settle(w);
    pass(w, w->cfg.policy.lease_us - 10 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
    pass(w, 20 * SEC);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(look(w, id).attempt, 1);
    pass(w, 2 * w->cfg.policy.lease_us);
    assert_int_equal(look(w, id).status, JOB_PENDING);
}

static void test_paused_server_writes_grace_before_it_expires(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    clock_fake_advance(&w->clock, 2 * w->cfg.policy.lease_us); /* one jump: the engine was not there */
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(heartbeat(w, &job), ERR_OK);
}

static void test_pause_of_a_lease_and_a_half_loses_no_job(void **state)
{
    struct world *w = *state;
    pass(w, 2 * w->cfg.policy.lease_us);
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    heartbeat(w, &job);
    /* Nothing else is due: the engine would sleep until the lease ends. */
    clock_fake_advance(&w->clock, w->cfg.policy.lease_us * 3 / 2);
    settle(w);
    assert_int_equal(look(w, id).status, JOB_RUNNING);
    assert_int_equal(look(w, id).losses, 0);
}

static void test_failed_job_backs_off_and_starts_when_due(void **state)
{
    struct world *w = *state;
    struct answer a;
    struct uuid id = submit(w, "encode");
    struct job job = claim(w, 1, "p1");
    struct op *op = op_new(w, OP_FAIL, NULL);
    op->u.fail.job_id = id;
    op->u.fail.token = job.token;
    op->u.fail.failure =
        (struct job_failure){.outcome = OUTCOME_ERROR, .error_log = "boom", .retry_after_us = 20 * SEC};
    assert_int_equal(decide(w, op), ERR_OK);
    assert_int_equal(op->u.fail.status, JOB_PENDING);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    pass(w, 15 * SEC);
    assert_int_equal(a.calls, 0);
    pass(w, 10 * SEC);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.job.attempt, 2);
    assert_int_equal(a.job.retries, 1);
}

static void test_ops_of_one_job_keep_their_order(void **state)
{
    struct world *w = *state;
    int done = 0;
    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    struct op *ops[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = op_new(w, OP_LOG, &done);
        ops[i]->u.log.job_id = job.job_id;
        ops[i]->u.log.token = job.token;
        ops[i]->u.log.offset = i;
        ops[i]->u.log.bytes = "x";
        ops[i]->u.log.n = 1;
        engine_offer(w->engine, ops[i]);
    }
    settle(w);
    assert_int_equal(done, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ops[i]->err.code, ERR_OK);
        assert_int_equal(ops[i]->u.log.next_offset, i + 1);
    }
}

static void test_known_key_gives_the_first_job(void **state)
{
    struct world *w = *state;
    int done = 0;
    struct op *first = submit_op(w, "encode", &done), *second = submit_op(w, "encode", &done);
    first->u.submit.job.dedup_key = second->u.submit.job.dedup_key = "k";
    engine_offer(w->engine, first);
    engine_offer(w->engine, second);
    settle(w);
    assert_int_equal(done, 2);
    assert_false(first->u.submit.duplicate);
    assert_true(second->u.submit.duplicate);
    assert_true(uuid_equal(&first->u.submit.job.job_id, &second->u.submit.job.job_id));
}

static void test_over_its_bound_the_engine_refuses(void **state)
{
    struct world *w = *state;
    world_close(w);
    w->cfg.ops_max = 2;
    world_open(w);
    int done = 0;
    struct op *ops[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = submit_op(w, "encode", &done);
        engine_offer(w->engine, ops[i]);
    }
    assert_int_equal(done, 1);
    assert_int_equal(ops[2]->err.code, ERR_BUSY);
    settle(w);
    assert_int_equal(done, 3);
    assert_int_equal(ops[0]->err.code, ERR_OK);
}

/* A store whose every sync fails. */
static void apply_unknown(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    (void)s;
    for (size_t i = 0; i < n; i++)
        err_set(&ops[i]->err, ERR_UNKNOWN_OUTCOME, 0, "commit");
    decided(arg);
}

static void test_failed_sync_is_told_as_unknown_and_ends_the_engine(void **state)
{
    struct world *w = *state;
    struct store_driver broken = *w->cfg.store_driver;
    struct err err = {0};
    broken.apply = apply_unknown;
    engine_free(w->engine);
    w->cfg.store_driver = &broken;
    assert_int_equal(engine_new(&w->cfg, &w->engine, &err), ERR_OK);
    assert_false(engine_lost(w->engine));
    assert_int_equal(decide(w, submit_op(w, "encode", NULL)), ERR_UNKNOWN_OUTCOME);
    assert_true(engine_lost(w->engine));
    engine_free(w->engine);
    w->engine = NULL;
    w->cfg.store_driver = store_sqlite();
}

static void fired(struct watch *watch)
{
    (*(int *)watch->owner)++;
}

static void test_watch_fires_on_news_and_at_its_end(void **state)
{
    struct world *w = *state;
    int calm = 0, news = 0;
    struct uuid id = submit(w, "encode"), other = submit(w, "other");
    struct watch a = {.job_id = id, .wait_us = 30 * SEC, .fire = fired, .owner = &news};
    struct watch b = {.job_id = other, .wait_us = 30 * SEC, .fire = fired, .owner = &calm};
    engine_watch(w->engine, &a);
    engine_watch(w->engine, &b);
    claim(w, 1, "p");
    assert_int_equal(news, 1);
    assert_int_equal(calm, 0);
    pass(w, 31 * SEC);
    assert_int_equal(calm, 1);
    assert_int_equal(news, 1);
}

static void test_drain_answers_those_who_wait(void **state)
{
    struct world *w = *state;
    struct answer a;
    int news = 0;
    struct uuid id = submit(w, "other");
    struct watch watch = {.job_id = id, .wait_us = 30 * SEC, .fire = fired, .owner = &news};
    engine_watch(w->engine, &watch);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    engine_drain(w->engine);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.n, 0);
    assert_int_equal(news, 1);
    assert_true(engine_idle(w->engine));
}

static bool gone(struct lease_poll *p)
{
    (void)p;
    return false;
}

static void test_vanished_client_gets_no_lease(void **state)
{
    struct world *w = *state;
    struct answer a;
    struct lease_poll *p = poll_new(w, 1, "p1", &a);
    p->alive = gone;
    struct uuid id = submit(w, "encode");
    engine_poll(w->engine, p);
    settle(w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.code, ERR_CANCELLED);
    assert_int_equal(look(w, id).status, JOB_PENDING);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_waiting_worker_gets_a_new_job_without_time_passing),
        T(test_submission_and_claim_are_one_transaction_where_a_worker_waits),
        T(test_poll_is_answered_empty_at_its_end_and_never_with_a_foreign_type),
        T(test_repeated_poll_gets_the_same_claims),
        T(test_P01_day_long_job_makes_one_attempt),
        T(test_unconfirmed_claim_costs_nothing),
        T(test_P03_lost_attempt_is_claimed_again_and_its_token_is_stale),
        T(test_late_completion_by_the_latest_token_counts),
        T(test_restart_gives_every_lease_a_full_period),
        T(test_paused_server_writes_grace_before_it_expires),
        T(test_pause_of_a_lease_and_a_half_loses_no_job),
        T(test_failed_job_backs_off_and_starts_when_due),
        T(test_ops_of_one_job_keep_their_order),
        T(test_known_key_gives_the_first_job),
        T(test_over_its_bound_the_engine_refuses),
        T(test_failed_sync_is_told_as_unknown_and_ends_the_engine),
        T(test_watch_fires_on_news_and_at_its_end),
        T(test_drain_answers_those_who_wait),
        T(test_vanished_client_gets_no_lease),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
