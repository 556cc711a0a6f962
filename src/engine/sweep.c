/* Sweepers: expired leases, due jobs, unreferenced blobs, old dedup keys, jobs whose retention is over, lanes where nobody stands, redrives. Each pass is an op of bounded
 * work that stands in the queue behind the ops that came before it; a pass that was not enough asks for another.
 *
 * Grace (DESIGN, law 5): when this server was not there to see renewals (start, pause, outage) or its idea of time and the store's
 * part, grace is written one full lease ahead before anything expires. */
#include "engine/internal.h"
#include "base/auto.h"
#include "base/bug.h"

#define SWEEP_ARENA_BYTES (1u << 20)
#define SWEEP_RETRY_US    (250 * USEC_PER_MSEC) /* after a pass that failed, or that named a time already past */
#define SWEEP_HOUSE_US    (60 * USEC_PER_SEC)
#define CLOCKS_PART_US    USEC_PER_SEC
#define SHARED_DUE_US     (500 * USEC_PER_MSEC) /* where other servers write, too, their jobs' times are not known here */
#define SHARED_SWEEP_US   USEC_PER_SEC

/* Leases are looked at several times in a lease: a store that many share takes half of one without a look for an outage, and then gives grace. */
static usec shared_period(const struct engine *e, size_t i)
{
    switch (i) {
    case SWEEP_DUE:
        return SHARED_DUE_US;
    case SWEEP_LEASES:
        return MIN(SHARED_SWEEP_US, e->cfg.policy.lease_us / 8);
    default:
        return SHARED_SWEEP_US;
    }
}

static void sweep_by(struct sweeper *s, usec at)
{
    s->next_at = MIN(s->next_at, at);
}

void sweep_init(struct engine *e)
{
    static const enum op_kind kinds[SWEEP_COUNT] = {OP_SWEEP_LEASES,  OP_SWEEP_DUE,   OP_SWEEP_BLOBS,
                                                    OP_SWEEP_UPLOADS, OP_SWEEP_DEDUP, OP_SWEEP_RETENTION,
                                                    OP_SWEEP_LOGS,    OP_SWEEP_LANES, OP_SWEEP_DEAD};
    static const usec periods[SWEEP_COUNT] = {USEC_NEVER,     USEC_NEVER,     SWEEP_HOUSE_US,
                                              SWEEP_HOUSE_US, SWEEP_HOUSE_US, SWEEP_HOUSE_US,
                                              SWEEP_HOUSE_US, SWEEP_HOUSE_US, USEC_NEVER};

    for (size_t i = 0; i < SWEEP_COUNT; i++) {
        e->sweepers[i].kind = kinds[i];
        e->sweepers[i].period_us = periods[i];
        if (e->cfg.store_driver->shared && periods[i] == USEC_NEVER)
            e->sweepers[i].period_us = shared_period(e, i);
        e->sweepers[i].next_at = engine_store_now(e);
        e->sweepers[i].engine = e;
    }
    /* A start is an outage to those who hold leases; where there are other servers, only the store can tell. */
    e->grace_due = !BUG("forget-grace") && !e->cfg.store_driver->shared;
}

void sweep_note_decided(struct engine *e, const struct op *op)
{
    if (op->log_to_pack)
        sweep_by(&e->sweepers[SWEEP_LOGS], engine_store_now(e));
    switch (op->kind) {
    case OP_CLAIM:
        if (op->u.claim.n_claimed)
            sweep_by(&e->sweepers[SWEEP_LEASES], engine_store_now(e) + e->cfg.policy.confirm_us);
        break;
    case OP_HEARTBEAT: /* may have revived a lapsed one, or shortened nothing: its end is never earlier than we look */
        sweep_by(&e->sweepers[SWEEP_LEASES], op->u.heartbeat.lease_until);
        break;
    case OP_SUBMIT:
        if (op->u.submit.job.run_at > op->u.submit.job.created_at) /* else it stands in its lane already */
            sweep_by(&e->sweepers[SWEEP_DUE], op->u.submit.job.run_at);
        if (op->u.submit.job.start_deadline_at)
            sweep_by(&e->sweepers[SWEEP_DUE], op->u.submit.job.start_deadline_at);
        break;
    case OP_FAIL:
        if (op->u.fail.status == JOB_PENDING && !BUG("lost-wake"))
            sweep_by(&e->sweepers[SWEEP_DUE], op->u.fail.run_at);
        break;
    case OP_REDRIVE:
    case OP_REDRIVE_CANCEL:
        sweep_by(&e->sweepers[SWEEP_DEAD], engine_store_now(e));
        break;
    case OP_RETRY: /* a start deadline may be near */
        sweep_by(&e->sweepers[SWEEP_DUE], engine_store_now(e));
        break;
    case OP_BLOB_ADD: /* unless a submission comes first */
        sweep_by(&e->sweepers[SWEEP_BLOBS], op->u.blob_add.row.expires_at);
        break;
    case OP_UPLOAD_ADD:
        sweep_by(&e->sweepers[SWEEP_UPLOADS], op->u.upload.row.expires_at);
        break;
    case OP_DISCARD: /* its log's blob is nobody's any more */
        sweep_by(&e->sweepers[SWEEP_BLOBS], engine_store_now(e));
        break;
    default:
        break;
    }
}

