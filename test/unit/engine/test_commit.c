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

/* A store that takes two batches, and decides none before it is asked. Its counts are the test's. */
static struct flight {
    struct op **ops[2];
    size_t n[2], in_flight, begun, together, twice;
    bool ready; /* poll decides one without waiting, too */
    void (*decided[2])(void *arg);
    void *arg[2];
} flight;

static void apply_later(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    assert_in_range(flight.in_flight, 0, 1);
    for (size_t i = 0; flight.in_flight && i < n; i++)
        for (size_t k = 0; k < flight.n[0]; k++)
            flight.twice += ops[i]->kind == OP_HEARTBEAT && flight.ops[0][k]->kind == OP_HEARTBEAT &&
                            uuid_equal(&ops[i]->u.heartbeat.job_id, &flight.ops[0][k]->u.heartbeat.job_id);
    flight.ops[flight.in_flight] = ops;
    flight.n[flight.in_flight] = n;
    flight.decided[flight.in_flight] = decided;
    flight.arg[flight.in_flight] = arg;
    flight.begun++;
    flight.together += flight.in_flight++;
}

static void poll_later(struct store *s, bool wait)
{
    if (!(wait || flight.ready) || !flight.in_flight)
        return;
    flight.ready = false;
    void (*decided)(void *arg) = flight.decided[0];
    void *arg = flight.arg[0];
    for (size_t i = 0; i < flight.n[0]; i++)
        flight.ops[0][i]->err.code = ERR_OK;
    flight.in_flight--;
    flight.ops[0] = flight.ops[1];
    flight.n[0] = flight.n[1];
    flight.decided[0] = flight.decided[1];
    flight.arg[0] = flight.arg[1];
    decided(arg);
}

static void wakes_nobody(struct store *s, void (*wake)(void *arg), void *arg)
{
    (void)s;
}

static void with_flight(struct world *w, size_t overlap_ops, bool parallel)
{
    static struct store_driver driver;

    driver = *store_sqlite();
    driver.parallel = parallel;
    driver.wakes = parallel ? wakes_nobody : NULL;
    driver.apply = apply_later;
    driver.poll = poll_later;
    driver.batches_max = 2;
    flight = (struct flight){0};
    w->cfg.overlap_ops = overlap_ops;
    world_engine(w, &driver);
    settle(w); /* a start's own ops */
    flight.begun = flight.together = 0;
}

