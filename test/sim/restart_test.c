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

static struct store *opened(void)
{
    struct store_config config = {
        .dir = disk_dir(), .clock = clock_fake_view(&now), .rng = rng_seeded_view(&seeded), .policy = policy_default()};
    struct store *s = NULL;
    struct err err = {0};

    if (store_sqlite()->open(&config, &s, &err) != ERR_OK)
        fail_msg("open: %s", err.msg);
    return s;
}

static void done(void *arg) {}

static enum err_code submit(struct store *s, struct arena *arena, struct uuid id)
{
    struct op op = {.kind = OP_SUBMIT, .project = "default", .arena = arena}, *ops[] = {&op};

    op.u.submit.job = (struct job){.job_id = id, .project = "default", .queue = "q", .task_type = "t", .priority = 5};
    store_sqlite()->apply(s, ops, 1, done, NULL);
    return op.err.code;
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
        struct uuid id = uuid_v7(now.wall_us, rng_seeded_view(&seeded));
        disk_reset(rng_seeded_view(&seeded));
        struct store *s = opened();
        disk_plan(DISK_KILL, n);
        bool told = submit(s, arena, id) == ERR_OK;
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
        if ((told || before) && !after)
            fail_msg("killed at its write %u: %s, and gone after a power cut", n, told ? "acknowledged" : "shown");
        shown += before && !told;
        acknowledged += told;
        arena_free(arena);
    }
    assert_true(shown > 0); /* killed between the write and the sync */
    assert_true(acknowledged > 0);
    disk_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_a_start_shows_survives_a_power_cut)};

    return cmocka_run_group_tests_name("sim-restart", tests, NULL, NULL);
}
