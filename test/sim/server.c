/* The server: questions become ops, the real engine decides them over the real store, an observer of the store says what it holds. */
#include "base/sha256.h"
#include "sim.h"
#include "store/sqlite/sqlite.h"

#define DIR "/tmp/haul-sim" /* a name: nothing of it is on this machine's disk but an empty folder */

struct call { /* a question on its way through the engine */
    struct sim *sim;
    struct rpc *rpc;
    unsigned life;
    struct arena *arena;
    struct op op;
    struct lease_poll poll;
    struct watch watch;
    const char *names[OUTPUTS_EACH];
};

static struct sim *sim_of_driver; /* a driver's apply has no argument for it */

static void schedule(struct sim *s, usec at);
static void die(struct sim *s, bool power, usec back_after_us);

static bool dead(const struct server *v)
{
    return !v->engine || v->cuts != disk_cuts();
}

/* --- clocks --- */

static usec wall_us(void *self)
{
    const struct sim *s = self;

    return INT64_C(1800000000) * SEC + s->now + s->server.skip_us + s->server.wall_offset_us;
}

static usec boot_us(void *self)
{
    const struct sim *s = self;

    return s->now + s->server.skip_us + s->server.boot_offset_us;
}

static void slept(usec us)
{
    if (sim_of_driver)
        sim_of_driver->server.skip_us += us;
}

/* --- blobs: bytes that are a number and a length --- */

void produced_hash(const struct produced *p, uint8_t ret[32])
{
    uint64_t words[8];

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = p->number * (2 * i + 1);
    sha256_once(words, MIN((size_t)p->size, sizeof words), ret);
}

static struct blob *blob_find(struct server *v, const struct uuid *id)
{
    for (size_t i = 0; i < v->n_blobs; i++)
        if (uuid_equal(&v->blobs[i].id, id))
            return &v->blobs[i];
    return NULL;
}

static int blob_remove(struct blobs *b, const struct uuid *id, struct err *err)
{
    struct blob *found = blob_find(&((struct sim *)b)->server, id);

    if (found)
        found->there = false;
    return ERR_OK;
}

static const struct blob_driver blob_driver = {.name = "simulated", .remove = blob_remove, .discard = blob_remove};

/* --- the observer --- */

static struct known_job *job_known(struct server *v, const struct uuid *id)
{
    for (size_t i = 0; i < v->n_jobs; i++)
        if (uuid_equal(&v->jobs[i].id, id))
            return &v->jobs[i];
    if (v->n_jobs == JOBS_MAX)
        return NULL;
    v->jobs[v->n_jobs] = (struct known_job){.id = *id};
    return &v->jobs[v->n_jobs++];
}

static void dirty(struct server *v, const struct uuid *id)
{
    struct known_job *k = job_known(v, id);

    if (k)
        k->dirty = true;
}

static void all_dirty(struct server *v)
{
    for (size_t i = 0; i < v->n_jobs; i++)
        v->jobs[i].dirty = true;
}

static void op_noted(struct server *v, const struct op *op)
{
    switch (op->kind) {
    case OP_SUBMIT:
        dirty(v, &op->u.submit.job.job_id);
        break;
    case OP_CLAIM:
        all_dirty(v); /* it may have called some overdue */
        break;
    case OP_HEARTBEAT:
        dirty(v, &op->u.heartbeat.job_id);
        break;
    case OP_COMPLETE:
        dirty(v, &op->u.complete.job_id);
        break;
    case OP_FAIL:
        dirty(v, &op->u.fail.job_id);
        break;
    case OP_CANCEL:
    case OP_RETRY:
        dirty(v, &op->u.job.job_id);
        break;
    case OP_SWEEP_LEASES:
    case OP_SWEEP_DUE:
        if (op->u.sweep.touched)
            all_dirty(v);
        break;
    default:
        break;
    }
}

struct batch {
    struct op **ops;
    size_t n;
    void (*decided)(void *arg);
    void *arg;
};

