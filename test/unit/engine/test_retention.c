/* Retention as the server lives it: a month on a fake clock, with a real store and a real folder of blobs, and a purge beside users. */
#include "blob/folder/folder.h"
#include "engine/loop.h"
#include "world.h"

#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)

static void folder_open(struct world *w)
{
    char dir[128], id[UUID_STR_MAX];

    snprintf(dir, sizeof dir, "%s/blobs", w->dir);
    w->cfg.blob_driver = blob_folder();
    assert_int_equal(w->cfg.blob_driver->open(dir, &w->cfg.blobs, id, NULL), ERR_OK);
    world_engine(w, NULL);
}

static void folder_close(struct world *w)
{
    w->cfg.blob_driver->close(w->cfg.blobs);
    w->cfg.blob_driver = NULL;
    world_engine(w, NULL);
}

static void pass_hours(struct world *w, int hours)
{
    for (int i = 0; i < hours; i++) {
        advance(w, HOUR);
        settle(w);
    }
}

static void decide_ok(struct world *w, struct op *op)
{
    if (decide(w, op) != ERR_OK)
        fail_msg("op %d: %s", (int)op->kind, op->err.msg);
}

static struct uuid bytes_stored(struct world *w, const char *text, int64_t *ret_size, uint8_t ret_sha256[32])
{
    struct uuid id = uuid_v7(w->clock.wall_us, w->cfg.rng);
    struct blob_upload *u;

    assert_int_equal(w->cfg.blob_driver->begin(w->cfg.blobs, &id, &u, NULL), ERR_OK);
    assert_int_equal(w->cfg.blob_driver->write(u, text, strlen(text), NULL), ERR_OK);
    assert_int_equal(w->cfg.blob_driver->commit(u, ret_size, ret_sha256, NULL), ERR_OK);
    return id;
}

static bool bytes_there(struct world *w, struct uuid id)
{
    struct blob_reader *r = NULL;
    bool there = w->cfg.blob_driver->open_read(w->cfg.blobs, &id, &r, NULL) == ERR_OK;

    blob_reader_close(r);
    return there;
}

static struct uuid run_one(struct world *w, const char *poll_id, struct uuid *ret_output)
{
    static const char *const names[] = {"made"};
    struct job job = claim(w, 1, poll_id);
    struct op *log = op_new(w, OP_LOG, NULL), *out = op_new(w, OP_OUTPUT, NULL), *end = op_new(w, OP_COMPLETE, NULL);

    log->u.log = (struct op_log){.job_id = job.job_id, .token = job.token, .bytes = "line\n", .n = 5};
    decide_ok(w, log);
    struct op_output *o = &out->u.output;
    *o = (struct op_output){.job_id = job.job_id, .token = job.token, .name = "made"};
    o->blob_id = *ret_output = bytes_stored(w, "film", &o->size, o->sha256);
    decide_ok(w, out);
    end->u.complete = (struct op_complete){.job_id = job.job_id, .token = job.token, .outputs = names, .n_outputs = 1};
    decide_ok(w, end);
    return job.job_id;
}

