/* A copy of the store for a backup: one step of it after the batches of each step of the engine, so that a write waits for a few
 * milliseconds of copying at most. From its beginning until its owner has taken hold of the blobs that it names, no blob is swept:
 * a row that is in the copy has its bytes in the folder. */
#include "engine/internal.h"
#include "base/auto.h"
#include "store/snapshot.h"

static void tell(struct engine *e, const struct err *err)
{
    struct snapshot *s = e->snapshot;

    e->cfg.store_driver->snapshots->end(s->copying);
    s->copying = NULL;
    s->told = true;
    if (err)
        e->snapshot = NULL;
    s->whole(s, err);
}

static void refuse(struct snapshot *s, enum err_code code, const char *why)
{
    struct err err;

    err_set(&err, code, 0, "%s", why);
    s->told = true;
    s->whole(s, &err);
}

void engine_snapshot(struct engine *e, struct snapshot *s)
{
    s->copying = NULL;
    s->told = false;
    if (!e->cfg.store_driver->snapshots)
        refuse(s, ERR_UNSUPPORTED, "the store makes no snapshots: use its own tools");
    else if (e->draining)
        refuse(s, ERR_UNAVAILABLE, "the server is stopping");
    else if (e->snapshot)
        refuse(s, ERR_CONFLICT, "a snapshot is being made already");
    else
        e->snapshot = s;
}

void engine_snapshot_end(struct engine *e, struct snapshot *s)
{
    if (e->snapshot == s && s->told)
        e->snapshot = NULL;
}

bool snapshot_copies(const struct engine *e)
{
    return e->snapshot && !e->snapshot->told;
}

bool snapshot_holds_blobs(const struct engine *e)
{
    return e->snapshot != NULL;
}

static int step(struct engine *e, struct snapshot *s, bool *ret_whole, struct err *err)
{
    const struct store_snapshots *d = e->cfg.store_driver->snapshots;

    if (s->alive && !s->alive(s))
        return err_set(err, ERR_CANCELLED, 0, "nobody waits for the snapshot any more");
    if (!s->copying) {
        int rc = d->begin(e->cfg.store, s->dir, &s->copying, err);
        if (rc != ERR_OK)
            return rc;
    }
    return d->step(s->copying, ret_whole, err);
}

void snapshot_step(struct engine *e)
{
    struct err err = {0};
    bool whole = false;

    /* A sweep under way removes rows before and bytes after: the copy begins when both are done. */
    if (!snapshot_copies(e) || e->batches_in_flight || e->sweepers[SWEEP_BLOBS].busy)
        return;
    int rc = step(e, e->snapshot, &whole, &err);
    if (rc != ERR_OK)
        tell(e, &err);
    else if (whole)
        tell(e, NULL);
}

void snapshot_give_up(struct engine *e)
{
    struct err err;

    if (!snapshot_copies(e))
        return;
    err_set(&err, ERR_UNAVAILABLE, 0, "the server is stopping");
    tell(e, &err);
}
