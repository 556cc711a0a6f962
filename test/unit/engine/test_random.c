/* Anything, in any order, against what RELIABILITY.md promises: a model that knows only what clients were told judges what the engine
 * and its store say and show, after every step. HAUL_SEED=N replays one run. */
#include "world.h"
#include <inttypes.h>

enum { SEEDS = 40, STEPS = 200, JOBS = 4, ATTEMPTS = 64, WORKERS = 4 };

struct told { /* about one attempt */
    struct job held;
    bool reported; /* its report was accepted: `answer` is what any repeat must hear */
    bool staged;   /* "result" was accepted as its output */
    enum job_status answer;
};

struct tracked { /* one acknowledged job */
    struct uuid id;
    char key[8];
    struct told attempts[ATTEMPTS + 1]; /* by number */
    uint32_t n;                         /* claims told */
    uint32_t retries, interruptions;    /* accepted reports since the last retry */
    bool permanent, void_latest;        /* somebody's cancel or retry, seen to be accepted, ended the latest attempt */
    struct job last;                    /* as it was after the last step */
};

struct model {
    struct world *w;
    struct rng_seeded dice;
    struct tracked jobs[JOBS];
    size_t n;
    struct {
        unsigned id;
        struct tracked *job; /* what it was answered, if anything */
        uint32_t attempt;
    } polls[WORKERS];
    const struct tracked *retried; /* in this step */
};

static uint64_t pick(struct model *m, uint64_t below)
{
    return rng_u64(rng_seeded_view(&m->dice)) % below;
}

static struct tracked *find(struct model *m, struct uuid id)
{
    for (size_t i = 0; i < m->n; i++)
        if (uuid_equal(&m->jobs[i].id, &id))
            return &m->jobs[i];
    fail_msg("a job that nobody submitted");
    return NULL;
}

/* --- steps --- */

/* I2: a key that is known gives the first job's id. */
static void step_submit(struct model *m)
{
    struct op *op = submit_op(m->w, "encode", NULL);
    char key[8];
    struct tracked *known = NULL;

    snprintf(key, sizeof key, "k%u", (unsigned)pick(m, 2 * JOBS));
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->jobs[i].key, key))
            known = &m->jobs[i];
    if (!known && m->n == JOBS)
        return;
    op->u.submit.job.dedup_key = key;
    op->u.submit.job.max_attempts = 1 + (uint32_t)pick(m, 4);
    if (known)
        op->u.submit.job.max_attempts = known->last.max_attempts; /* the same request */
    assert_int_equal(decide(m->w, op), ERR_OK);
    assert_int_equal(op->u.submit.duplicate, known != NULL);
    if (known) {
        assert_true(uuid_equal(&op->u.submit.job.job_id, &known->id));
        return;
    }
    struct tracked *t = &m->jobs[m->n++];
    t->id = op->u.submit.job.job_id;
    snprintf(t->key, sizeof t->key, "%s", key);
    t->last = op->u.submit.job;
}

static bool holds(const struct tracked *t, const struct told *a)
{
    return a == &t->attempts[t->n] && !a->reported && !t->void_latest;
}

/* I4: a claim's token is of a higher attempt than all before; or it is a repeat, and the very same. */
static void step_poll(struct model *m)
{
    unsigned worker = (unsigned)pick(m, WORKERS);
    struct answer a;
    char id[16];

    if (pick(m, 4)) {
        m->polls[worker].id++;
        m->polls[worker].job = NULL;
    }
    struct tracked *given = m->polls[worker].job;
    snprintf(id, sizeof id, "%u", m->polls[worker].id);
    struct lease_poll *p = poll_new(m->w, (uint8_t)(worker + 1), id, &a);
    p->wait_us = 0;
    engine_poll(m->w->engine, p);
    settle(m->w);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.code, ERR_OK);
    if (given && given->last.status == JOB_RUNNING && holds(given, &given->attempts[m->polls[worker].attempt])) {
        /* The one it was given; and one that an earlier repetition was given while this one's lease had lapsed, should both run now. */
        assert_in_range(a.n, 1, 2);
        if (a.n == 1) {
            assert_true(uuid_equal(&a.job.job_id, &given->id));
            assert_int_equal(a.job.attempt, m->polls[worker].attempt);
        }
    }
    if (!a.n)
        return;
    struct tracked *t = find(m, a.job.job_id);
    m->polls[worker].job = t;
    m->polls[worker].attempt = a.job.attempt;
    if (a.job.attempt <= t->n) {
        assert_int_equal(a.job.attempt, t->n);
        assert_true(token_equal(&a.job.token, &t->attempts[t->n].held.token));
        return;
    }
    assert_int_equal(a.job.attempt, t->n + 1);
    assert_in_range(a.job.attempt, 1, ATTEMPTS);
    t->attempts[++t->n].held = a.job;
    t->void_latest = false;
}

