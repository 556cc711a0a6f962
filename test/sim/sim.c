#include "base/sha256.h" /* hex */
#include "sim.h"

#define SETTLE_MAX (3600 * SEC)
#define AFTERMATH  (60 * SEC) /* nothing that is over may change any more */

uint64_t dice(struct sim *s, uint64_t below)
{
    return rng_u64(rng_seeded_view(&s->dice)) % below;
}

usec dice_us(struct sim *s, usec from, usec to)
{
    return from + (usec)dice(s, (uint64_t)(to - from) + 1);
}

bool chance(struct sim *s, unsigned percent)
{
    return dice(s, 100) < percent;
}

/* --- time: a heap of what is to come --- */

static bool sooner(const struct timer *a, const struct timer *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static void timer_push(struct sim *s, struct timer t)
{
    if (s->n_timers == s->timers_cap) {
        s->timers_cap = s->timers_cap ? 2 * s->timers_cap : 64;
        s->timers = realloc(s->timers, s->timers_cap * sizeof *s->timers);
        if (!s->timers)
            abort();
    }
    size_t i = s->n_timers++;
    t.seq = s->seq++;
    for (; i > 0 && sooner(&t, &s->timers[(i - 1) / 2]); i = (i - 1) / 2)
        s->timers[i] = s->timers[(i - 1) / 2];
    s->timers[i] = t;
}

static struct timer timer_pop(struct sim *s)
{
    struct timer first = s->timers[0], last = s->timers[--s->n_timers];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < s->n_timers) {
        if (child + 1 < s->n_timers && sooner(&s->timers[child + 1], &s->timers[child]))
            child++;
        if (!sooner(&s->timers[child], &last))
            break;
        s->timers[i] = s->timers[child];
        i = child;
    }
    s->timers[i] = last;
    return first;
}

void after(struct sim *s, usec us, int host, void (*fn)(struct sim *s, void *arg, unsigned cookie), void *arg,
           unsigned cookie)
{
    timer_push(s, (struct timer){.at = s->now + us,
                                 .host = host,
                                 .life = host < 0 ? 0 : s->hosts[host].life,
                                 .fn = fn,
                                 .arg = arg,
                                 .cookie = cookie});
}

static void go_on(struct sim *s)
{
    struct timer t = timer_pop(s);
    const struct host *h = t.host < 0 ? NULL : &s->hosts[t.host];

    s->now = t.at;
    if (h && h->life != t.life)
        return;
    if (h && h->paused_until_us > s->now) {
        t.at = h->paused_until_us;
        timer_push(s, t);
        return;
    }
    t.fn(s, t.arg, t.cookie);
}

/* --- the network --- */

static const enum event_kind said[] = {
    [RPC_SUBMIT] = EV_SUBMIT,   [RPC_CANCEL] = EV_CANCEL,
    [RPC_RETRY] = EV_RETRY,     [RPC_WATCH] = EV_NEWS,
    [RPC_POLL] = EV_CLAIM,      [RPC_BEAT] = EV_BEAT,
    [RPC_OUTPUT] = EV_OUTPUT,   [RPC_COMPLETE] = EV_COMPLETE,
    [RPC_FAIL] = EV_FAIL,       [RPC_CHECKPOINT] = EV_CHECKPOINT,
    [RPC_RESTORE] = EV_RESTORE,
};

/* Polls, watches and blobs are told by what comes of them. */
static bool silent(const struct rpc *r)
{
    return r->kind == RPC_POLL || r->kind == RPC_WATCH || r->kind == RPC_UPLOAD || r->kind == RPC_BLOB;
}

/* A 4xx says that it was not done; all else may have been. */
static bool refused(enum err_code code)
{
    return code == ERR_STALE_TOKEN || code == ERR_ILLEGAL_STATE || code == ERR_NOT_FOUND || code == ERR_CONFLICT ||
           code == ERR_INVALID;
}

static void outputs_tell(struct event *e, const struct produced *all, unsigned n)
{
    static const char *const names[OUTPUTS_EACH] = {"a.mp4", "b.jpg"};

    for (unsigned i = 0; i < n; i++) {
        struct event_output *o = &e->outputs[e->n_outputs++];
        uint8_t sha[32];
        produced_hash(&all[i], sha);
        snprintf(o->name, sizeof o->name, "%s", names[i]);
        o->size = all[i].size;
        hex_format(sha, 8, o->sha256);
    }
}

static struct event *tell(struct sim *s, const struct rpc *r, enum phase phase)
{
    struct event *e = history_add(&s->history, s->now, said[r->kind]);

    e->phase = phase;
    e->op = r->op;
    snprintf(e->who, sizeof e->who, "%s", s->hosts[r->host].name);
    e->job = r->job_id;
    if (r->token.attempt) {
        e->attempt = r->token.attempt;
        token_format(&r->token, e->token);
    }
    return e;
}

