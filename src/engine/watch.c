/* Watches: those who wait for news of a job (GET ?wait=, a followed log). A watch fires once; whoever waits reads again. */
#include "engine/internal.h"
#include "base/auto.h"

#define SHARED_US (500 * USEC_PER_MSEC) /* where others write, too, whoever waits looks again this often */

static size_t news_bucket(const struct uuid *job_id)
{
    return ((size_t)job_id->b[14] << 8 | job_id->b[15]) % NEWS_BUCKETS;
}

uint64_t engine_news(const struct engine *e, const struct uuid *job_id)
{
    return atomic_load(&e->news[news_bucket(job_id)]) + atomic_load(&e->news_of_all);
}

struct feed *engine_feed(struct engine *e)
{
    return &e->feed;
}

static struct watch_bucket *bucket_find(struct engine *e, const struct uuid *job_id)
{
    struct watch_bucket *b;

    HASH_FIND(hh, e->watches, job_id, sizeof *job_id, b);
    return b;
}

static void watch_fire(struct engine *e, struct watch_bucket *b, struct watch *w)
{
    DL_DELETE(b->watches, w);
    if (!b->watches) {
        HASH_DELETE(hh, e->watches, b);
        free(b);
    }
    w->fire(w);
}

void engine_watch(struct engine *e, struct watch *w)
{
    struct watch_bucket *b = bucket_find(e, &w->job_id);

    if (!b && !e->draining && (b = calloc(1, sizeof *b))) {
        b->job_id = w->job_id;
        HASH_ADD(hh, e->watches, job_id, sizeof b->job_id, b);
        if (!b->hh.tbl) {
            free(b);
            b = NULL;
        }
    }
    if (!b || e->draining) {
        w->fire(w); /* stopping, or no memory: an early look is right, only less quiet */
        return;
    }
    w->until_boot_us = engine_boot(e) + (e->cfg.store_driver->shared ? MIN(w->wait_us, SHARED_US) : w->wait_us);
    DL_APPEND(b->watches, w);
}

void engine_unwatch(struct engine *e, struct watch *w)
{
    struct watch_bucket *b = bucket_find(e, &w->job_id);
    struct watch *other = NULL;

    if (b)
        DL_FOREACH (b->watches, other)
            if (other == w)
                break;
    if (other)
        watch_fire(e, b, w);
}

static void fire_job(struct engine *e, const struct uuid *job_id, bool log_only)
{
    struct watch_bucket *b = bucket_find(e, job_id);
    struct watch *w, *tmp;

    atomic_fetch_add(&e->news[news_bucket(job_id)], 1);
    if (!log_only)
        feed_note(&e->feed, job_id);
    if (!b)
        return;
    struct watch *all = b->watches;
    DL_FOREACH_SAFE(all, w, tmp)
    if (!log_only || w->log_too) {
        bool last = !b->watches->next;
        watch_fire(e, b, w);
        if (last)
            return; /* the bucket is gone with its last watch */
    }
}

void watch_note_decided(struct engine *e, const struct op *op)
{
    switch (op->kind) {
    case OP_SUBMIT: /* nobody can wait for it yet */
        if (!op->u.submit.duplicate)
            feed_note(&e->feed, &op->u.submit.job.job_id);
        break;
    case OP_CLAIM:
        for (size_t i = 0; i < op->u.claim.n_claimed; i++)
            fire_job(e, &op->u.claim.claimed[i].job.job_id, false);
        break;
    case OP_HEARTBEAT: /* only a lapsed lease that came back is news, and rare enough to tell with the rest */
        if (op->u.heartbeat.was != JOB_RUNNING)
            fire_job(e, &op->u.heartbeat.job_id, false);
        break;
    case OP_PROGRESS:
        fire_job(e, &op->u.progress.job_id, false);
        break;
    case OP_LOG:
        fire_job(e, &op->u.log.job_id, true);
        break;
    case OP_COMPLETE:
        fire_job(e, &op->u.complete.job_id, false);
        break;
    case OP_FAIL:
        fire_job(e, &op->u.fail.job_id, false);
        break;
    case OP_CANCEL:
    case OP_RETRY:
    case OP_DISCARD:
        fire_job(e, &op->u.job.job_id, false);
        break;
    default:
        break;
    }
}

usec watch_timeouts(struct engine *e, usec boot_us)
{
    struct watch_bucket *b, *b_tmp;
    struct watch *w, *tmp;
    usec next_us = USEC_NEVER;

    HASH_ITER (hh, e->watches, b, b_tmp) {
        DL_FOREACH_SAFE(b->watches, w, tmp)
        {
            if (w->until_boot_us > boot_us) {
                next_us = MIN(next_us, w->until_boot_us);
                continue;
            }
            bool last = !b->watches->next;
            watch_fire(e, b, w);
            if (last)
                break;
        }
    }
    return next_us;
}

void watch_fire_all(struct engine *e)
{
    atomic_fetch_add(&e->news_of_all, 1);
    feed_note(&e->feed, NULL);
    while (e->watches)
        watch_fire(e, e->watches, e->watches->watches);
}