static void batch_decided(void *arg)
{
    const struct batch *b = arg;

    for (size_t i = 0; i < b->n; i++)
        if (b->ops[i]->err.code == ERR_OK)
            op_noted(&sim_of_driver->server, b->ops[i]);
    b->decided(b->arg);
}

static void apply(struct store *store, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    struct batch b = {ops, n, decided, arg};

    store_sqlite()->apply(store, ops, n, batch_decided, &b);
}

static struct event state_of(const struct sim *s, const struct job *job)
{
    usec wait_us = job->run_at - s->server.cfg.store_driver->now(s->server.cfg.store);
    struct event e = {.kind = EV_STATE,
                      .job = job->job_id,
                      .status = (int64_t)job->status + 1,
                      .attempt = job->attempt,
                      .outcome = job->last_outcome,
                      .max_attempts = job->max_attempts,
                      .retries = job->retries,
                      .interruptions = job->interruptions,
                      .losses = job->losses,
                      .version = job->version,
                      .confirmed = job->confirmed,
                      .cancel = job->cancel_requested_at != 0};

    if (job->status == JOB_PENDING && wait_us > 0)
        e.due_us = s->now + s->server.skip_us + wait_us;
    snprintf(e.key, sizeof e.key, "%s", job->dedup_key ? job->dedup_key : "");
    return e;
}

static bool job_read(struct sim *s, const struct uuid *id, struct job *ret)
{
    const struct server *v = &s->server;

    arena_reset(v->scratch);
    return v->cfg.store_driver->job_get(v->cfg.store, "default", id, v->scratch, ret, NULL) == ERR_OK;
}

static void observe(struct sim *s)
{
    struct server *v = &s->server;

    for (size_t i = 0; i < v->n_jobs; i++) {
        struct known_job *k = &v->jobs[i];
        struct job job;
        if (!k->dirty)
            continue;
        k->dirty = false;
        if (!job_read(s, &k->id, &job))
            continue;
        struct event e = state_of(s, &job), was = k->last;
        if (e.due_us && e.due_us - was.due_us < SEC && was.due_us - e.due_us < SEC)
            e.due_us =
                was.due_us; /* the same, whenever it is looked at; after a restart the store's time may be another */
        if (k->seen && memcmp(&e, &was, sizeof e) == 0)
            continue;
        k->seen = true;
        k->last = e;
        struct event *out = history_add(&s->history, s->now, EV_STATE);
        *out = e;
        out->t = s->now + v->skip_us;
    }
}

/* --- questions --- */

static void call_end(struct call *c, const struct answer *a)
{
    struct sim *s = c->sim;

    if (a && c->life == s->server.life && !dead(&s->server))
        rpc_answer(s, c->rpc, a, s->server.skip_us);
    arena_free(c->arena);
    free(c);
}

static void op_done(struct op *op)
{
    struct call *c = op->owner;
    struct answer a = {.code = op->err.code};

    if (a.code == ERR_OK)
        switch (op->kind) {
        case OP_SUBMIT:
            a.job_id = op->u.submit.job.job_id;
            break;
        case OP_HEARTBEAT:
            a.cancel = op->u.heartbeat.cancel;
            a.lease_us = c->sim->policy.lease_us;
            break;
        case OP_COMPLETE:
            a.status = op->u.complete.status;
            break;
        case OP_FAIL:
            a.status = op->u.fail.status;
            break;
        case OP_CANCEL:
        case OP_RETRY:
            a.status = op->u.job.job.status;
            break;
        default:
            break;
        }
    call_end(c, &a);
}

static void poll_done(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err)
{
    struct answer a = {.code = err ? err->code : ERR_OK, .n = MIN(n, (size_t)ANSWER_JOBS)};

    for (size_t i = 0; i < a.n; i++) {
        a.claimed[i].id = claimed[i].job.job_id;
        a.claimed[i].token = claimed[i].job.token;
    }
    call_end(p->owner, &a);
}

