#include "notify/notify.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "notify/command.h"
#include "notify/message.h"
#include "notify/outbox.h"
#include "notify/receiver.h"
#include "notify/webhook.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/eventfd.h>

#define TESTS_MAX  16
#define ORIGIN_MAX 300

/* One alert for one receiver. */
struct slot {
    struct outbox box;
    bool wanted; /* is the receiver told of it at all? */
    struct uuid id;
    usec at; /* wall clock: when it became news */
    struct notify_state state;
    usec fired_at; /* the latest time that was news */
};

struct post {
    struct notify *all;
    const struct receiver *receiver;
    struct slot *slots; /* one a topic */
    pthread_t thread;
    bool started;
    pthread_cond_t wake;
    struct notify_test *tests, *trying;
    unsigned n_tests;
    uint64_t sent, failed, given_up;
    usec sent_at, failed_at;
    char why[WHY_MAX];
};

struct notify {
    struct notify_config config;
    struct clock clock;
    struct post *posts;
    pthread_mutex_t lock; /* of all below, and of the posts */
    bool stopping, telling;
    uint64_t noted; /* changes with what receivers were told */
    unsigned turn;  /* a number of those between two notify_rest */
    int stop_fd;    /* readable from then on */
};

static usec now_boot(const struct notify *n)
{
    return n->clock.boot_us(n->clock.self);
}

static usec now_wall(const struct notify *n)
{
    return n->clock.wall_us(n->clock.self);
}

/* --- news --- */

static void want(struct post *p, struct slot *s, const struct notify_state *state)
{
    const struct notify *n = p->all;

    if (!s->wanted || state->is == NOTIFY_UNDECIDED ||
        !outbox_want(&s->box, state->is == NOTIFY_FIRING, p->receiver->resolved, now_boot(n)))
        return;
    s->at = now_wall(n);
    s->id = uuid_v7(s->at, rng_real());
    s->state = *state;
    if (state->is == NOTIFY_FIRING) {
        s->fired_at = state->fired_at;
    } else if (!state->resolved_at) { /* it was over when this server looked first */
        s->state.fired_at = s->fired_at;
        s->state.resolved_at = s->at;
    }
    pthread_cond_signal(&p->wake);
}

void notify_tell(struct notify *n, const struct notify_state *states)
{
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->config.n_receivers && n->telling && !n->stopping; i++)
        for (size_t k = 0; k < n->config.n_topics; k++)
            want(&n->posts[i], &n->posts[i].slots[k], &states[k]);
    pthread_mutex_unlock(&n->lock);
}

/* --- whose turn it is --- */

static const char *const told_names[] = {
    [TOLD_NOTHING] = "nothing", [TOLD_FIRING] = "firing", [TOLD_REFUSED] = "refused"};

/* ["firing", whether a try was made since, when it began to] */
static void read_slot(const json_t *note, struct slot *s)
{
    const char *told = json_string_value(json_array_get(note, 0));

    for (size_t i = 0; told && i < ARRAY_LEN(told_names); i++)
        if (strcmp(told, told_names[i]) == 0)
            s->box.told = (enum outbox_told)i;
    s->box.tried = json_is_true(json_array_get(note, 1));
    s->fired_at = (usec)json_integer_value(json_array_get(note, 2));
}

static void forget(struct notify *n)
{
    n->turn++;
    for (size_t i = 0; i < n->config.n_receivers; i++)
        for (size_t k = 0; k < n->config.n_topics; k++) {
            struct slot *s = &n->posts[i].slots[k];
            *s = (struct slot){.wanted = s->wanted};
        }
}

void notify_begin(struct notify *n, const char *notes)
{
    json_t *doc = NULL;

    if (json_parse(notes, strlen(notes), &doc, NULL) != ERR_OK)
        doc = NULL; /* the first time there are none */
    pthread_mutex_lock(&n->lock);
    forget(n);
    n->telling = true;
    for (size_t i = 0; i < n->config.n_receivers; i++) {
        const json_t *of = json_object_get(doc, n->config.receivers[i].name);
        for (size_t k = 0; k < n->config.n_topics; k++)
            read_slot(json_object_get(of, n->config.topics[k].name), &n->posts[i].slots[k]);
    }
    pthread_mutex_unlock(&n->lock);
    json_decref(doc);
}

void notify_rest(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    forget(n);
    n->telling = false;
    pthread_mutex_unlock(&n->lock);
}