/* Any attempt that was ever told of, more often the latest; or NULL. */
static struct told *any_attempt(struct model *m, struct tracked **ret)
{
    struct tracked *t = m->n ? &m->jobs[pick(m, m->n)] : NULL;

    if (!t || !t->n)
        return NULL;
    *ret = t;
    return &t->attempts[pick(m, 4) ? t->n : 1 + pick(m, t->n)];
}

/* I3: who was overtaken, or decided, is refused; who holds the job is not, and its lease may have lapsed. */
static void judge(const struct tracked *t, const struct told *a, int rc, int when_lapsed)
{
    if (!holds(t, a))
        assert_int_equal(rc, ERR_STALE_TOKEN);
    else
        assert_int_equal(rc, t->last.status == JOB_RUNNING ? ERR_OK : when_lapsed);
}

static void step_heartbeat(struct model *m)
{
    struct tracked *t;
    struct told *a = any_attempt(m, &t);

    if (a)
        judge(t, a, heartbeat(m->w, &a->held), ERR_OK);
}

static void step_stage(struct model *m)
{
    struct tracked *t;
    struct told *a = any_attempt(m, &t);

    if (!a || !holds(t, a) || t->last.status != JOB_RUNNING || a->staged)
        return;
    stage(m->w, &a->held, "result");
    a->staged = true;
}

static void step_complete(struct model *m)
{
    struct tracked *t;
    struct told *a = any_attempt(m, &t);
    enum job_status status;

    if (!a)
        return;
    int rc = complete_with(m->w, &a->held, a->staged ? "result" : NULL, &status);
    if (a->reported) {
        assert_int_equal(rc, ERR_OK);
        assert_int_equal(status, a->answer);
        return;
    }
    judge(t, a, rc, ERR_OK);
    if (rc != ERR_OK)
        return;
    a->reported = true;
    a->answer = status;
    assert_int_equal(status, t->last.cancel_requested_at ? JOB_CANCELLED : JOB_SUCCESS);
}

static void step_fail(struct model *m)
{
    static const enum outcome outcomes[] = {OUTCOME_ERROR, OUTCOME_SIGNAL, OUTCOME_INTERRUPTED};
    struct tracked *t;
    struct told *a = any_attempt(m, &t);
    struct op *op = op_new(m->w, OP_FAIL, NULL);

    if (!a)
        return;
    op->u.fail.job_id = t->id;
    op->u.fail.token = a->held.token;
    op->u.fail.failure = (struct job_failure){.outcome = outcomes[pick(m, ARRAY_LEN(outcomes))],
                                              .permanent = pick(m, 8) == 0,
                                              .error_log = "boom",
                                              .dice = pick(m, UINT64_MAX)};
    int rc = decide(m->w, op);
    if (a->reported) {
        assert_int_equal(rc, ERR_OK);
        assert_int_equal(op->u.fail.status, a->answer);
        return;
    }
    judge(t, a, rc, ERR_ILLEGAL_STATE);
    if (rc != ERR_OK)
        return;
    a->reported = true;
    a->answer = op->u.fail.status;
    if (a->answer == JOB_CANCELLED)
        return;
    if (op->u.fail.failure.outcome == OUTCOME_INTERRUPTED) {
        t->interruptions++;
        assert_int_equal(a->answer == JOB_FAILED, t->interruptions == m->w->cfg.policy.max_interruptions);
        return;
    }
    t->permanent = op->u.fail.failure.permanent;
    if (a->answer == JOB_PENDING)
        t->retries++;
    else
        assert_true(t->permanent || t->retries + 1 == t->last.max_attempts);
}