static void watch_answer(struct call *c)
{
    struct answer a = {.code = ERR_UNAVAILABLE, .job_id = c->rpc->job_id};
    struct job job;

    if (c->life == c->sim->server.life && !dead(&c->sim->server) && job_read(c->sim, &c->rpc->job_id, &job)) {
        a.code = ERR_OK;
        a.status = job.status;
        a.version = job.version;
        a.more = job.status == JOB_PENDING || job.status == JOB_RUNNING;
    }
    call_end(c, &a);
}

static void watch_fired(struct watch *w)
{
    watch_answer(w->owner);
}

static void ask_watch(struct call *c)
{
    struct job job;

    if (!job_read(c->sim, &c->rpc->job_id, &job) || job.version > c->rpc->after_version) {
        watch_answer(c);
        return;
    }
    c->watch = (struct watch){.job_id = c->rpc->job_id, .wait_us = c->rpc->wait_us, .fire = watch_fired, .owner = c};
    engine_watch(c->sim->server.engine, &c->watch);
}

static void ask_poll(struct call *c)
{
    static const char *const types[] = {"encode"};
    struct lease_poll *p = &c->poll;

    p->worker_id.b[15] = (uint8_t)(c->rpc->host + 1);
    memcpy(p->poll_id, c->rpc->poll_id, sizeof c->rpc->poll_id);
    p->worker_name = p->worker_host = c->sim->hosts[c->rpc->host].name;
    p->worker_version = "1";
    p->isolation = "none";
    p->handlers = "{\"encode\":\"1\"}";
    p->want = (struct want){.task_types = types, .n_task_types = 1, .slots = c->rpc->slots};
    p->slots_total = SLOTS_MAX;
    p->wait_us = c->rpc->wait_us;
    p->arena = c->arena;
    p->done = poll_done;
    p->owner = c;
    engine_poll(c->sim->server.engine, p);
}

static void fill_submit(struct call *c)
{
    const struct submission *sub = c->rpc->submission;
    struct op_submit *o = &c->op.u.submit;

    o->job = (struct job){.job_id = uuid_v7(wall_us(c->sim), c->sim->server.cfg.rng),
                          .project = "default",
                          .queue = "encode",
                          .task_type = "encode",
                          .priority = sub->priority,
                          .payload = "{}",
                          .labels = "{}",
                          .dedup_key = sub->key,
                          .max_attempts = sub->max_attempts};
    o->delay_us = sub->delay_us;
    o->start_within_us = sub->start_within_us;
    o->dedup_us = c->sim->policy.dedup_us;
    memcpy(o->request_hash, sub->key, sizeof sub->key);
}

static void fill_complete(struct call *c)
{
    static const char *const names[OUTPUTS_EACH] = {"a.mp4", "b.jpg"};
    struct op_complete *o = &c->op.u.complete;

    memcpy(c->names, names, sizeof names);
    o->job_id = c->rpc->job_id;
    o->token = c->rpc->token;
    o->outputs = c->names;
    o->n_outputs = c->rpc->n_outputs;
}

/* The bytes came first, and are a blob. false: they could not be kept. */
static bool fill_output(struct call *c)
{
    static const char *const names[OUTPUTS_EACH] = {"a.mp4", "b.jpg"};
    struct server *v = &c->sim->server;
    const struct produced *bytes = &c->rpc->outputs[c->rpc->which];
    struct op_output *o = &c->op.u.output;

    if (v->blobs_fail || v->n_blobs == ARRAY_LEN(v->blobs))
        return false;
    v->blobs[v->n_blobs] = (struct blob){uuid_v7(wall_us(c->sim), v->cfg.rng), *bytes, true};
    *o = (struct op_output){.job_id = c->rpc->job_id,
                            .token = c->rpc->token,
                            .name = names[c->rpc->which],
                            .blob_id = v->blobs[v->n_blobs++].id,
                            .size = bytes->size};
    produced_hash(bytes, o->sha256);
    return true;
}

