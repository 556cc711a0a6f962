/* Counting: a table of pairs (queue, task type), bounded, so that no client can fill a server's memory or Prometheus' by inventing
 * names. A pair is made by a job that is accepted or known from before the start, never by a refusal. */
#include "engine/metrics.h"
#include "base/auto.h"
#include "engine/internal.h"

#define MS   USEC_PER_MSEC
#define S    USEC_PER_SEC
#define MIN_ (60 * S)
#define HOUR (60 * MIN_)

const struct histogram_bounds metrics_start_bounds = {13,
                                                      {5 * MS, 25 * MS, 100 * MS, 500 * MS, S, 5 * S, 15 * S, MIN_,
                                                       5 * MIN_, 15 * MIN_, HOUR, 4 * HOUR, 24 * HOUR}},
                              metrics_run_bounds = {15,
                                                    {100 * MS, 500 * MS, S, 5 * S, 15 * S, MIN_, 5 * MIN_, 15 * MIN_,
                                                     30 * MIN_, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR,
                                                     24 * HOUR}},
                              metrics_commit_bounds = {13,
                                                       {500, MS, 2500, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS,
                                                        250 * MS, 500 * MS, S, 2500 * MS, 10 * S}},
                              metrics_batch_bounds = {10, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}};

/** "QUEUE", a zero byte, "TYPE". @return its bytes, without the last zero. */
static size_t pair_name(const char *queue, const char *task_type, char ret[PAIR_NAME_MAX])
{
    size_t n = strnlen(queue ? queue : task_type, JOB_NAME_MAX), m = strnlen(task_type, JOB_NAME_MAX);

    memcpy(ret, queue ? queue : task_type, n);
    ret[n] = '\0';
    memcpy(ret + n + 1, task_type, m);
    ret[n + 1 + m] = '\0';
    return n + 1 + m;
}

/** Out of memory counts as full: what is then counted under "other" is not lost. */
static size_t pair_add(struct metrics *m, const char *name, size_t n)
{
    if (m->n_pairs == m->pairs_cap) {
        size_t cap = MIN(MAX(m->pairs_cap * 2, (size_t)16), (size_t)METRICS_PAIRS_MAX + 1);
        struct metrics_pair *grown = cap > m->n_pairs ? realloc(m->pairs, cap * sizeof *grown) : NULL;
        if (!grown)
            return 0;
        m->pairs = grown;
        m->pairs_cap = cap;
    }
    struct pair_entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return 0;
    memcpy(entry->name, name, n + 1);
    HASH_ADD(hh, m->names, name, n, entry);
    if (!entry->hh.tbl) {
        free(entry);
        return 0;
    }
    entry->index = m->n_pairs++;
    m->pairs[entry->index] =
        (struct metrics_pair){.queue = entry->name, .task_type = entry->name + strlen(entry->name) + 1};
    return entry->index;
}

static size_t pair_index(struct metrics *m, const char *queue, const char *task_type, bool add)
{
    char name[PAIR_NAME_MAX];
    struct pair_entry *entry = m->last;

    if (entry && strcmp(entry->name, queue ? queue : task_type) == 0 &&
        strcmp(entry->name + strlen(entry->name) + 1, task_type) == 0)
        return entry->index;
    const size_t n = pair_name(queue, task_type, name);
    HASH_FIND(hh, m->names, name, n, entry);
    if (!entry)
        return add ? pair_add(m, name, n) : 0;
    m->last = entry;
    return entry->index;
}

size_t metrics_pair_index(struct engine *e, const char *queue, const char *task_type)
{
    return pair_index(&e->metrics, queue, task_type, true);
}

int metrics_init(struct engine *e, struct err *err)
{
    char other[PAIR_NAME_MAX];
    size_t n = pair_name(METRICS_OTHER, METRICS_OTHER, other), n_rows = 0;
    struct stat_row *rows = NULL;

    e->metrics.began_boot_us = engine_boot(e);
    pair_add(&e->metrics, other, n);
    if (e->metrics.n_pairs == 0)
        return err_set(err, ERR_NO_MEMORY, 0, "metrics");
    struct arena *arena = arena_new(64u << 20);
    if (!arena)
        return err_set(err, ERR_NO_MEMORY, 0, "metrics");
    int rc = e->cfg.store_driver->stats(e->cfg.store, arena, &rows, &n_rows, err);
    for (size_t i = 0; rc == ERR_OK && i < n_rows; i++)
        metrics_pair_index(e, rows[i].queue, rows[i].task_type);
    arena_free(arena);
    if (rc != ERR_TIMEOUT)
        return rc;
    err_clear(err); /* a slow disk: then those that are met first have series of their own */
    return ERR_OK;
}

void metrics_release(struct engine *e)
{
    struct pair_entry *entry, *tmp;

    HASH_ITER (hh, e->metrics.names, entry, tmp) {
        HASH_DELETE(hh, e->metrics.names, entry);
        free(entry);
    }
    free(e->metrics.pairs);
}

static void count_submission(struct metrics *m, const struct op *op, usec boot_us)
{
    const struct op_submit *submit = &op->u.submit;
    enum submission what = op->err.code != ERR_OK ? SUBMISSION_REFUSED
                           : submit->duplicate    ? SUBMISSION_DUPLICATE
                                                  : SUBMISSION_ACCEPTED;

    if (!submit->job.task_type)
        return;
    struct metrics_pair *pair =
        &m->pairs[pair_index(m, submit->job.queue, submit->job.task_type, what != SUBMISSION_REFUSED)];
    pair->submissions[what]++;
    if (what == SUBMISSION_ACCEPTED)
        rates_add(&pair->rates, RATE_SUBMITTED, 1, boot_us);
}

