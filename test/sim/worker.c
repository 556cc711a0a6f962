/* Workers as src/worker is: an agent that polls, and a supervisor for each attempt, which renews, holds its handler still before the lease
 * ends by its own clock, journals how it ended and repeats that until it is answered. */
#include "base/bug.h"
#include "sim.h"

#define ORPHAN_US (300 * SEC)

static usec clock_of(const struct sim *s, unsigned host)
{
    const struct host *h = &s->hosts[host];

    return s->now + h->clock_offset_us + s->now / 1000000 * h->drift_ppm;
}

static usec margin_us(const struct sim *s)
{
    return MIN(s->policy.lease_us / 6, 5 * SEC);
}

static void agent_poll(struct sim *s, void *arg, unsigned cookie);
static void report_send(struct sim *s, void *arg, unsigned gen);
static void beat_send(struct sim *s, void *arg, unsigned gen);
static void handler_begin(struct sim *s, struct attempt_run *a);

static void agent_poll_soon(struct sim *s, struct host *h, usec in_us)
{
    if (!h->polling)
        after(s, in_us, (int)(h - s->hosts), agent_poll, h, ++h->poll_cookie);
}

/* --- the handler --- */

static void handler_ends(struct sim *s, void *arg, unsigned gen);

static void process_tell(struct sim *s, const struct attempt_run *a, const char *what)
{
    struct event *e = history_add(&s->history, s->now, EV_PROCESS);

    snprintf(e->what, sizeof e->what, "%s", what);
    snprintf(e->who, sizeof e->who, "%s", s->hosts[a->host].name);
    e->job = a->job_id;
    e->attempt = a->token.attempt;
}

/* Lets it run or holds it still, as things stand. */
static void handler_set(struct sim *s, struct attempt_run *a)
{
    bool moves = a->handler && !a->frozen && s->hosts[a->host].paused_until_us <= s->now;

    if (moves == a->moving)
        return;
    a->moving = moves;
    if (moves) {
        process_tell(s, a, a->started ? "thaw" : "start");
        a->started = true;
        a->since_us = s->now;
        after(s, a->left_us, (int)a->host, handler_ends, a, a->gen);
    } else {
        process_tell(s, a, a->handler ? "freeze" : "end");
        a->left_us -= s->now - a->since_us;
    }
}

static void handler_kill(struct sim *s, struct attempt_run *a)
{
    bool was_held = a->handler && !a->moving;

    a->handler = false;
    handler_set(s, a);
    if (was_held && a->started)
        process_tell(s, a, "end");
}

static void slot_free(struct sim *s, struct attempt_run *a)
{
    struct host *h = &s->hosts[a->host];
    unsigned gen = a->gen + 1, host = a->host;

    handler_kill(s, a);
    *a = (struct attempt_run){.gen = gen, .host = host};
    if (h->up)
        agent_poll_soon(s, h, dice_us(s, 1000, SEC));
}

static void report_begin(struct sim *s, struct attempt_run *a, enum outcome outcome, bool permanent)
{
    handler_kill(s, a);
    a->failure = (struct job_failure){.outcome = outcome, .permanent = permanent, .error_log = "it ended badly"};
    a->journalled = true;
    a->phase = ATTEMPT_REPORT;
    a->round = 0;
    report_send(s, a, a->gen);
}

static void handler_ends(struct sim *s, void *arg, unsigned gen)
{
    static const enum outcome bad[] = {OUTCOME_ERROR, OUTCOME_TIMEOUT, OUTCOME_OOM, OUTCOME_SIGNAL, OUTCOME_STALLED};
    struct attempt_run *a = arg;

    if (gen != a->gen || !a->moving || s->now - a->since_us < a->left_us)
        return;
    if (a->cancel)
        report_begin(s, a, OUTCOME_CANCELLED, false);
    else if (a->interrupt)
        report_begin(s, a, OUTCOME_INTERRUPTED, false);
    else if (chance(s, 70))
        report_begin(s, a, OUTCOME_SUCCESS, false);
    else {
        enum outcome outcome = bad[dice(s, ARRAY_LEN(bad))];
        report_begin(s, a, outcome, chance(s, 10));
    }
}

