/* GET /metrics. Three steps, none of which makes the engine wait: read the store on the pool, copy the engine's counts on its thread,
 * render on the pool. In this order a pair that the store's counts name is one that the engine had counted by then. */
#include "api/exposition.h"
#include "api/process.h"
#include "api/request.h"
#include "api/routes.h"
#include "base/auto.h"
#include "engine/metrics.h"

#define SCRAPE_ARENA_MAX (64u * 1024 * 1024)
#define LIVE_US          (60 * USEC_PER_SEC)

struct scrape {
    struct api *api;
    struct http_request *req;
    struct loop_letter letter;
    struct arena *arena;
    struct stat_row *stats;
    size_t n_stats;
    struct {
        int64_t known, live, slots, busy;
    } workers;
    struct store_sizes sizes;
    struct engine_metrics engine;
    struct metrics_pair **by_name;     /* the engine's pairs in order, to find them */
    int64_t (*jobs)[JOB_STATUS_COUNT]; /* of the store, by the engine's pairs */
};

static void scrape_free(void *data)
{
    struct scrape *s = data;

    arena_free(s->arena);
    free(s);
}

/* --- rendering --- */

static int pair_order(const void *a, const void *b)
{
    const struct metrics_pair *x = *(struct metrics_pair *const *)a, *y = *(struct metrics_pair *const *)b;
    int queues = strcmp(x->queue, y->queue);

    return queues ? queues : strcmp(x->task_type, y->task_type);
}

/** The store's counts, sorted into the engine's pairs; what is none of them goes to "other", which is the first. */
static int jobs_sort_in(struct scrape *s, struct err *err)
{
    struct engine_metrics *m = &s->engine;

    s->by_name = arena_array(s->arena, m->n_pairs, sizeof(*s->by_name));
    s->jobs = arena_array(s->arena, m->n_pairs, sizeof(*s->jobs));
    if (!s->by_name || !s->jobs)
        return no_memory(err);
    for (size_t i = 0; i < m->n_pairs; i++)
        s->by_name[i] = &m->pairs[i];
    qsort(s->by_name, m->n_pairs, sizeof(*s->by_name), pair_order);
    for (size_t i = 0; i < s->n_stats; i++) {
        struct metrics_pair key = {.queue = s->stats[i].queue, .task_type = s->stats[i].task_type}, *p = &key;
        struct metrics_pair **found = bsearch(&p, s->by_name, m->n_pairs, sizeof(*s->by_name), pair_order);
        int64_t *sum = s->jobs[found ? *found - m->pairs : 0];

        for (unsigned st = 0; st < JOB_STATUS_COUNT; st++)
            sum[st] += s->stats[i].by_status[st];
    }
    return ERR_OK;
}

/** "other" is shown once something was counted there. */
static bool pair_shown(const struct scrape *s, size_t i)
{
    static const struct metrics_pair nothing;
    struct metrics_pair p = s->engine.pairs[i];
    static const int64_t no_jobs[JOB_STATUS_COUNT];

    p.queue = p.task_type = NULL;
    return i > 0 || memcmp(&p, &nothing, sizeof(p)) != 0 || memcmp(s->jobs[i], no_jobs, sizeof(no_jobs)) != 0;
}

typedef void pair_fn(struct scrape *s, struct exposition *x, size_t i, struct label labels[3]);

/** Calls `fn` for every pair, with its two labels set and room for a third. */
static void each_pair(struct scrape *s, struct exposition *x, enum metric_id id, pair_fn *fn)
{
    expo_metric(x, id);
    for (size_t i = 0; i < s->engine.n_pairs; i++) {
        struct label labels[3] = {{"queue", s->engine.pairs[i].queue}, {"task_type", s->engine.pairs[i].task_type}};

        if (pair_shown(s, i))
            fn(s, x, i, labels);
    }
}

static void jobs(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    for (unsigned st = 0; st < JOB_STATUS_COUNT; st++) {
        labels[2] = (struct label){"status", job_status_name((enum job_status)st)};
        expo_int(x, labels, 3, s->jobs[i][st]);
    }
}

static void ready_jobs(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_int(x, labels, 2, (int64_t)s->engine.pairs[i].ready);
}

