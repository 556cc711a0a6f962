/* A tally is kept in three parts: `total` is what is judged, with what other servers told; of it `unsaved` is not on its way to the store
 * yet, and `flying` is. So a write that failed is made again with what came since, and one that worked brings the total of all servers. */
#include "engine/alerts.h"
#include "base/auto.h"
#include "engine/internal.h"

#define SAVE_US     (60 * USEC_PER_SEC)
#define KEY_MAX     (JOB_NAME_MAX + 32)
#define ARENA_BYTES ((size_t)1 << 20)

struct kept {
    struct engine *engine;
    const struct objective *objective; /* NULL: of all jobs, success and dead letters */
    char key[KEY_MAX];
    struct tally total, unsaved, flying;
    struct tally_sum counted; /* since the start */
    struct op op;
    bool busy;
};

struct alerts {
    struct kept *kept; /* [0] all jobs, then the objectives */
    size_t n;
    struct alert *alerts;
    struct objective_report *reports; /* scratch of a look */
    usec look_boot_us, save_boot_us;  /* when the next one is due */
};

static bool is_on(const struct engine *e)
{
    return e->cfg.alerts.every_us > 0;
}

static int load(struct engine *e, struct kept *k, struct err *err)
{
    const char *text = NULL;
    struct arena *arena = arena_new(ARENA_BYTES);
    int rc = arena ? e->cfg.store_driver->meta_get(e->cfg.store, k->key, arena, &text, err)
                   : err_set(err, ERR_NO_MEMORY, 0, "alerts");

    if (rc == ERR_OK)
        tally_read(&k->total, text);
    arena_free(arena);
    if (rc != ERR_TIMEOUT)
        return rc;
    err_clear(err); /* a slow disk: the first write brings what was kept */
    return ERR_OK;
}

int alerts_init(struct engine *e, struct err *err)
{
    const struct engine_alerts_config *cfg = &e->cfg.alerts;
    int rc = ERR_OK;

    if (!is_on(e))
        return ERR_OK;
    struct alerts *a = e->alerts = calloc(1, sizeof *a);
    if (!a)
        return err_set(err, ERR_NO_MEMORY, 0, "alerts");
    a->kept = calloc(cfg->n_objectives + 1, sizeof *a->kept);
    a->alerts = calloc(cfg->n_rules + 1, sizeof *a->alerts);
    a->reports = calloc(cfg->n_objectives + 1, sizeof *a->reports);
    if (!a->kept || !a->alerts || !a->reports)
        return err_set(err, ERR_NO_MEMORY, 0, "alerts");
    for (size_t i = 0; rc == ERR_OK && i <= cfg->n_objectives; i++, a->n++) {
        struct kept *k = &a->kept[i];
        k->engine = e;
        k->objective = i ? &cfg->objectives[i - 1] : NULL;
        snprintf(k->key, sizeof k->key, i ? "tally/objective/%s" : "tally/jobs", i ? k->objective->name : "");
        rc = load(e, k, err);
    }
    a->look_boot_us = engine_boot(e);
    a->save_boot_us = engine_boot(e) + SAVE_US;
    return rc;
}

void alerts_release(struct engine *e)
{
    struct alerts *a = e->alerts;

    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        arena_free(a->kept[i].op.arena);
    free(a->kept);
    free(a->alerts);
    free(a->reports);
    free(a);
    e->alerts = NULL;
}

/* --- counting --- */

static void count(struct kept *k, enum objective_verdict verdict, unsigned n)
{
    uint64_t good = verdict == VERDICT_GOOD ? n : 0, bad = verdict == VERDICT_BAD ? n : 0;
    usec now = engine_store_now(k->engine);

    if (verdict == VERDICT_NONE)
        return;
    tally_add(&k->total, now, good, bad);
    tally_add(&k->unsaved, now, good, bad);
    k->counted.good += good;
    k->counted.bad += bad;
}

static void count_claims(struct alerts *a, const struct op_claim *claim)
{
    for (size_t i = 0; i < claim->n_claimed && !claim->again; i++) {
        const struct job *job = &claim->claimed[i].job;
        for (size_t k = 1; k < a->n; k++)
            if (objective_covers(a->kept[k].objective, job->queue, job->task_type))
                count(&a->kept[k], objective_start(a->kept[k].objective, job->started_at - job->run_at), 1);
    }
}

static void count_ends(struct alerts *a, const struct op *op)
{
    static const struct objective all = {.kind = OBJECTIVE_SUCCESS};

    for (size_t i = 0; i < op->n_ended; i++) {
        const struct ended *end = &op->ended[i];
        for (size_t k = 0; k < a->n; k++) {
            const struct objective *o = k ? a->kept[k].objective : &all;
            if (objective_covers(o, end->queue, end->task_type))
                count(&a->kept[k], objective_end(o, end->outcome, end->status), end->n);
        }
    }
}