static void test_P21_after_a_month_nothing_is_left_of_a_finished_job(void **state)
{
    struct world *w = *state;
    const struct store_driver *d = w->cfg.store_driver;
    struct uuid output, young_output;
    struct job job;
    struct attempt *attempts;
    size_t n = 1;
    struct log_part part;
    char byte;

    folder_open(w);
    submit(w, "encode");
    struct uuid old = run_one(w, "p1", &output);
    pass_hours(w, 29 * 24);
    submit(w, "encode");
    struct uuid young = run_one(w, "p2", &young_output);
    assert_int_equal(d->job_get(w->cfg.store, "default", &old, w->arena, &job, NULL), ERR_OK);
    assert_true(bytes_there(w, output));

    pass_hours(w, 2 * 24 + 1); /* 30 days of retention, and the last for bytes that nobody refers to */
    assert_int_equal(d->job_get(w->cfg.store, "default", &old, w->arena, &job, NULL), ERR_NOT_FOUND);
    assert_int_equal(d->attempts(w->cfg.store, &old, w->arena, &attempts, &n, NULL), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(d->log_read(w->cfg.store, &old, 1, 0, &byte, 1, &part, NULL), ERR_NOT_FOUND);
    assert_false(bytes_there(w, output));
    assert_int_equal(d->job_get(w->cfg.store, "default", &young, w->arena, &job, NULL), ERR_OK);
    assert_int_equal(job.status, JOB_SUCCESS);
    assert_true(bytes_there(w, young_output));
    folder_close(w);
}

/* Ten thousand finished jobs, all due at the same moment. */
static void fill_history(struct world *w, int n)
{
    int submitted = 0, cancelled = 0;
    struct op **ops = arena_array(w->arena, (size_t)n, sizeof(*ops));

    for (int i = 0; i < n; i++)
        engine_offer(w->engine, ops[i] = submit_op(w, "encode", &submitted));
    while (submitted < n)
        engine_step(w->engine);
    for (int i = 0; i < n; i++) {
        struct op *op = op_new(w, OP_CANCEL, &cancelled);
        op->u.job.job_id = ops[i]->u.submit.job.job_id;
        engine_offer(w->engine, op);
    }
    while (cancelled < n)
        engine_step(w->engine);
}

static int64_t counted(struct world *w, enum job_status status)
{
    struct arena *arena = arena_new(1u << 20);
    struct stat_row *rows;
    size_t n;
    int64_t sum = 0;

    assert_int_equal(w->cfg.store_driver->stats(w->cfg.store, arena, &rows, &n, NULL), ERR_OK);
    for (size_t i = 0; i < n; i++)
        sum += rows[i].by_status[status];
    arena_free(arena);
    return sum;
}

static void test_P29_a_purge_goes_in_batches_between_which_users_are_answered(void **state)
{
    struct world *w = *state;
    const int jobs = 10000;
    int answered = 0, offered = 0, steps_that_purged = 0;
    int64_t left = jobs;

    w->cfg.ops_max = 2 * (size_t)jobs;
    world_engine(w, NULL);
    fill_history(w, jobs);
    assert_int_equal(counted(w, JOB_CANCELLED), jobs);
    advance(w, 30 * DAY);
    while (left > 0) {
        struct op *op = submit_op(w, "encode", &answered);
        engine_offer(w->engine, op);
        offered++;
        engine_step(w->engine);
        assert_int_equal(answered, offered); /* in the same step as the purge's pass, not behind the purge */
        assert_int_equal(op->err.code, ERR_OK);
        int64_t now_left = counted(w, JOB_CANCELLED);
        assert_in_range(left - now_left, 0, OP_CHANGES_MAX);
        steps_that_purged += now_left < left;
        left = now_left;
        advance(w, USEC_PER_MSEC);
    }
    assert_in_range(steps_that_purged, jobs / OP_CHANGES_MAX, jobs);
    assert_int_equal(counted(w, JOB_PENDING), offered);
}

struct held {
    void (*work)(void *arg);
    void (*done)(struct engine *e, void *arg);
    void *arg;
};

static bool hold(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg), void *arg)
{
    *(struct held *)self = (struct held){work, done, arg};
    return true;
}

/* A disk that takes its time: nobody waits for it but the sweep of blobs. */
static void test_bytes_are_removed_elsewhere_while_the_engine_goes_on(void **state)
{
    struct world *w = *state;
    struct held held = {0};
    struct op *op = op_new(w, OP_BLOB_ADD, NULL), *late = op_new(w, OP_BLOB_ADD, NULL);
    struct blob_row *row = &op->u.blob_add.row, *late_row = &late->u.blob_add.row;

    folder_open(w);
    engine_offload(w->engine, hold, &held);
    row->blob_id = bytes_stored(w, "bytes", &row->size, row->sha256);
    decide_ok(w, op);
    late_row->blob_id = bytes_stored(w, "late", &late_row->size, late_row->sha256);
    advance(w, HOUR);
    decide_ok(w, late);
    pass_hours(w, 24);
    assert_non_null(held.work);
    assert_false(engine_idle(w->engine));
    submit(w, "encode");

    struct held first = held;
    held.work = NULL;
    pass_hours(w, 24);
    assert_null(held.work); /* one pass at a time */
    first.work(first.arg);
    assert_false(bytes_there(w, row->blob_id));
    assert_true(bytes_there(w, late_row->blob_id));
    first.done(w->engine, first.arg);
    assert_true(engine_idle(w->engine));
    pass_hours(w, 1);
    assert_non_null(held.work);
    engine_drain(w->engine); /* a pass under way is waited for, no other begins */
    assert_false(engine_idle(w->engine));
    held.work(held.arg);
    held.done(w->engine, held.arg);
    assert_true(engine_idle(w->engine));
    assert_false(bytes_there(w, late_row->blob_id));
    folder_close(w);
}

