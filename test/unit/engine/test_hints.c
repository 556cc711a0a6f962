/* What servers tell one another: which jobs are announced and what is wanted; what becomes of a hint. */
#include "world.h"
#include "engine/internal.h"

/* A broker that notes what it is told. */
struct broker {
    int announced, slots;
    struct uuid last;
    char lane[64];
};

static void note_job(struct broker *b, const struct broker_job *job)
{
    b->announced++;
    b->last = job->job_id;
    snprintf(b->lane, sizeof b->lane, "%.20s/%.20s/%d/%u", job->queue, job->task_type, job->priority, job->retries);
}

static void note_want(struct broker *b, const char *queue, const char *task_type, int slots)
{
    b->slots += slots;
}

static const struct broker_driver noting = {.name = "noting", .announce = note_job, .want = note_want};

static struct store_driver shared; /* SQLite as if others wrote to it */

static void with_broker(struct world *w, struct broker *b, bool others)
{
    *b = (struct broker){0};
    shared = *store_sqlite();
    shared.shared = others;
    w->cfg.broker_driver = &noting;
    w->cfg.broker = b;
    world_engine(w, &shared);
}

static void without_broker(struct world *w)
{
    engine_free(w->engine); /* it tells the broker what is wanted no more */
    w->engine = NULL;
    w->cfg.broker_driver = NULL;
    world_engine(w, NULL);
}

static void test_a_job_is_announced_when_it_becomes_ready_and_stays_so(void **state)
{
    struct world *w = *state;
    struct broker b;
    struct answer a;
    with_broker(w, &b, false);
    struct uuid id = submit(w, "encode");
    assert_int_equal(b.announced, 1);
    assert_true(uuid_equal(&b.last, &id));
    assert_string_equal(b.lane, "encode/encode/5/0");
    struct job job = claim(w, 1, "p1");
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    settle(w);
    submit(w, "encode"); /* the worker that waits takes it in the same batch */
    assert_int_equal(a.n, 1);
    assert_int_equal(b.announced, 1);
    assert_int_equal(fail_with(w, &a.job, OUTCOME_ERROR, 60 * SEC), ERR_OK);
    assert_int_equal(b.announced, 1); /* not before its time comes */
    pass(w, 3600 * SEC);
    assert_int_equal(b.announced, 2);
    assert_true(uuid_equal(&b.last, &a.job.job_id));
    assert_string_equal(b.lane, "encode/encode/5/1");
    without_broker(w);
}

static void test_what_is_wanted_is_what_waits(void **state)
{
    struct world *w = *state;
    struct broker b;
    struct answer a;
    with_broker(w, &b, false);
    struct lease_poll *p = poll_new(w, 1, "p1", &a);
    engine_poll(w->engine, p);
    settle(w);
    assert_int_equal(b.slots, 1);
    submit(w, "encode");
    assert_int_equal(a.n, 1);
    assert_int_equal(b.slots, 0);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    settle(w);
    assert_int_equal(b.slots, 1);
    without_broker(w);
    assert_int_equal(b.slots, 0);
}

struct heard {
    struct lane_hint hint;
    int calls;
    enum broker_outcome outcome;
};

static void hear(struct lane_hint *h, enum broker_outcome outcome)
{
    struct heard *heard = h->owner;
    heard->calls++;
    heard->outcome = outcome;
}

static struct heard *hint(struct world *w, const char *type)
{
    struct heard *h = arena_alloc(w->arena, sizeof *h);
    *h = (struct heard){.hint = {.queue = type, .task_type = type, .priority = 5, .jobs = 1, .done = hear}};
    h->hint.owner = h;
    engine_hint(w->engine, &h->hint);
    settle(w);
    return h;
}

static void assert_heard(const struct heard *h, enum broker_outcome outcome)
{
    assert_int_equal(h->calls, 1);
    assert_int_equal(h->outcome, outcome);
}

