/* P06: a poison job is stopped, and an outage dead-letters nobody. A fleet of workers, each with a job, renewing as real ones do:
 * every heartbeat, at moments of their own. */
#include "world.h"

enum { FLEET = 10 };
#define TICK_US (SEC / 2)

struct fleet {
    struct world *w;
    size_t n; /* workers */
    struct {
        struct job job;
        bool alive;
    } worker[FLEET];
    unsigned ticks, polls;
};

/* Worker i takes a job: any, or the one there is. */
static void take(struct fleet *f, size_t i)
{
    f->worker[i].job = claim(f->w, (uint8_t)(i + 1), arena_printf(f->w->arena, "poll-%u", f->polls++));
    f->worker[i].alive = true;
    assert_int_equal(heartbeat(f->w, &f->worker[i].job), ERR_OK);
}

static void fleet_pass(struct fleet *f, usec by)
{
    const unsigned every = (unsigned)(f->w->cfg.policy.heartbeat_us / TICK_US);

    for (usec t = 0; t < by; t += TICK_US) {
        f->ticks++;
        for (size_t i = 0; i < f->n; i++)
            if (f->worker[i].alive && (f->ticks + i * every / f->n) % every == 0)
                assert_int_equal(heartbeat(f->w, &f->worker[i].job), ERR_OK);
        advance(f->w, TICK_US);
        settle(f->w);
    }
}

static struct fleet fleet_start(struct world *w, size_t n)
{
    struct fleet f = {.w = w, .n = n};

    pass(w, 2 * w->cfg.policy.lease_us);
    for (size_t i = 0; i < n; i++) {
        submit(w, "encode");
        take(&f, i);
    }
    fleet_pass(&f, 2 * w->cfg.policy.lease_us);
    return f;
}

static void fleet_stop(struct fleet *f)
{
    for (size_t i = 0; i < f->n; i++)
        f->worker[i].alive = false;
}

/* A switch fails, a power cut: the leases end one by one over a heartbeat, and each sweep sees one. */
static void test_P06_fleet_that_goes_away_again_and_again_charges_nobody(void **state)
{
    struct world *w = *state;
    struct fleet f = fleet_start(w, FLEET);
    struct job_filter all = {.project = "default", .status = JOB_PENDING, .limit = 100};
    struct job_page page;

    for (int outage = 1; outage <= 5; outage++) {
        fleet_stop(&f);
        fleet_pass(&f, w->cfg.policy.lease_us + SEC);
        assert_int_equal(w->cfg.store_driver->job_list(w->cfg.store, &all, w->arena, &page, NULL), ERR_OK);
        assert_int_equal(page.n, FLEET);
        for (size_t i = 0; i < page.n; i++) {
            assert_int_equal(page.jobs[i].losses + page.jobs[i].interruptions + page.jobs[i].retries, 0);
            assert_int_equal(attempt_of(w, page.jobs[i].job_id, page.jobs[i].attempt).outcome, OUTCOME_LOST);
        }
        for (size_t i = 0; i < FLEET; i++)
            take(&f, i);
        fleet_pass(&f, (usec)outage * 37 * SEC);
    }
    for (size_t i = 0; i < FLEET; i++)
        assert_int_equal(complete(w, &f.worker[i].job, NULL), ERR_OK);
}

/* Part of it, a rack: those that stay take over at once. */
static void test_P06_rack_that_goes_away_charges_nobody(void **state)
{
    struct world *w = *state;
    struct fleet f = fleet_start(w, FLEET);

    for (size_t i = 0; i < 3; i++)
        f.worker[i].alive = false;
    fleet_pass(&f, w->cfg.policy.lease_us + SEC);
    for (size_t i = 0; i < FLEET; i++) {
        struct job now = look(w, f.worker[i].job.job_id);
        assert_int_equal(now.status, i < 3 ? JOB_PENDING : JOB_RUNNING);
        assert_int_equal(now.losses, 0);
    }
}

