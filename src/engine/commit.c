/* The committer: gathers waiting ops into batches, hands them to the store, and calls them back when they are durable. A job is in
 * at most one op of a batch and in one batch in flight; where those are applied side by side, so are claims, and ops that share an arena, which no
 * two threads may use. What was skipped for that keeps its order. */
#include "engine/internal.h"
#include "base/auto.h"

/* The jobs of a batch. No memory is asked for: what cannot fail need not be handled. */
#define SEEN_SLOTS (2 * STORE_BATCH_MAX)

struct batch {
    struct engine *engine;
    struct batch *next; /* in flight, too */
    const struct uuid *jobs[SEEN_SLOTS];
    struct op *ops[STORE_BATCH_MAX];
    size_t n;
    bool claims;                            /* among its ops; this and the arenas only where batches go side by side */
    const struct arena *arenas[SEEN_SLOTS]; /* of its ops */
    usec began_boot_us;
};

/* The job that an op is about, or NULL. */
static const struct uuid *op_job(const struct op *op)
{
    switch (op->kind) {
    case OP_SUBMIT:
        return &op->u.submit.job.job_id;
    case OP_HEARTBEAT:
        return &op->u.heartbeat.job_id;
    case OP_PROGRESS:
        return &op->u.progress.job_id;
    case OP_LOG:
        return &op->u.log.job_id;
    case OP_LOG_PACKED:
        return &op->u.log_packed.job_id;
    case OP_OUTPUT:
        return &op->u.output.job_id;
    case OP_CHECKPOINT:
        return &op->u.checkpoint.job_id;
    case OP_COMPLETE:
        return &op->u.complete.job_id;
    case OP_FAIL:
        return &op->u.fail.job_id;
    case OP_CANCEL:
    case OP_RETRY:
    case OP_DISCARD:
        return &op->u.job.job_id;
    default:
        return NULL;
    }
}

/* Where a job is in a batch, or would be. The random half of a UUIDv7 tells where it belongs. */
static const struct uuid **slot_of(struct batch *b, const struct uuid *job_id)
{
    size_t i =
        ((size_t)job_id->b[12] << 24 | (size_t)job_id->b[13] << 16 | (size_t)job_id->b[14] << 8 | job_id->b[15]) %
        SEEN_SLOTS;

    while (b->jobs[i] && memcmp(b->jobs[i], job_id, sizeof *job_id) != 0)
        i = (i + 1) % SEEN_SLOTS;
    return &b->jobs[i];
}

/* false: it is there already, or in a batch in flight. */
static bool job_note(struct batch *b, const struct uuid *job_id)
{
    const struct uuid **slot = slot_of(b, job_id);

    if (*slot)
        return false;
    for (struct batch *f = b->engine->flying; f; f = f->next)
        if (*slot_of(f, job_id))
            return false;
    *slot = job_id;
    return true;
}

static const struct arena **arena_slot(struct batch *b, const struct arena *arena)
{
    size_t i = ((uintptr_t)arena >> 4) % SEEN_SLOTS;

    while (b->arenas[i] && b->arenas[i] != arena)
        i = (i + 1) % SEEN_SLOTS;
    return &b->arenas[i];
}

/* May it be applied beside what is in flight? */
static bool goes_beside(const struct batch *b, const struct op *op)
{
    for (struct batch *f = b->engine->flying; f; f = f->next)
        if ((f->claims && op->kind == OP_CLAIM) || (op->arena && *arena_slot(f, op->arena)))
            return false;
    return true;
}

/* Takes note of the op, unless it has to wait for others that are in flight, or in this batch. */
static bool op_note(struct batch *b, const struct op *op)
{
    const bool parallel = b->engine->cfg.store_driver->parallel;
    const struct uuid *job_id = op_job(op);

    if ((parallel && !goes_beside(b, op)) || (job_id && !job_note(b, job_id)))
        return false;
    if (parallel && op->arena)
        *arena_slot(b, op->arena) = op->arena;
    b->claims |= parallel && op->kind == OP_CLAIM;
    return true;
}

