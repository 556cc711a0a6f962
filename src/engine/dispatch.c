/* The dispatcher: holds workers' long polls and turns ready jobs into claims for them.
 *
 * Lanes are counted here from what decided ops report. The count is a hint, the store decides: a claim that comes back short is
 * repeated once from the lane's start, and a lane that is then still empty counts zero. */
#include "engine/internal.h"
#include "base/auto.h"
#include "base/bug.h"

#define DRAINED_WAIT_US (3 * USEC_PER_SEC)
#define LANES_MAX       4096
#define LANES_ARENA_MAX                                                                                                \
    (1u << 30) /* it must not fail at a start: a store may have 200,000 pairs of names, in ten priorities */

/* Kept from one pass to the next: a pass must not fail, and zeroing it all each time would cost more than the choice. */
struct lane_choice {
    struct lane lanes[LANES_MAX]; /* as core wants them, without what is promised already */
    struct lane_entry *entries[LANES_MAX];
    unsigned take[LANES_MAX];
    size_t n;
};

struct lane_entry *dispatch_lane_by_id(struct engine *e, int64_t lane_id)
{
    struct lane_entry *entry;

    HASH_FIND(hh, e->lanes, &lane_id, sizeof lane_id, entry);
    return entry;
}

static void lane_entry_free(struct lane_entry *entry)
{
    free((char *)(uintptr_t)entry->lane.project);
    free((char *)(uintptr_t)entry->lane.queue);
    free((char *)(uintptr_t)entry->lane.task_type);
    free(entry);
}

static struct lane_entry *lane_add(struct engine *e, const struct lane *lane)
{
    struct lane_entry *entry = calloc(1, sizeof *entry);

    if (!entry)
        return NULL;
    entry->lane = *lane;
    entry->lane.ready = 0;
    entry->lane.project = strdup(lane->project);
    entry->lane.queue = strdup(lane->queue);
    entry->lane.task_type = strdup(lane->task_type);
    if (!entry->lane.project || !entry->lane.queue || !entry->lane.task_type) {
        lane_entry_free(entry);
        return NULL;
    }
    entry->pair = metrics_pair_index(e, lane->queue, lane->task_type);
    HASH_ADD(hh, e->lanes, lane.lane_id, sizeof entry->lane.lane_id, entry);
    if (!entry->hh.tbl) {
        lane_entry_free(entry);
        return NULL;
    }
    return entry;
}

int dispatch_init(struct engine *e, struct err *err)
{
    e->choice = calloc(1, sizeof *e->choice);
    return e->choice ? dispatch_load(e, err) : err_set(err, ERR_NO_MEMORY, 0, "dispatcher");
}

int dispatch_load(struct engine *e, struct err *err)
{
    struct arena *arena = arena_new(LANES_ARENA_MAX);
    struct lane *lanes = NULL;
    size_t n = 0;

    if (!arena)
        return err_set(err, ERR_NO_MEMORY, 0, "lanes");
    int rc = e->cfg.store_driver->lanes(e->cfg.store, arena, &lanes, &n, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        struct lane_entry *entry = dispatch_lane_by_id(e, lanes[i].lane_id);
        if (!entry)
            entry = lane_add(e, &lanes[i]);
        if (!entry)
            rc = err_set(err, ERR_NO_MEMORY, 0, "lanes");
        if (rc == ERR_OK) {
            entry->lane.ready = lanes[i].ready;
            entry->lane.paused = lanes[i].paused;
        }
    }
    arena_free(arena);
    e->lanes_stale = rc != ERR_OK;
    e->lanes_reads += rc == ERR_OK;
    e->work_arrived = true;
    return rc;
}

void dispatch_look_began(struct engine *e)
{
    struct lane_entry *entry, *tmp;

    HASH_ITER (hh, e->lanes, entry, tmp)
        entry->moved = entry->pause_moved = false;
}

bool dispatch_waits(const struct engine *e)
{
    const struct lease_poll *p;

    DL_FOREACH (e->polls, p)
        if (!p->in_flight)
            return true;
    return false;
}

