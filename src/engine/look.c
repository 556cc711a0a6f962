/* Looks at the store's lanes. Where other servers write, too, what is counted here goes out of date: while workers wait the lanes are
 * looked at again and again, which is the floor below every hint (engine_lanes_hint). Elsewhere, where it can be: the engine's thread does
 * not wait for a read. */
#include "engine/internal.h"

#define WAITED_US   (500 * USEC_PER_MSEC) /* while a worker waits */
#define UNWAITED_US (10 * USEC_PER_SEC)   /* for the metrics only */
#define STALE_US    (50 * USEC_PER_MSEC)  /* a hint spoke of a lane that is not known here */
#define ARENA_MAX   (1u << 30)

struct lanes_look {
    struct engine *engine;
    struct arena *arena;
    struct lane *lanes;
    size_t n;
    int rc;
};

static void look_read(void *arg)
{
    struct lanes_look *look = arg;
    const struct engine_config *cfg = &look->engine->cfg;

    look->rc = cfg->store_driver->lanes(cfg->store, look->arena, &look->lanes, &look->n, NULL);
}

static void look_done(struct engine *e, void *arg)
{
    struct lanes_look *look = arg;

    e->look = NULL;
    e->lanes_reads += look->rc == ERR_OK;
    if (look->rc == ERR_OK && !e->draining)
        dispatch_lanes_seen(e, look->lanes, look->n);
    arena_free(look->arena);
    free(look);
}

static void look_start(struct engine *e)
{
    struct lanes_look *look = calloc(1, sizeof *look);

    if (!look || !(look->arena = arena_new(ARENA_MAX))) {
        free(look);
        return; /* the next one is soon */
    }
    look->engine = e;
    e->look = look;
    e->lanes_stale = false;
    dispatch_look_began(e);
    if (e->cfg.offload && e->cfg.offload(e->cfg.offload_self, look_read, look_done, look))
        return;
    look_read(look);
    look_done(e, look);
}

static usec due_at(const struct engine *e)
{
    if (e->lanes_stale)
        return e->look_boot_us - WAITED_US + STALE_US;
    return e->look_boot_us + (dispatch_waits(e) ? 0 : UNWAITED_US - WAITED_US);
}

void look_step(struct engine *e)
{
    if (!e->cfg.store_driver->shared) {
        if (e->lanes_stale && !e->batches_in_flight) /* what is in flight is told of, once it is decided */
            dispatch_load(e, NULL);                  /* tried again with the next step */
        return;
    }
    if (e->look || e->draining || due_at(e) > engine_boot(e))
        return;
    e->look_boot_us = engine_boot(e) + WAITED_US;
    look_start(e);
}

usec look_next_boot(const struct engine *e)
{
    return e->cfg.store_driver->shared && !e->look && !e->draining ? due_at(e) : USEC_NEVER;
}
