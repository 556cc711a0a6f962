#include "worker/lease.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#define BODY_MAX 65536

struct lease {
    const struct attempt *a; /* borrowed; and */
    struct meter *meter;     /* or NULL */
    pthread_t beat_thread, guard_thread;
    bool beat_runs, guard_runs;
    pthread_mutex_t lock;
    int event_fd, stop_fd, timer_fd;
    enum lease_state state;
    bool cancel, frozen;
    bool awaited; /* lease_wait waits for the next renewal */
    usec end_us;  /* CLOCK_BOOTTIME; counted from before the request was sent, so never later than the server's */
    usec frozen_at_us, frozen_us;
    struct sandbox *box;
};

static void event_raise(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static usec margin_us(const struct lease *l)
{
    return MIN(l->a->lease_us / 6, 5 * USEC_PER_SEC);
}

/* BOOTTIME, so that waking from a suspend fires it at once. */
static void timer_set(struct lease *l)
{
    const usec at = MAX(l->end_us - margin_us(l), 1);
    const struct itimerspec t = {.it_value = {at / USEC_PER_SEC, (long)(at % USEC_PER_SEC) * 1000}};
    timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* When nobody here could stop the handler in time: this process may be stopped itself, or wait for a disk. After our own margin, which says
 * so in the log. */
static void box_until(struct lease *l)
{
    if (l->box)
        sandbox_until(l->box, MAX(l->end_us - margin_us(l) / 2, 1));
}

static void box_signal(struct lease *l, int sig, const char *what)
{
    struct err err;
    err_clear(&err);
    if (l->box && sandbox_signal(l->box, sig, &err))
        log_err(what, &err);
}

/* @return false when the answer was so long on its way that what it gives is over again: nothing may start or go on */
static bool renewed(struct lease *l, usec end_us, bool cancel)
{
    pthread_mutex_lock(&l->lock);
    const bool live = boot_now() < end_us - margin_us(l);
    const bool news = (live && l->state != LEASE_HELD) || cancel != l->cancel || l->awaited;
    l->end_us = end_us;
    if (live)
        l->state = LEASE_HELD;
    l->cancel = l->cancel || cancel;
    timer_set(l);
    if (live)
        box_until(l);
    if (live && l->frozen) {
        l->frozen = false;
        l->frozen_us += boot_now() - l->frozen_at_us;
        box_signal(l, SIGCONT, "thaw");
        log_event(LOG_INFO, "lease renewed, handler goes on", "job_id", l->a->job_id, NULL);
    }
    pthread_mutex_unlock(&l->lock);
    if (news)
        event_raise(l->event_fd);
    return live;
}

static void gone(struct lease *l, enum lease_state how)
{
    pthread_mutex_lock(&l->lock);
    l->state = how;
    box_signal(l, SIGKILL, "kill");
    pthread_mutex_unlock(&l->lock);
    event_raise(l->event_fd);
}

static bool answer_read(const char *text, usec *ret_lease_us, bool *ret_cancel)
{
    json_t *o = NULL;
    struct err err;
    if (!text || json_parse(text, strlen(text), &o, &err))
        return false;
    const json_t *s = json_object_get(o, "lease_s");
    *ret_lease_us = (usec)(json_number_value(s) * (double)USEC_PER_SEC);
    *ret_cancel = json_is_true(json_object_get(o, "cancel"));
    const bool good = json_is_number(s);
    json_decref(o);
    return good;
}

/* @return meter_write's mark */
static uint64_t body_write(const struct lease *l, struct buf *ret)
{
    struct json_writer w;
    buf_init(ret, BODY_MAX);
    jw_init(&w, ret);
    jw_object(&w, NULL);
    const uint64_t mark = l->meter ? meter_write(l->meter, &w) : 0;
    jw_object_end(&w);
    return mark;
}

/* One heartbeat; false when there is no sense in more. */
static bool beat(struct lease *l, struct haul_client *c, const char *path, bool *ret_answered)
{
    const usec sent_us = boot_now();
    pthread_mutex_lock(&l->lock);
    const usec left_us = l->end_us - sent_us;
    pthread_mutex_unlock(&l->lock);
    haul_client_timeout(c, MAX(1000, MIN(10000, left_us / 2 / USEC_PER_MSEC)));
    AUTO_FREE char *json = NULL;
    struct haul_error he = {0};
    struct buf body;
    const uint64_t mark = body_write(l, &body);
    /* Without memory for what was measured the lease still comes first. */
    const int rc = haul_call(c, "POST", path, body.failed ? "{}" : buf_str(&body), l->a->token, 0, &json, &he);
    if (rc == HAUL_OK && mark && !body.failed)
        meter_told(l->meter, mark);
    buf_release(&body);
    usec lease_us;
    bool cancel;
    *ret_answered = false;
    if (rc == HAUL_OK && answer_read(json, &lease_us, &cancel)) {
        *ret_answered = renewed(l, sent_us + lease_us, cancel);
        return true;
    }
    if (rc == HAUL_REFUSED && (he.status == 409 || he.status == 404 || he.status == 410)) {
        gone(l, LEASE_LOST);
        return false;
    }
    if (boot_now() > sent_us + left_us + l->a->orphan_us) {
        gone(l, LEASE_ORPHANED);
        return false;
    }
    return true;
}

static bool stop_wait(const struct lease *l, usec wait_us)
{
    struct pollfd p = {.fd = l->stop_fd, .events = POLLIN};
    return poll(&p, 1, (int)MIN(wait_us / USEC_PER_MSEC, INT_MAX)) > 0;
}

static void *beat_run(void *arg)
{
    struct lease *l = arg;
    struct err err;
    struct haul_client *c = attempt_client(l->a, &err);
    if (!c) {
        log_err("heartbeat", &err);
        gone(l, LEASE_ORPHANED);
        return NULL;
    }
    char path[256];
    attempt_path(l->a, "heartbeat", path, sizeof path);
    bool answered = false;
    while (beat(l, c, path, &answered)) {
        /* Unanswered: soon again, since every second counts before the freeze, and each one after it is the handler's. */
        const usec wait_us = answered ? l->a->heartbeat_us : MIN(l->a->heartbeat_us / 4, 2 * USEC_PER_SEC);
        if (stop_wait(l, MAX(wait_us, 20 * USEC_PER_MSEC)))
            break;
    }
    haul_client_free(c);
    return NULL;
}

static void *guard_run(void *arg)
{
    struct lease *l = arg;
    for (;;) {
        struct pollfd p[2] = {{.fd = l->timer_fd, .events = POLLIN}, {.fd = l->stop_fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents)
            return NULL;
        pthread_mutex_lock(&l->lock);
        uint64_t n;
        (void)!read(l->timer_fd, &n, sizeof n); /* non-blocking: a renewal may have moved it on */
        if (boot_now() >= l->end_us - margin_us(l) && l->box && !l->frozen) {
            l->frozen = true;
            l->frozen_at_us = boot_now();
            box_signal(l, SIGSTOP, "freeze");
            log_event(LOG_WARN, "lease cannot be renewed, handler is held still", "job_id", l->a->job_id, NULL);
        }
        pthread_mutex_unlock(&l->lock);
    }
}

int lease_start(const struct attempt *a, struct meter *meter, struct lease **ret, struct err *err)
{
    struct lease *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_NO_MEMORY, 0, "lease");
    l->a = a;
    l->meter = meter;
    l->end_us = a->claim_sent_us + a->lease_us;
    pthread_mutex_init(&l->lock, NULL);
    l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    int rc = ERR_OK;
    if (l->event_fd < 0 || l->stop_fd < 0 || l->timer_fd < 0)
        rc = err_set(err, ERR_IO, errno, "lease descriptors");
    else {
        l->guard_runs = !pthread_create(&l->guard_thread, NULL, guard_run, l);
        l->beat_runs = l->guard_runs && !pthread_create(&l->beat_thread, NULL, beat_run, l);
        if (!l->beat_runs)
            rc = err_set(err, ERR_NO_MEMORY, 0, "threads for the lease");
    }
    if (rc) {
        lease_free(l);
        return rc;
    }
    *ret = l;
    return ERR_OK;
}

int lease_event_fd(const struct lease *l)
{
    return l->event_fd;
}

enum lease_state lease_look(struct lease *l, bool *ret_cancel)
{
    uint64_t n;
    (void)!read(l->event_fd, &n, sizeof n);
    pthread_mutex_lock(&l->lock);
    const enum lease_state s = l->state;
    *ret_cancel = l->cancel;
    pthread_mutex_unlock(&l->lock);
    return s;
}

enum lease_state lease_confirm(struct lease *l)
{
    for (;;) {
        bool cancel;
        const enum lease_state s = lease_look(l, &cancel);
        if (s != LEASE_UNCONFIRMED) {
            event_raise(l->event_fd); /* a cancel that came with it is still news to the caller's loop */
            return s;
        }
        struct pollfd p = {.fd = l->event_fd, .events = POLLIN};
        (void)poll(&p, 1, -1);
    }
}

/* Whether something may begin; if not, the next renewal will say so. */
static bool has_time(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    const bool live = l->state == LEASE_HELD && boot_now() < l->end_us - margin_us(l);
    l->awaited = !live;
    pthread_mutex_unlock(&l->lock);
    return live;
}

int lease_wait(struct lease *l, int stop_fd, struct err *err)
{
    bool cancel, said = false;
    struct pollfd p[2] = {{.fd = l->event_fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    for (;;) {
        const enum lease_state s = lease_look(l, &cancel);
        if (has_time(l)) {
            if (cancel)
                event_raise(l->event_fd); /* still news to the caller's loop */
            return ERR_OK;
        }
        if (s == LEASE_LOST || s == LEASE_ORPHANED || cancel || p[1].revents)
            return err_set(err, ERR_CANCELLED, 0, "the lease ended before the program began");
        if (!said)
            log_event(LOG_WARN, "lease ran out before the program began, it waits for a renewal", "job_id",
                      l->a->job_id, NULL);
        said = true;
        (void)poll(p, 2, -1);
    }
}

void lease_guard(struct lease *l, struct sandbox *box)
{
    pthread_mutex_lock(&l->lock);
    l->box = box;
    box_until(l);
    if (box && (l->state == LEASE_LOST || l->state == LEASE_ORPHANED))
        box_signal(l, SIGKILL, "kill");
    if (!box && l->frozen) {
        l->frozen = false;
        l->frozen_us += boot_now() - l->frozen_at_us;
    }
    if (l->state == LEASE_HELD)
        timer_set(l); /* it may have fired while there was nothing to stop */
    pthread_mutex_unlock(&l->lock);
}

usec lease_frozen_us(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    const usec t = l->frozen_us + (l->frozen ? boot_now() - l->frozen_at_us : 0);
    pthread_mutex_unlock(&l->lock);
    return t;
}

bool lease_frozen(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    const bool frozen = l->frozen;
    pthread_mutex_unlock(&l->lock);
    return frozen;
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    event_raise(l->stop_fd);
    if (l->beat_runs)
        pthread_join(l->beat_thread, NULL);
    if (l->guard_runs)
        pthread_join(l->guard_thread, NULL);
    close(l->event_fd);
    close(l->stop_fd);
    close(l->timer_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