bool notify_tells(struct notify *n)
{
    if (!n)
        return false;
    pthread_mutex_lock(&n->lock);
    const bool telling = n->telling;
    pthread_mutex_unlock(&n->lock);
    return telling;
}

uint64_t notify_noted(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    const uint64_t noted = n->noted;
    pthread_mutex_unlock(&n->lock);
    return noted;
}

static void write_slot(struct json_writer *w, const char *name, const struct slot *s)
{
    if (s->box.told == TOLD_NOTHING && !s->box.tried)
        return;
    jw_array(w, name);
    jw_string(w, NULL, told_names[s->box.told]);
    jw_bool(w, NULL, s->box.tried);
    jw_int(w, NULL, s->fired_at);
    jw_array_end(w);
}

uint64_t notify_notes(struct notify *n, struct buf *ret)
{
    struct json_writer w;

    jw_init(&w, ret);
    pthread_mutex_lock(&n->lock);
    jw_object(&w, NULL);
    for (size_t i = 0; i < n->config.n_receivers; i++) {
        jw_object(&w, n->config.receivers[i].name);
        for (size_t k = 0; k < n->config.n_topics; k++)
            write_slot(&w, n->config.topics[k].name, &n->posts[i].slots[k]);
        jw_object_end(&w);
    }
    jw_object_end(&w);
    const uint64_t noted = n->noted;
    pthread_mutex_unlock(&n->lock);
    return noted;
}

/* --- a receiver's thread; with the lock but where it is said --- */

static void deliver(const struct post *p, const struct message *m, struct outcome *ret) /* without */
{
    if (p->receiver->webhook)
        webhook_send(p->receiver, m, p->all->stop_fd, ret);
    else
        command_run(p->receiver, m, p->all->stop_fd, ret);
}

static void count(struct post *p, const struct outcome *o)
{
    if (o->what == DELIVERY_SENT) {
        p->sent++;
        p->sent_at = now_wall(p->all);
        return;
    }
    p->failed++;
    p->failed_at = now_wall(p->all);
    memcpy(p->why, o->why, sizeof(p->why));
}

/* The one that became news first of those that are due. */
static size_t next_due(const struct post *p, usec now, usec *ret_wait)
{
    size_t found = SIZE_MAX;

    *ret_wait = USEC_NEVER;
    for (size_t i = 0; i < p->all->config.n_topics; i++) {
        const struct outbox *box = &p->slots[i].box;
        if (!box->waiting)
            continue;
        if (box->due > now)
            *ret_wait = MIN(*ret_wait, box->due - now);
        else if (found == SIZE_MAX || box->since < p->slots[found].box.since)
            found = i;
    }
    return found;
}

/* @return whether it was given up */
static bool settle(const struct post *p, struct slot *s, uint64_t serial, bool firing, const struct outcome *o)
{
    const usec now = now_boot(p->all);

    switch (o->what) {
    case DELIVERY_SENT:
        outbox_sent(&s->box, serial, firing, now);
        return false;
    case DELIVERY_REFUSED:
        outbox_refused(&s->box, serial, now);
        return true;
    case DELIVERY_FAILED:
        break;
    }
    return !outbox_failed(&s->box, serial, o->later_us, p->receiver->retry_for, rng_u64(rng_real()), now);
}

static void tell_log(const struct message *m, const struct outcome *o, bool given_up)
{
    const char *what = o->what == DELIVERY_SENT ? "an alert was sent"
                       : given_up               ? "an alert could not be sent, and is given up"
                                                : "an alert could not be sent, and will be tried again";

    log_event(o->what == DELIVERY_SENT ? LOG_INFO
              : given_up               ? LOG_ERROR
                                       : LOG_WARN,
              what, "receiver", m->receiver, "alert", m->topic.name, "state", message_state(m), "id", m->id,
              o->what == DELIVERY_SENT ? NULL : "why", o->why, NULL);
}

static struct message message_of(const struct post *p, enum message_kind kind, const struct uuid *id, usec at)
{
    struct message m = {.kind = kind, .receiver = p->receiver->name, .server = p->all->config.server, .at = at};

    uuid_format(id, m.id);
    return m;
}