static void step_cancel(struct model *m)
{
    if (!m->n)
        return;
    struct tracked *t = &m->jobs[pick(m, m->n)];
    int rc = act(m->w, OP_CANCEL, t->id);
    bool over = t->last.status == JOB_SUCCESS || t->last.status == JOB_FAILED;

    assert_int_equal(rc, over ? ERR_ILLEGAL_STATE : ERR_OK);
    if (t->last.status == JOB_PENDING)
        t->void_latest = true;
}

static void step_retry(struct model *m)
{
    if (!m->n)
        return;
    struct tracked *t = &m->jobs[pick(m, m->n)];
    int rc = act(m->w, OP_RETRY, t->id);
    bool may = t->last.status == JOB_FAILED || t->last.status == JOB_CANCELLED;

    assert_int_equal(rc, may ? ERR_OK : ERR_ILLEGAL_STATE);
    if (!may)
        return;
    m->retried = t;
    t->retries = t->interruptions = 0;
    t->permanent = false;
    t->void_latest = true;
}

static void step_time(struct model *m)
{
    if (pick(m, 4))
        pass(m->w, (usec)pick(m, 50) * SEC);
    else { /* a pause */
        advance(m->w, (usec)pick(m, 200) * SEC);
        settle(m->w);
    }
}

static void step_restart(struct model *m)
{
    world_close(m->w);
    advance(m->w, (usec)pick(m, 100) * SEC);
    world_open(m->w);
    settle(m->w);
}

/* --- what must hold after every step --- */

static const bool legal[JOB_STATUS_COUNT][JOB_STATUS_COUNT] = {
    [JOB_PENDING] = {true, true, true, true, true}, [JOB_RUNNING] = {true, true, true, true, true},
    [JOB_SUCCESS] = {[JOB_SUCCESS] = true},         [JOB_FAILED] = {[JOB_FAILED] = true},
    [JOB_CANCELLED] = {[JOB_CANCELLED] = true},
};

static void look_at(struct model *m, struct tracked *t, const struct job *now)
{
    const struct policy *p = &m->w->cfg.policy;

    if (m->retried == t) /* I5: the only way out of the dead letters */
        assert_int_equal(now->status, JOB_PENDING);
    else
        assert_true(legal[t->last.status][now->status]);
    if (t->last.version == now->version)
        assert_int_equal(t->last.status, now->status);
    assert_true(now->version >= t->last.version);
    assert_int_equal(now->attempt, t->n);       /* I4: no claim that nobody was told of, none forgotten */
    assert_int_equal(now->retries, t->retries); /* I9: each budget counts its own, and ends it */
    assert_in_range(now->retries, 0, now->max_attempts - 1);
    assert_in_range(now->losses, 0, p->max_losses);
    assert_int_equal(now->interruptions, t->interruptions);
    assert_true(now->status == JOB_FAILED || now->status == JOB_CANCELLED || now->losses < p->max_losses);
    if (now->status == JOB_FAILED)
        assert_true(t->permanent || now->retries + 1 == now->max_attempts || now->losses == p->max_losses ||
                    now->interruptions == p->max_interruptions);
    if (now->status == JOB_RUNNING)
        assert_in_range(now->lease_until, 1, m->w->cfg.store_driver->now(m->w->cfg.store) + p->lease_us);
    if (now->status == JOB_SUCCESS) { /* I3, I7: somebody was told so, and what it staged is there */
        const struct told *winner = &t->attempts[now->attempt];
        assert_true(winner->reported && winner->answer == JOB_SUCCESS);
        assert_int_equal(published(m->w, t->id), winner->staged);
    }
    if (t->last.status == JOB_RUNNING && (now->status == JOB_FAILED || now->status == JOB_CANCELLED))
        t->void_latest = true; /* lapsed, and that was the end of it */
    t->last = *now;
}