static void offer_beats(struct world *w, unsigned jobs, unsigned each, int *turns)
{
    for (unsigned k = 0; k < each; k++)
        for (unsigned i = 0; i < jobs; i++) {
            struct job job = {.job_id = {.b = {[14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}}};
            engine_offer(w->engine, beat_op(w, &job, &turns[i * each + k]));
        }
}

static void test_a_second_batch_begins_where_much_waits(void **state)
{
    struct world *w = *state;
    enum { JOBS = 2 * STORE_BATCH_MAX };
    static int turns[JOBS];

    with_flight(w, 128, false);
    offer_beats(w, JOBS, 1, turns);
    for (int i = 0; i < 20; i++)
        engine_step(w->engine);
    assert_true(engine_idle(w->engine));
    assert_int_equal(flight.together, 1);
    for (int i = 1; i < JOBS; i++)
        assert_true(turns[i] > turns[i - 1]);
    world_engine(w, NULL);
}

static void test_where_little_waits_the_sync_comes_first(void **state)
{
    struct world *w = *state;
    int turns[20] = {0};

    with_flight(w, 128, false);
    offer_beats(w, 10, 1, turns);
    engine_step(w->engine);
    assert_int_equal(flight.in_flight, 1);
    offer_beats(w, 10, 1, turns + 10);
    engine_step(w->engine); /* answers the first; what came meanwhile may bring more along */
    assert_int_equal(flight.in_flight, 0);
    assert_int_equal(flight.begun, 1);
    for (int i = 0; i < 10; i++)
        assert_true(turns[i] > 0 && turns[10 + i] == 0);
    for (int i = 0; i < 20; i++)
        engine_step(w->engine);
    assert_int_equal(flight.together, 0);
    world_engine(w, NULL);
}

static void test_a_job_is_in_one_batch_in_flight_and_its_ops_keep_their_order(void **state)
{
    struct world *w = *state;
    enum { JOBS = STORE_BATCH_MAX + 100, EACH = 3 }; /* those that found no room may go beside those that did */
    static int turns[JOBS * EACH];

    with_flight(w, 1, false);
    offer_beats(w, JOBS, EACH, turns);
    for (int i = 0; i < 20 * EACH; i++)
        engine_step(w->engine);
    assert_true(engine_idle(w->engine));
    assert_int_equal(flight.twice, 0);
    assert_true(flight.together > 0);
    for (int i = 0; i < JOBS * EACH; i++)
        assert_true(turns[i] > 0 && (i % EACH == 0 || turns[i] > turns[i - 1]));
    world_engine(w, NULL);
}

static void ignore(void *arg) {}

/* Steps go on while the store is at its batches, and of those that it has only one takes from the lanes. */
static void test_batches_side_by_side_are_not_waited_for_and_one_holds_claims(void **state)
{
    struct world *w = *state;
    int turns[20] = {0}, claims[2] = {0};

    with_flight(w, 128, true);
    engine_wakes(w->engine, ignore, NULL);
    struct arena *arena[2] = {arena_new(1 << 20), arena_new(1 << 20)};
    struct op *claim[2];
    for (int i = 0; i < 2; i++) {
        claim[i] = op_new(w, OP_CLAIM, &claims[i]);
        claim[i]->arena = arena[i];
    }
    engine_offer(w->engine, claim[0]);
    assert_true(engine_step(w->engine) > w->clock.boot_us);
    assert_int_equal(flight.in_flight, 1);
    engine_offer(w->engine, claim[1]);
    offer_beats(w, 20, 1, turns);
    assert_true(engine_step(w->engine) > w->clock.boot_us);
    assert_int_equal(flight.in_flight, 2);
    assert_int_equal(flight.n[1], 20);
    assert_int_equal(claims[0], 0);
    flight.ready = true; /* the first, with the claim */
    engine_step(w->engine);
    assert_int_equal(claims[0], 1);
    assert_int_equal(flight.in_flight, 1); /* one claim waits, which is too little for a batch beside another */
    flight.ready = true;
    engine_step(w->engine);
    assert_true(turns[19] > 0);
    assert_int_equal(flight.in_flight, 1);
    assert_ptr_not_equal(flight.ops[0][0], claim[0]);
    flight.ready = true;
    engine_step(w->engine);
    assert_int_equal(claims[1], 1);
    engine_wakes(w->engine, NULL, NULL);
    world_engine(w, NULL);
    for (int i = 0; i < 2; i++)
        arena_free(arena[i]);
}

/* Else two threads would make answers in it at once. */
static void test_ops_of_one_arena_are_in_one_batch_side_by_side(void **state)
{
    struct world *w = *state;
    int turns[40] = {0};

    with_flight(w, 128, true);
    engine_wakes(w->engine, ignore, NULL);
    for (int i = 0; i < 40; i++) {
        struct op *op = submit_op(w, "encode", NULL);
        op->done = note_turn;
        op->owner = &turns[i];
        if (i % 20 == 0)
            engine_step(w->engine);
        engine_offer(w->engine, op);
    }
    engine_step(w->engine);
    assert_int_equal(flight.in_flight, 1); /* all have the world's arena */
    const size_t first = flight.n[0];
    flight.ready = true;
    engine_step(w->engine);
    assert_int_equal(flight.in_flight, 1);
    assert_int_equal(first + flight.n[0], 40);
    flight.ready = true;
    engine_step(w->engine);
    for (int i = 0; i < 40; i++)
        assert_true(turns[i] > 0);
    engine_wakes(w->engine, NULL, NULL);
    world_engine(w, NULL);
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
        TEST(test_ops_of_one_job_keep_their_order),
        TEST(test_known_key_gives_the_first_job),
        TEST(test_over_its_bound_the_engine_refuses),
        TEST(test_a_flood_of_submissions_holds_up_no_running_job),
        TEST(test_new_work_has_a_share_of_every_batch),
        TEST(test_failed_sync_is_told_as_unknown_and_ends_the_engine),
        TEST(test_a_second_batch_begins_where_much_waits),
        TEST(test_where_little_waits_the_sync_comes_first),
        TEST(test_a_job_is_in_one_batch_in_flight_and_its_ops_keep_their_order),
        TEST(test_batches_side_by_side_are_not_waited_for_and_one_holds_claims),
        TEST(test_ops_of_one_arena_are_in_one_batch_side_by_side),
    };
    return cmocka_run_group_tests_name("engine-commit", tests, NULL, NULL);
}