static void oldest_ready(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    usec at = s->engine.pairs[i].oldest_at;

    expo_usec(x, labels, 2, at ? MAX(s->engine.now - at, 0) : 0);
}

static void submissions(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    static const char *const results[SUBMISSION_COUNT] = {"accepted", "duplicate", "refused"};

    for (unsigned k = 0; k < SUBMISSION_COUNT; k++) {
        labels[2] = (struct label){"result", results[k]};
        expo_int(x, labels, 3, (int64_t)s->engine.pairs[i].submissions[k]);
    }
}

static void attempts_ended(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    for (unsigned o = OUTCOME_NONE + 1; o < OUTCOME_COUNT; o++) {
        if (o == OUTCOME_EXPIRED)
            continue; /* no attempt: jobs_expired */
        labels[2] = (struct label){"outcome", outcome_name((enum outcome)o)};
        expo_int(x, labels, 3, (int64_t)s->engine.pairs[i].ended[o]);
    }
}

static void jobs_expired(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_int(x, labels, 2, (int64_t)s->engine.pairs[i].ended[OUTCOME_EXPIRED]);
}

static void start_latency(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_histogram(x, labels, 2, &metrics_start_bounds, &s->engine.pairs[i].start_us, true);
}

static void attempt_duration(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_histogram(x, labels, 2, &metrics_run_bounds, &s->engine.pairs[i].run_us, true);
}

static void one(struct exposition *x, enum metric_id id, int64_t value)
{
    expo_metric(x, id);
    expo_int(x, NULL, 0, value);
}

static void render_engine(const struct scrape *s, struct exposition *x)
{
    expo_metric(x, METRIC_COMMIT_DURATION);
    expo_histogram(x, NULL, 0, &metrics_commit_bounds, &s->engine.commit_us, true);
    expo_metric(x, METRIC_COMMIT_OPS);
    expo_histogram(x, NULL, 0, &metrics_batch_bounds, &s->engine.commit_ops, false);
    one(x, METRIC_COMMITS_FAILED, (int64_t)s->engine.commits_failed);
    one(x, METRIC_WAITING_OPS, (int64_t)s->engine.ops_waiting);
    one(x, METRIC_HELD_POLLS, (int64_t)s->engine.polls_held);
}

static void render_store(const struct scrape *s, struct exposition *x)
{
    one(x, METRIC_WORKERS, s->workers.known);
    one(x, METRIC_WORKERS_LIVE, s->workers.live);
    one(x, METRIC_SLOTS, s->workers.slots);
    one(x, METRIC_SLOTS_BUSY, s->workers.busy);
    one(x, METRIC_BLOBS, s->sizes.blobs);
    one(x, METRIC_BLOB_BYTES, s->sizes.blob_bytes);
    one(x, METRIC_DATABASE_BYTES, s->sizes.database_bytes);
    one(x, METRIC_DATABASE_LOG_BYTES, s->sizes.log_bytes);
}

static void route_labels(const struct http_route_count *c, struct label labels[3])
{
    labels[0] = (struct label){"method", c->route ? c->route->method : METRICS_OTHER};
    labels[1] = (struct label){"route", c->route ? c->route->path : METRICS_OTHER};
}

static int render_http(const struct scrape *s, struct exposition *x, struct err *err)
{
    static const char *const classes[HTTP_CLASSES] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct http_route_count *counts = arena_array(s->arena, api_n_routes + 1, sizeof(*counts));
    struct label labels[3];

    if (!counts)
        return no_memory(err);
    http_counts(s->req, counts);
    expo_metric(x, METRIC_HTTP_REQUESTS);
    for (size_t i = 0; i <= api_n_routes; i++) {
        route_labels(&counts[i], labels);
        for (size_t k = 0; k < HTTP_CLASSES; k++) {
            labels[2] = (struct label){"code", classes[k]};
            if (counts[i].by_class[k] || k == 2 || k == 5) /* a rate needs a zero to start from */
                expo_int(x, labels, 3, (int64_t)counts[i].by_class[k]);
        }
    }
    expo_metric(x, METRIC_HTTP_DURATION);
    for (size_t i = 0; i <= api_n_routes; i++) {
        route_labels(&counts[i], labels);
        expo_histogram(x, labels, 2, &http_duration_bounds, &counts[i].duration_us, true);
    }
    return ERR_OK;
}

