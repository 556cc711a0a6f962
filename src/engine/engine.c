#include "engine/internal.h"
#include "base/auto.h"

#define OPS_DEFAULT     8192
#define POLLS_DEFAULT   10000
#define OVERLAP_DEFAULT 128
#define BESIDE_DEFAULT  16

usec engine_boot(const struct engine *e)
{
    return e->cfg.clock.boot_us(e->cfg.clock.self);
}

usec engine_store_now(const struct engine *e)
{
    return e->cfg.store_driver->now(e->cfg.store);
}

int engine_new(const struct engine_config *config, struct engine **ret, struct err *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return err_set(err, ERR_NO_MEMORY, 0, "engine");
    e->cfg = *config;
    feed_init(&e->feed);
    for (size_t i = 0; i < QUEUE_COUNT; i++)
        e->queues[i].last = &e->queues[i].first;
    if (!e->cfg.ops_max)
        e->cfg.ops_max = OPS_DEFAULT;
    if (!e->cfg.polls_max)
        e->cfg.polls_max = POLLS_DEFAULT;
    if (!e->cfg.overlap_ops)
        e->cfg.overlap_ops = OVERLAP_DEFAULT;
    if (!e->cfg.beside_ops)
        e->cfg.beside_ops = BESIDE_DEFAULT;
    int rc = metrics_init(e, err);
    if (rc == ERR_OK)
        rc = alerts_init(e, err);
    if (rc == ERR_OK)
        rc = dispatch_init(e, err);
    if (rc != ERR_OK) {
        engine_free(e);
        return err_wrap(err, rc, "load the lanes of ready jobs");
    }
    sweep_init(e);
    e->last_boot_us = e->asked_wake_us = engine_boot(e);
    e->last_store_us = engine_store_now(e);
    *ret = e;
    return ERR_OK;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    commit_settle(e);
    struct queue *q = e->queues;
    while (q < e->queues + QUEUE_COUNT) {
        struct op *op = q->first;
        if (!op) {
            q++;
            continue;
        }
        q->first = op->next;
        if (!q->first)
            q->last = &q->first;
        err_set(&op->err, ERR_UNAVAILABLE, 0, "the server is stopping; repeat the call");
        op->done(op);
    }
    pack_release(e);
    snapshot_give_up(e);
    dispatch_end(e, ERR_UNAVAILABLE);
    hints_end(e);
    watch_fire_all(e);
    for (size_t i = 0; i < SWEEP_COUNT; i++)
        arena_free(e->sweepers[i].op.arena);
    dispatch_release(e);
    metrics_release(e);
    alerts_release(e);
    feed_release(&e->feed);
    free(e);
}

/* Of all the room, a quarter is never for new work. */
static size_t new_max(const struct engine *e)
{
    return e->cfg.ops_max - e->cfg.ops_max / 4;
}

void engine_offer(struct engine *e, struct op *op)
{
    enum queue_id which = op->kind == OP_SUBMIT ? QUEUE_NEW : QUEUE_RUNNING;
    struct queue *q = &e->queues[which];

    if (e->n_ops >= e->cfg.ops_max || (which == QUEUE_NEW && q->n >= new_max(e))) {
        err_set(&op->err, ERR_BUSY, 0, "%zu writes wait already; repeat the call a little later", e->n_ops);
        metrics_note_op(e, op);
        op->done(op);
        return;
    }
    err_clear(&op->err);
    op->n_changes = op->n_ended = op->n_ends = 0;
    op->next = NULL;
    *q->last = op;
    q->last = &op->next;
    q->n++;
    e->n_ops++;
}

void engine_offload(struct engine *e,
                    bool (*offload)(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg),
                                    void *arg),
                    void *self)
{
    e->cfg.offload = offload;
    e->cfg.offload_self = self;
}

void engine_wakes(struct engine *e, void (*wake)(void *arg), void *arg)
{
    if (!e->cfg.store_driver->wakes)
        return;
    e->cfg.store_driver->wakes(e->cfg.store, wake, arg);
    e->woken = wake != NULL;
}

void engine_drain(struct engine *e)
{
    e->draining = true;
    alerts_keep(e);
    snapshot_give_up(e);
    dispatch_end(e, ERR_OK);
    watch_fire_all(e);
}

bool engine_idle(const struct engine *e)
{
    return !e->n_ops && !e->batches_in_flight && !e->removing && !e->look;
}

bool engine_lost(const struct engine *e)
{
    return e->lost;
}

usec engine_step(struct engine *e)
{
    usec boot_us = engine_boot(e), store_us = engine_store_now(e); /* together: a slow commit must not part them */

    look_step(e);
    hints_place(e);
    metrics_sample(e);
    alerts_step(e);
    sweep_run(e);
    dispatch_claims(e);
    hints_settle(e);
    commit_batches(e);
    snapshot_step(e);
    usec wake_us = MIN(dispatch_timeouts(e, boot_us), watch_timeouts(e, boot_us));
    wake_us = MIN(wake_us, MIN(sweep_next_boot(e), look_next_boot(e)));
    wake_us = MIN(wake_us, alerts_next_boot(e));
    /* Never asleep for long: only so is every pause that could cost a lease seen as lateness (sweep.c, grace). A lease on schedule has
     * three quarters left, and a pause that long is late by half of one. */
    wake_us = MIN(wake_us, boot_us + e->cfg.policy.lease_us / 4);
    if ((e->batches_in_flight ? !e->woken : e->n_ops > 0) || snapshot_copies(e) ||
        (e->work_arrived && e->polls && !e->draining))
        wake_us = boot_us;
    e->last_boot_us = boot_us;
    e->last_store_us = store_us;
    e->asked_wake_us = wake_us;
    return wake_us;
}