/* A lane that a look did not find is empty, unless jobs came to it meanwhile. Names that clients made up do not stay. */
static void lane_unseen(struct engine *e, struct lane_entry *entry)
{
    if (entry->moved || entry->reserved)
        return;
    entry->lane.ready = 0;
    if (!entry->pause_moved)
        entry->lane.paused = false; /* not known: the store tells with the next claim */
    if (HASH_COUNT(e->lanes) <= LANES_KEPT)
        return;
    HASH_DELETE(hh, e->lanes, entry);
    lane_entry_free(entry);
}

void dispatch_lanes_seen(struct engine *e, const struct lane *lanes, size_t n)
{
    struct lane_entry *entry, *tmp;

    HASH_ITER (hh, e->lanes, entry, tmp)
        entry->seen = false;
    for (size_t i = 0; i < n; i++) {
        entry = dispatch_lane_by_id(e, lanes[i].lane_id);
        if (!entry)
            entry = lane_add(e, &lanes[i]);
        if (!entry)
            continue; /* no memory: the next look is soon */
        entry->seen = true;
        if (entry->moved || lanes[i].ready == LANE_SEEN_MAX)
            entry->lane.ready = MAX(entry->lane.ready, lanes[i].ready);
        else
            entry->lane.ready = lanes[i].ready;
        entry->lane.oldest_at = lanes[i].oldest_at;
        if (!entry->pause_moved)
            entry->lane.paused = lanes[i].paused;
        e->work_arrived = e->work_arrived || entry->lane.ready > entry->reserved;
    }
    HASH_ITER (hh, e->lanes, entry, tmp)
        if (!entry->seen)
            lane_unseen(e, entry);
}

struct lane_entry *dispatch_lane(struct engine *e, const char *project, const char *queue, const char *task_type,
                                 int priority)
{
    struct lane_entry *entry, *tmp;

    HASH_ITER (hh, e->lanes, entry, tmp)
        if (entry->lane.priority == priority && !strcmp(entry->lane.task_type, task_type) &&
            !strcmp(entry->lane.queue, queue) && !strcmp(entry->lane.project, project))
            return entry;
    return NULL;
}

void engine_lanes_hint(struct engine *e, const struct lane *lanes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct lane *l = &lanes[i];
        struct lane_entry *entry = l->lane_id ? dispatch_lane_by_id(e, l->lane_id)
                                              : dispatch_lane(e, l->project, l->queue, l->task_type, l->priority);

        if (!entry && l->lane_id && l->project && l->queue && l->task_type)
            entry = lane_add(e, l);
        if (!entry) {
            e->lanes_stale = true;
            continue;
        }
        if (!entry->lane.ready)
            entry->lane.oldest_at = engine_store_now(e);
        entry->lane.ready += l->ready;
        entry->moved = e->work_arrived = true;
    }
}

void dispatch_lane_change(struct engine *e, const struct lane_change *change)
{
    struct lane_entry *entry = dispatch_lane_by_id(e, change->lane.lane_id);

    if (!entry)
        entry = lane_add(e, &change->lane);
    if (!entry) {
        e->lanes_stale = true; /* the jobs are safe in the store: its lanes are read again */
        return;
    }
    if (change->delta > 0) {
        if (!entry->lane.ready)
            entry->lane.oldest_at = engine_store_now(e);
        entry->lane.ready += (uint64_t)change->delta;
        entry->moved = e->work_arrived = true;
    } else {
        uint64_t left = (uint64_t)(-(int64_t)change->delta);
        entry->lane.ready -= MIN(left, entry->lane.ready);
    }
    if (change->lane.oldest_at) /* the head as the store saw it, right after the op */
        entry->lane.oldest_at = change->lane.oldest_at;
}

static void poll_answer(struct engine *e, struct lease_poll *p, struct claimed *claimed, size_t n,
                        const struct err *err)
{
    DL_DELETE(e->polls, p);
    e->n_polls--;
    hints_want(e, p, false);
    p->done(p, claimed, n, err);
}