/* TERM, and a moment's grace. */
static void handler_stop(struct sim *s, struct attempt_run *a)
{
    usec grace_us = dice_us(s, 10000, 5 * SEC);

    if (!a->handler)
        return;
    if (a->moving) {
        usec left_us = a->left_us - (s->now - a->since_us);
        a->since_us = s->now;
        a->left_us = MIN(left_us, grace_us);
        after(s, a->left_us, (int)a->host, handler_ends, a, a->gen);
    } else
        a->left_us = MIN(a->left_us, grace_us);
}

/* --- checkpoints --- */

static void checkpoint_due(struct sim *s, void *arg, unsigned gen);

static void checkpoint_later(struct sim *s, struct attempt_run *a)
{
    after(s, dice_us(s, 3 * SEC, 40 * SEC), (int)a->host, checkpoint_due, a, a->gen);
}

static void checkpoint_put(struct sim *s, void *arg, unsigned gen);

static void checkpoint_answered(struct sim *s, struct rpc *r, const struct answer *answer)
{
    struct attempt_run *a = r->owner;

    if (r->cookie != a->gen || a->dead)
        return;
    if (r->kind == RPC_CHECKPOINT && (!answer || answer->code == ERR_UNKNOWN_OUTCOME)) {
        after(s, dice_us(s, 200000, SEC), (int)a->host, checkpoint_put, a, a->gen); /* the same once more */
        return;
    }
    if (r->kind == RPC_CHECKPOINT || !answer || answer->code != ERR_OK) { /* the next one will do */
        checkpoint_later(s, a);
        return;
    }
    const usec most_us = chance(s, 50) ? 90 * SEC : SEC;
    a->checkpoint_blob = answer->blob_id;
    after(s, dice_us(s, 1000, most_us), (int)a->host, checkpoint_put, a, a->gen); /* other files */
}

/* Whether the lease is over meanwhile it does not ask: the token tells. */
static void checkpoint_put(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;

    if (gen != a->gen || a->phase != ATTEMPT_RUN || a->dead)
        return;
    struct rpc *r = rpc_new(s, RPC_CHECKPOINT, a->host, checkpoint_answered, a);
    r->job_id = a->job_id;
    r->token = a->token;
    r->cookie = gen;
    r->outputs[0] = a->checkpoint;
    r->blob_id = a->checkpoint_blob;
    r->sequence = a->checkpoint_sequence;
    rpc_send(s, r, dice_us(s, SEC, 5 * SEC));
}

/* The bytes become a blob, and then the blob a checkpoint. */
static void checkpoint_due(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;

    if (gen != a->gen || a->phase != ATTEMPT_RUN || a->dead)
        return;
    if (!a->moving) {
        checkpoint_later(s, a);
        return;
    }
    a->checkpoint_sequence++;
    a->checkpoint.number = dice(s, UINT64_MAX);
    a->checkpoint.size = 1 + (int64_t)dice(s, 64);
    struct rpc *r = rpc_new(s, RPC_BLOB, a->host, checkpoint_answered, a);
    r->cookie = gen;
    r->outputs[0] = a->checkpoint;
    rpc_send(s, r, 20 * SEC);
}

static void restore_send(struct sim *s, void *arg, unsigned gen);

static void restore_answered(struct sim *s, struct rpc *r, const struct answer *answer)
{
    struct attempt_run *a = r->owner;

    if (r->cookie != a->gen || a->phase != ATTEMPT_RESTORE || a->dead)
        return;
    if (answer && (answer->code == ERR_OK || answer->code == ERR_CORRUPT))
        handler_begin(s, a);
    else
        after(s, dice_us(s, 200000, 2 * SEC), (int)a->host, restore_send, a, a->gen);
}

static void restore_send(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;

    if (gen != a->gen || a->phase != ATTEMPT_RESTORE || a->dead)
        return;
    struct rpc *r = rpc_new(s, RPC_RESTORE, a->host, restore_answered, a);
    r->job_id = a->job_id;
    r->token = a->token;
    r->cookie = gen;
    rpc_send(s, r, 10 * SEC);
}

