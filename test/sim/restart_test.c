/* The store on the simulated disk: whatever a start shows is there after a power cut, too. The server is killed before its Nth write or
 * sync, for every N of a submission; what it left is read; then the power goes. */
#include "base/auto.h"
#include "disk.h"
#include "store/sqlite/sqlite.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MOST 60 /* more than a submission makes */

static struct clock_fake now = {.wall_us = INT64_C(1800000000) * USEC_PER_SEC, .boot_us = USEC_PER_SEC};
static struct rng_seeded seeded = {7};

static void slept(usec us) {}

static bool overlaps; /* a batch is synced by the next poll only */

static struct store *opened(void)
{
    struct store_config config = {
        .dir = disk_dir(), .clock = clock_fake_view(&now), .rng = rng_seeded_view(&seeded), .policy = policy_default()};
    struct store *s = NULL;
    struct err err = {0};

    if (store_sqlite()->open(&config, &s, &err) != ERR_OK)
        fail_msg("open: %s", err.msg);
    if (overlaps)
        assert_int_equal(store_sqlite()->overlap(s, false, &err), ERR_OK);
    return s;
}

/* A submission in a batch of its own. */
struct submission {
    struct uuid id;
    struct op op, *ops[1];
    bool decided;
};

static void done(void *arg)
{
    ((struct submission *)arg)->decided = true;
}

static struct submission *write_one(struct store *s, struct arena *arena, const char *payload)
{
    struct submission *one = arena_alloc(arena, sizeof(*one));

    assert_non_null(one);
    *one = (struct submission){.id = uuid_v7(now.wall_us, rng_seeded_view(&seeded)),
                               .op = {.kind = OP_SUBMIT, .project = "default", .arena = arena},
                               .ops = {&one->op}};
    one->op.u.submit.job = (struct job){
        .job_id = one->id, .project = "default", .queue = "q", .task_type = "t", .priority = 5, .payload = payload};
    store_sqlite()->apply(s, one->ops, 1, done, one);
    return one;
}

static bool told(const struct submission *one)
{
    return one->decided && one->op.err.code == ERR_OK;
}

static bool there(struct store *s, struct arena *arena, struct uuid id)
{
    struct job job;

    return store_sqlite()->job_get(s, "default", &id, arena, &job, NULL) == ERR_OK;
}

static void test_what_a_start_shows_survives_a_power_cut(void **state)
{
    unsigned shown = 0, acknowledged = 0;

    disk_init(rng_seeded_view(&seeded), slept);
    for (unsigned n = 1; n <= MOST; n++) {
        struct arena *arena = arena_new(1u << 20);
        disk_reset(rng_seeded_view(&seeded));
        struct store *s = opened();
        disk_plan(DISK_KILL, n);
        const struct submission *one = write_one(s, arena, NULL);
        while (overlaps && !one->decided)
            store_sqlite()->poll(s, true);
        const bool answered = told(one);
        const struct uuid id = one->id;
        disk_cut(false);
        store_sqlite()->close(s);

        s = opened();
        bool before = there(s, arena, id);
        disk_cut(true);
        store_sqlite()->close(s);

        s = opened();
        bool after = there(s, arena, id);
        disk_cut(false);
        store_sqlite()->close(s);
        if ((answered || before) && !after)
            fail_msg("killed at its write %u: %s, and gone after a power cut", n, answered ? "acknowledged" : "shown");
        shown += before && !answered;
        acknowledged += answered;
        arena_free(arena);
    }
    assert_true(shown > 0); /* killed between the write and the sync */
    assert_true(acknowledged > 0);
    disk_end();
}

/* --- a batch is applied before the one before it is durable --- */

static int overlap_setup(void **state)
{
    disk_init(rng_seeded_view(&seeded), slept);
    disk_reset(rng_seeded_view(&seeded));
    return 0;
}

static int overlap_on(void **state)
{
    overlaps = true;
    return overlap_setup(state);
}

static int overlap_off(void **state)
{
    overlaps = false;
    disk_end();
    return 0;
}