/* Takes from a queue until the batch holds `limit`. */
static void take(struct engine *e, struct batch *b, enum queue_id which, size_t limit)
{
    struct queue *q = &e->queues[which];
    struct op **link = &q->first;

    while (*link && b->n < limit) {
        struct op *op = *link;
        if (!op_note(b, op)) {
            link = &op->next;
            continue;
        }
        *link = op->next;
        if (q->last == &op->next)
            q->last = link;
        q->n--;
        e->n_ops--;
        b->ops[b->n++] = op;
        if (op->kind == OP_SUBMIT)
            dispatch_with_submission(e, &op->u.submit); /* offers a claim, which must come behind it */
    }
}

/* Running jobs first, but new work is never left out. */
static void batch_gather(struct engine *e, struct batch *b)
{
    size_t share = e->queues[QUEUE_NEW].first ? STORE_BATCH_MAX - STORE_BATCH_MAX / 4 : STORE_BATCH_MAX;

    take(e, b, QUEUE_RUNNING, share);
    take(e, b, QUEUE_NEW, STORE_BATCH_MAX);
    take(e, b, QUEUE_RUNNING, STORE_BATCH_MAX); /* claims of what was just submitted, and what found no room */
}

static void batch_decided(void *arg)
{
    struct batch *b = arg;
    struct engine *e = b->engine;

    LL_DELETE(e->flying, b);
    e->batches_in_flight--;
    metrics_note_batch(e, b->ops, b->n, engine_boot(e) - b->began_boot_us);
    hints_announce(e, b->ops, b->n);
    const usec now = e->cfg.applied ? engine_store_now(e) : 0;
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = b->ops[i];
        if (op->err.code == ERR_OK) {
            for (size_t c = 0; c < op->n_changes; c++)
                dispatch_lane_change(e, &op->changes[c]);
            dispatch_note_decided(e, op);
            sweep_note_decided(e, op);
            watch_note_decided(e, op);
            if (e->cfg.applied)
                e->cfg.applied(e->cfg.applied_self, op, now);
        } else if (op->err.code == ERR_UNKNOWN_OUTCOME) {
            e->lost = true;
        }
        metrics_note_op(e, op);
        alerts_note_op(e, op);
        op->done(op); /* may free it */
    }
    free(b);
}

/* false: nothing can be begun: no memory, or each op is about a job in flight. One that the store could not apply at all is decided, too. */
static bool batch_begin(struct engine *e)
{
    struct batch *b = calloc(1, sizeof *b);

    if (!b)
        return false; /* the ops wait on: the next step tries again */
    b->engine = e;
    batch_gather(e, b);
    if (b->n == 0) {
        free(b);
        return false;
    }
    LL_APPEND(e->flying, b);
    e->batches_in_flight++;
    b->began_boot_us = engine_boot(e);
    e->cfg.store_driver->apply(e->cfg.store, b->ops, b->n, batch_decided, b);
    return true;
}

void commit_settle(struct engine *e)
{
    while (e->batches_in_flight)
        e->cfg.store_driver->poll(e->cfg.store, true);
}

/* Nobody waits here: the store calls when a batch is decided, and an op is waited for meanwhile. */
static void commit_beside(struct engine *e)
{
    e->cfg.store_driver->poll(e->cfg.store, false);
    while (e->n_ops && e->batches_in_flight < e->cfg.store_driver->batches_max &&
           (!e->batches_in_flight || e->n_ops >= e->cfg.beside_ops) && batch_begin(e))
        ;
}

void commit_batches(struct engine *e)
{
    if (e->woken) {
        commit_beside(e);
        return;
    }
    /* What needs store and engine to agree gets its turn between two batches. */
    const bool alone = snapshot_copies(e) || e->lanes_stale;
    const unsigned most = alone ? 1 : e->cfg.store_driver->batches_max;

    /* A batch beside one in flight pays where much waits: else it takes ops that would have shared one sync with what comes next. */
    if (e->batches_in_flight && (e->batches_in_flight >= most || e->n_ops < e->cfg.overlap_ops || !batch_begin(e))) {
        commit_settle(e);
        return; /* what arrived meanwhile may have to go first */
    }
    if (!e->batches_in_flight && e->n_ops)
        batch_begin(e);
    if (e->batches_in_flight >= most)
        e->cfg.store_driver->poll(e->cfg.store, true);
}