/* A job that this engine has not heard of, as another server would make it. */
static struct uuid submit_elsewhere(struct world *w, const char *type)
{
    struct engine *here = w->engine, *other = NULL;
    assert_int_equal(engine_new(&w->cfg, &other, NULL), ERR_OK);
    w->engine = other;
    struct uuid id = submit(w, type);
    w->engine = here;
    engine_free(other);
    return id;
}

static void test_a_hint_of_another_servers_job_wakes_a_worker(void **state)
{
    struct world *w = *state;
    struct broker b;
    struct answer a;
    with_broker(w, &b, true);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    w->cfg.store_driver = &shared;
    struct uuid id = submit_elsewhere(w, "encode");
    assert_int_equal(a.calls, 0);
    struct heard *h = hint(w, "encode"); /* of a lane that is not known here: the store's are read, soon */
    advance(w, SEC / 4);
    settle(w);
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &id));
    assert_heard(h, BROKER_CLAIMED);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    settle(w);
    id = submit_elsewhere(w, "encode");
    h = hint(w, "encode"); /* now it is: no time passes */
    assert_int_equal(a.n, 1);
    assert_true(uuid_equal(&a.job.job_id, &id));
    assert_heard(h, BROKER_CLAIMED);
    without_broker(w);
}

static void test_a_hint_of_nothing_is_dropped(void **state)
{
    struct world *w = *state;
    struct broker b;
    struct answer a;
    with_broker(w, &b, true);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    struct heard *h = hint(w, "encode"); /* the store has no such lane */
    advance(w, 2 * SEC);
    settle(w);
    assert_heard(h, BROKER_NOTHING);
    submit(w, "encode");
    assert_int_equal(a.n, 1);
    engine_poll(w->engine, poll_new(w, 1, "p2", &a));
    settle(w);
    h = hint(w, "encode"); /* the lane is there, and stands empty */
    assert_heard(h, BROKER_NOTHING);
    assert_int_equal(a.calls, 0);
    without_broker(w);
}

static void test_a_hint_that_no_worker_here_can_use_goes_to_others(void **state)
{
    struct world *w = *state;
    struct broker b;
    with_broker(w, &b, true);
    submit(w, "encode");
    struct heard *h = hint(w, "encode");
    assert_heard(h, BROKER_NOBODY);
    struct job job = claim(w, 1, "p1"); /* its announcement may come in yet: then it has done its work */
    submit(w, "encode");
    h = hint(w, "encode");
    assert_heard(h, BROKER_CLAIMED);
    h = hint(w, "encode");
    assert_heard(h, BROKER_NOBODY);
    assert_int_equal(complete(w, &job, NULL), ERR_OK);
    without_broker(w);
}

static void test_a_hint_changes_nothing_where_all_is_known(void **state)
{
    struct world *w = *state;
    struct broker b;
    struct answer a;
    with_broker(w, &b, false);
    engine_poll(w->engine, poll_new(w, 1, "p1", &a));
    settle(w);
    struct heard *h = hint(w, "encode");
    assert_heard(h, BROKER_NOTHING);
    assert_int_equal(a.calls, 0);
    without_broker(w);
}

static void test_a_hint_outlives_no_engine(void **state)
{
    struct world *w = *state;
    struct broker b;
    with_broker(w, &b, true);
    struct heard *h = arena_alloc(w->arena, sizeof *h);
    *h = (struct heard){.hint = {.queue = "x", .task_type = "x", .priority = 5, .jobs = 1, .done = hear}};
    h->hint.owner = h;
    engine_hint(w->engine, &h->hint);
    without_broker(w);
    assert_heard(h, BROKER_LATER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_job_is_announced_when_it_becomes_ready_and_stays_so),
        TEST(test_what_is_wanted_is_what_waits),
        TEST(test_a_hint_of_another_servers_job_wakes_a_worker),
        TEST(test_a_hint_of_nothing_is_dropped),
        TEST(test_a_hint_that_no_worker_here_can_use_goes_to_others),
        TEST(test_a_hint_changes_nothing_where_all_is_known),
        TEST(test_a_hint_outlives_no_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