static void tell_invoke(struct sim *s, const struct rpc *r)
{
    struct event *e = tell(s, r, PHASE_INVOKE);

    if (r->submission) {
        memcpy(e->key, r->submission->key, sizeof e->key);
        e->max_attempts = r->submission->max_attempts;
    }
    if (r->kind == RPC_COMPLETE)
        outputs_tell(e, r->outputs, r->n_outputs);
    if (r->kind == RPC_CHECKPOINT)
        outputs_tell(e, r->outputs, 1);
    if (r->kind == RPC_FAIL)
        e->outcome = r->failure.outcome;
}

static void tell_claims(struct sim *s, const struct rpc *r, const struct answer *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct event *e = history_add(&s->history, s->now, EV_CLAIM);
        snprintf(e->who, sizeof e->who, "%s", s->hosts[r->host].name);
        e->job = a->claimed[i].id;
        e->attempt = a->claimed[i].token.attempt;
        token_format(&a->claimed[i].token, e->token);
    }
}

static void tell_answer(struct sim *s, const struct rpc *r, const struct answer *a)
{
    if (r->kind == RPC_POLL) {
        tell_claims(s, r, a);
        return;
    }
    if (r->kind == RPC_BLOB || r->kind == RPC_UPLOAD || (r->kind == RPC_WATCH && a->code != ERR_OK))
        return;
    struct event *e = tell(s, r, a->code == ERR_OK ? PHASE_OK : refused(a->code) ? PHASE_REFUSED : PHASE_UNKNOWN);
    if (r->kind == RPC_CHECKPOINT)
        outputs_tell(e, r->outputs, 1);
    if (a->code != ERR_OK) {
        snprintf(e->code, sizeof e->code, "%s", err_name(a->code));
        return;
    }
    e->cancel = a->cancel;
    if (r->kind == RPC_SUBMIT) {
        e->job = a->job_id;
        memcpy(e->key, r->submission->key, sizeof e->key);
    } else if (r->kind == RPC_RESTORE)
        outputs_tell(e, &a->restored, a->restored.size > 0);
    else if (r->kind != RPC_BEAT && r->kind != RPC_OUTPUT && r->kind != RPC_CHECKPOINT)
        e->status = (int64_t)a->status + 1;
    if (r->kind == RPC_WATCH) {
        e->phase = PHASE_NONE;
        e->version = a->version;
    }
}

struct rpc *rpc_new(struct sim *s, enum rpc_kind kind, unsigned host,
                    void (*on)(struct sim *s, struct rpc *r, const struct answer *a), void *owner)
{
    struct rpc *r = arena_alloc(s->arena, sizeof *r);

    if (!r)
        abort();
    r->kind = kind;
    r->host = host;
    r->life = s->hosts[host].life;
    r->on = on;
    r->owner = owner;
    return r;
}

static void unknown(struct sim *s, void *arg, unsigned cookie)
{
    struct rpc *r = arg;

    if (!r->open)
        return;
    r->open = false;
    if (!silent(r)) {
        struct event *e = tell(s, r, PHASE_UNKNOWN);
        if (r->kind == RPC_CHECKPOINT)
            outputs_tell(e, r->outputs, 1);
    }
    r->on(s, r, NULL);
}

static void arrive(struct sim *s, void *arg, unsigned late)
{
    struct rpc *r = arg;

    if (!s->hosts[r->host].cut_to && !(late && s->healed)) /* to be late is a fault */
        server_receive(s, r);
}

static usec net_delay(struct sim *s)
{
    return dice_us(s, 200, s->delay_max_us);
}

void rpc_send(struct sim *s, struct rpc *r, usec timeout_us)
{
    r->open = true;
    r->op = ++s->ops;
    r->sent_us = s->now;
    if (!silent(r))
        tell_invoke(s, r);
    after(s, timeout_us, (int)r->host, unknown, r, 0);
    if (!chance(s, s->loss))
        after(s, net_delay(s), -1, arrive, r, 0);
    if (chance(s, s->repeat)) /* a proxy's, or a switch's; some very late */
        after(s, chance(s, 50) ? net_delay(s) : dice_us(s, SEC, 120 * SEC), -1, arrive, r, 1);
}

struct letter {
    struct rpc *rpc;
    struct answer answer;
};

static void told(struct sim *s, void *arg, unsigned cookie)
{
    struct letter *l = arg;
    struct rpc *r = l->rpc;

    if (!r->open || s->hosts[r->host].cut_from)
        return;
    r->open = false;
    tell_answer(s, r, &l->answer);
    r->on(s, r, &l->answer);
}