static void render_process(const struct scrape *s, struct exposition *x)
{
    struct process p;

    process_read(&p);
    expo_metric(x, METRIC_CPU);
    expo_usec(x, NULL, 0, p.cpu_us);
    expo_metric(x, METRIC_START_TIME);
    expo_usec(x, NULL, 0, s->api->started_wall_us);
    one(x, METRIC_RESIDENT, p.resident_bytes);
    one(x, METRIC_VIRTUAL, p.virtual_bytes);
    one(x, METRIC_OPEN_FDS, p.open_fds);
    one(x, METRIC_MAX_FDS, p.max_fds);
}

static int render(struct scrape *s, struct exposition *x, struct err *err)
{
    static const struct label version = {"version", HAUL_VERSION};
    int rc = jobs_sort_in(s, err);

    if (rc)
        return rc;
    expo_metric(x, METRIC_BUILD_INFO);
    expo_int(x, &version, 1, 1);
    each_pair(s, x, METRIC_JOBS, jobs);
    each_pair(s, x, METRIC_READY_JOBS, ready_jobs);
    each_pair(s, x, METRIC_OLDEST_READY, oldest_ready);
    each_pair(s, x, METRIC_SUBMISSIONS, submissions);
    each_pair(s, x, METRIC_ATTEMPTS_ENDED, attempts_ended);
    each_pair(s, x, METRIC_JOBS_EXPIRED, jobs_expired);
    each_pair(s, x, METRIC_START_LATENCY, start_latency);
    each_pair(s, x, METRIC_ATTEMPT_DURATION, attempt_duration);
    render_engine(s, x);
    render_store(s, x);
    rc = render_http(s, x, err);
    if (!rc)
        render_process(s, x);
    return rc;
}

static void render_task(void *arg)
{
    struct scrape *s = arg;
    struct buf body;
    struct exposition x = {.buf = &body};
    struct err err;

    err_clear(&err);
    buf_init(&body, API_LIST_MAX);
    int rc = render(s, &x, &err);
    if (!rc && body.failed)
        rc = no_memory(&err);
    if (rc)
        reply_err(s->req, &err);
    else
        reply_text(s->req, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
    buf_release(&body);
}

/* --- gathering --- */

static void engine_letter(struct engine *e, void *arg)
{
    struct scrape *s = arg;
    struct err err;

    err_clear(&err);
    if (engine_metrics(e, s->arena, &s->engine, &err) != ERR_OK)
        reply_err(s->req, &err);
    else
        req_run(s->req, s->api->reads, render_task, s);
}

static int read_workers(struct scrape *s, struct err *err)
{
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = s->api->store_driver->workers(s->api->store, s->arena, &rows, &n, err);
    usec now = s->api->store_driver->now(s->api->store);

    for (size_t i = 0; !rc && i < n; i++) {
        s->workers.known++;
        if (now - rows[i].last_seen > LIVE_US)
            continue;
        s->workers.live++;
        s->workers.slots += rows[i].slots_total;
        s->workers.busy += rows[i].slots_busy;
    }
    return rc;
}

static void read_task(void *arg)
{
    struct scrape *s = arg;
    struct err err;

    err_clear(&err);
    int rc = s->api->store_driver->stats(s->api->store, s->arena, &s->stats, &s->n_stats, &err);
    if (!rc)
        rc = read_workers(s, &err);
    if (rc) {
        reply_err(s->req, &err);
        return;
    }
    s->api->store_driver->sizes(s->api->store, &s->sizes);
    loop_post(s->api->loop, &s->letter, engine_letter, s);
}

void metrics_get(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;

    if (!api)
        return;
    err_clear(&err);
    struct scrape *s = calloc(1, sizeof(*s));
    if (s)
        http_set_data(req, s, scrape_free);
    if (!s || !(s->arena = arena_new(SCRAPE_ARENA_MAX))) {
        no_memory(&err);
        reply_err(req, &err);
        return;
    }
    s->api = api;
    s->req = req;
    if (req_query_none(req, &err))
        reply_err(req, &err);
    else
        req_run(req, api->reads, read_task, s);
}