void alerts_note_op(struct engine *e, const struct op *op)
{
    if (!e->alerts || op->err.code != ERR_OK)
        return;
    if (op->kind == OP_CLAIM)
        count_claims(e->alerts, &op->u.claim);
    count_ends(e->alerts, op);
}

/* --- keeping --- */

static void kept_done(struct op *op)
{
    struct kept *k = op->owner;

    k->busy = false;
    if (op->err.code != ERR_OK) {
        tally_merge(&k->unsaved, &k->flying);
        return;
    }
    k->total = *op->u.tally.total;
    tally_merge(&k->total, &k->unsaved);
}

static void keep(struct engine *e, struct kept *k)
{
    /* where others write, too, theirs are asked for */
    if (k->busy || (tally_empty(&k->unsaved) && (!e->cfg.store_driver->shared || e->draining)))
        return;
    arena_free(k->op.arena);
    k->op = (struct op){.kind = OP_TALLY, .project = "default", .owner = k, .done = kept_done};
    k->op.arena = arena_new(ARENA_BYTES);
    if (!k->op.arena)
        return;
    k->flying = k->unsaved;
    k->unsaved = (struct tally){0};
    k->op.u.tally.key = k->key;
    k->op.u.tally.more = &k->flying;
    k->busy = true;
    engine_offer(e, &k->op);
}

void alerts_keep(struct engine *e)
{
    for (size_t i = 0; e->alerts && i < e->alerts->n; i++)
        keep(e, &e->alerts->kept[i]);
}

/* --- judging --- */

static void facts_now(const struct engine *e, struct alert_facts *ret)
{
    struct lane_entry *entry, *tmp;
    usec oldest = 0;

    *ret = (struct alert_facts){
        .now_us = engine_store_now(e), .jobs = &e->alerts->kept[0].total, .objectives = e->alerts->reports};
    HASH_ITER (hh, e->lanes, entry, tmp) {
        ret->ready += entry->lane.ready;
        if (entry->lane.ready && entry->lane.oldest_at && (!oldest || entry->lane.oldest_at < oldest))
            oldest = entry->lane.oldest_at;
    }
    ret->oldest_ready_us = oldest ? MAX(ret->now_us - oldest, 0) : 0;
}

static void judge(const struct engine *e, struct objective_report *ret)
{
    const struct alerts *a = e->alerts;

    for (size_t i = 1; i < a->n; i++)
        objective_judge(a->kept[i].objective, &a->kept[i].total, engine_store_now(e), &ret[i - 1]);
}

static void look(struct engine *e)
{
    const struct engine_alerts_config *cfg = &e->cfg.alerts;
    struct alert_facts facts;

    judge(e, e->alerts->reports);
    facts_now(e, &facts);
    for (size_t i = 0; i < cfg->n_rules; i++) {
        const double value = alert_value(&cfg->rules[i], &facts);
        alert_step(&cfg->rules[i], &e->alerts->alerts[i], value, facts.now_us);
    }
    if (cfg->looked)
        cfg->looked(cfg->self, e, e->alerts->alerts);
}

void alerts_step(struct engine *e)
{
    usec boot = engine_boot(e);

    if (!e->alerts || e->draining)
        return;
    if (boot >= e->alerts->look_boot_us) {
        e->alerts->look_boot_us = boot + e->cfg.alerts.every_us;
        look(e);
    }
    if (boot >= e->alerts->save_boot_us) {
        e->alerts->save_boot_us = boot + SAVE_US;
        alerts_keep(e);
    }
}

usec alerts_next_boot(const struct engine *e)
{
    return e->alerts && !e->draining ? MIN(e->alerts->look_boot_us, e->alerts->save_boot_us) : USEC_NEVER;
}

int alerts_copy(const struct engine *e, struct arena *arena, struct engine_alerts *ret, struct err *err)
{
    const struct alerts *a = e->alerts;
    size_t n = e->cfg.alerts.n_objectives;

    *ret = (struct engine_alerts){.config = &e->cfg.alerts};
    if (!a)
        return ERR_OK;
    ret->objectives = arena_array(arena, n + 1, sizeof *ret->objectives);
    ret->counted = arena_array(arena, n + 1, sizeof *ret->counted);
    ret->alerts = arena_memdup(arena, a->alerts, (e->cfg.alerts.n_rules + 1) * sizeof *ret->alerts);
    if (!ret->objectives || !ret->counted || !ret->alerts)
        return err_set(err, ERR_NO_MEMORY, 0, "alerts");
    judge(e, ret->objectives);
    for (size_t i = 0; i < n; i++)
        ret->counted[i] = a->kept[i + 1].counted;
    return ERR_OK;
}
