#include "engine/loop.h"
#include "base/auto.h"
#include <pthread.h>
#include <utlist.h>

struct loop {
    struct engine *engine;
    struct pool *heavy;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t arrived;            /* on CLOCK_MONOTONIC */
    struct loop_letter *first, **last; /* appended in constant time */
    bool stop, woken;
    void (*on_lost)(void); /* NULL once called */
};

static void inbox_wait(struct loop *l, usec sleep_us)
{
    struct timespec until;

    if (sleep_us <= 0 || l->first || l->woken || (l->stop && engine_idle(l->engine)))
        return;
    if (sleep_us > 3600 * USEC_PER_SEC)
        sleep_us = 3600 * USEC_PER_SEC;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + (sleep_us % USEC_PER_SEC) * 1000;
    until.tv_sec += sleep_us / USEC_PER_SEC + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&l->arrived, &l->lock, &until);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    struct clock clock = clock_real();
    usec wake_us = 0;

    for (;;) {
        pthread_mutex_lock(&l->lock);
        inbox_wait(l, wake_us == USEC_NEVER ? USEC_NEVER : wake_us - clock.boot_us(clock.self));
        struct loop_letter *letters = l->first;
        bool stop = l->stop;
        l->woken = false;
        l->first = NULL;
        l->last = &l->first;
        pthread_mutex_unlock(&l->lock);
        while (letters) {
            struct loop_letter *letter = letters;
            letters = letter->next; /* before it is its owner's again */
            letter->fn(l->engine, letter->arg);
        }
        wake_us = engine_step(l->engine);
        if (l->on_lost && engine_lost(l->engine)) {
            l->on_lost();
            l->on_lost = NULL;
        }
        if (stop && engine_idle(l->engine)) {
            pthread_mutex_lock(&l->lock);
            bool more = l->first;
            pthread_mutex_unlock(&l->lock);
            if (!more) {
                engine_wakes(l->engine, NULL, NULL);
                return NULL;
            }
        }
    }
}

struct heavy {
    struct loop_letter letter;
    struct loop *loop;
    void (*work)(void *arg);
    void (*done)(struct engine *e, void *arg);
    void *arg;
};

static void heavy_done(struct engine *e, void *arg)
{
    struct heavy *h = arg;

    h->done(e, h->arg);
    free(h);
}

static void heavy_run(void *arg)
{
    struct heavy *h = arg;

    h->work(h->arg);
    loop_post(h->loop, &h->letter, heavy_done, h);
}

static bool heavy_offload(void *self, void (*work)(void *arg), void (*done)(struct engine *e, void *arg), void *arg)
{
    struct loop *l = self;
    struct heavy *h = malloc(sizeof *h);

    if (!h)
        return false;
    *h = (struct heavy){.loop = l, .work = work, .done = done, .arg = arg};
    if (pool_run(l->heavy, heavy_run, h, NULL) == ERR_OK)
        return true;
    free(h);
    return false;
}

static void wake(void *arg)
{
    struct loop *l = arg;

    pthread_mutex_lock(&l->lock);
    l->woken = true;
    pthread_cond_signal(&l->arrived);
    pthread_mutex_unlock(&l->lock);
}

int loop_start(struct engine *engine, struct pool *heavy, void (*on_lost)(void), struct loop **ret, struct err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    pthread_condattr_t attr;

    if (!l)
        return err_set(err, ERR_NO_MEMORY, 0, "engine loop");
    l->engine = engine;
    l->heavy = heavy;
    if (heavy)
        engine_offload(engine, heavy_offload, l);
    l->on_lost = on_lost;
    l->last = &l->first;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->arrived, &attr);
    pthread_condattr_destroy(&attr);
    engine_wakes(engine, wake, l);
    int rc = pthread_create(&l->thread, NULL, loop_main, l);
    if (rc) {
        engine_wakes(engine, NULL, NULL);
        pthread_cond_destroy(&l->arrived);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return err_set(err, ERR_UNAVAILABLE, rc, "start the engine's thread");
    }
    *ret = l;
    return ERR_OK;
}

void loop_post(struct loop *l, struct loop_letter *letter, void (*fn)(struct engine *e, void *arg), void *arg)
{
    *letter = (struct loop_letter){.fn = fn, .arg = arg};
    pthread_mutex_lock(&l->lock);
    *l->last = letter;
    l->last = &letter->next;
    pthread_cond_signal(&l->arrived);
    pthread_mutex_unlock(&l->lock);
}

static void offer_letter(struct engine *e, void *op)
{
    engine_offer(e, op);
}

void loop_offer(struct loop *l, struct loop_letter *letter, struct op *op)
{
    loop_post(l, letter, offer_letter, op);
}

uint64_t loop_news(const struct loop *l, const struct uuid *job_id)
{
    return engine_news(l->engine, job_id);
}

struct feed *loop_feed(const struct loop *l)
{
    return engine_feed(l->engine);
}

struct drain {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool drained;
};

static void drain_letter(struct engine *e, void *arg)
{
    struct drain *d = arg;

    engine_drain(e);
    pthread_mutex_lock(&d->lock);
    d->drained = true;
    pthread_cond_signal(&d->done);
    pthread_mutex_unlock(&d->lock);
}

void loop_drain(struct loop *l)
{
    struct drain d = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    struct loop_letter letter;

    loop_post(l, &letter, drain_letter, &d);
    pthread_mutex_lock(&d.lock);
    while (!d.drained)
        pthread_cond_wait(&d.done, &d.lock);
    pthread_mutex_unlock(&d.lock);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->arrived);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    engine_free(l->engine);
    pthread_cond_destroy(&l->arrived);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