void rpc_answer(struct sim *s, struct rpc *r, const struct answer *a, usec after_us)
{
    struct letter *l;

    if (!r->open || r->life != s->hosts[r->host].life || chance(s, s->loss))
        return;
    l = arena_alloc(s->arena, sizeof *l);
    if (!l)
        abort();
    l->rpc = r;
    l->answer = *a;
    after(s, after_us + net_delay(s), (int)r->host, told, l, 0);
}

/* --- a run --- */

static void policy_choose(struct sim *s)
{
    s->policy = policy_default();
    if (chance(s, 50)) { /* leases that lapse sooner */
        s->policy.lease_us = 24 * SEC;
        s->policy.heartbeat_us = 5 * SEC;
        s->policy.confirm_us = 6 * SEC;
    }
    s->policy.backoff_base_us = 2 * SEC;
    s->policy.backoff_cap_us = 20 * SEC;
    s->policy.max_interruptions = 2 + (uint32_t)dice(s, 4);
    s->policy.max_losses = 1 + (uint32_t)dice(s, 3);
    s->policy.blob_unreferenced_us = chance(s, 50) ? 300 * SEC : 45 * SEC;
    s->policy.upload_keep_us = 40 * SEC;
    if (chance(s, 30)) /* the longest that a message is late, and more */
        s->policy.retention_us = dice_us(s, 150 * SEC, 300 * SEC);
}

static void hosts_make(struct sim *s)
{
    unsigned clients = 1 + (unsigned)dice(s, 2);

    s->n_workers = 1 + (unsigned)dice(s, 3);
    s->n_hosts = s->n_workers + clients;
    for (unsigned i = 0; i < s->n_hosts; i++) {
        struct host *h = &s->hosts[i];
        h->worker = i < s->n_workers;
        h->up = true;
        h->slots = 1 + (unsigned)dice(s, 3);
        h->drift_ppm = (int64_t)dice(s, 401) - 200;
        h->clock_offset_us = dice_us(s, 0, 1000000 * SEC);
        snprintf(h->name, sizeof h->name, "%s%hu", h->worker ? "worker" : "client", (unsigned short)i);
        if (h->worker)
            worker_start(s, i);
    }
}

static void submissions_make(struct sim *s, usec until_us)
{
    s->n_submissions = 2 + (unsigned)dice(s, SUBMITS_MAX - 2);
    for (unsigned i = 0; i < s->n_submissions; i++) {
        struct submission *sub = &s->submissions[i];
        if (i > 0 && chance(s, 20)) { /* the same, by another client perhaps */
            *sub = s->submissions[dice(s, i)];
        } else {
            snprintf(sub->key, sizeof sub->key, "key%u", i);
            sub->max_attempts = 1 + (uint32_t)dice(s, 4);
            sub->priority = (int)dice(s, 10);
            sub->delay_us = chance(s, 20) ? dice_us(s, 1, 60 * SEC) : 0;
            sub->start_within_us = chance(s, 8) ? dice_us(s, SEC, 120 * SEC) : 0;
            sub->retries_left = (unsigned)dice(s, 3);
            sub->cancels = chance(s, 15);
            sub->input = chance(s, 40);
            sub->uploads = chance(s, 50);
        }
        sub->host = s->n_workers + (unsigned)dice(s, s->n_hosts - s->n_workers);
        client_start(s, sub, dice_us(s, 0, until_us * 3 / 4));
    }
}

static void run_until_settled(struct sim *s)
{
    usec healed_us = 0, settled_us = 0;

    while (s->n_timers && (!settled_us || s->now < settled_us + AFTERMATH)) {
        go_on(s);
        if (s->healed && !healed_us)
            healed_us = s->now;
        if (s->healed && !settled_us && clients_settled(s))
            settled_us = s->now;
        if (healed_us && s->now > healed_us + SETTLE_MAX)
            break; /* the checker says what hangs */
    }
}

usec sim_run(uint64_t seed, struct history *ret)
{
    struct sim *s = calloc(1, sizeof *s);

    if (!s || !(s->arena = arena_new(256u << 20)))
        abort();
    s->seed = seed;
    s->dice.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    s->delay_max_us = 20000;
    policy_choose(s);
    disk_reset(rng_seeded_view(&s->dice));
    struct event *e = history_add(&s->history, 0, EV_RUN);
    e->lease_us = s->policy.lease_us;
    e->heartbeat_us = s->policy.heartbeat_us;
    e->retention_us = s->policy.retention_us;
    server_start(s);
    usec until_us = dice_us(s, 120 * SEC, 600 * SEC);
    hosts_make(s);
    submissions_make(s, until_us);
    faults_start(s, until_us);
    run_until_settled(s);
    server_end(s);
    usec took_us = s->now;
    *ret = s->history;
    history_sort(ret);
    history_add(ret, ret->events[ret->n - 1].t, EV_END);
    arena_free(s->arena);
    free(s->timers);
    free(s);
    return took_us;
}