static void test_a_batch_is_answered_by_its_sync_and_in_order(void **state)
{
    struct arena *arena = arena_new(1u << 20);
    struct store *s = opened();
    const struct submission *a = write_one(s, arena, NULL), *b = write_one(s, arena, NULL);

    assert_false(a->decided || b->decided);
    store_sqlite()->poll(s, true);
    assert_true(told(a));
    store_sqlite()->poll(s, false); /* the same sync made it durable */
    assert_true(told(b));
    disk_cut(true);
    store_sqlite()->close(s);
    s = opened();
    assert_true(there(s, arena, a->id) && there(s, arena, b->id));
    store_sqlite()->close(s);
    arena_free(arena);
}

static void test_what_was_written_and_not_answered_may_be_lost(void **state)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < 20; i++) { /* what a cut leaves is up to the dice */
        struct arena *arena = arena_new(1u << 20);
        struct store *s = opened();
        const struct submission *a = write_one(s, arena, NULL);
        assert_false(a->decided);
        disk_cut(true);
        store_sqlite()->poll(s, true);
        assert_true(a->decided);
        assert_int_equal(a->op.err.code, ERR_UNKNOWN_OUTCOME);
        store_sqlite()->close(s);
        s = opened();
        lost += !there(s, arena, a->id);
        store_sqlite()->close(s);
        arena_free(arena);
    }
    assert_true(lost > 0); /* the disk does what this test rests on */
}

static void test_a_read_waits_for_the_sync_of_what_it_shows(void **state)
{
    for (unsigned i = 0; i < 20; i++) {
        struct arena *arena = arena_new(1u << 20);
        struct store *s = opened();
        const struct submission *a = write_one(s, arena, NULL);
        assert_false(a->decided);
        bool shown = there(s, arena, a->id);
        disk_cut(true);
        store_sqlite()->close(s);
        s = opened();
        if (shown && !there(s, arena, a->id))
            fail_msg("shown, and gone after a power cut");
        store_sqlite()->close(s);
        arena_free(arena);
    }
}