static void test_the_loop_ends_when_what_was_swept_is_removed(void **state)
{
    struct world *w = *state;
    struct op *op = op_new(w, OP_BLOB_ADD, NULL);
    struct blob_row *row = &op->u.blob_add.row;
    struct pool *heavy;
    struct loop *loop;
    struct err err = {0};

    folder_open(w);
    row->blob_id = bytes_stored(w, "bytes", &row->size, row->sha256);
    decide_ok(w, op);
    advance(w, DAY + HOUR); /* due in the loop's first step */
    assert_int_equal(pool_new("heavy", 1, 4, &heavy, &err), ERR_OK);
    assert_int_equal(loop_start(w->engine, heavy, NULL, &loop, &err), ERR_OK);
    w->engine = NULL;
    loop_free(loop);
    pool_free(heavy);
    assert_false(bytes_there(w, row->blob_id));
    folder_close(w);
}

static bool begun(struct world *w, struct uuid id)
{
    int64_t at;

    return w->cfg.blob_driver->offset(w->cfg.blobs, &id, &at, NULL) == ERR_OK;
}

/** An upload of which four bytes came; with a row or without. */
static struct uuid upload_begun(struct world *w, bool row)
{
    const struct blob_driver *d = w->cfg.blob_driver;
    struct op *op = op_new(w, OP_UPLOAD_ADD, NULL);
    struct blob_upload *u;
    struct uuid id = uuid_v7(1, w->cfg.rng);
    int64_t at;

    op->u.upload.row = (struct upload_row){.upload_id = id, .size = 8};
    if (row)
        decide_ok(w, op);
    assert_int_equal(d->resume(w->cfg.blobs, &id, &u, &at, NULL), ERR_OK);
    assert_int_equal(d->write(u, "half", 4, NULL), ERR_OK);
    assert_int_equal(d->sync(u, NULL), ERR_OK);
    d->leave(u);
    return id;
}

static void test_P19_of_an_upload_that_rests_nothing_is_left(void **state)
{
    struct world *w = *state;

    folder_open(w);
    struct uuid id = upload_begun(w, true);
    pass_hours(w, 23);
    assert_true(begun(w, id));
    pass_hours(w, 2);
    assert_false(begun(w, id));
    folder_close(w);
}

/** A crash between a row's end and the bytes': what no row speaks of goes at the next start, and nothing else does. */
static void test_P19_leftovers_of_uploads_go_at_the_start(void **state)
{
    struct world *w = *state;
    struct op *op = op_new(w, OP_BLOB_ADD, NULL);
    struct blob_row *row = &op->u.blob_add.row;
    struct err err = {0};

    folder_open(w);
    struct uuid goes_on = upload_begun(w, true), lost = upload_begun(w, false), made = upload_begun(w, true);
    struct uuid unwritten = upload_begun(w, false);
    struct blob_upload *u;
    int64_t at;
    for (int i = 0; i < 2; i++) { /* both are blobs by their bytes, and one by its row */
        assert_int_equal(w->cfg.blob_driver->resume(w->cfg.blobs, i ? &unwritten : &made, &u, &at, &err), ERR_OK);
        assert_int_equal(w->cfg.blob_driver->commit(u, &row->size, row->sha256, &err), ERR_OK);
    }
    row->blob_id = made;
    op->u.blob_add.uploaded = true;
    decide_ok(w, op);
    assert_int_equal(engine_remove_leftovers(&w->cfg, &err), ERR_OK);
    assert_true(begun(w, goes_on));
    assert_false(begun(w, lost));
    assert_false(begun(w, made));
    assert_true(bytes_there(w, made));
    assert_false(begun(w, unwritten));
    assert_false(bytes_there(w, unwritten));
    folder_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_P21_after_a_month_nothing_is_left_of_a_finished_job),
        TEST(test_bytes_are_removed_elsewhere_while_the_engine_goes_on),
        TEST(test_the_loop_ends_when_what_was_swept_is_removed),
        TEST(test_P19_of_an_upload_that_rests_nothing_is_left),
        TEST(test_P19_leftovers_of_uploads_go_at_the_start),
        TEST(test_P29_a_purge_goes_in_batches_between_which_users_are_answered),
    };
    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
