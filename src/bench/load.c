#include "bench/load.h"
#include "base/auto.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define EVENTS     256
#define TICK_MS    50
#define SECOND_NS  INT64_C(1000000000)
#define PAUSE_NS   (SECOND_NS / 10) /* before a request that was refused as busy is made again */
#define SILENCE_NS (5 * SECOND_NS)  /* nothing was acknowledged for so long: there is no use in going on */
#define BROKEN_MAX 3                /* times in a row that one request's connection may break */

enum state { FREE, ASKING, PAUSED };

struct conn {
    struct wire wire;
    enum state state;
    unsigned broken; /* in a row */
    bool watching_out;
    int64_t due_ns, again_ns;
};

struct load {
    const struct load_plan *plan;
    const struct workload *work;
    struct load_result *result;
    struct conn *conns;
    unsigned *free; /* a stack: the connection that was used last is the one that is warm */
    unsigned n_free, asking, paused;
    unsigned turn; /* the server that is asked next */
    int epoll, timer;
    int64_t begin_ns, end_ns, last_ns; /* last_ns: when something was acknowledged */
    uint64_t due;                      /* with a rate: how many became due so far */
    bool armed, exhausted;             /* the timer runs; with a rate: the workload has no more */
};

static void keep_first(struct load *l, const struct err *err)
{
    if (l->result->first.code == ERR_OK)
        l->result->first = *err;
}

static int watch(struct load *l, unsigned i, bool added, struct err *err)
{
    struct conn *c = &l->conns[i];
    bool out = wire_has_rest(&c->wire);
    struct epoll_event ev = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.u32 = i};
    if (!added && out == c->watching_out)
        return ERR_OK;
    c->watching_out = out;
    if (epoll_ctl(l->epoll, added ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->wire.fd, &ev) != 0)
        return err_set(err, ERR_IO, errno, "watch a connection");
    return ERR_OK;
}

static int connection_open(struct load *l, unsigned i, struct err *err)
{
    struct conn *c = &l->conns[i];
    c->watching_out = false;
    int rc = wire_open(&c->wire, &l->plan->to[i % l->plan->n_to], err);
    return rc ? rc : watch(l, i, true, err);
}

/* The connection broke, or was closed behind an answer: the request may have been carried out, and its key makes asking again safe. */
static int send_request(struct load *l, unsigned i, struct err *err)
{
    struct conn *c = &l->conns[i];
    const char *p;
    size_t n;
    for (;;) {
        int rc = c->wire.fd >= 0 ? ERR_OK : connection_open(l, i, err);
        if (!rc)
            rc = l->work->build(l->work->self, i, &p, &n, err);
        if (rc)
            return rc;
        rc = wire_send(&c->wire, p, n, err);
        if (!rc)
            return watch(l, i, false, err);
        if (rc != ERR_NETWORK || ++c->broken > BROKEN_MAX)
            return rc;
        l->result->broken++;
        keep_first(l, err);
    }
}

static int ask(struct load *l, unsigned i, int64_t due_ns, struct err *err)
{
    l->conns[i].state = ASKING;
    l->conns[i].due_ns = due_ns;
    l->conns[i].broken = 0;
    l->asking++;
    return send_request(l, i, err);
}

static bool ending(const struct load *l, int64_t now_ns)
{
    return l->end_ns && now_ns >= l->end_ns;
}

/* ---- who is next ---- */

static int64_t due_at(const struct load *l, uint64_t k)
{
    return l->begin_ns + (int64_t)((double)k * 1e9 / l->plan->rate);
}

static int arm(struct load *l, int64_t at_ns, struct err *err)
{
    struct itimerspec t = {.it_value = {.tv_sec = at_ns / SECOND_NS, .tv_nsec = at_ns % SECOND_NS}};
    l->armed = true;
    if (timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL) != 0)
        return err_set(err, ERR_IO, errno, "a timer");
    return ERR_OK;
}

/* The free connection that is asked next, put on top: the warmest to the server whose turn it is; the warmest of all where that one has none. */
static unsigned choose(struct load *l)
{
    const unsigned top = l->n_free - 1;
    for (unsigned at = l->n_free; at-- > 0;)
        if (l->free[at] % l->plan->n_to == l->turn) {
            const unsigned found = l->free[at];
            memmove(l->free + at, l->free + at + 1, (top - at) * sizeof(*l->free));
            l->free[top] = found;
            break;
        }
    return l->free[top];
}