static void serve(struct post *p, size_t topic)
{
    struct slot *s = &p->slots[topic];
    const uint64_t serial = outbox_try(&s->box), turn = p->all->turn;
    const bool firing = s->box.firing;
    struct message m = message_of(p, firing ? MESSAGE_FIRING : MESSAGE_RESOLVED, &s->id, s->at);
    struct outcome o;

    m.topic = p->all->config.topics[topic];
    m.state = s->state;
    pthread_mutex_unlock(&p->all->lock);
    deliver(p, &m, &o);
    pthread_mutex_lock(&p->all->lock);
    if (o.what != DELIVERY_SENT && p->all->stopping)
        return; /* cut off: that says nothing of the receiver */
    count(p, &o);
    const bool given_up = turn == p->all->turn && settle(p, s, serial, firing, &o);
    p->all->noted++;
    p->given_up += given_up;
    tell_log(&m, &o, given_up);
}

static void serve_test(struct post *p)
{
    static const struct notify_topic topic = {.name = "test",
                                              .severity = "info",
                                              .what = "test",
                                              .text = "this is a test: somebody asked whether alerts arrive here",
                                              .above = 0,
                                              .clear_at = 0};
    struct notify_test *test = p->tests;
    const usec at = now_wall(p->all);
    const struct uuid id = uuid_v7(at, rng_real());
    struct message m = message_of(p, MESSAGE_TEST, &id, at);
    struct outcome o;

    p->tests = test->next;
    p->n_tests--;
    pthread_mutex_unlock(&p->all->lock);
    m.topic = topic;
    m.state = (struct notify_state){.value = 1, .fired_at = at};
    deliver(p, &m, &o);
    pthread_mutex_lock(&p->all->lock);
    count(p, &o);
    pthread_mutex_unlock(&p->all->lock);
    test->done(test, o.what == DELIVERY_SENT ? NULL : o.why);
    pthread_mutex_lock(&p->all->lock);
}