static void ask_op(struct call *c, enum op_kind kind)
{
    const struct rpc *r = c->rpc;

    c->op = (struct op){.kind = kind, .project = "default", .arena = c->arena, .done = op_done, .owner = c};
    switch (kind) {
    case OP_SUBMIT:
        fill_submit(c);
        break;
    case OP_HEARTBEAT:
        c->op.u.heartbeat = (struct op_heartbeat){.job_id = r->job_id, .token = r->token};
        break;
    case OP_COMPLETE:
        fill_complete(c);
        break;
    case OP_FAIL:
        c->op.u.fail = (struct op_fail){.job_id = r->job_id, .token = r->token, .failure = r->failure};
        c->op.u.fail.failure.dice = rng_u64(c->sim->server.cfg.rng);
        break;
    case OP_OUTPUT:
        if (!fill_output(c)) {
            call_end(c, &(struct answer){.code = ERR_IO});
            return;
        }
        break;
    default:
        c->op.u.job.job_id = r->job_id;
    }
    engine_offer(c->sim->server.engine, &c->op);
}

static void ask(struct sim *s, void *arg, unsigned life);

/* A paused or busy server's questions wait in its sockets. */
static bool later(struct sim *s, struct rpc *r)
{
    usec until_us = MAX(s->server.paused_until_us, s->server.busy_until_us);

    if (until_us <= s->now)
        return false;
    after(s, until_us - s->now, -1, ask, r, s->server.life);
    return true;
}

static void ask(struct sim *s, void *arg, unsigned life)
{
    static const enum op_kind kinds[] = {
        [RPC_SUBMIT] = OP_SUBMIT, [RPC_CANCEL] = OP_CANCEL,     [RPC_RETRY] = OP_RETRY, [RPC_BEAT] = OP_HEARTBEAT,
        [RPC_OUTPUT] = OP_OUTPUT, [RPC_COMPLETE] = OP_COMPLETE, [RPC_FAIL] = OP_FAIL};
    struct rpc *r = arg;

    if (!s->server.engine || life != s->server.life || later(s, r))
        return;
    struct call *c = calloc(1, sizeof *c);
    if (!c || !(c->arena = arena_new(1u << 20)))
        abort();
    c->sim = s;
    c->rpc = r;
    c->life = life;
    if (r->kind == RPC_WATCH)
        ask_watch(c);
    else if (r->kind == RPC_POLL)
        ask_poll(c);
    else
        ask_op(c, kinds[r->kind]);
    schedule(s, s->now + dice_us(s, 20, 2000));
}

void server_receive(struct sim *s, struct rpc *r)
{
    if (s->server.blobs_slow_us && r->kind == RPC_OUTPUT)
        after(s, s->server.blobs_slow_us, -1, ask, r, s->server.life);
    else
        ask(s, r, s->server.life);
}

/* --- its life --- */

static void step(struct sim *s, void *arg, unsigned life)
{
    struct server *v = &s->server;

    if (!v->engine || life != v->life || v->step_at_us > s->now)
        return;
    usec held_us = MAX(v->paused_until_us, v->busy_until_us);
    v->step_at_us = USEC_NEVER;
    if (held_us > s->now) {
        schedule(s, held_us);
        return;
    }
    usec wake_us = engine_step(v->engine);
    if (!dead(v))
        observe(s);
    v->busy_until_us = s->now + v->skip_us;
    v->skip_us = 0;
    if (dead(v) || engine_lost(v->engine)) {
        die(s, dead(v) ? false : chance(s, 50), dice_us(s, 100000, 20 * SEC));
        return;
    }
    schedule(s, MAX(wake_us - v->boot_offset_us, v->busy_until_us) + 50);
}

static void schedule(struct sim *s, usec at)
{
    struct server *v = &s->server;

    if (!v->engine || at >= v->step_at_us)
        return;
    v->step_at_us = at;
    after(s, MAX(at - s->now, 0), -1, step, NULL, v->life);
}