/* --- the lease --- */

static void guard(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;
    usec left_us = a->end_us - margin_us(s) - clock_of(s, a->host);

    if (gen != a->gen || a->phase != ATTEMPT_RUN || a->frozen || BUG("no-freeze"))
        return;
    if (left_us > 0) {
        after(s, left_us, (int)a->host, guard, a, gen);
        return;
    }
    a->frozen = true;
    handler_set(s, a);
}

static void handler_begin(struct sim *s, struct attempt_run *a)
{
    a->phase = ATTEMPT_RUN;
    a->handler = true;
    a->left_us = chance(s, 70) ? dice_us(s, SEC, 40 * SEC) : dice_us(s, 40 * SEC, 240 * SEC);
    a->n_outputs = (unsigned)dice(s, OUTPUTS_EACH + 1);
    for (unsigned i = 0; i < a->n_outputs; i++) {
        a->outputs[i].number = dice(s, UINT64_MAX);
        a->outputs[i].size = 1 + (int64_t)dice(s, 64);
    }
    a->frozen = a->end_us - margin_us(s) <= clock_of(s, a->host); /* the answer took longer than the lease */
    handler_set(s, a);
    guard(s, a, a->gen);
    if (chance(s, 60))
        checkpoint_later(s, a);
}

static void renewed(struct sim *s, struct attempt_run *a, const struct rpc *r, const struct answer *answer)
{
    usec sent_ago_us = s->now - r->sent_us;
    bool news = answer->cancel && !a->cancel;

    a->end_us = clock_of(s, a->host) - sent_ago_us + answer->lease_us;
    a->cancel = a->cancel || answer->cancel;
    if (a->phase == ATTEMPT_CONFIRM || (a->phase == ATTEMPT_RESTORE && a->cancel)) {
        if (a->cancel) {
            report_begin(s, a, OUTCOME_CANCELLED, false);
            return;
        }
        a->phase = ATTEMPT_RESTORE;
        restore_send(s, a, a->gen);
        return;
    }
    if (a->phase == ATTEMPT_RUN && a->frozen && a->end_us - margin_us(s) > clock_of(s, a->host)) {
        a->frozen = false;
        handler_set(s, a);
        guard(s, a, a->gen);
    }
    if (news)
        handler_stop(s, a);
}

static void beat_answered(struct sim *s, struct rpc *r, const struct answer *answer)
{
    struct attempt_run *a = r->owner;

    if (r->cookie != a->gen || a->dead)
        return;
    if (answer && answer->code == ERR_OK)
        renewed(s, a, r, answer);
    else if (answer && (answer->code == ERR_STALE_TOKEN || answer->code == ERR_NOT_FOUND)) {
        if (a->phase != ATTEMPT_REPORT) /* what is journalled hears it for itself */
            slot_free(s, a);
        return;
    } else if (clock_of(s, a->host) > a->end_us + ORPHAN_US && a->phase != ATTEMPT_REPORT) {
        slot_free(s, a);
        return;
    }
    if (r->cookie != a->gen)
        return;
    bool answered = answer && answer->code == ERR_OK;
    after(s, answered ? s->policy.heartbeat_us : MIN(s->policy.heartbeat_us / 4, 2 * SEC), (int)a->host, beat_send, a,
          a->gen);
}

static void beat_send(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;

    if (gen != a->gen || a->phase == ATTEMPT_NONE || a->dead)
        return;
    struct rpc *r = rpc_new(s, RPC_BEAT, a->host, beat_answered, a);
    usec left_us = a->end_us - clock_of(s, a->host);
    r->job_id = a->job_id;
    r->token = a->token;
    r->cookie = gen;
    rpc_send(s, r, MAX(SEC, MIN(10 * SEC, left_us / 2)));
}

/* --- how it ended --- */