static void wait_news(struct post *p, usec wait)
{
    struct timespec until;

    if (wait == USEC_NEVER) {
        pthread_cond_wait(&p->wake, &p->all->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    const usec at = (usec)until.tv_sec * USEC_PER_SEC + until.tv_nsec / 1000 + wait + 1;
    until = (struct timespec){.tv_sec = (time_t)(at / USEC_PER_SEC), .tv_nsec = (long)(at % USEC_PER_SEC) * 1000};
    pthread_cond_timedwait(&p->wake, &p->all->lock, &until);
}

static void *run(void *arg)
{
    struct post *p = arg;
    usec wait;

    pthread_mutex_lock(&p->all->lock);
    while (!p->all->stopping) {
        const size_t topic = p->tests ? SIZE_MAX : next_due(p, now_boot(p->all), &wait);
        if (p->tests)
            serve_test(p);
        else if (topic != SIZE_MAX)
            serve(p, topic);
        else
            wait_news(p, wait);
    }
    while (p->tests) {
        struct notify_test *test = p->tests;
        p->tests = test->next;
        pthread_mutex_unlock(&p->all->lock);
        test->done(test, "the server stops");
        pthread_mutex_lock(&p->all->lock);
    }
    pthread_mutex_unlock(&p->all->lock);
    return NULL;
}

/* --- beginning and end --- */

static int post_init(struct post *p, struct notify *n, const struct receiver *receiver, struct err *err)
{
    pthread_condattr_t attr;

    *p = (struct post){.all = n, .receiver = receiver};
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    p->slots = calloc(n->config.n_topics + 1, sizeof(*p->slots));
    if (!p->slots)
        return err_set(err, ERR_NO_MEMORY, 0, "receivers");
    for (size_t i = 0; i < n->config.n_topics; i++)
        p->slots[i].wanted = receiver_wants(receiver, n->config.topics[i].name, n->config.topics[i].severity);
    int sys = pthread_create(&p->thread, NULL, run, p);
    p->started = sys == 0;
    return sys ? err_set(err, ERR_IO, sys, "start a thread for receiver '%s'", receiver->name) : ERR_OK;
}

int notify_new(const struct notify_config *config, struct notify **ret, struct err *err)
{
    struct notify *n = calloc(1, sizeof(*n));
    int rc = ERR_OK;

    if (!n)
        return err_set(err, ERR_NO_MEMORY, 0, "receivers");
    n->clock = clock_real();
    pthread_mutex_init(&n->lock, NULL);
    n->posts = calloc(config->n_receivers + 1, sizeof(*n->posts));
    n->stop_fd = eventfd(0, EFD_CLOEXEC);
    n->config = *config;
    n->config.n_receivers = 0;
    if (!n->posts)
        rc = err_set(err, ERR_NO_MEMORY, 0, "receivers");
    else if (n->stop_fd < 0)
        rc = err_set(err, ERR_IO, errno, "receivers");
    for (size_t i = 0; !rc && i < config->n_receivers; i++) {
        n->config.n_receivers++; /* half of one can be freed, too */
        rc = post_init(&n->posts[i], n, &config->receivers[i], err);
    }
    if (rc)
        notify_free(n);
    else
        *ret = n;
    return rc;
}

void notify_stop(struct notify *n)
{
    unsigned left = 0;

    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    if (n->stop_fd >= 0)
        (void)!eventfd_write(n->stop_fd, 1);
    for (size_t i = 0; i < n->config.n_receivers; i++)
        pthread_cond_signal(&n->posts[i].wake);
    pthread_mutex_unlock(&n->lock);
    for (size_t i = 0; i < n->config.n_receivers; i++) {
        struct post *p = &n->posts[i];
        if (p->started)
            pthread_join(p->thread, NULL);
        left += p->started && next_due(p, USEC_NEVER, &(usec){0}) != SIZE_MAX;
        p->started = false;
    }
    if (left)
        log_event(LOG_WARN, "alerts that were not sent yet are not sent any more", NULL);
}

void notify_free(struct notify *n)
{
    if (!n)
        return;
    notify_stop(n);
    for (size_t i = 0; i < n->config.n_receivers; i++) {
        pthread_cond_destroy(&n->posts[i].wake);
        free(n->posts[i].slots);
    }
    if (n->stop_fd >= 0)
        close(n->stop_fd);
    pthread_mutex_destroy(&n->lock);
    free(n->posts);
    free(n);
}

/* --- asked from outside --- */

int notify_try(struct notify *n, const char *receiver, struct notify_test *test, struct err *err)
{
    struct post *p = NULL;
    int rc = ERR_OK;

    for (size_t i = 0; n && i < n->config.n_receivers && !p; i++)
        if (strcmp(n->config.receivers[i].name, receiver) == 0)
            p = &n->posts[i];
    if (!p)
        return err_set(err, ERR_NOT_FOUND, 0, "no receiver of alerts is called '%.64s'", receiver);
    pthread_mutex_lock(&n->lock);
    if (n->stopping)
        rc = err_set(err, ERR_UNAVAILABLE, 0, "the server stops");
    else if (p->n_tests == TESTS_MAX)
        rc = err_set(err, ERR_BUSY, 0, "receiver '%s' is being tried already", receiver);
    if (!rc) {
        struct notify_test **last = &p->tests;
        while (*last)
            last = &(*last)->next;
        test->next = NULL;
        *last = test;
        p->n_tests++;
        pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&n->lock);
    return rc;
}

static int view(struct post *p, struct arena *arena, struct notify_view *ret, struct err *err)
{
    const struct receiver *r = p->receiver;
    const usec now = now_boot(p->all);
    usec next = USEC_NEVER;
    char origin[ORIGIN_MAX];

    *ret = (struct notify_view){.name = r->name,
                                .webhook = r->webhook,
                                .sent = p->sent,
                                .failed = p->failed,
                                .given_up = p->given_up,
                                .sent_at = p->sent_at,
                                .failed_at = p->failed_at};
    for (size_t i = 0; i < p->all->config.n_topics; i++)
        if (p->slots[i].box.waiting) {
            ret->waiting++;
            next = MIN(next, MAX(p->slots[i].box.due - now, 0));
        }
    ret->next_at = ret->waiting ? now_wall(p->all) + next : 0;
    if (r->webhook)
        webhook_origin(r, origin, sizeof(origin));
    ret->to = arena_strdup(arena, r->webhook ? origin : r->command.items[0]);
    ret->why = p->failed_at ? arena_strdup(arena, p->why) : NULL;
    return ret->to && (ret->why || !p->failed_at) ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "receivers");
}

int notify_look(struct notify *n, struct arena *arena, struct notify_view **ret, size_t *ret_n, struct err *err)
{
    int rc = ERR_OK;

    *ret_n = n ? n->config.n_receivers : 0;
    *ret = arena_array(arena, *ret_n + 1, sizeof(**ret));
    if (!*ret)
        return err_set(err, ERR_NO_MEMORY, 0, "receivers");
    if (!n)
        return ERR_OK;
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; !rc && i < *ret_n; i++)
        rc = view(&n->posts[i], arena, &(*ret)[i], err);
    pthread_mutex_unlock(&n->lock);
    return rc;
}
