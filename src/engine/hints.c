/* What servers tell one another, through a broker or otherwise: here of jobs that became ready, and what workers here wait for; from
 * elsewhere hints, each of which has its lane asked. Nothing here decides: the store does, when a claim is made. */
#include "engine/internal.h"
#include "base/auto.h"

/* --- to others --- */

/* The jobs of a batch that were claimed in that very batch: nobody else need know of them. Too many for the table are announced. */
struct claimed_set {
    const struct uuid *slots[2 * STORE_BATCH_MAX];
    size_t n;
};

static size_t slot_of(const struct claimed_set *set, const struct uuid *id)
{
    size_t i = ((size_t)id->b[14] << 8 | id->b[15]) % ARRAY_LEN(set->slots);

    while (set->slots[i] && !uuid_equal(set->slots[i], id))
        i = (i + 1) % ARRAY_LEN(set->slots);
    return i;
}

static void claimed_find(struct claimed_set *set, struct op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->kind != OP_CLAIM || ops[i]->err.code != ERR_OK)
            continue;
        for (size_t k = 0; k < ops[i]->u.claim.n_claimed && set->n < STORE_BATCH_MAX; k++) {
            const struct uuid *id = &ops[i]->u.claim.claimed[k].job.job_id;

            set->slots[slot_of(set, id)] = id;
            set->n++;
        }
    }
}

static void announce(struct engine *e, const struct lane_change *ch)
{
    const struct broker_job job = {.job_id = ch->job_id,
                                   .queue = ch->lane.queue,
                                   .task_type = ch->lane.task_type,
                                   .payload_ref = ch->payload_ref,
                                   .priority = ch->lane.priority,
                                   .retries = ch->retries};

    e->cfg.broker_driver->announce(e->cfg.broker, &job);
}

static void announce_unclaimed(struct engine *e, struct op *const *ops, size_t n)
{
    struct claimed_set claimed = {0};

    claimed_find(&claimed, ops, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; ops[i]->err.code == ERR_OK && k < ops[i]->n_changes; k++) {
            const struct lane_change *ch = &ops[i]->changes[k];

            if (ch->delta > 0 && !(claimed.n && claimed.slots[slot_of(&claimed, &ch->job_id)]))
                announce(e, ch);
        }
}

void hints_announce(struct engine *e, struct op *const *ops, size_t n)
{
    if (e->cfg.broker_driver)
        announce_unclaimed(e, ops, n);
}

void hints_want(struct engine *e, const struct lease_poll *p, bool waits)
{
    const struct want *want = &p->want;
    const int slots = (int)MIN(want->slots, OP_CLAIMS_MAX) * (waits ? 1 : -1);

    if (!e->cfg.broker_driver || !slots)
        return;
    for (size_t i = 0; i < want->n_task_types; i++) {
        if (!want->n_queues)
            e->cfg.broker_driver->want(e->cfg.broker, NULL, want->task_types[i], slots);
        for (size_t k = 0; k < want->n_queues; k++)
            e->cfg.broker_driver->want(e->cfg.broker, want->queues[k], want->task_types[i], slots);
    }
}

/* --- from others --- */

static void hint_done(struct engine *e, struct lane_hint *h, enum broker_outcome outcome)
{
    DL_DELETE(e->hints, h);
    h->done(h, outcome);
}

void engine_hint(struct engine *e, struct lane_hint *h)
{
    h->lane_id = 0;
    h->asked = h->told = false;
    h->reads_before = e->lanes_reads + (e->look != NULL); /* one that is under way may be from before */
    DL_APPEND(e->hints, h);
}

/* Where others write, too, the lane counts so many more; else what is counted here is right, and the hint adds nothing. */
static void place(struct engine *e, struct lane_hint *h)
{
    const struct lane lane = {
        .project = "default", .queue = h->queue, .task_type = h->task_type, .priority = h->priority, .ready = h->jobs};
    const struct lane_entry *entry = dispatch_lane(e, lane.project, lane.queue, lane.task_type, lane.priority);

    if (!h->told && e->cfg.store_driver->shared)
        engine_lanes_hint(e, &lane, 1); /* one that is not known has the lanes read */
    h->told = true;
    if (entry)
        h->lane_id = entry->lane.lane_id;
    else if (!e->cfg.store_driver->shared || e->lanes_reads > h->reads_before)
        hint_done(e, h, BROKER_NOTHING); /* the store has none such */
}

void hints_place(struct engine *e)
{
    struct lane_hint *h, *tmp;

    DL_FOREACH_SAFE(e->hints, h, tmp)
    if (!h->lane_id)
        place(e, h);
}

void hints_asked(struct engine *e, int64_t lane_id)
{
    struct lane_hint *h;

    DL_FOREACH (e->hints, h)
        if (h->lane_id == lane_id)
            h->asked = true;
}

void hints_answered(struct engine *e, int64_t lane_id, enum broker_outcome outcome)
{
    struct lane_hint *h, *tmp;

    DL_FOREACH_SAFE(e->hints, h, tmp)
    {
        if (h->lane_id != lane_id || !h->asked)
            continue;
        h->asked = false;
        if (outcome != BROKER_NOBODY)
            hint_done(e, h, outcome);
    }
}

static bool somebody_waits(const struct engine *e, const struct lane *lane)
{
    const struct lease_poll *p;

    DL_FOREACH (e->polls, p)
        if (p->want.slots && lane_fits(lane, &p->want))
            return true;
    return false;
}

/* No claim is on its way for it, and none will be made now. The poll whose wish had the message read may have taken its job by itself:
 * then the message has done its work. @return BROKER_LATER: not yet */
static enum broker_outcome unasked(const struct engine *e, struct lane_entry *entry, unsigned jobs)
{
    if (!entry || !entry->lane.ready ||
        entry->lane.paused) /* a resumed queue's lanes are looked at without being told of */
        return BROKER_NOTHING;
    if (somebody_waits(e, &entry->lane))
        return BROKER_LATER;
    const bool taken = entry->taken > 0;
    entry->taken -= MIN(entry->taken, jobs);
    return taken ? BROKER_CLAIMED : BROKER_NOBODY;
}

void hints_settle(struct engine *e)
{
    struct lane_hint *h, *tmp;

    DL_FOREACH_SAFE(e->hints, h, tmp)
    {
        if (!h->lane_id || h->asked)
            continue;
        const enum broker_outcome outcome = unasked(e, dispatch_lane_by_id(e, h->lane_id), h->jobs);
        if (outcome != BROKER_LATER)
            hint_done(e, h, outcome);
    }
}

void hints_end(struct engine *e)
{
    struct lane_hint *h, *tmp;

    DL_FOREACH_SAFE(e->hints, h, tmp)
    hint_done(e, h, BROKER_LATER);
}