/* Nobody waits for these: they leave the writer to others for as long as their last pass took, so a purge of millions gets half of it. */
static bool can_wait(const struct sweeper *s)
{
    return s->kind == OP_SWEEP_BLOBS || s->kind == OP_SWEEP_UPLOADS || s->kind == OP_SWEEP_DEDUP ||
           s->kind == OP_SWEEP_RETENTION || s->kind == OP_SWEEP_LANES || s->kind == OP_SWEEP_LOGS ||
           s->kind == OP_SWEEP_DEAD;
}

static void pass_done(struct engine *e, struct sweeper *s)
{
    const struct op_sweep *sweep = &s->op.u.sweep;
    usec now = engine_store_now(e);

    s->busy = false;
    if (sweep->more && (sweep->touched || s->kind == OP_SWEEP_LANES ||
                        s->kind == OP_SWEEP_DEAD)) /* those walk, over what stays, too */
        sweep_by(s, can_wait(s) ? now + (now - s->offered_at) : now);
    if (sweep->next_at != USEC_NEVER && sweep->next_at > 0)
        sweep_by(s, MAX(sweep->next_at, now + (sweep->next_at <= now ? SWEEP_RETRY_US : 0)));
    if (s->period_us != USEC_NEVER)
        sweep_by(s, now + s->period_us);
}

/* Elsewhere, where it can be: a large file's end may take a disk seconds, and leases do not wait for that. The sweeper is busy as long,
 * so nobody touches its op. The rows are gone: bytes that cannot be removed are nobody's, and cost room only. */
static void bytes_remove(void *arg)
{
    const struct sweeper *s = arg;
    const struct engine_config *cfg = &s->engine->cfg;

    for (size_t i = 0; i < s->op.u.sweep.n_removed; i++) {
        const struct uuid *id = &s->op.u.sweep.removed[i];

        if (s->kind == OP_SWEEP_UPLOADS) /* and what a commit left whose row was never written */
            cfg->blob_driver->discard(cfg->blobs, id, NULL);
        cfg->blob_driver->remove(cfg->blobs, id, NULL);
    }
}

static void bytes_removed(struct engine *e, void *arg)
{
    e->removing--;
    pass_done(e, arg);
}

/* As each retry and discard would have been followed by. */
static void redriven(struct engine *e, const struct op_sweep *sweep)
{
    if (sweep->redriven[REDRIVE_RETRY])
        sweep_by(&e->sweepers[SWEEP_DUE], engine_store_now(e));
    if (sweep->redriven[REDRIVE_DISCARD])
        sweep_by(&e->sweepers[SWEEP_BLOBS], engine_store_now(e));
    e->metrics.redrives = sweep->redrives;
    for (size_t i = 0; i < REDRIVE_ACTION_COUNT; i++)
        e->metrics.redriven[i] += sweep->redriven[i];
}