static void count_starts(struct metrics *m, const struct op_claim *claim)
{
    for (size_t i = 0; i < claim->n_claimed && !claim->again; i++) {
        const struct job *job = &claim->claimed[i].job;
        histogram_add(&m->pairs[pair_index(m, job->queue, job->task_type, true)].start_us, &metrics_start_bounds,
                      MAX(job->started_at - job->run_at, 0));
    }
}

static void count_ends(struct metrics *m, const struct op *op, usec boot_us)
{
    for (size_t i = 0; i < op->n_ended; i++) {
        const struct ended *end = &op->ended[i];
        struct metrics_pair *pair = &m->pairs[pair_index(m, end->queue, end->task_type, true)];

        pair->ended[end->outcome] += end->n;
        if (end->status == JOB_FAILED || job_finished(end->status))
            pair->finished[end->status] += end->n;
        if (end->status == JOB_SUCCESS || end->status == JOB_FAILED)
            rates_add(&pair->rates, end->status == JOB_SUCCESS ? RATE_SUCCEEDED : RATE_FAILED, end->n, boot_us);
        if (end->took_us >= 0)
            histogram_add(&pair->complete_us, &metrics_run_bounds, end->took_us);
        if (end->ran_us >= 0)
            histogram_add(&pair->run_us, &metrics_run_bounds, end->ran_us);
    }
}

void metrics_note_op(struct engine *e, const struct op *op)
{
    const usec boot_us = engine_boot(e);

    if (op->kind == OP_SUBMIT)
        count_submission(&e->metrics, op, boot_us);
    if (op->err.code != ERR_OK)
        return;
    if (op->kind == OP_CLAIM)
        count_starts(&e->metrics, &op->u.claim);
    count_ends(&e->metrics, op, boot_us);
}

/** Not a refusal of one op: the store could not write. */
static bool store_failed(const struct op *op)
{
    return op->err.code == ERR_IO || op->err.code == ERR_NO_SPACE || op->err.code == ERR_UNKNOWN_OUTCOME ||
           op->err.code == ERR_UNAVAILABLE || op->err.code == ERR_CORRUPT;
}

void metrics_note_batch(struct engine *e, struct op *const *ops, size_t n, usec took_us)
{
    bool failed = false;

    for (size_t i = 0; i < n; i++)
        failed = failed || store_failed(ops[i]);
    e->metrics.commits_failed += failed;
    histogram_add(&e->metrics.commit_us, &metrics_commit_bounds, took_us);
    histogram_add(&e->metrics.commit_ops, &metrics_batch_bounds, (int64_t)n);
}

/* Which jobs stand where is the dispatcher's to know. */
static void copy_ready(const struct engine *e, struct engine_metrics *ret)
{
    struct lane_entry *entry, *tmp;
    size_t looked = 0;

    HASH_ITER (hh, e->lanes, entry, tmp) {
        if (looked++ == METRICS_LANES_MAX)
            return;
        if (!entry->lane.ready)
            continue;
        struct metrics_pair *pair = &ret->pairs[entry->pair];
        pair->ready += entry->lane.ready;
        if (entry->lane.oldest_at && (!pair->oldest_at || entry->lane.oldest_at < pair->oldest_at))
            pair->oldest_at = entry->lane.oldest_at;
    }
}

static void histogram_sum(struct histogram *h, const struct histogram *more)
{
    for (size_t i = 0; i < HISTOGRAM_BOUNDS_MAX + 1; i++)
        h->counts[i] += more->counts[i];
    h->sum += more->sum;
}

static void totals_now(const struct engine *e, struct window_totals *ret)
{
    const struct metrics *m = &e->metrics;

    *ret = (struct window_totals){.at = engine_boot(e)};
    for (size_t i = 0; i < m->n_pairs; i++) {
        for (size_t k = 0; k < JOB_STATUS_COUNT; k++)
            ret->finished[k] += m->pairs[i].finished[k];
        histogram_sum(&ret->start_us, &m->pairs[i].start_us);
        histogram_sum(&ret->complete_us, &m->pairs[i].complete_us);
    }
}

void metrics_sample(struct engine *e)
{
    struct window_totals totals;

    if (!windows_due(&e->metrics.windows, engine_boot(e)))
        return;
    totals_now(e, &totals);
    windows_add(&e->metrics.windows, &totals);
}

static void copy_windows(const struct engine *e, struct engine_metrics *ret)
{
    struct window_totals now;

    totals_now(e, &now);
    windows_last(&e->metrics.windows, &now, 60 * USEC_PER_SEC, &ret->last_1m);
    windows_last(&e->metrics.windows, &now, 300 * USEC_PER_SEC, &ret->last_5m);
}

int engine_metrics(struct engine *e, struct arena *arena, struct engine_metrics *ret, struct err *err)
{
    const struct metrics *m = &e->metrics;

    *ret = (struct engine_metrics){.pairs = arena_memdup(arena, m->pairs, m->n_pairs * sizeof *m->pairs),
                                   .n_pairs = m->n_pairs,
                                   .commit_us = m->commit_us,
                                   .commit_ops = m->commit_ops,
                                   .commits_failed = m->commits_failed,
                                   .redrives = m->redrives,
                                   .ops_waiting = e->n_ops,
                                   .polls_held = e->n_polls,
                                   .now = engine_store_now(e),
                                   .boot_us = engine_boot(e),
                                   .began_boot_us = m->began_boot_us};
    memcpy(ret->redriven, m->redriven, sizeof ret->redriven);
    if (!ret->pairs)
        return err_set(err, ERR_NO_MEMORY, 0, "metrics");
    copy_ready(e, ret);
    copy_windows(e, ret);
    return alerts_copy(e, arena, &ret->alerts, err);
}