static void test_P06_poison_job_ends_and_its_neighbours_live_on(void **state)
{
    struct world *w = *state;
    struct fleet f = fleet_start(w, FLEET);
    struct job poison = f.worker[0].job;

    for (uint32_t loss = 1; loss <= w->cfg.policy.max_losses; loss++) {
        f.worker[0].alive = false;
        fleet_pass(&f, w->cfg.policy.lease_us + SEC);
        struct job now = look(w, poison.job_id);
        assert_int_equal(now.losses, loss);
        assert_int_equal(now.attempt, loss);
        assert_int_equal(now.retries + now.interruptions, 0);
        if (loss < w->cfg.policy.max_losses) {
            assert_int_equal(now.status, JOB_PENDING);
            take(&f, 0); /* its machine came up again, and gets it again */
            assert_true(uuid_equal(&f.worker[0].job.job_id, &poison.job_id));
            fleet_pass(&f, 7 * SEC);
        }
    }
    struct job now = look(w, poison.job_id);
    assert_int_equal(now.status, JOB_FAILED);
    assert_int_equal(now.last_outcome, OUTCOME_LOST);
    assert_non_null(strstr(now.error_log, "lost with its worker"));
    assert_non_null(attempt_of(w, poison.job_id, 3).error);
    assert_int_equal(heartbeat(w, &f.worker[0].job), ERR_STALE_TOKEN);
    for (size_t i = 1; i < FLEET; i++) {
        now = look(w, f.worker[i].job.job_id);
        assert_int_equal(now.status, JOB_RUNNING);
        assert_int_equal(now.attempt, 1);
        assert_int_equal(now.losses, 0);
    }
}

/* They look like an outage each time they strike. It costs more workers, but it ends. */
static void test_P06_two_poison_jobs_in_lockstep_end_too(void **state)
{
    struct world *w = *state;
    struct fleet f = fleet_start(w, 2);
    struct uuid id[2] = {f.worker[0].job.job_id, f.worker[1].job.job_id};
    uint32_t rounds = 0;

    while (look(w, id[0]).status != JOB_FAILED || look(w, id[1]).status != JOB_FAILED) {
        assert_in_range(++rounds, 1, w->cfg.policy.max_interruptions + w->cfg.policy.max_losses);
        fleet_stop(&f);
        fleet_pass(&f, w->cfg.policy.lease_us + SEC);
        size_t left = (size_t)(look(w, id[0]).status == JOB_PENDING) + (look(w, id[1]).status == JOB_PENDING);
        for (size_t i = 0; i < left; i++)
            take(&f, i);
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(look(w, id[i]).losses, w->cfg.policy.max_losses);
}

/* The first run of a job that brings the machine down must be seen by the next: whatever happens right after the claim. */
static void test_P06_attempt_rises_in_the_claims_own_transaction(void **state)
{
    struct world *w = *state;
    struct uuid id = submit(w, "encode");

    for (uint32_t i = 1; i <= 5; i++) {
        assert_int_equal(claim(w, 1, arena_printf(w->arena, "p%u", i)).attempt, i);
        world_close(w); /* power cut: nothing but the claim was written */
        advance(w, 10 * SEC);
        world_open(w);
        settle(w);
        struct job now = look(w, id);
        assert_int_equal(now.status, JOB_RUNNING);
        assert_int_equal(now.attempt, i);
        assert_int_equal(attempt_of(w, id, i).outcome, OUTCOME_NONE);
        pass(w, w->cfg.policy.lease_us + SEC);
        assert_int_equal(look(w, id).status, JOB_PENDING);
    }
}

static void test_loss_right_after_grace_is_charged(void **state)
{
    struct world *w = *state;
    struct fleet f = fleet_start(w, 3);

    world_close(w);
    advance(w, 30 * SEC);
    world_open(w);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(heartbeat(w, &f.worker[i].job), ERR_OK);
    fleet_pass(&f, 20 * SEC); /* all are back; then one goes, still within the grace */
    f.worker[0].alive = false;
    fleet_pass(&f, w->cfg.policy.lease_us + SEC);
    assert_int_equal(look(w, f.worker[0].job.job_id).losses, 1);
    assert_int_equal(look(w, f.worker[1].job.job_id).status, JOB_RUNNING);
    assert_int_equal(look(w, f.worker[2].job.job_id).status, JOB_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_P06_fleet_that_goes_away_again_and_again_charges_nobody),
        TEST(test_P06_rack_that_goes_away_charges_nobody),
        TEST(test_P06_poison_job_ends_and_its_neighbours_live_on),
        TEST(test_P06_two_poison_jobs_in_lockstep_end_too),
        TEST(test_P06_attempt_rises_in_the_claims_own_transaction),
        TEST(test_loss_right_after_grace_is_charged),
    };
    return cmocka_run_group_tests_name("engine-losses", tests, NULL, NULL);
}