/* Its polls that wait are answered with nothing: it asks again, and the store knows what is so now. */
static void worker_turned(struct engine *e, const struct uuid *worker_id)
{
    struct lease_poll *p, *tmp;

    DL_FOREACH_SAFE(e->polls, p, tmp)
    if (!p->in_flight && uuid_equal(&p->worker_id, worker_id))
        poll_answer(e, p, NULL, 0, NULL);
}

/* It waits on, and wants nothing: answered at once it would ask again at once. Not for long: it is to hear of it, and of its end at another
 * server. */
static void poll_drain(struct engine *e, struct lease_poll *p)
{
    p->until_boot_us = MIN(p->until_boot_us, engine_boot(e) + DRAINED_WAIT_US);
    hints_want(e, p, false);
    p->drained = true;
    p->want.slots = 0;
}

void dispatch_note_decided(struct engine *e, const struct op *op)
{
    struct lane_entry *entry, *tmp;

    if ((op->kind == OP_DRAIN || op->kind == OP_UNDRAIN) && op->u.drain.changed)
        worker_turned(e, &op->u.drain.worker_id);
    if (op->kind != OP_PAUSE && op->kind != OP_RESUME)
        return;
    HASH_ITER (hh, e->lanes, entry, tmp) {
        if (strcmp(entry->lane.queue, op->u.pause.pause.queue) != 0 || strcmp(entry->lane.project, op->project) != 0)
            continue;
        entry->lane.paused = op->kind == OP_PAUSE;
        entry->pause_moved = true;
    }
    e->work_arrived = true;
}

/* Their ids are not given again: a claim on its way to one comes back with nothing. */
void dispatch_lanes_gone(struct engine *e, const int64_t *lane_ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct lane_entry *entry = dispatch_lane_by_id(e, lane_ids[i]);
        if (!entry)
            continue;
        HASH_DELETE(hh, e->lanes, entry);
        lane_entry_free(entry);
    }
}

#define TAKEN_MAX 64

/* What was asked of a lane and not given: look from its start once, then believe it empty. */
static void lanes_settle(struct engine *e, const struct op *op)
{
    const struct op_claim *claim = &op->u.claim;

    for (size_t i = 0; i < claim->n_take; i++) {
        struct lane_entry *entry = dispatch_lane_by_id(e, claim->take[i].lane_id);
        unsigned given = 0;
        if (!entry)
            continue;
        entry->reserved -= MIN(entry->reserved, claim->take[i].count);
        if (op->err.code == ERR_OK && claim->take[i].paused) {
            entry->lane.paused = true;
            hints_answered(e, entry->lane.lane_id, BROKER_NOTHING);
            continue;
        }
        /* It got what it was given before, or gets nothing: nobody looked into the lane. */
        if ((claim->again && !BUG("repeat-empties-lane")) || claim->drained) {
            hints_answered(e, entry->lane.lane_id, BROKER_NOBODY);
            continue;
        }
        for (size_t k = 0; k < claim->n_claimed; k++) {
            const struct job *job = &claim->claimed[k].job;
            if (job->priority != entry->lane.priority || strcmp(job->queue, entry->lane.queue) ||
                strcmp(job->task_type, entry->lane.task_type))
                continue;
            given++;
            entry->taken += entry->taken < TAKEN_MAX;
            entry->lane.oldest_at =
                MAX(entry->lane.oldest_at, job->run_at); /* the head is no older than what left before it */
        }
        hints_answered(e, entry->lane.lane_id,
                       op->err.code != ERR_OK      ? BROKER_LATER
                       : given                     ? BROKER_CLAIMED
                       : claim->take[i].from_start ? BROKER_NOTHING
                                                   : BROKER_NOBODY);
        if (op->err.code != ERR_OK || given >= claim->take[i].count) {
            entry->from_start = false;
            continue;
        }
        if (claim->take[i].from_start)
            entry->lane.ready = 0;
        entry->from_start = !claim->take[i].from_start;
    }
}

static void claim_done(struct op *op)
{
    struct lease_poll *p = op->owner;
    struct engine *e = p->engine;

    p->in_flight = false;
    lanes_settle(e, op);
    e->work_arrived = true;
    if (op->err.code == ERR_OK && op->u.claim.drained)
        poll_drain(e, p);
    if (op->err.code != ERR_OK)
        poll_answer(e, p, NULL, 0, &op->err);
    else if (op->u.claim.n_claimed)
        poll_answer(e, p, op->u.claim.claimed, op->u.claim.n_claimed, NULL);
    else if (e->draining)
        poll_answer(e, p, NULL, 0, NULL);
}