static void test_a_failed_sync_leaves_every_batch_above_it_unknown(void **state)
{
    struct arena *arena = arena_new(1u << 20);
    struct store *s = opened();
    const struct submission *a = write_one(s, arena, NULL), *b = write_one(s, arena, NULL);

    disk_plan(DISK_SYNC, 1);
    store_sqlite()->poll(s, true);
    store_sqlite()->poll(s, true);
    assert_int_equal(a->op.err.code, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(b->op.err.code, ERR_UNKNOWN_OUTCOME); /* though the next sync would have gone well */
    assert_false(there(s, arena, a->id));                  /* nor is it shown */
    const struct submission *c = write_one(s, arena, NULL);
    assert_int_equal(c->op.err.code, ERR_UNAVAILABLE);
    disk_cut(true);
    store_sqlite()->close(s);
    arena_free(arena);
}

/* Batches of 100 kB: a checkpoint every 40 of them, and logs that begin anew. */
static void test_what_was_answered_survives_a_cut_around_checkpoints(void **state)
{
    enum { BATCHES = 150 };
    static char payload[100000];
    struct submission *all[BATCHES];

    memset(payload, 'x', sizeof(payload) - 1);
    for (unsigned cut_at = 1; cut_at < 1200; cut_at += 37) {
        struct arena *arena = arena_new(1u << 24);
        disk_reset(rng_seeded_view(&seeded));
        struct store *s = opened();
        const unsigned cuts = disk_cuts();
        size_t n = 0;
        disk_plan(DISK_CUT, cut_at);
        for (; n < BATCHES && disk_cuts() == cuts; n++) {
            all[n] = write_one(s, arena, payload);
            if (overlaps && n % 2)
                store_sqlite()->poll(s, n % 4 == 1);
        }
        disk_plan(DISK_CUT, 0);
        if (disk_cuts() == cuts)
            disk_cut(true);
        store_sqlite()->close(s); /* those in flight stay undecided */
        s = opened();
        for (size_t i = 0; i < n; i++)
            if (told(all[i]) && !there(s, arena, all[i]->id))
                fail_msg("cut at write %u: batch %zu of %zu was answered, and is gone", cut_at, i, n);
        store_sqlite()->close(s);
        arena_free(arena);
    }
}

/* --- a checkpoint's sync is owed until the log begins anew --- */

/* Of 64 KiB each: with a few more the log is 8 MiB, is moved into the database, and begins anew. */
#define LOG_JOBS 80
#define MORE     20

static bool submitted(struct store *s, struct arena *arena, const char *payload, struct uuid *ret)
{
    const struct submission *one = write_one(s, arena, payload);

    while (!one->decided)
        store_sqlite()->poll(s, true);
    *ret = one->id;
    return told(one);
}

/** Something happens to the disk at write or sync `at`, counted from LOG_JOBS on; then the power goes. @return whether it came to that */
static bool around_a_checkpoint(enum disk_fault fault, unsigned at, const char *payload)
{
    struct arena *arena = arena_new(1u << 24);
    struct uuid ids[LOG_JOBS + MORE];
    size_t n = 0;

    disk_reset(rng_seeded_view(&seeded));
    struct store *s = opened();
    while (n < LOG_JOBS && submitted(s, arena, payload, &ids[n]))
        n++;
    assert_int_equal(n, LOG_JOBS);
    disk_plan(fault, at);
    while (n < LOG_JOBS + MORE && submitted(s, arena, payload, &ids[n]))
        n++;
    if (fault == DISK_CUT)
        disk_cut(true);
    disk_plan(fault, 0);
    store_sqlite()->close(s);
    disk_cut(true);
    s = opened();
    for (size_t i = 0; i < n; i++)
        if (!there(s, arena, ids[i]))
            fail_msg("job %zu of %zu is gone, after a fault at write %u", i, n, at);
    store_sqlite()->close(s);
    arena_free(arena);
    return n < LOG_JOBS + MORE;
}

static void each_fault_around_a_checkpoint(enum disk_fault fault)
{
    char payload[JOB_PAYLOAD_MAX + 1];
    unsigned at = 1;

    memset(payload, '1', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = 0;
    while (around_a_checkpoint(fault, at, payload))
        at += 4;                /* a checkpoint makes more writes than that before each of its syncs */
    assert_true(at > 3 * MORE); /* a commit is a write and a sync */
}

static void test_a_power_cut_around_a_checkpoint_loses_nothing(void **state)
{
    each_fault_around_a_checkpoint(DISK_CUT);
}

static void test_nor_does_a_sync_that_fails_there(void **state)
{
    each_fault_around_a_checkpoint(DISK_SYNC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_start_shows_survives_a_power_cut),
        cmocka_unit_test_setup_teardown(test_a_batch_is_answered_by_its_sync_and_in_order, overlap_on, overlap_off),
        cmocka_unit_test_setup_teardown(test_what_was_written_and_not_answered_may_be_lost, overlap_on, overlap_off),
        cmocka_unit_test_setup_teardown(test_a_read_waits_for_the_sync_of_what_it_shows, overlap_on, overlap_off),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_leaves_every_batch_above_it_unknown, overlap_on,
                                        overlap_off),
        cmocka_unit_test_setup_teardown(test_what_was_answered_survives_a_cut_around_checkpoints, overlap_on,
                                        overlap_off),
        cmocka_unit_test_setup_teardown(test_what_was_answered_survives_a_cut_around_checkpoints, overlap_setup,
                                        overlap_off),
        cmocka_unit_test_setup_teardown(test_a_power_cut_around_a_checkpoint_loses_nothing, overlap_setup, overlap_off),
        cmocka_unit_test_setup_teardown(test_nor_does_a_sync_that_fails_there, overlap_setup, overlap_off),
    };

    return cmocka_run_group_tests_name("sim-restart", tests, NULL, NULL);
}
