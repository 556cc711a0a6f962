/* The table, and what belongs to no thread. */
#include "base/auto.h"
#include "broker/notify/driver.h"
#include "broker/notify/notify.h"
#include <errno.h>
#include <sys/eventfd.h>

usec notify_now(void)
{
    const struct clock clock = clock_real();
    return clock.boot_us(clock.self);
}

void notify_wake(struct broker *b)
{
    const uint64_t one = 1;
    (void)!write(b->wake_fd, &one, sizeof(one));
}

void notify_is(struct broker *b, const struct err *err)
{
    pthread_mutex_lock(&b->lock);
    const bool was = b->state.reached, quiet = b->stopping || !b->runs;
    b->state.reached = !err;
    b->state.lost += was && err && !quiet;
    snprintf(b->state.why, sizeof(b->state.why), "%.250s", err ? err->msg : "");
    pthread_mutex_unlock(&b->lock);
    if (was != !err && !quiet)
        b->calls.changed(b->calls.self, err);
}

/* --- to others --- */

void notice_free(struct notice *n)
{
    free(n->queue);
    free(n->task_type);
}

/** With the lock. False: there is no room */
static bool notice_add(struct broker *b, const struct broker_job *job)
{
    for (size_t i = 0; i < b->n_notices; i++) {
        struct notice *n = &b->notices[i];
        if (n->priority == job->priority && strcmp(n->task_type, job->task_type) == 0 &&
            strcmp(n->queue, job->queue) == 0) {
            n->jobs++;
            return true;
        }
    }
    struct notice n = {.queue = strdup(job->queue), .task_type = strdup(job->task_type), .priority = job->priority};
    if (b->n_notices == NOTICES_MAX || !n.queue || !n.task_type) {
        notice_free(&n);
        return false;
    }
    n.jobs = 1;
    b->notices[b->n_notices++] = n;
    return true;
}

static void notify_announce(struct broker *b, const struct broker_job *job)
{
    if (notify_now() >= atomic_load(&b->awaited_until))
        return; /* nobody would hear */
    pthread_mutex_lock(&b->lock);
    const bool first = b->n_notices == 0, told = b->state.reached && !b->stopping && notice_add(b, job);
    b->state.announced += told;
    b->state.unannounced += !told;
    pthread_mutex_unlock(&b->lock);
    if (told && first)
        notify_wake(b);
}

/** With the lock. */
static struct want *want_of(struct broker *b, const char *task_type)
{
    struct want *w;
    HASH_FIND_STR(b->wants, task_type, w);
    if (w || !(w = calloc(1, sizeof(*w))))
        return w;
    w->task_type = strdup(task_type);
    if (w->task_type)
        HASH_ADD_KEYPTR(hh, b->wants, w->task_type, strlen(w->task_type), w);
    if (!w->task_type || !w->hh.tbl) {
        free(w->task_type);
        free(w);
        return NULL;
    }
    return w;
}

static void want_free(struct broker *b, struct want *w)
{
    HASH_DEL(b->wants, w);
    free(w->task_type);
    free(w);
}

static void notify_want(struct broker *b, const char *queue, const char *task_type, int slots)
{
    pthread_mutex_lock(&b->lock);
    struct want *w = want_of(b, task_type);
    if (w) {
        const bool waited = w->slots > 0;
        w->slots += slots;
        b->waiting += (w->slots > 0) && !waited;
        b->waiting -= (w->slots <= 0) && waited;
        if (w->slots == 0)
            want_free(b, w);
    }
    const bool say = b->waiting > 0 && !b->stopping && notify_now() >= b->said_us + AGAIN_US;
    pthread_mutex_unlock(&b->lock);
    if (say)
        notify_wake(b);
}

/* --- from others --- */

