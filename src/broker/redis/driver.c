/* The table, and what belongs to no thread. */
#include "broker/redis/driver.h"
#include "base/auto.h"
#include "broker/redis/redis.h"
#include <errno.h>
#include <sys/eventfd.h>

#define OPEN_US (3 * USEC_PER_SEC)

bool names_add(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    if (names->n == names->cap) {
        size_t cap = names->cap ? 2 * names->cap : 16;
        char **items = realloc(names->items, cap * sizeof(*items));
        if (!items)
            return false;
        names->items = items;
        names->cap = cap;
    }
    names->items[names->n] = strdup(name);
    names->n += names->items[names->n] != NULL;
    return names->n && names->items[names->n - 1];
}

void names_free(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct names){0};
}

static bool all_up(const struct broker *b)
{
    for (size_t i = 0; i < PART_COUNT; i++)
        if (b->down[i])
            return false;
    return true;
}

void part_is(struct broker *b, enum part part, const struct err *err)
{
    pthread_mutex_lock(&b->lock);
    const bool was = all_up(b), quiet = b->stopping || !b->started;
    b->down[part] = err != NULL;
    const bool is = all_up(b);
    b->state.reached = is;
    b->state.lost += was && !is;
    if (err)
        snprintf(b->state.why, sizeof(b->state.why), "%.250s", err->msg);
    else if (is)
        b->state.why[0] = 0;
    pthread_mutex_unlock(&b->lock);
    if (was != is && !quiet)
        b->calls.changed(b->calls.self, err);
}

bool broker_stops(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    const bool stops = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return stops;
}

void wait_on(struct broker *b, pthread_cond_t *cond, usec most_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (most_us % USEC_PER_SEC) * 1000;
    until.tv_sec += most_us / USEC_PER_SEC + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(cond, &b->lock, &until);
}

struct link link_of(struct broker *b, int stop_fd)
{
    return (struct link){.url = &b->url, .rng = b->rng, .stop_fd = stop_fd};
}

const char *class_of(int priority)
{
    return priority >= 7 ? "high" : priority >= 3 ? "normal" : "low";
}

void add_job(struct buf *out, const struct broker *b, const char *stream, const struct broker_job *job)
{
    char id[UUID_STR_MAX];
    uuid_format(&job->job_id, id);
    resp_command(out, 6 + 10);
    resp_text(out, "XADD");
    resp_text(out, stream);
    resp_text(out, "MAXLEN");
    resp_text(out, "~");
    resp_int(out, STREAM_MAX);
    resp_text(out, "*");
    resp_text(out, "job_id");
    resp_text(out, id);
    resp_text(out, "task_type");
    resp_text(out, job->task_type);
    resp_text(out, "payload_ref");
    resp_text(out, job->payload_ref ? job->payload_ref : "");
    resp_text(out, "retries");
    resp_int(out, job->retries);
    resp_text(out, "priority");
    resp_int(out, job->priority);
}

static void redis_announce(struct broker *b, const struct broker_job *job)
{
    char stream[NAME_MAX_];
    int n = snprintf(stream, sizeof(stream), "%s:jobs:%s:%s/%s", b->prefix, class_of(job->priority), job->queue,
                     job->task_type);
    struct item *item = n > 0 && (size_t)n < sizeof(stream) ? item_new(4096) : NULL;
    if (item) {
        item->announces = strdup(stream);
        item->replies = 1;
        add_job(&item->commands, b, stream, job);
    }
    pthread_mutex_lock(&b->lock);
    const bool full = !item || !item->announces || item->commands.failed || b->n_announces >= ANNOUNCES_MAX;
    b->state.unannounced += full;
    pthread_mutex_unlock(&b->lock);
    if (full && item) {
        buf_release(&item->commands);
        free(item->announces);
        free(item);
    } else {
        sender_put(b, item);
    }
}

static int set_up(struct broker *b, const struct broker_config *config, struct err *err)
{
    char random[33];
    pthread_condattr_t attr;
    b->read_stop_fd = b->send_stop_fd = -1;
    b->last = &b->first;
    b->rng = config->rng;
    b->drain = 1;
    b->state.reached = true;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->sends, &attr);
    pthread_cond_init(&b->wanted, &attr);
    pthread_cond_init(&b->settled, &attr);
    pthread_condattr_destroy(&attr);
    rng_hex128(b->rng, random);
    snprintf(b->consumer, sizeof(b->consumer), "server-%s", random);
    snprintf(b->prefix, sizeof(b->prefix), "haul:%.64s", config->deployment);
    b->read_stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    b->send_stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->read_stop_fd < 0 || b->send_stop_fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "broker");
    if (!config->intake)
        return ERR_OK;
    if (strncmp(config->intake, "haul:", 5) == 0)
        return err_field(err, "broker_intake", "must not begin with haul:, where haul's own streams are");
    b->intake = strdup(config->intake);
    return b->intake && asprintf(&b->dead, "%s:dead", b->intake) > 0 ? ERR_OK
                                                                     : err_set(err, ERR_NO_MEMORY, 0, "broker");
}