/* @return whether anything was chosen for the poll */
static bool lanes_chosen(struct engine *e, const struct lease_poll *p)
{
    struct lane_choice *c = e->choice;
    struct lane_entry *entry, *tmp;
    bool any = false;

    c->n = 0;
    HASH_ITER (hh, e->lanes, entry, tmp) {
        if (c->n == LANES_MAX)
            break;
        if (entry->lane.ready <= entry->reserved || !lane_fits(&entry->lane, &p->want))
            continue; /* lanes that nobody serves, however many, leave the room to those that somebody does */
        c->lanes[c->n] = entry->lane;
        c->lanes[c->n].ready = entry->lane.ready - entry->reserved;
        c->entries[c->n++] = entry;
    }
    lanes_choose(c->lanes, c->n, &p->want, engine_store_now(e), c->take);
    for (size_t i = 0; i < c->n; i++)
        any = any || c->take[i];
    return any;
}

static void claim_refused(struct engine *e, struct lease_poll *p)
{
    struct err err = {0};

    err_set(&err, ERR_NO_MEMORY, 0, "claim");
    poll_answer(e, p, NULL, 0, &err);
}

/* What of the lanes, and a token for each job. Reserved until it is decided. */
static bool claim_takes(struct engine *e, struct op_claim *claim, struct lease_poll *p, struct lane_entry **entries,
                        const unsigned *take, size_t n)
{
    struct lane_entry *from[ARRAY_LEN(claim->take)];
    size_t room = MIN(p->want.slots, OP_CLAIMS_MAX);

    for (size_t i = 0; i < n && room && claim->n_take < ARRAY_LEN(claim->take); i++) {
        if (!take[i])
            continue;
        unsigned count = (unsigned)MIN((size_t)take[i], room);
        room -= count;
        claim->n_tokens += count;
        from[claim->n_take] = entries[i];
        claim->take[claim->n_take].lane_id = entries[i]->lane.lane_id;
        if (!(claim->take[claim->n_take].queue = arena_strdup(p->arena, entries[i]->lane.queue)))
            return false;
        claim->take[claim->n_take].count = count;
        claim->take[claim->n_take++].from_start = entries[i]->from_start;
    }
    claim->tokens = arena_array(p->arena, claim->n_tokens, sizeof *claim->tokens);
    if (!claim->tokens)
        return false;
    for (size_t i = 0; i < claim->n_tokens; i++)
        claim->tokens[i] = token_mint(0, e->cfg.rng);
    for (size_t i = 0; i < claim->n_take; i++) {
        from[i]->reserved += claim->take[i].count;
        hints_asked(e, claim->take[i].lane_id);
    }
    return true;
}

static void claim_offer(struct engine *e, struct lease_poll *p, struct lane_entry **entries, const unsigned *take,
                        size_t n)
{
    struct op *op = arena_alloc(p->arena, sizeof *op);

    if (!op) {
        claim_refused(e, p);
        return;
    }
    op->kind = OP_CLAIM;
    op->project = "default";
    op->arena = p->arena;
    op->owner = p;
    op->done = claim_done;
    struct op_claim *claim = &op->u.claim;
    claim->worker_id = p->worker_id;
    claim->poll_id = p->poll_id;
    claim->worker_name = p->worker_name;
    claim->worker_host = p->worker_host;
    claim->worker_version = p->worker_version;
    claim->isolation = p->isolation;
    claim->handlers = p->handlers;
    claim->load = p->load;
    claim->slots_total = p->slots_total;
    claim->slots_busy = p->slots_busy;
    if (!claim_takes(e, claim, p, entries, take, n)) {
        claim_refused(e, p);
        return;
    }
    p->asked = p->in_flight = true;
    engine_offer(e, op);
}

