/* A copy of the store between batches: writes go on, no blob is swept meanwhile, and it ends once, whatever happens. */
#include "base/fs.h"
#include "store/snapshot.h"
#include "world.h"

struct taken {
    struct snapshot s;
    char dir[96];
    int calls;
    enum err_code code;
    bool gone; /* nobody waits any more */
};

static void told(struct snapshot *s, const struct err *err)
{
    struct taken *t = s->owner;

    t->calls++;
    t->code = err ? err->code : ERR_OK;
}

static bool alive(struct snapshot *s)
{
    return !((struct taken *)s->owner)->gone;
}

static void take(struct world *w, struct taken *t, const char *name)
{
    memset(t, 0, sizeof *t);
    snprintf(t->dir, sizeof t->dir, "%s/%s", w->dir, name);
    assert_int_equal(fs_mkdirs(t->dir, 0700, NULL), ERR_OK);
    t->s = (struct snapshot){.dir = t->dir, .whole = told, .alive = alive, .owner = t};
    engine_snapshot(w->engine, &t->s);
}

/* Enough for a dozen steps. */
static void fill(struct world *w)
{
    char *payload = arena_alloc(w->arena, 60002);

    memset(payload, 'x', 60001);
    payload[0] = payload[60000] = '"';
    for (int i = 0; i < 200; i++) {
        struct op *op = submit_op(w, "filler", NULL);
        op->u.submit.job.payload = payload;
        assert_int_equal(decide(w, op), ERR_OK);
    }
}

static int64_t jobs_in(struct world *w, const char *dir)
{
    const struct store_snapshots *d = w->cfg.store_driver->snapshots;
    struct store_copy *c = NULL;
    struct store_copy_info info;
    struct err err = {0};

    if (d->open(dir, &c, &info, &err) != ERR_OK || d->check(c, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    d->close(c);
    return info.jobs;
}

static void test_writes_go_on_between_the_steps_of_a_copy(void **state)
{
    struct world *w = *state;
    struct taken t;
    int before = 0, after = 0, steps = 0;

    fill(w);
    take(w, &t, "copy");
    while (!t.calls) {
        engine_offer(w->engine, submit_op(w, "encode", &before));
        usec wake = engine_step(w->engine);
        assert_true(t.calls || wake <= w->clock.boot_us); /* it is called again at once */
        assert_int_equal(before, ++steps);                /* no write waits for more than one step */
    }
    assert_true(steps > 5);
    assert_int_equal(t.code, ERR_OK);
    engine_offer(w->engine, submit_op(w, "encode", &after));
    settle(w);
    assert_true(engine_step(w->engine) > w->clock.boot_us); /* and then the engine sleeps again */
    engine_snapshot_end(w->engine, &t.s);
    settle(w);
    assert_int_equal(t.calls, 1);
    assert_int_equal(after, 1);
    assert_int_equal(jobs_in(w, t.dir), 200 + steps);
}

static bool blob_there(struct world *w, const struct uuid *id)
{
    struct blob_row row;

    return w->cfg.store_driver->blob_get(w->cfg.store, "default", id, w->arena, &row, NULL) == ERR_OK;
}

static void test_no_blob_is_swept_until_the_owner_has_it(void **state)
{
    struct world *w = *state;
    struct op *op = op_new(w, OP_BLOB_ADD, NULL);
    struct taken t;

    op->u.blob_add.row = (struct blob_row){.blob_id = uuid_v7(w->clock.wall_us, w->cfg.rng), .size = 1};
    struct uuid id = op->u.blob_add.row.blob_id;
    assert_int_equal(decide(w, op), ERR_OK);
    take(w, &t, "copy");
    settle(w);
    assert_int_equal(t.calls, 1);
    pass(w, w->cfg.policy.blob_unreferenced_us + 300 * SEC);
    assert_true(blob_there(w, &id));
    assert_true(engine_step(w->engine) > w->clock.boot_us); /* held back, it does not keep the engine awake */
    engine_snapshot_end(w->engine, &t.s);
    settle(w);
    assert_false(blob_there(w, &id));
}

static void test_one_at_a_time(void **state)
{
    struct world *w = *state;
    struct taken first, second, third;

    fill(w);
    take(w, &first, "first");
    engine_step(w->engine);
    take(w, &second, "second");
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.code, ERR_CONFLICT);
    engine_snapshot_end(w->engine, &second.s); /* is not the first one's end */
    while (!first.calls)
        engine_step(w->engine);
    assert_int_equal(first.code, ERR_OK);
    take(w, &second, "second"); /* the first one holds the blobs still */
    assert_int_equal(second.code, ERR_CONFLICT);
    engine_snapshot_end(w->engine, &first.s);
    take(w, &third, "third");
    while (!third.calls)
        engine_step(w->engine);
    assert_int_equal(third.code, ERR_OK);
    engine_snapshot_end(w->engine, &third.s);
}

static void test_nobody_waits_any_more(void **state)
{
    struct world *w = *state;
    struct taken t, next;

    fill(w);
    take(w, &t, "copy");
    engine_step(w->engine);
    assert_int_equal(t.calls, 0);
    t.gone = true;
    engine_step(w->engine);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.code, ERR_CANCELLED);
    take(w, &next, "next"); /* its place is free */
    settle(w);
    assert_int_equal(next.calls == 0 || next.code == ERR_OK, 1);
    next.gone = true;
    engine_step(w->engine);
}

static void test_a_draining_engine_gives_it_up(void **state)
{
    struct world *w = *state;
    struct taken t, late;

    fill(w);
    take(w, &t, "copy");
    engine_step(w->engine);
    engine_drain(w->engine);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.code, ERR_UNAVAILABLE);
    take(w, &late, "late");
    assert_int_equal(late.code, ERR_UNAVAILABLE);
    submit(w, "encode"); /* ops go on */
}

static void test_a_folder_that_is_not_there(void **state)
{
    struct world *w = *state;
    struct taken t;

    take(w, &t, "copy");
    assert_int_equal(fs_remove_tree(t.dir, NULL), ERR_OK);
    settle(w);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.code, ERR_IO);
    submit(w, "encode");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_writes_go_on_between_the_steps_of_a_copy),
        TEST(test_no_blob_is_swept_until_the_owner_has_it),
        TEST(test_one_at_a_time),
        TEST(test_nobody_waits_any_more),
        TEST(test_a_draining_engine_gives_it_up),
        TEST(test_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests_name("engine snapshot", tests, NULL, NULL);
}
