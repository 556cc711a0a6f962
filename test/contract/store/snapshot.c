/* Snapshots: steps and batches alternate, and the copy is the state after one batch. For drivers that have them. */
#include "suite.h"
#include "base/fs.h"
#include "store/snapshot.h"

#define JOBS_MAX 4000

struct known {
    struct uuid id[JOBS_MAX];
    struct job job[JOBS_MAX]; /* as it stood when the copy was whole */
    size_t n;
};

static const struct store_snapshots *snapshots_of(struct world *w)
{
    if (!w->d->snapshots)
        skip();
    return w->d->snapshots;
}

static const char *make_dir(struct world *w, const char *name)
{
    const char *dir = arena_printf(w->arena, "%s/%s", w->dir, name);

    assert_int_equal(fs_mkdirs(dir, 0700, NULL), ERR_OK);
    return dir;
}

/** `n` jobs whose payload takes some pages, submitted in one batch. */
static void submit_many(struct world *w, struct known *k, size_t n)
{
    struct op *ops[64];
    char *payload = arena_alloc(w->arena, 8002);

    memset(payload, 'x', 8001);
    payload[0] = payload[8000] = '"';
    assert_true(n <= ARRAY_LEN(ops) && k->n + n <= JOBS_MAX);
    for (size_t i = 0; i < n; i++) {
        ops[i] = submit_op(w, "encode");
        ops[i]->u.submit.job.payload = payload;
    }
    apply_all(w, ops, n);
    for (size_t i = 0; i < n; i++) {
        assert_ok(ops[i]);
        k->id[k->n++] = ops[i]->u.submit.job.job_id;
    }
    later(w, 1000);
}

/** Something of everything: new jobs, one that ends, one that fails, one that is thrown away, a batch with a refusal. */
static void live_on(struct world *w, struct known *k)
{
    submit_many(w, k, 3);
    struct job done = claim(w, w->worker, "encode"), broken = claim(w, w->other, "encode");
    struct op *out = output_op(w, &done, "a");
    apply(w, out);
    assert_ok(out);
    const char *const names[] = {"a"};
    struct op *ops[] = {complete_op(w, &done, names, 1), fail_op(w, &broken, OUTCOME_ERROR, true),
                        job_op(w, OP_CANCEL, k->id[k->n - 1]), job_op(w, OP_DISCARD, done.job_id)};
    apply_all(w, ops, ARRAY_LEN(ops));
    assert_ok(ops[0]);
    assert_ok(ops[1]);
    assert_ok(ops[2]);
    later(w, 1000);
}

static void remember(struct world *w, struct known *k)
{
    for (size_t i = 0; i < k->n; i++)
        if (w->d->job_get(w->s, "default", &k->id[i], w->arena, &k->job[i], NULL) != ERR_OK)
            k->job[i] = (struct job){0}; /* discarded */
}

/** A store on the copy, as after a restore. */
static struct world *restored(struct world *w, const char *dir)
{
    struct world *r = arena_memdup(w->arena, w, sizeof(*w));
    struct store_config config = {.dir = dir, .clock = clock_fake_view(&r->clock), .rng = w->rng, .policy = w->policy};
    struct err err = {0};

    assert_non_null(r);
    if (w->d->open(&config, &r->s, &err) != ERR_OK)
        fail_msg("open the copy: %s", err.msg);
    return r;
}

static void assert_same(const struct job *a, const struct job *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->finished_at, b->finished_at);
    assert_memory_equal(&a->token, &b->token, sizeof(a->token));
    assert_string_equal(a->payload, b->payload);
}