/* What only a person can put right ends a start; the rest may be over in a moment. */
static int first_look(struct broker *b, struct err *err)
{
    struct link l = link_of(b, b->read_stop_fd);
    int rc = link_ready(&l, link_now() + OPEN_US, err);
    snprintf(b->state.warning, sizeof(b->state.warning), "%.250s", l.warning);
    snprintf(b->state.about, sizeof(b->state.about), "%s", l.about);
    link_drop(&l);
    if (rc == ERR_FORBIDDEN || rc == ERR_NOT_FOUND || rc == ERR_UNSUPPORTED || rc == ERR_INVALID)
        return rc;
    if (rc)
        part_is(b, PART_SENDER, err);
    return ERR_OK;
}

static void redis_close(struct broker *b)
{
    if (!b)
        return;
    while (b->first) {
        struct item *item = b->first;
        b->first = item->next;
        buf_release(&item->commands);
        free(item->announces);
        free(item);
    }
    wants_free(b);
    if (b->read_stop_fd >= 0)
        close(b->read_stop_fd);
    if (b->send_stop_fd >= 0)
        close(b->send_stop_fd);
    pthread_cond_destroy(&b->sends);
    pthread_cond_destroy(&b->wanted);
    pthread_cond_destroy(&b->settled);
    pthread_mutex_destroy(&b->lock);
    free(b->intake);
    free(b->dead);
    free(b);
}

static int redis_open(const struct broker_config *config, struct broker **ret, struct err *err)
{
    struct broker *b = calloc(1, sizeof(*b));
    if (!b)
        return err_set(err, ERR_NO_MEMORY, 0, "broker");
    int rc = set_up(b, config, err);
    if (!rc)
        rc = redis_url_parse(config->url, &b->url, err);
    if (!rc)
        rc = first_look(b, err);
    if (rc)
        redis_close(b);
    else
        *ret = b;
    return rc;
}

static void wake_all(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    pthread_cond_broadcast(&b->sends);
    pthread_cond_broadcast(&b->wanted);
    pthread_cond_broadcast(&b->settled);
    pthread_mutex_unlock(&b->lock);
}

static void interrupt(int fd)
{
    const uint64_t one = 1;
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored;
}

static void set_flag(struct broker *b, bool *flag)
{
    pthread_mutex_lock(&b->lock);
    *flag = true;
    pthread_mutex_unlock(&b->lock);
    wake_all(b);
}

/* Those that read end first, so that nothing is handed out any more; then the sender, once it sent what was settled. */
static void end_threads(struct broker *b, bool reader, bool admitter)
{
    struct timespec until;
    set_flag(b, &b->stopping);
    interrupt(b->read_stop_fd);
    if (reader)
        pthread_join(b->reader, NULL);
    if (admitter)
        pthread_join(b->admitter, NULL);
    set_flag(b, &b->sender_stopping);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&b->lock);
    while (!b->sender_ended && pthread_cond_timedwait(&b->settled, &b->lock, &until) == 0)
        ;
    const bool ended = b->sender_ended;
    pthread_mutex_unlock(&b->lock);
    if (!ended)
        interrupt(b->send_stop_fd);
    pthread_join(b->sender, NULL);
    set_flag(b, &b->stopped);
}

static int redis_start(struct broker *b, const struct broker_calls *calls, struct err *err)
{
    b->calls = *calls;
    int rc = pthread_create(&b->sender, NULL, sender_main, b);
    if (rc)
        return err_set(err, ERR_UNAVAILABLE, rc, "start the broker's threads");
    const int no_reader = rc = pthread_create(&b->reader, NULL, reader_main, b);
    if (!rc && b->intake)
        rc = pthread_create(&b->admitter, NULL, intake_main, b);
    if (rc) {
        end_threads(b, !no_reader, false);
        return err_set(err, ERR_UNAVAILABLE, rc, "start the broker's threads");
    }
    set_flag(b, &b->started);
    return ERR_OK;
}

static void redis_stop(struct broker *b)
{
    if (b->started && !b->stopped)
        end_threads(b, true, b->intake != NULL);
}

static void redis_state(struct broker *b, struct broker_state *ret)
{
    pthread_mutex_lock(&b->lock);
    *ret = b->state;
    pthread_mutex_unlock(&b->lock);
}

const struct broker_driver *broker_redis(void)
{
    static const struct broker_driver driver = {.name = "redis",
                                                .open = redis_open,
                                                .start = redis_start,
                                                .examine = redis_examine,
                                                .announce = redis_announce,
                                                .want = wants_change,
                                                .settle = told_settle,
                                                .settle_submission = submission_settle,
                                                .state = redis_state,
                                                .stop = redis_stop,
                                                .close = redis_close};
    return &driver;
}
