#include "cli/top_fetch.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

struct top_fetch {
    struct haul_client *client;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fd;
    usec every_us;
    atomic_bool stop;
    /* under the lock */
    struct top_want want;
    bool wanted;            /* ask at once */
    struct top_order order; /* to be given */
    struct top_snapshot snapshot;
    bool fresh;
    char said[300];
};

/* ---- asking ---- */

struct asking {
    struct haul_client *client;
    struct haul_error herr;
    int rc;
};

/* After the first failure nothing is asked: what goes wrong once would again. */
static json_t *get(struct asking *a, const char *path)
{
    AUTO_FREE char *text = NULL;
    struct err err = {0};
    json_t *doc = NULL;
    if (a->rc != HAUL_OK)
        return NULL;
    a->rc = haul_call(a->client, "GET", path, NULL, NULL, 0, &text, &a->herr);
    if (a->rc == HAUL_OK && json_parse(text, strlen(text), &doc, &err) != ERR_OK) {
        a->rc = a->herr.rc = HAUL_LOCAL;
        snprintf(a->herr.message, sizeof(a->herr.message), "the server's answer: %.400s", err.msg);
    }
    return doc;
}

struct log {
    struct buf text;
    const atomic_bool *stop;
};

static int log_sink(void *arg, const char *p, size_t n)
{
    struct log *l = arg;
    buf_add(&l->text, p, n);
    return l->text.failed;
}

static int log_goes_on(void *arg, int64_t done, int64_t total)
{
    const struct log *l = arg;
    return l->stop && atomic_load(l->stop);
}

/* A log that cannot be had is none: the rest of the picture stands. */
static char *get_log(struct asking *a, const char *job_id, const atomic_bool *stop)
{
    char path[160];
    struct haul_error herr;
    struct log l = {.stop = stop};
    snprintf(path, sizeof(path), "/v1/jobs/%s/attempts", job_id);
    json_t *doc = get(a, path);
    const json_t *attempts = json_object_get(doc, "attempts");
    const size_t n = json_array_size(attempts);
    const int64_t bytes = n ? jint(json_array_get(attempts, n - 1), "log_bytes") : 0;
    json_decref(doc);
    if (bytes <= 0)
        return NULL;
    snprintf(path, sizeof(path), "/v1/jobs/%s/log?offset=%lld", job_id,
             (long long)MAX(bytes - (int64_t)TOP_LOG_MAX, (int64_t)0));
    buf_init(&l.text, 4 * TOP_LOG_MAX); /* it grows while it is read */
    (void)haul_fetch(a->client, path, log_sink, log_goes_on, &l, &herr);
    l.text.failed = false;
    return buf_take(&l.text);
}

static void get_job(struct asking *a, const struct top_want *want, const atomic_bool *stop, struct top_snapshot *ret)
{
    char path[160];
    snprintf(path, sizeof(path), "/v1/jobs/%s", want->job_id);
    ret->job = get(a, path);
    if (a->rc == HAUL_REFUSED && a->herr.status == 404) { /* removed meanwhile: no trouble of the server's */
        a->rc = HAUL_OK;
        return;
    }
    snprintf(path, sizeof(path), "/v1/jobs/%s/explain", want->job_id);
    if (strcmp(jtext(ret->job, "status"), "pending") == 0)
        ret->why = get(a, path);
    if (ret->job && jint(ret->job, "attempt") > 0)
        ret->log = get_log(a, want->job_id, stop);
}

static void get_jobs(struct asking *a, const struct top_want *want, struct top_snapshot *ret)
{
    struct buf path;
    buf_init(&path, 1024);
    buf_printf(&path, "/v1/jobs?status=%s&limit=%d", want->status, TOP_JOBS_MAX);
    if (*want->queue) {
        buf_adds(&path, "&queue=");
        url_add(&path, want->queue);
    }
    ret->jobs = get(a, buf_str(&path));
    buf_release(&path);
    snprintf(ret->status, sizeof(ret->status), "%s", want->status);
    snprintf(ret->queue, sizeof(ret->queue), "%s", want->queue);
}

void top_ask(struct haul_client *c, const struct top_want *want, const atomic_bool *stop, struct top_snapshot *ret,
             struct haul_error *ret_herr)
{
    struct asking a = {.client = c};
    *ret = (struct top_snapshot){.wall_us = now_wall()};
    ret->slis = get(&a, "/v1/slis");
    ret->alerts = get(&a, "/v1/alerts");
    ret->queues = get(&a, "/v1/queues");
    ret->workers = get(&a, "/v1/workers");
    get_jobs(&a, want, ret);
    if (*want->job_id)
        get_job(&a, want, stop, ret);
    snprintf(ret->server, sizeof(ret->server), "%s", haul_client_server(c));
    if (a.rc != HAUL_OK)
        snprintf(ret->trouble, sizeof(ret->trouble), "%s%.200s", a.rc == HAUL_NETWORK ? "trying again: " : "",
                 *a.herr.message ? a.herr.message : "it went wrong");
    if (ret_herr)
        *ret_herr = a.herr;
}