static void report_answered(struct sim *s, struct rpc *r, const struct answer *answer)
{
    struct attempt_run *a = r->owner;

    if (r->cookie != a->gen || a->dead)
        return;
    if (answer && answer->code == ERR_OK && r->kind == RPC_OUTPUT) {
        a->sent_outputs++;
        report_send(s, a, a->gen);
        return;
    }
    if (answer && (answer->code == ERR_OK || answer->code == ERR_STALE_TOKEN || answer->code == ERR_NOT_FOUND ||
                   answer->code == ERR_ILLEGAL_STATE || answer->code == ERR_INVALID)) {
        slot_free(s, a);
        return;
    }
    usec wait_us = MIN(s->policy.lease_us / 6, (usec)(1 + a->round) * SEC);
    a->round++;
    after(s, dice_us(s, wait_us / 2, wait_us), (int)a->host, report_send, a, a->gen);
}

static void report_send(struct sim *s, void *arg, unsigned gen)
{
    struct attempt_run *a = arg;
    bool success = a->failure.outcome == OUTCOME_SUCCESS;

    if (gen != a->gen || a->phase != ATTEMPT_REPORT || a->dead)
        return;
    bool output = success && a->sent_outputs < a->n_outputs;
    struct rpc *r = rpc_new(s, output ? RPC_OUTPUT : success ? RPC_COMPLETE : RPC_FAIL, a->host, report_answered, a);
    r->job_id = a->job_id;
    r->token = a->token;
    r->cookie = gen;
    memcpy(r->outputs, a->outputs, sizeof r->outputs);
    r->n_outputs = success ? a->n_outputs : 0;
    r->which = a->sent_outputs;
    r->failure = a->failure;
    rpc_send(s, r, s->policy.lease_us / 6);
}

/* --- the agent --- */

static void attempt_begin(struct sim *s, struct host *h, const struct uuid *id, const struct token *token,
                          usec asked_us)
{
    unsigned host = (unsigned)(h - s->hosts);
    struct attempt_run *free_one = NULL;

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        struct attempt_run *a = &h->attempts[i];
        if (a->phase == ATTEMPT_NONE)
            free_one = a;
        else if (uuid_equal(&a->job_id, id) && token_equal(&a->token, token))
            return; /* the same poll, answered again */
    }
    if (!free_one)
        return; /* never confirmed, it goes back */
    *free_one = (struct attempt_run){.phase = ATTEMPT_CONFIRM,
                                     .host = host,
                                     .gen = free_one->gen + 1,
                                     .job_id = *id,
                                     .token = *token,
                                     .end_us = clock_of(s, host) - (s->now - asked_us) + s->policy.lease_us};
    after(s, dice_us(s, 1000, 500000), (int)host, beat_send, free_one, free_one->gen);
}

static unsigned slots_free(const struct sim *s, const struct host *h)
{
    unsigned used = 0, all = s->healed ? SLOTS_MAX : h->slots;

    for (unsigned i = 0; i < SLOTS_MAX; i++)
        used += h->attempts[i].phase != ATTEMPT_NONE;
    return all > used ? all - used : 0;
}

static void poll_answered(struct sim *s, struct rpc *r, const struct answer *answer)
{
    struct host *h = r->owner;
    bool good = answer && answer->code == ERR_OK;

    if (r->cookie != h->poll_cookie)
        return;
    h->polling = false;
    for (size_t i = 0; good && i < answer->n; i++)
        attempt_begin(s, h, &answer->claimed[i].id, &answer->claimed[i].token, r->sent_us);
    if (good)
        h->poll_id[0] = '\0'; /* else the same question again: it may have been given something */
    agent_poll_soon(s, h, good ? dice_us(s, 1000, 100000) : dice_us(s, 200000, 2 * SEC));
}

