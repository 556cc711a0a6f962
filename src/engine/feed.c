#include "engine/feed.h"
#include "base/auto.h"

void feed_init(struct feed *f)
{
    pthread_mutex_init(&f->lock, NULL);
    f->head = 0;
}

void feed_release(struct feed *f)
{
    pthread_mutex_destroy(&f->lock);
}

void feed_note(struct feed *f, const struct uuid *job_id)
{
    pthread_mutex_lock(&f->lock);
    f->jobs[f->head++ % FEED_KEPT] = job_id ? *job_id : (struct uuid){{0}};
    pthread_mutex_unlock(&f->lock);
}

uint64_t feed_head(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t head = f->head;
    pthread_mutex_unlock(&f->lock);
    return head;
}

size_t feed_read(struct feed *f, uint64_t *at, struct uuid *ret, size_t max, bool *ret_missed)
{
    size_t n = 0;

    pthread_mutex_lock(&f->lock);
    *ret_missed = *at > f->head || f->head - *at > FEED_KEPT;
    if (*ret_missed)
        *at = f->head;
    for (; n < max && *at < f->head; n++)
        ret[n] = f->jobs[(*at)++ % FEED_KEPT];
    pthread_mutex_unlock(&f->lock);
    return n;
}