static void driver_init(struct sim *s)
{
    static struct store_driver driver;

    driver = *store_sqlite();
    driver.apply = apply;
    s->server.cfg = (struct engine_config){.store_driver = &driver,
                                           .blob_driver = &blob_driver,
                                           .blobs = (struct blobs *)s,
                                           .clock = {.wall_us = wall_us, .boot_us = boot_us, .self = s},
                                           .rng = rng_seeded_view(&s->dice),
                                           .policy = s->policy};
    s->server.scratch = arena_new(16u << 20);
    sim_of_driver = s;
}

void server_start(struct sim *s)
{
    struct server *v = &s->server;
    struct err err = {0};

    if (!v->scratch)
        driver_init(s);
    v->cuts = disk_cuts();
    v->paused_until_us = v->busy_until_us = v->skip_us = 0;
    v->step_at_us = USEC_NEVER;
    struct store_config sc = {.dir = DIR, .clock = v->cfg.clock, .rng = v->cfg.rng, .policy = s->policy};
    int rc = store_sqlite()->open(&sc, &v->cfg.store, &err);
    if (rc == ERR_OK && (rc = engine_new(&v->cfg, &v->engine, &err)) != ERR_OK)
        store_sqlite()->close(v->cfg.store);
    v->skip_us = 0;
    if (rc != ERR_OK) { /* a full disk, or another cut while it opened: whoever looks after it tries again */
        v->engine = NULL;
        struct event *e = history_add(&s->history, s->now, EV_SERVER);
        snprintf(e->what, sizeof e->what, "no start");
        snprintf(e->code, sizeof e->code, "%s", err_name((enum err_code)rc));
        die(s, false, 2 * SEC);
        return;
    }
    all_dirty(v);
    observe(s);
    snprintf(history_add(&s->history, s->now, EV_SERVER)->what, 16, "start");
    schedule(s, s->now);
}

static void start(struct sim *s, void *arg, unsigned life)
{
    if (!s->server.engine && life == s->server.life)
        server_start(s);
}

/* It ends when what its thread is at (a slow sync) is over. */
static void die(struct sim *s, bool power, usec back_after_us)
{
    struct server *v = &s->server;
    struct engine *e = v->engine;
    usec at = MAX(s->now, v->busy_until_us);

    if (v->cuts == disk_cuts())
        disk_cut(power);
    v->life++;
    v->engine = NULL;
    if (e) {
        snprintf(history_add(&s->history, at, EV_SERVER)->what, 16, "crash");
        engine_free(e);
        store_sqlite()->close(v->cfg.store);
    }
    if (power)
        v->boot_offset_us = -s->now + dice_us(s, 0, 60 * SEC); /* the machine starts anew, and so does its clock */
    if (chance(s, 30))
        v->wall_offset_us += dice_us(s, -1200 * SEC, 1200 * SEC);
    after(s, at - s->now + back_after_us, -1, start, NULL, v->life);
}

struct crash {
    bool power;
    usec back_after_us;
};

static void crash(struct sim *s, void *arg, unsigned life)
{
    const struct crash *c = arg;

    if (s->server.engine && life == s->server.life)
        die(s, c->power, c->back_after_us);
}

void server_crash(struct sim *s, bool power, usec back_after_us)
{
    struct crash *c = arena_alloc(s->arena, sizeof *c);

    if (!c)
        abort();
    *c = (struct crash){power, back_after_us};
    after(s, MAX(s->server.busy_until_us - s->now, 0), -1, crash, c, s->server.life); /* nobody is killed in a sync */
}

static void resumed(struct sim *s, void *arg, unsigned life)
{
    if (s->server.engine && life == s->server.life && s->server.paused_until_us == s->now)
        snprintf(history_add(&s->history, s->now, EV_SERVER)->what, 16, "resume");
}

