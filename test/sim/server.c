/* The server's life: the real engine over the real store, stepped as it asks to be; starts, crashes, pauses; its clocks and its blobs. */
#include "base/sha256.h"
#include "sim.h"
#include "store/sqlite/sqlite.h"

static struct sim *sim_of_driver; /* a driver's apply has no argument for it */

static void die(struct sim *s, bool power, usec back_after_us);

bool server_dead(const struct server *v)
{
    return !v->engine || v->cuts != disk_cuts();
}

/* --- clocks --- */

usec server_wall_us(void *self)
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

struct blob *blob_find(struct server *v, const struct uuid *id)
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

/* --- the store, with the observer looking on --- */

struct batch {
    struct op **ops;
    size_t n;
    void (*decided)(void *arg);
    void *arg;
};

static void batch_decided(void *arg)
{
    struct batch *b = arg;

    for (size_t i = 0; i < b->n; i++)
        if (b->ops[i]->err.code == ERR_OK)
            observe_op(&sim_of_driver->server, b->ops[i]);
    b->decided(b->arg);
    free(b);
}

static void apply(struct store *store, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    struct batch *b = malloc(sizeof *b);

    if (!b)
        abort();
    *b = (struct batch){ops, n, decided, arg};
    const bool looks = sim_of_driver->server.batches++ % 5 == 0; /* somebody reads while it is in flight */

    for (size_t i = 0; looks && i < n; i++)
        observe_op(&sim_of_driver->server, ops[i]);
    store_sqlite()->apply(store, ops, n, batch_decided, b);
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
        server_step_at(s, held_us);
        return;
    }
    usec wake_us = engine_step(v->engine);
    if (!server_dead(v))
        observe(s);
    v->busy_until_us = s->now + v->skip_us;
    v->skip_us = 0;
    if (server_dead(v) || engine_lost(v->engine)) {
        bool power = !server_dead(v) && chance(s, 50);
        die(s, power, dice_us(s, 100000, 20 * SEC));
        return;
    }
    server_step_at(s, MAX(wake_us - v->boot_offset_us, v->busy_until_us) + 50);
}

void server_step_at(struct sim *s, usec at)
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
                                           .clock = {.wall_us = server_wall_us, .boot_us = boot_us, .self = s},
                                           .rng = rng_seeded_view(&s->dice),
                                           .policy = s->policy,
                                           .overlap_ops = 1};
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
    struct store_config sc = {.dir = disk_dir(), .clock = v->cfg.clock, .rng = v->cfg.rng, .policy = s->policy};
    int rc = store_sqlite()->open(&sc, &v->cfg.store, &err);
    if (rc == ERR_OK)
        store_sqlite()->overlap(v->cfg.store, false, NULL);
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
    observe_all(v);
    observe(s);
    snprintf(history_add(&s->history, s->now, EV_SERVER)->what, 16, "start");
    server_step_at(s, s->now);
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
    if (!s->healed && s->heal_at_us > s->now && chance(s, 25)) /* it seldom comes alone */
        disk_plan(DISK_CUT, 1 + (unsigned)dice(s, 6));
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

void server_end(struct sim *s)
{
    struct server *v = &s->server;

    if (v->engine) {
        while (!engine_idle(v->engine))
            engine_step(v->engine);
        observe(s);
        observe_end(s);
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
    struct store_config sc = {
        .dir = disk_dir(), .clock = s->server.cfg.clock, .rng = s->server.cfg.rng, .policy = s->policy};
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