/* I1: all that was acknowledged is there. */
static void look_at_all(struct model *m)
{
    struct job_filter f = {.project = "default", .status = -1, .limit = 100};
    struct job_page page;

    assert_int_equal(m->w->cfg.store_driver->job_list(m->w->cfg.store, &f, m->w->arena, &page, NULL), ERR_OK);
    assert_int_equal(page.n, m->n);
    for (size_t i = 0; i < page.n; i++)
        look_at(m, find(m, page.jobs[i].job_id), &page.jobs[i]);
    m->retried = NULL;
}

/* I6: when the faults end, every job moves within a lease and ten seconds, and a worker that is well brings all to an end. */
static void finish(struct model *m)
{
    struct world *w = m->w;
    struct answer a;

    pass(w, 2 * w->cfg.policy.lease_us + 10 * SEC); /* the last pause may have written grace */
    look_at_all(m);
    for (size_t i = 0; i < m->n; i++)
        assert_int_not_equal(m->jobs[i].last.status, JOB_RUNNING);
    pass(w, w->cfg.policy.backoff_cap_us);
    for (unsigned k = 0;; k++) {
        struct lease_poll *p = poll_new(w, 77, arena_printf(w->arena, "end-%u", k), &a);
        p->wait_us = 0;
        engine_poll(w->engine, p);
        settle(w);
        if (!a.n)
            break;
        struct tracked *t = find(m, a.job.job_id);
        struct told *last = &t->attempts[++t->n];
        last->held = a.job;
        assert_int_equal(complete(w, &a.job, &last->answer), ERR_OK);
        last->reported = true;
    }
    look_at_all(m);
    for (size_t i = 0; i < m->n; i++)
        assert_true(m->jobs[i].last.status >= JOB_SUCCESS);
}

static void test_anything_in_any_order(void **state)
{
    static void (*const steps[])(struct model *) = {
        step_submit, step_poll, step_poll,     step_poll,     step_poll, step_heartbeat, step_heartbeat, step_stage,
        step_stage,  step_time, step_complete, step_complete, step_fail, step_fail,      step_cancel,    step_retry,
    };
    struct model m = {.w = *state};

    /* Leases that lapse now and then, and budgets that come to an end within a run. */
    m.w->cfg.policy.lease_us = 40 * SEC;
    m.w->cfg.policy.heartbeat_us = 5 * SEC;
    m.w->cfg.policy.max_losses = 1;
    m.w->cfg.policy.max_interruptions = 2;
    world_close(m.w);
    world_open(m.w);
    m.dice.state = m.w->dice.state * 31 + 7;
    for (int i = 0; i < STEPS; i++) {
        if (pick(&m, 40) == 0)
            step_restart(&m);
        else
            steps[pick(&m, ARRAY_LEN(steps))](&m);
        look_at_all(&m);
    }
    finish(&m);
}

static int seeded_setup(void **state)
{
    uint64_t seed = *(const uint64_t *)*state;
    int rc = world_setup(state);

    ((struct world *)*state)->dice.state = seed;
    return rc;
}

int main(void)
{
    static uint64_t seeds[SEEDS];
    static char names[SEEDS][48];
    struct CMUnitTest tests[SEEDS];
    const char *given = getenv("HAUL_SEED");
    const uint64_t first = given ? strtoull(given, NULL, 0) : rng_u64(rng_real()) >> 16;
    const size_t n = given ? 1 : SEEDS;

    for (size_t i = 0; i < n; i++) {
        seeds[i] = first + i;
        snprintf(names[i], sizeof names[i], "HAUL_SEED=%" PRIu64, seeds[i]);
        tests[i] = (struct CMUnitTest){names[i], test_anything_in_any_order, seeded_setup, world_teardown, &seeds[i]};
    }
    return _cmocka_run_group_tests("engine-random", tests, n, NULL, NULL);
}