void server_pause(struct sim *s, usec us)
{
    us = MIN(us, s->heal_at_us - s->now);
    if (!s->server.engine || s->server.paused_until_us > s->now || us <= 0)
        return;
    s->server.paused_until_us = s->now + us;
    if (us > s->policy.lease_us) /* so long that it must see it */
        after(s, us, -1, resumed, NULL, s->server.life);
}

static void final_outputs(struct sim *s, struct event *e)
{
    struct server *v = &s->server;
    struct output *rows = NULL;
    size_t n = 0;

    if (v->cfg.store_driver->outputs(v->cfg.store, &e->job, v->scratch, &rows, &n, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < n && i < EVENT_OUTPUTS_MAX; i++) {
        const struct blob *b = blob_find(v, &rows[i].blob_id);
        uint8_t sha[32];
        if (!b || !b->there)
            continue;
        produced_hash(&b->bytes, sha);
        if (b->bytes.size != rows[i].size || memcmp(sha, rows[i].sha256, sizeof sha) != 0)
            continue;
        struct event_output *o = &e->outputs[e->n_outputs++];
        snprintf(o->name, sizeof o->name, "%s", rows[i].name);
        o->size = b->bytes.size;
        hex_format(sha, 8, o->sha256);
    }
}

static void final_attempts(struct sim *s, const struct uuid *id)
{
    const struct server *v = &s->server;
    struct attempt *rows = NULL;
    size_t n = 0;

    if (v->cfg.store_driver->attempts(v->cfg.store, id, v->scratch, &rows, &n, NULL) != ERR_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        struct event *e = history_add(&s->history, s->now, EV_ATTEMPT);
        e->job = *id;
        e->attempt = rows[i].attempt;
        e->outcome = rows[i].outcome;
        snprintf(e->who, sizeof e->who, "%s", rows[i].worker_name);
    }
}

static void finals(struct sim *s)
{
    const struct server *v = &s->server;
    struct arena *arena = arena_new(16u << 20);
    struct job_filter f = {.project = "default", .status = -1, .limit = 100};
    struct job_page page = {0};

    if (v->cfg.store_driver->job_list(v->cfg.store, &f, arena, &page, NULL) == ERR_OK)
        for (size_t i = 0; i < page.n; i++) {
            struct job job;
            if (!job_read(s, &page.jobs[i].job_id, &job))
                continue;
            struct event e = state_of(s, &job);
            e.t = s->now;
            e.kind = EV_FINAL;
            final_outputs(s, &e);
            *history_add(&s->history, s->now, EV_FINAL) = e;
            final_attempts(s, &page.jobs[i].job_id);
        }
    arena_free(arena);
}

void server_end(struct sim *s)
{
    struct server *v = &s->server;

    if (v->engine) {
        finals(s);
        v->life++;
        engine_free(v->engine);
        v->engine = NULL;
        disk_cut(false); /* nothing of it is needed: no checkpoint */
        store_sqlite()->close(v->cfg.store);
    }
    arena_free(v->scratch);
    sim_of_driver = NULL;
}

/* A new store's schema is the same each time: made once. */
void server_prepare(uint64_t seed)
{
    static struct rng_seeded rng;
    struct sim *s = calloc(1, sizeof *s);
    struct err err = {0};

    if (!s)
        abort();
    rng.state = seed;
    disk_init(rng_seeded_view(&rng), slept);
    s->policy = policy_default();
    driver_init(s);
    s->server.cfg.rng = rng_seeded_view(&rng);
    struct store_config sc = {.dir = DIR, .clock = s->server.cfg.clock, .rng = s->server.cfg.rng, .policy = s->policy};
    if (store_sqlite()->open(&sc, &s->server.cfg.store, &err) != ERR_OK) {
        fprintf(stderr, "haul-sim: %s\n", err.msg);
        exit(1);
    }
    store_sqlite()->close(s->server.cfg.store);
    disk_keep();
    arena_free(s->server.scratch);
    sim_of_driver = NULL;
    free(s);
}