/* Of those that are free, the one that was chosen is asked. */
static int ask_chosen(struct load *l, int64_t due_ns, struct err *err)
{
    unsigned i = l->free[--l->n_free];
    l->turn = (i + 1) % l->plan->n_to;
    return ask(l, i, due_ns, err);
}

/* With a rate a request has its time, whether a connection is free for it or not: what waits for one is late, and counted from then. */
static int offer_due(struct load *l, int64_t now_ns, struct err *err)
{
    while (l->n_free > 0) {
        int64_t at = due_at(l, l->due);
        if (l->end_ns && at >= l->end_ns)
            return ERR_OK;
        if (at > now_ns)
            return l->armed ? ERR_OK : arm(l, at, err);
        if (!l->work->next(l->work->self, choose(l), false)) {
            l->exhausted = true;
            return ERR_OK;
        }
        l->due++;
        int rc = ask_chosen(l, at, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static int offer(struct load *l, int64_t now_ns, struct err *err)
{
    bool end = ending(l, now_ns);
    if (l->plan->rate > 0 && !end)
        return offer_due(l, now_ns, err);
    while (l->n_free > 0 && l->work->next(l->work->self, choose(l), end)) {
        int rc = ask_chosen(l, mono_ns(), err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* ---- answers ---- */

static void pause_conn(struct load *l, unsigned i, int64_t now_ns, const struct err *err)
{
    l->conns[i].state = PAUSED;
    l->conns[i].again_ns = now_ns + PAUSE_NS;
    l->asking--;
    l->paused++;
    l->result->repeats++;
    keep_first(l, err);
}

static int take(struct load *l, unsigned i, const struct answer *a, struct err *err)
{
    struct conn *c = &l->conns[i];
    int64_t now_ns = mono_ns();
    bool closed = a->close;
    enum taken t = l->work->take(l->work->self, i, a, now_ns - c->due_ns, err);
    if (closed)
        wire_close(&c->wire);
    if (t == TAKEN_WRONG)
        return (int)err->code;
    if (t == TAKEN_AGAIN) {
        pause_conn(l, i, now_ns, err);
        return ERR_OK;
    }
    c->state = FREE;
    c->broken = 0;
    l->asking--;
    l->last_ns = now_ns;
    l->result->requests++;
    l->result->elapsed_ns = now_ns - l->begin_ns;
    if (l->plan->rate <= 0 && l->work->next(l->work->self, i, ending(l, now_ns)))
        return ask(l, i, now_ns, err);
    l->free[l->n_free++] = i;
    return ERR_OK;
}

static int broken(struct load *l, unsigned i, struct err *err)
{
    struct conn *c = &l->conns[i];
    if (c->state != ASKING)
        return ERR_OK; /* an idle connection was closed: opened again when it is needed */
    if (++c->broken > BROKEN_MAX)
        return (int)err->code;
    l->result->broken++;
    keep_first(l, err);
    return send_request(l, i, err);
}

static int on_event(struct load *l, unsigned i, unsigned events, struct err *err)
{
    struct conn *c = &l->conns[i];
    struct answer a;
    bool whole = false;
    if (c->wire.fd < 0)
        return ERR_OK; /* closed by an event before this one */
    int rc = (events & EPOLLOUT) ? wire_flush(&c->wire, err) : ERR_OK;
    if (!rc && (events & EPOLLOUT))
        rc = watch(l, i, false, err);
    if (!rc && (events & ~(unsigned)EPOLLOUT))
        rc = wire_receive(&c->wire, &a, &whole, err);
    if (rc == ERR_NETWORK)
        return broken(l, i, err);
    if (rc || !whole)
        return rc;
    if (c->state != ASKING)
        return err_set(err, ERR_CORRUPT, 0, "the server answers what was not asked");
    return take(l, i, &a, err);
}

static int wake_paused(struct load *l, int64_t now_ns, struct err *err)
{
    for (unsigned i = 0; i < l->plan->connections && l->paused > 0; i++) {
        struct conn *c = &l->conns[i];
        if (c->state != PAUSED || c->again_ns > now_ns)
            continue;
        c->state = ASKING;
        l->paused--;
        l->asking++;
        int rc = send_request(l, i, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static void timer_read(struct load *l)
{
    uint64_t n;
    l->armed = false;
    (void)!read(l->timer, &n, sizeof(n));
}

/* ---- the loop ---- */

static int silent(const struct load *l, struct err *err)
{
    const struct err *why = &l->result->first;
    if (why->code == ERR_OK)
        return err_set(err, ERR_TIMEOUT, 0, "the server has answered nothing for %d s", (int)(SILENCE_NS / SECOND_NS));
    *err = *why;
    return err_wrap(err, (int)why->code, "nothing was acknowledged for %d s", (int)(SILENCE_NS / SECOND_NS));
}

static int turn(struct load *l, struct err *err)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(l->epoll, events, EVENTS, TICK_MS), rc = ERR_OK;
    if (n < 0 && errno != EINTR)
        return err_set(err, ERR_IO, errno, "wait for answers");
    for (int k = 0; k < n && !rc; k++) {
        if (events[k].data.u32 == l->plan->connections)
            timer_read(l);
        else
            rc = on_event(l, events[k].data.u32, events[k].events, err);
    }
    int64_t now_ns = mono_ns();
    if (!rc && l->paused > 0)
        rc = wake_paused(l, now_ns, err);
    if (!rc)
        rc = offer(l, now_ns, err);
    if (!rc && l->asking + l->paused > 0 && now_ns - l->last_ns > SILENCE_NS)
        rc = silent(l, err);
    return rc;
}

/* Between two due requests of a slow rate nothing is asked, and yet it is not over. */
static bool more_due(const struct load *l)
{
    return l->plan->rate > 0 && !l->exhausted && l->end_ns && due_at(l, l->due) < l->end_ns && mono_ns() < l->end_ns;
}

static int loop(struct load *l, struct err *err)
{
    l->begin_ns = l->last_ns = mono_ns();
    l->end_ns = l->plan->for_ns ? l->begin_ns + l->plan->for_ns : 0;
    int rc = offer(l, l->begin_ns, err);
    while (!rc && (l->asking + l->paused > 0 || more_due(l))) {
        if (l->asking + l->paused == 0)
            l->last_ns = mono_ns();
        rc = l->plan->stop && l->plan->stop() ? err_set(err, ERR_CANCELLED, 0, "interrupted") : turn(l, err);
    }
    return rc;
}

static void count_unsent(struct load *l)
{
    if (l->plan->rate > 0 && l->end_ns && !l->exhausted)
        while (due_at(l, l->due) < MIN(l->end_ns, mono_ns())) {
            l->due++;
            l->result->unsent++;
        }
}

static int prepare(struct load *l, struct err *err)
{
    unsigned n = l->plan->connections;
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = n};
    l->conns = calloc(n, sizeof(*l->conns));
    l->free = calloc(n, sizeof(*l->free));
    if (!l->conns || !l->free)
        return err_set(err, ERR_NO_MEMORY, 0, "%u connections", n);
    for (unsigned i = 0; i < n; i++)
        wire_init(&l->conns[i].wire);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->epoll < 0 || l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &ev) != 0)
        return err_set(err, ERR_IO, errno, "prepare the loop");
    for (unsigned i = 0; i < n; i++) {
        int rc = connection_open(l, i, err);
        if (rc)
            return rc;
        l->free[l->n_free++] = n - 1 - i;
    }
    return ERR_OK;
}

int load_run(const struct load_plan *plan, const struct workload *work, struct load_result *ret, struct err *err)
{
    struct load l = {.plan = plan, .work = work, .result = ret, .epoll = -1, .timer = -1};
    *ret = (struct load_result){0};
    int rc = prepare(&l, err);
    if (!rc)
        rc = loop(&l, err);
    count_unsent(&l);
    for (unsigned i = 0; l.conns && i < plan->connections; i++)
        wire_release(&l.conns[i].wire);
    if (l.epoll >= 0)
        close(l.epoll);
    if (l.timer >= 0)
        close(l.timer);
    free(l.conns);
    free(l.free);
    return rc;
}