static void agent_poll(struct sim *s, void *arg, unsigned cookie)
{
    struct host *h = arg;

    if (cookie != h->poll_cookie || h->polling || !h->up || !slots_free(s, h))
        return;
    if (!h->poll_id[0])
        snprintf(h->poll_id, sizeof h->poll_id, "%u-%u", h->life, ++h->polls);
    struct rpc *r = rpc_new(s, RPC_POLL, (unsigned)(h - s->hosts), poll_answered, h);
    memcpy(r->poll_id, h->poll_id, sizeof r->poll_id);
    r->slots = slots_free(s, h);
    r->wait_us = s->policy.lease_us / 3;
    r->cookie = ++h->poll_cookie;
    h->polling = true;
    rpc_send(s, r, r->wait_us + 5 * SEC);
}

/* What is journalled is reported, whoever's it was. */
static void agent_adopt(struct sim *s, struct host *h)
{
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        struct attempt_run *a = &h->attempts[i];
        if (a->phase == ATTEMPT_NONE || !a->dead)
            continue;
        if (!a->journalled) {
            slot_free(s, a);
            continue;
        }
        a->dead = false;
        a->gen++;
        a->round = a->sent_outputs = 0;
        a->end_us = clock_of(s, a->host);
        report_send(s, a, a->gen);
    }
}

void worker_start(struct sim *s, unsigned host)
{
    struct host *h = &s->hosts[host];

    h->up = true;
    h->polling = false;
    h->poll_id[0] = '\0';
    agent_adopt(s, h);
    agent_poll_soon(s, h, dice_us(s, 1000, SEC));
}

void agent_restart(struct sim *s, unsigned host)
{
    if (s->hosts[host].up)
        worker_start(s, host); /* its poll is forgotten, its supervisors are not */
}

static void adopt_later(struct sim *s, void *arg, unsigned cookie)
{
    agent_adopt(s, arg);
}

void supervisor_kill(struct sim *s, unsigned host, unsigned slot)
{
    struct host *h = &s->hosts[host];
    struct attempt_run *a = &h->attempts[slot];

    if (!h->up || a->phase == ATTEMPT_NONE || a->dead)
        return;
    handler_kill(s, a); /* it dies with it */
    a->dead = true;
    a->gen++;
    after(s, dice_us(s, 100000, 10 * SEC), (int)host, adopt_later, h, 0);
}

static void back(struct sim *s, void *arg, unsigned life)
{
    struct host *h = arg;

    if (h->life == life && !h->up)
        worker_start(s, (unsigned)(h - s->hosts));
}

void worker_crash(struct sim *s, unsigned host, usec back_after_us)
{
    struct host *h = &s->hosts[host];

    if (!h->up)
        return;
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        struct attempt_run *a = &h->attempts[i];
        if (a->phase == ATTEMPT_NONE)
            continue;
        handler_kill(s, a);
        a->dead = true;
        a->gen++;
    }
    h->up = false;
    h->life++;
    h->paused_until_us = 0;
    h->clock_offset_us = dice_us(s, 0, 1000000 * SEC);
    after(s, back_after_us, -1, back, h, h->life);
}

static void resume(struct sim *s, void *arg, unsigned cookie)
{
    struct host *h = arg;

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        struct attempt_run *a = &h->attempts[i];
        if (a->phase != ATTEMPT_RUN || a->dead)
            continue;
        guard(s, a, a->gen); /* first of all: the handler is held before it knows */
        handler_set(s, a);
    }
}

void worker_pause(struct sim *s, unsigned host, usec us)
{
    struct host *h = &s->hosts[host];

    us = MIN(us, s->heal_at_us - s->now);
    if (!h->up || h->paused_until_us > s->now || us <= 0)
        return;
    h->paused_until_us = s->now + us;
    after(s, us, (int)host, resume, h, 0);
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        if (h->attempts[i].phase == ATTEMPT_RUN && !h->attempts[i].dead)
            handler_set(s, &h->attempts[i]);
}

void worker_interrupt(struct sim *s, unsigned host)
{
    struct host *h = &s->hosts[host];

    for (unsigned i = 0; h->up && i < SLOTS_MAX; i++) {
        struct attempt_run *a = &h->attempts[i];
        if (a->phase != ATTEMPT_RUN || a->dead)
            continue;
        a->interrupt = true;
        handler_stop(s, a);
    }
}