static void tell(struct broker *b, const struct line *line)
{
    const size_t queue_n = strlen(line->queue) + 1, type_n = strlen(line->task_type) + 1;
    struct broker_told *t = malloc(sizeof(*t) + queue_n + type_n);
    if (!t)
        return;
    char *names = (char *)(t + 1);
    memcpy(names, line->queue, queue_n);
    memcpy(names + queue_n, line->task_type, type_n);
    *t = (struct broker_told){
        .queue = names, .task_type = names + queue_n, .priority = line->priority, .jobs = line->jobs};
    b->calls.told(b->calls.self, t);
}

void notify_heard(struct broker *b, const struct line *line)
{
    struct want *w = NULL;
    pthread_mutex_lock(&b->lock);
    if (line->kind == LINE_HELLO)
        b->said_us = 0; /* said again */
    if (line->kind == LINE_READY) {
        HASH_FIND_STR(b->wants, line->task_type, w);
        b->state.received += line->jobs;
        if (!w || w->slots <= 0) {
            w = NULL;
            b->state.dropped += line->jobs;
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (line->kind == LINE_WAITS)
        atomic_store(&b->awaited_until, notify_now() + BELIEVED_US);
    if (w)
        tell(b, line);
}

static void notify_settle(struct broker *b, struct broker_told *t, enum broker_outcome outcome)
{
    pthread_mutex_lock(&b->lock);
    b->state.dropped += outcome == BROKER_CLAIMED ? 0 : t->jobs;
    pthread_mutex_unlock(&b->lock);
    free(t);
}

static void notify_settle_submission(struct broker *b, struct broker_submission *s, enum broker_admission admission,
                                     const char *reason)
{
} /* there are none */

static void notify_state(struct broker *b, struct broker_state *ret)
{
    pthread_mutex_lock(&b->lock);
    *ret = b->state;
    pthread_mutex_unlock(&b->lock);
}

/* --- from begin to end --- */

static void notify_stop(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_mutex_unlock(&b->lock);
    if (!b->runs)
        return;
    notify_wake(b);
    pthread_join(b->thread, NULL);
    b->runs = false;
}

static void notify_close(struct broker *b)
{
    struct want *w, *next;
    if (!b)
        return;
    HASH_ITER (hh, b->wants, w, next)
        want_free(b, w);
    for (size_t i = 0; i < b->n_notices; i++)
        notice_free(&b->notices[i]);
    PQfinish(b->pg);
    if (b->wake_fd >= 0)
        close(b->wake_fd);
    pthread_mutex_destroy(&b->lock);
    free(b->url);
    free(b);
}

static int notify_open(const struct broker_config *config, struct broker **ret, struct err *err)
{
    struct broker *b = calloc(1, sizeof(*b));
    struct err why = {0};
    if (!b)
        return err_set(err, ERR_NO_MEMORY, 0, "broker");
    b->rng = config->rng;
    b->state.reached = true;
    pthread_mutex_init(&b->lock, NULL);
    rng_hex128(b->rng, b->self);
    snprintf(b->name, sizeof(b->name), "haul_%.50s", config->deployment);
    b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    b->url = strdup(config->url);
    if (b->wake_fd < 0 || !b->url) {
        notify_close(b);
        return err_set(err, ERR_NO_MEMORY, 0, "broker");
    }
    if (listener_connect(b, &why) != ERR_OK) /* no reason not to start: there is the floor */
        notify_is(b, &why);
    *ret = b;
    return ERR_OK;
}

static int notify_start(struct broker *b, const struct broker_calls *calls, struct err *err)
{
    b->calls = *calls;
    b->runs = true;
    const int sys = pthread_create(&b->thread, NULL, listener_run, b);
    if (sys == 0)
        return ERR_OK;
    b->runs = false;
    return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
}

const struct broker_driver *broker_notify(void)
{
    static const struct broker_driver driver = {.name = "notify",
                                                .open = notify_open,
                                                .start = notify_start,
                                                .announce = notify_announce,
                                                .want = notify_want,
                                                .settle = notify_settle,
                                                .settle_submission = notify_settle_submission,
                                                .state = notify_state,
                                                .stop = notify_stop,
                                                .close = notify_close};
    return &driver;
}