static void sweep_done(struct op *op)
{
    struct sweeper *s = op->owner;
    struct engine *e = s->engine;

    if (op->err.code != ERR_OK) {
        s->busy = false;
        sweep_by(s, engine_store_now(e) + SWEEP_RETRY_US);
        return;
    }
    if (op->u.sweep.touched && (s->kind == OP_SWEEP_LEASES || s->kind == OP_SWEEP_DUE || s->kind == OP_SWEEP_DEAD))
        watch_fire_all(e); /* which jobs is not said: those who wait look again */
    /* What waits again may be overdue: it stands in no lane. */
    if (s->kind == OP_SWEEP_LEASES && op->u.sweep.touched)
        sweep_by(&e->sweepers[SWEEP_DUE], engine_store_now(e));
    if (s->kind == OP_SWEEP_RETENTION && op->u.sweep.touched)
        sweep_by(&e->sweepers[SWEEP_BLOBS], engine_store_now(e));
    if (s->kind == OP_SWEEP_DEAD)
        redriven(e, &op->u.sweep);
    if (s->kind == OP_SWEEP_LANES)
        dispatch_lanes_gone(e, op->u.sweep.lanes, op->u.sweep.touched);
    if (op->u.sweep.n_removed && e->cfg.blob_driver) {
        e->removing++;
        if (!e->draining && e->cfg.offload && e->cfg.offload(e->cfg.offload_self, bytes_remove, bytes_removed, s))
            return; /* bytes_removed ends the pass */
        bytes_remove(s);
        e->removing--;
    }
    pass_done(e, s);
    if (s->kind == OP_SWEEP_LOGS) /* last: should it not work out, the next look is later */
        pack_take(e, &op->u.sweep);
}

static void sweep_offer(struct engine *e, struct sweeper *s)
{
    struct arena *arena = s->op.arena;

    s->op = (struct op){.kind = s->kind, .project = "default", .owner = s, .done = sweep_done};
    arena_free(arena);
    s->op.arena = arena_new(SWEEP_ARENA_BYTES);
    if (!s->op.arena) {
        s->next_at = engine_store_now(e) + SWEEP_RETRY_US;
        return;
    }
    s->op.u.sweep.limit = s->kind == OP_SWEEP_LOGS ? PACKS_MAX : OP_CHANGES_MAX;
    s->op.u.sweep.as_of = engine_store_now(e);
    s->busy = true;
    s->next_at = USEC_NEVER;
    s->offered_at = engine_store_now(e);
    engine_offer(e, &s->op);
}

static void grace_done(struct op *op)
{
    struct engine *e = op->owner;

    e->grace_busy = false;
    if (op->err.code == ERR_OK)
        return;
    e->grace_due = true; /* not written: the next step asks again, and nothing expires before */
    /* And that step is not this moment: a full disk is no reason to spin. */
    e->sweepers[SWEEP_LEASES].next_at = engine_store_now(e) + SWEEP_RETRY_US;
}

/* @return whether leases may be swept in this step. */
static bool grace_checked(struct engine *e)
{
    usec boot_us = engine_boot(e), store_us = engine_store_now(e);
    usec part_us = (store_us - e->last_store_us) - (boot_us - e->last_boot_us);
    bool late = e->asked_wake_us != USEC_NEVER && boot_us - e->asked_wake_us > e->cfg.policy.lease_us / 2;

    if (e->cfg.store_driver->shared)
        return true; /* one server's clock judges no other's: the store knows when leases were looked at last */
    if (late || part_us > CLOCKS_PART_US || part_us < -CLOCKS_PART_US)
        e->grace_due = true; /* beside one on its way, too: that one ends a lease after an earlier moment */
    if (e->grace_busy)
        return false;
    if (!e->grace_due)
        return true;
    e->grace_due = false;
    e->grace = (struct op){.kind = OP_GRACE, .project = "default", .owner = e, .done = grace_done};
    e->grace.u.grace.until = store_us + e->cfg.policy.lease_us;
    e->grace_busy = true;
    engine_offer(e, &e->grace);
    return false;
}

/* Neither running nor kept from it. A server that stops has better things to do than what can wait. */
static bool may_run(const struct engine *e, const struct sweeper *s)
{
    return !s->busy && !(e->draining && can_wait(s)) && !(s->kind == OP_SWEEP_BLOBS && snapshot_holds_blobs(e)) &&
           !(s->kind == OP_SWEEP_LOGS && !pack_can(e));
}

void sweep_run(struct engine *e)
{
    usec now = engine_store_now(e);
    bool leases_allowed = grace_checked(e);

    for (size_t i = 0; i < SWEEP_COUNT; i++) {
        struct sweeper *s = &e->sweepers[i];
        if (!may_run(e, s) || s->next_at > now || (i == SWEEP_LEASES && !leases_allowed))
            continue;
        sweep_offer(e, s);
    }
}

usec sweep_next_boot(const struct engine *e)
{
    usec now = engine_store_now(e), next = USEC_NEVER;

    for (size_t i = 0; i < SWEEP_COUNT; i++)
        if (may_run(e, &e->sweepers[i]))
            next = MIN(next, e->sweepers[i].next_at);
    return next == USEC_NEVER ? USEC_NEVER : engine_boot(e) + MAX(next - now, 0);
}
