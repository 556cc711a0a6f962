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
        TEST(test_failed_sync_is_told_as_unknown_and_ends_the_engine),
    };
    return cmocka_run_group_tests_name("engine-commit", tests, NULL, NULL);
}