void dispatch_claims(struct engine *e)
{
    struct lease_poll *p, *tmp;

    if (!e->work_arrived || e->draining)
        return;
    e->work_arrived = false;
    if (!e->polls)
        return;
    DL_FOREACH_SAFE(e->polls, p, tmp)
    {
        if (p->in_flight || (!lanes_chosen(e, p) && p->asked))
            continue;
        if (p->alive && !p->alive(p)) {
            struct err err = {0};
            err_set(&err, ERR_CANCELLED, 0, "the client went away");
            poll_answer(e, p, NULL, 0, &err);
            continue;
        }
        claim_offer(e, p, e->choice->entries, e->choice->take, e->choice->n);
    }
}

void dispatch_with_submission(struct engine *e, const struct op_submit *submit)
{
    struct lease_poll *p;

    if (e->draining || !e->polls || submit->delay_us > 0 || submit->job.run_at > engine_store_now(e))
        return;
    struct lane_entry *entry =
        dispatch_lane(e, submit->job.project, submit->job.queue, submit->job.task_type, submit->job.priority);
    if (!entry || entry->lane.ready > entry->reserved)
        return; /* a new lane, or one where others stand before it: the next step sees to it */
    DL_FOREACH (e->polls, p)
        if (p->asked && !p->in_flight && p->want.slots && lane_fits(&entry->lane, &p->want) &&
            (!p->alive || p->alive(p))) {
            unsigned one = 1;
            claim_offer(e, p, &entry, &one, 1);
            return;
        }
}

void engine_poll(struct engine *e, struct lease_poll *p)
{
    struct lease_poll *other, *tmp;

    p->engine = e;
    p->asked = p->in_flight = p->drained = false;
    p->until_boot_us = engine_boot(e) + p->wait_us;
    /* A repeat of a poll that still waits: its client gave up on the first connection. */
    DL_FOREACH_SAFE(e->polls, other, tmp)
    if (!other->in_flight && uuid_equal(&other->worker_id, &p->worker_id) && !strcmp(other->poll_id, p->poll_id))
        poll_answer(e, other, NULL, 0, NULL);
    if (e->n_polls >= e->cfg.polls_max) {
        struct err err = {0};
        err_set(&err, ERR_BUSY, 0, "%zu workers wait already; add a server", e->n_polls);
        p->done(p, NULL, 0, &err);
        return;
    }
    if (e->draining) {
        p->done(p, NULL, 0, NULL);
        return;
    }
    DL_APPEND(e->polls, p);
    e->n_polls++;
    hints_want(e, p, true);
    e->work_arrived = true;
}

void engine_poll_drop(struct engine *e, struct lease_poll *p)
{
    struct lease_poll *other;
    struct err err = {0};

    DL_FOREACH (e->polls, other)
        if (other == p)
            break;
    if (!other || p->in_flight)
        return; /* answered, or about to be */
    err_set(&err, ERR_CANCELLED, 0, "the client went away");
    poll_answer(e, p, NULL, 0, &err);
}

usec dispatch_timeouts(struct engine *e, usec boot_us)
{
    struct lease_poll *p, *tmp;
    usec next_us = USEC_NEVER;

    DL_FOREACH_SAFE(e->polls, p, tmp)
    {
        if (p->in_flight)
            continue;
        if (p->asked && p->until_boot_us <= boot_us)
            poll_answer(e, p, NULL, 0, NULL);
        else
            next_us = MIN(next_us, p->until_boot_us);
    }
    return next_us;
}

void dispatch_end(struct engine *e, enum err_code why)
{
    struct lease_poll *p, *tmp;
    struct err err = {0};

    if (why != ERR_OK)
        err_set(&err, why, 0, "the server is stopping");
    DL_FOREACH_SAFE(e->polls, p, tmp)
    if (!p->in_flight || why != ERR_OK)
        poll_answer(e, p, NULL, 0, why == ERR_OK ? NULL : &err);
}

void dispatch_release(struct engine *e)
{
    struct lane_entry *entry, *tmp;

    HASH_ITER (hh, e->lanes, entry, tmp) {
        HASH_DELETE(hh, e->lanes, entry);
        lane_entry_free(entry);
    }
    free(e->choice);
}