static void test_copy_is_the_state_after_one_batch(void **state)
{
    struct world *w = *state;
    const struct store_snapshots *d = snapshots_of(w);
    const char *dir = make_dir(w, "copy");
    struct known *k = calloc(1, sizeof(*k));
    struct store_snapshot *sn = NULL;
    struct err err = {0};
    unsigned steps = 0;

    assert_non_null(k);
    for (int i = 0; i < 16; i++) /* 8 MB */
        submit_many(w, k, 64);
    assert_int_equal(d->begin(w->s, dir, &sn, &err), ERR_OK);
    for (bool whole = false; !whole; steps++) {
        assert_true(steps < 1000); /* batches do not make it begin again */
        if (d->step(sn, &whole, &err) != ERR_OK)
            fail_msg("step: %s", err.msg);
        if (!whole)
            live_on(w, k);
    }
    assert_true(steps > 3);
    remember(w, k);
    size_t n = k->n;
    live_on(w, k); /* what comes now is not in it */
    d->end(sn);
    live_on(w, k);

    struct store_copy *c = NULL;
    struct store_copy_info info;
    int64_t bytes = 0;
    if (d->open(dir, &c, &info, &err) != ERR_OK || d->check(c, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(d->bytes(w->s, &bytes, &err), ERR_OK);
    assert_true(info.bytes > 8 << 20 && bytes >= info.bytes);
    d->close(c);

    struct world *r = restored(w, dir);
    size_t there = 0;
    for (size_t i = 0; i < k->n; i++) {
        struct job job;
        int rc = r->d->job_get(r->s, "default", &k->id[i], w->arena, &job, NULL);
        if (i < n && k->job[i].payload) {
            assert_int_equal(rc, ERR_OK);
            assert_same(&job, &k->job[i]);
            there++;
        } else {
            assert_int_equal(rc, ERR_NOT_FOUND);
        }
    }
    assert_int_equal(info.jobs, there);
    struct stat_row *rows = NULL;
    size_t n_rows = 0;
    int64_t counted = 0;
    assert_int_equal(r->d->stats(r->s, w->arena, &rows, &n_rows, NULL), ERR_OK);
    for (size_t i = 0; i < n_rows; i++)
        for (int st = 0; st < JOB_STATUS_COUNT; st++)
            counted += rows[i].by_status[st];
    assert_int_equal(counted, there);
    assert_int_equal(claim(r, w->worker, "encode").attempt, 1); /* and it goes on from there */
    r->d->close(r->s);
    free(k);
}

static void test_a_flood_does_not_keep_a_copy_from_its_end(void **state)
{
    struct world *w = *state;
    const struct store_snapshots *d = snapshots_of(w);
    struct known *k = calloc(1, sizeof(*k));
    struct store_snapshot *sn = NULL;

    assert_non_null(k);
    for (int i = 0; i < 16; i++) /* 8 MB */
        submit_many(w, k, 64);
    assert_int_equal(d->begin(w->s, make_dir(w, "copy"), &sn, NULL), ERR_OK);
    for (bool whole = false; !whole;) {
        assert_int_equal(d->step(sn, &whole, NULL), ERR_OK);
        for (int i = 0; !whole && i < 4; i++) /* 2 MB: submit_many fails at JOBS_MAX */
            submit_many(w, k, 64);
    }
    d->end(sn);
    free(k);
}

static struct store_copy *copy_now(struct world *w, const char *dir, struct store_copy_info *ret)
{
    const struct store_snapshots *d = snapshots_of(w);
    struct store_snapshot *sn = NULL;
    struct store_copy *c = NULL;
    struct err err = {0};
    int rc = d->begin(w->s, dir, &sn, &err);

    for (bool whole = false; rc == ERR_OK && !whole;)
        rc = d->step(sn, &whole, &err);
    d->end(sn);
    if (rc != ERR_OK || d->open(dir, &c, ret, &err) != ERR_OK)
        fail_msg("%s", err.msg);
    return c;
}

static void test_a_copy_names_its_blobs(void **state)
{
    struct world *w = *state;
    const struct store_snapshots *d = snapshots_of(w);
    struct store_copy_info info;
    struct store_copy_blob b;
    bool more = true;
    char text[64];

    assert_int_equal(w->d->meta_set(w->s, STORE_META_BLOB_FOLDER, "a folder", NULL), ERR_OK);
    struct uuid ids[] = {blob(w, "one"), blob(w, "three"), blob(w, "")};
    struct store_copy *c = copy_now(w, make_dir(w, "copy"), &info);
    assert_int_equal(info.blobs, 3);
    assert_int_equal(info.blob_bytes, 8);
    assert_int_equal(info.jobs, 0);
    for (int again = 0; again < 2; again++) { /* after the last one it begins anew */
        struct uuid last = {{0}};
        unsigned found = 0;
        while (d->next_blob(c, &b, &more, NULL) == ERR_OK && more) {
            assert_true(uuid_compare(&last, &b.blob_id) < 0);
            last = b.blob_id;
            for (size_t i = 0; i < ARRAY_LEN(ids); i++)
                found += uuid_equal(&ids[i], &b.blob_id);
        }
        assert_false(more);
        assert_int_equal(found, 3);
    }
    assert_int_equal(d->meta(c, STORE_META_BLOB_FOLDER, text, sizeof(text), NULL), ERR_OK);
    assert_string_equal(text, "a folder");
    assert_int_equal(d->meta(c, "nothing of the kind", text, sizeof(text), NULL), ERR_OK);
    assert_string_equal(text, "");
    d->close(c);
}

static void test_an_abandoned_snapshot_is_in_nobodys_way(void **state)
{
    struct world *w = *state;
    const struct store_snapshots *d = snapshots_of(w);
    struct known *k = calloc(1, sizeof(*k));
    struct store_snapshot *sn = NULL;
    bool whole = true;

    assert_non_null(k);
    for (int i = 0; i < 16; i++)
        submit_many(w, k, 64);
    assert_int_equal(d->begin(w->s, make_dir(w, "first"), &sn, NULL), ERR_OK);
    assert_int_equal(d->step(sn, &whole, NULL), ERR_OK);
    assert_false(whole);
    d->end(sn);
    live_on(w, k);
    struct store_copy_info info;
    d->close(copy_now(w, make_dir(w, "second"), &info));
    live_on(w, k);
    world_reopen(w);
    live_on(w, k);
    free(k);
}

const struct CMUnitTest snapshot_tests[] = {
    TEST(test_copy_is_the_state_after_one_batch),
    TEST(test_a_flood_does_not_keep_a_copy_from_its_end),
    TEST(test_a_copy_names_its_blobs),
    TEST(test_an_abandoned_snapshot_is_in_nobodys_way),
};
const size_t n_snapshot_tests = ARRAY_LEN(snapshot_tests);
