/* The committer: order, bounds, refusals, and a store that fails. */
#include "world.h"

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

/* Its place in the order of decisions. */
static void note_turn(struct op *op)
{
    static int turn;
    *(int *)op->owner = ++turn;
}

static struct op *beat_op(struct world *w, const struct job *job, int *turn)
{
    struct op *op = op_new(w, OP_HEARTBEAT, NULL);
    op->u.heartbeat.job_id = job->job_id;
    op->u.heartbeat.token = job->token;
    op->done = note_turn;
    op->owner = turn;
    return op;
}

/* As much new work as is taken, and more: what a running job says is taken all the same, and decided before what is left of it. */
static void test_a_flood_of_submissions_holds_up_no_running_job(void **state)
{
    struct world *w = *state;
    enum { MAX = 1024, NEW = MAX - MAX / 4 };
    int turn[NEW] = {0}, beat[2] = {0}, refused = 0, decided = 0;

    world_close(w);
    w->cfg.ops_max = MAX;
    world_open(w);
    submit(w, "encode");
    struct job job = claim(w, 1, "p");
    for (int i = 0; i < NEW; i++) {
        struct op *op = submit_op(w, "thumb", NULL);
        op->done = note_turn;
        op->owner = &turn[i];
        engine_offer(w->engine, op);
        assert_int_not_equal(op->err.code, ERR_BUSY);
    }
    struct op *over = submit_op(w, "thumb", &refused);
    engine_offer(w->engine, over);
    assert_int_equal(refused, 1);
    assert_int_equal(over->err.code, ERR_BUSY);
    engine_offer(w->engine, beat_op(w, &job, &beat[0]));
    engine_step(w->engine);
    for (int i = 0; i < NEW; i++)
        decided += turn[i] != 0;
    assert_in_range(decided, 1, STORE_BATCH_MAX); /* a batch, and then a look at what came meanwhile */
    engine_offer(w->engine, beat_op(w, &job, &beat[1]));
    settle(w);
    for (int i = 1; i < NEW; i++)
        assert_true(turn[i] > turn[i - 1]); /* they keep their order */
    assert_in_range(beat[0], 1, turn[0]);
    assert_in_range(beat[1], turn[decided - 1], turn[decided]);
}

/* And the other way round: however many calls of running jobs wait, each batch brings new work in. */
static void test_new_work_has_a_share_of_every_batch(void **state)
{
    struct world *w = *state;
    enum { LOGS = 2 * STORE_BATCH_MAX };
    int turn = 0, last = 0;

    submit(w, "encode");
    for (int i = 0; i < LOGS; i++) { /* of different jobs, unknown ones: each a refusal of its own */
        struct op *op = op_new(w, OP_HEARTBEAT, NULL);
        op->u.heartbeat.job_id = uuid_v7(w->clock.wall_us + i, w->cfg.rng);
        op->done = note_turn;
        op->owner = &last;
        engine_offer(w->engine, op);
    }
    struct op *op = submit_op(w, "encode", NULL);
    op->done = note_turn;
    op->owner = &turn;
    engine_offer(w->engine, op);
    settle(w);
    assert_int_equal(op->err.code, ERR_OK);
    assert_true(turn > 0 && last - turn >= LOGS / 2);
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
    struct store_driver broken = *store_sqlite();
    broken.apply = apply_unknown;
    world_engine(w, &broken);
    assert_false(engine_lost(w->engine));
    assert_int_equal(decide(w, submit_op(w, "encode", NULL)), ERR_UNKNOWN_OUTCOME);
    assert_true(engine_lost(w->engine));
    world_engine(w, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ops_of_one_job_keep_their_order),     TEST(test_known_key_gives_the_first_job),
        TEST(test_over_its_bound_the_engine_refuses),   TEST(test_a_flood_of_submissions_holds_up_no_running_job),
        TEST(test_new_work_has_a_share_of_every_batch), TEST(test_failed_sync_is_told_as_unknown_and_ends_the_engine),
    };
    return cmocka_run_group_tests_name("engine-commit", tests, NULL, NULL);
}
