/* The committer: gathers waiting ops into batches, hands them to the store, and calls them back when they are durable. A job is in
 * at most one op of a batch and in one batch in flight: what was skipped for that keeps its order. */
#include "engine/internal.h"
#include "base/auto.h"

struct job_in_batch {
    struct uuid job_id;
    UT_hash_handle hh;
};

struct batch {
    struct engine *engine;
    struct op *ops[STORE_BATCH_MAX];
    size_t n;
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
    case OP_OUTPUT:
        return &op->u.output.job_id;
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

static void batch_gather(struct engine *e, struct batch *b)
{
    struct job_in_batch entries[STORE_BATCH_MAX], *seen = NULL, *found;
    struct op **link = &e->ops;
    size_t n_entries = 0;

    while (*link && b->n < STORE_BATCH_MAX) {
        struct op *op = *link;
        const struct uuid *job_id = op_job(op);
        if (job_id) {
            HASH_FIND(hh, seen, job_id, sizeof *job_id, found);
            if (found) {
                link = &op->next;
                continue;
            }
            struct job_in_batch *entry = &entries[n_entries++];
            entry->job_id = *job_id;
            HASH_ADD(hh, seen, job_id, sizeof entry->job_id, entry);
        }
        *link = op->next;
        if (e->ops_last == &op->next)
            e->ops_last = link;
        e->n_ops--;
        b->ops[b->n++] = op;
        if (op->kind == OP_SUBMIT)
            dispatch_with_submission(e, &op->u.submit); /* offers a claim: gathered as the last of this loop */
    }
    HASH_CLEAR(hh, seen);
}

static void batch_decided(void *arg)
{
    struct batch *b = arg;
    struct engine *e = b->engine;

    e->batches_in_flight--;
    metrics_note_batch(e, b->ops, b->n, engine_boot(e) - b->began_boot_us);
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = b->ops[i];
        if (op->err.code == ERR_OK) {
            for (size_t c = 0; c < op->n_changes; c++)
                dispatch_lane_change(e, &op->changes[c]);
            sweep_note_decided(e, op);
            watch_note_decided(e, op);
        } else if (op->err.code == ERR_UNKNOWN_OUTCOME) {
            e->lost = true;
        }
        metrics_note_op(e, op);
        op->done(op); /* may free it */
    }
    free(b);
}

void commit_batches(struct engine *e)
{
    while (e->ops && e->batches_in_flight < e->cfg.store_driver->batches_max) {
        struct batch *b = calloc(1, sizeof *b);
        if (!b)
            return; /* the ops wait on: the next step tries again */
        b->engine = e;
        batch_gather(e, b);
        e->batches_in_flight++;
        b->began_boot_us = engine_boot(e);
        e->cfg.store_driver->apply(e->cfg.store, b->ops, b->n, batch_decided, b);
    }
}