/* ---- the thread ---- */

static void tell(struct top_fetch *f)
{
    const uint64_t one = 1;
    (void)!write(f->fd, &one, sizeof(one));
}

static void give_order(struct top_fetch *f, struct top_order *order)
{
    struct haul_error herr;
    char said[300];
    if (haul_call(f->client, "POST", order->path, order->body, NULL, 0, NULL, &herr) == HAUL_OK)
        snprintf(said, sizeof(said), "%s", order->done);
    else
        snprintf(said, sizeof(said), "not done: %.280s", herr.message);
    free(order->body);
    pthread_mutex_lock(&f->lock);
    memcpy(f->said, said, sizeof(said));
    pthread_mutex_unlock(&f->lock);
    tell(f);
}

/* With the lock held: until it is time, or something is wanted. */
static void rest(struct top_fetch *f, usec until)
{
    while (!f->stop && !f->wanted && !*f->order.path) {
        const struct timespec at = {.tv_sec = until / USEC_PER_SEC, .tv_nsec = until % USEC_PER_SEC * 1000};
        if (f->want.held)
            pthread_cond_wait(&f->changed, &f->lock);
        else if (pthread_cond_timedwait(&f->changed, &f->lock, &at) != 0)
            break;
    }
}

static usec clock_mono(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (usec)t.tv_sec * USEC_PER_SEC + t.tv_nsec / 1000;
}

static void round_of(struct top_fetch *f, const struct top_want *want)
{
    struct top_snapshot s;
    top_ask(f->client, want, &f->stop, &s, NULL);
    pthread_mutex_lock(&f->lock);
    top_snapshot_release(&f->snapshot);
    f->snapshot = s;
    f->fresh = true;
    pthread_mutex_unlock(&f->lock);
    tell(f);
}

static void *work(void *arg)
{
    struct top_fetch *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        const usec begun = clock_mono();
        const struct top_want want = f->want;
        struct top_order order = f->order;
        f->order = (struct top_order){0};
        f->wanted = false;
        pthread_mutex_unlock(&f->lock);
        if (*order.path)
            give_order(f, &order);
        round_of(f, &want);
        pthread_mutex_lock(&f->lock);
        rest(f, begun + f->every_us);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- from outside ---- */

struct top_fetch *top_fetch_new(struct haul_client *c, usec every_us, const struct top_want *want, struct err *err)
{
    struct top_fetch *f = calloc(1, sizeof(*f));
    pthread_condattr_t mono;
    if (!f) {
        err_set(err, ERR_NO_MEMORY, 0, "out of memory");
        return NULL;
    }
    f->client = c;
    f->every_us = every_us;
    f->want = *want;
    f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &mono);
    pthread_condattr_destroy(&mono);
    const int rc = f->fd < 0 ? errno : pthread_create(&f->thread, NULL, work, f);
    if (rc == 0)
        return f;
    err_set(err, ERR_IO, rc, "a thread that asks the server");
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    return NULL;
}

void top_fetch_free(struct top_fetch *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    haul_client_interrupt(f->client, true);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    top_snapshot_release(&f->snapshot);
    free(f->order.body);
    close(f->fd);
    free(f);
}

int top_fetch_fd(const struct top_fetch *f)
{
    return f->fd;
}

void top_fetch_want(struct top_fetch *f, const struct top_want *want)
{
    pthread_mutex_lock(&f->lock);
    if (memcmp(&f->want, want, sizeof(*want)) != 0) {
        f->want = *want;
        f->wanted = !want->held;
        pthread_cond_signal(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
}

bool top_fetch_order(struct top_fetch *f, struct top_order *order)
{
    pthread_mutex_lock(&f->lock);
    const bool free_now = !*f->order.path;
    if (free_now) {
        f->order = *order;
        pthread_cond_signal(&f->changed);
    } else {
        free(order->body);
    }
    pthread_mutex_unlock(&f->lock);
    *order = (struct top_order){0};
    return free_now;
}

bool top_fetch_take(struct top_fetch *f, struct top_snapshot *ret_snapshot, char *ret_said, size_t said_size)
{
    uint64_t n;
    (void)!read(f->fd, &n, sizeof(n));
    pthread_mutex_lock(&f->lock);
    const bool any = f->fresh || *f->said;
    *ret_snapshot = f->snapshot;
    snprintf(ret_said, said_size, "%s", f->said);
    f->snapshot = (struct top_snapshot){0};
    f->fresh = false;
    f->said[0] = '\0';
    pthread_mutex_unlock(&f->lock);
    return any;
}
