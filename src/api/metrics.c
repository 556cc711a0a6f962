/* GET /metrics: rendered from a survey and what else is cheap to know. */
#include "api/exposition.h"
#include "api/process.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"

#define LIVE_US (60 * USEC_PER_SEC)

/* Of the store, by the engine's pairs; what is none of them stands at "other", which is the first. */
typedef int64_t jobs_of_pair[JOB_STATUS_COUNT];

struct scrape {
    struct survey *survey;
    struct engine_metrics *engine; /* of the survey */
    struct arena *arena;           /* likewise */
    jobs_of_pair *jobs;
    struct {
        int64_t known, live, drained, slots, busy;
    } workers;
    struct store_sizes sizes;
};

static int sort_jobs(struct scrape *s, struct err *err)
{
    const struct survey *survey = s->survey;

    s->jobs = arena_array(s->arena, s->engine->n_pairs, sizeof(*s->jobs));
    if (!s->jobs)
        return no_memory(err);
    for (size_t i = 0; i < survey->n_stats; i++) {
        int64_t *sum = s->jobs[survey_pair(survey, &survey->stats[i])];

        for (unsigned st = 0; st < JOB_STATUS_COUNT; st++)
            sum[st] += survey->stats[i].by_status[st];
    }
    return ERR_OK;
}

/** "other" is shown once something was counted there. */
static bool pair_shown(const struct scrape *s, size_t i)
{
    static const struct metrics_pair nothing;
    struct metrics_pair p = s->engine->pairs[i];
    static const int64_t no_jobs[JOB_STATUS_COUNT];

    p.queue = p.task_type = NULL;
    return i > 0 || memcmp(&p, &nothing, sizeof(p)) != 0 || memcmp(s->jobs[i], no_jobs, sizeof(no_jobs)) != 0;
}

typedef void pair_fn(struct scrape *s, struct exposition *x, size_t i, struct label labels[3]);

/** Calls `fn` for every pair, with its two labels set and room for a third. */
static void each_pair(struct scrape *s, struct exposition *x, enum metric_id id, pair_fn *fn)
{
    expo_metric(x, id);
    for (size_t i = 0; i < s->engine->n_pairs; i++) {
        struct label labels[3] = {{"queue", s->engine->pairs[i].queue}, {"task_type", s->engine->pairs[i].task_type}};

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
    expo_int(x, labels, 2, (int64_t)s->engine->pairs[i].ready);
}

static void oldest_ready(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    usec at = s->engine->pairs[i].oldest_at;

    expo_usec(x, labels, 2, at ? MAX(s->engine->now - at, 0) : 0);
}

static void submissions(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    static const char *const results[SUBMISSION_COUNT] = {"accepted", "duplicate", "refused"};

    for (unsigned k = 0; k < SUBMISSION_COUNT; k++) {
        labels[2] = (struct label){"result", results[k]};
        expo_int(x, labels, 3, (int64_t)s->engine->pairs[i].submissions[k]);
    }
}

static void attempts_ended(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    for (unsigned o = OUTCOME_NONE + 1; o < OUTCOME_COUNT; o++) {
        if (o == OUTCOME_EXPIRED)
            continue; /* no attempt: jobs_expired */
        labels[2] = (struct label){"outcome", outcome_name((enum outcome)o)};
        expo_int(x, labels, 3, (int64_t)s->engine->pairs[i].ended[o]);
    }
}

static void jobs_expired(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_int(x, labels, 2, (int64_t)s->engine->pairs[i].ended[OUTCOME_EXPIRED]);
}

static void start_latency(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_histogram(x, labels, 2, &metrics_start_bounds, &s->engine->pairs[i].start_us, true);
}

static void attempt_duration(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_histogram(x, labels, 2, &metrics_run_bounds, &s->engine->pairs[i].run_us, true);
}

static void completion(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    expo_histogram(x, labels, 2, &metrics_run_bounds, &s->engine->pairs[i].complete_us, true);
}

static void jobs_finished(struct scrape *s, struct exposition *x, size_t i, struct label labels[3])
{
    for (unsigned st = JOB_SUCCESS; st <= JOB_CANCELLED; st++) {
        labels[2] = (struct label){"status", job_status_name((enum job_status)st)};
        expo_int(x, labels, 3, (int64_t)s->engine->pairs[i].finished[st]);
    }
}

/** Those that are paused, and those of the engine's pairs that are not: so a series is there before the first pause. */
static void queues_paused(const struct scrape *s, struct exposition *x)
{
    const struct survey *v = s->survey;
    const char *last = METRICS_OTHER;

    expo_metric(x, METRIC_QUEUE_PAUSED);
    for (size_t i = 0; i < v->n_pauses; i++)
        expo_int(x, &(struct label){"queue", v->pauses[i].queue}, 1, 1);
    for (size_t i = 0; i < s->engine->n_pairs; i++) {
        const struct metrics_pair *pair = v->by_name[i];

        if (pair != s->engine->pairs && strcmp(pair->queue, last) != 0 && !survey_pause(v, pair->queue))
            expo_int(x, &(struct label){"queue", pair->queue}, 1, 0);
        last = pair->queue;
    }
}

static void one(struct exposition *x, enum metric_id id, int64_t value)
{
    expo_metric(x, id);
    expo_int(x, NULL, 0, value);
}

static void render_engine(const struct scrape *s, struct exposition *x)
{
    expo_metric(x, METRIC_COMMIT_DURATION);
    expo_histogram(x, NULL, 0, &metrics_commit_bounds, &s->engine->commit_us, true);
    expo_metric(x, METRIC_COMMIT_OPS);
    expo_histogram(x, NULL, 0, &metrics_batch_bounds, &s->engine->commit_ops, false);
    one(x, METRIC_COMMITS_FAILED, (int64_t)s->engine->commits_failed);
    one(x, METRIC_WAITING_OPS, (int64_t)s->engine->ops_waiting);
    one(x, METRIC_HELD_POLLS, (int64_t)s->engine->polls_held);
    one(x, METRIC_REDRIVES, (int64_t)s->engine->redrives);
    expo_metric(x, METRIC_REDRIVEN);
    expo_int(x, &(struct label){"action", "retry"}, 1, (int64_t)s->engine->redriven[REDRIVE_RETRY]);
    expo_int(x, &(struct label){"action", "discard"}, 1, (int64_t)s->engine->redriven[REDRIVE_DISCARD]);
}

static void render_store(const struct scrape *s, struct exposition *x)
{
    one(x, METRIC_WORKERS, s->workers.known);
    one(x, METRIC_WORKERS_LIVE, s->workers.live);
    one(x, METRIC_WORKERS_DRAINED, s->workers.drained);
    one(x, METRIC_SLOTS, s->workers.slots);
    one(x, METRIC_SLOTS_BUSY, s->workers.busy);
    one(x, METRIC_BLOBS, s->sizes.blobs);
    one(x, METRIC_BLOB_BYTES, s->sizes.blob_bytes);
    one(x, METRIC_BLOBS_DAMAGED, (int64_t)atomic_load(&s->survey->api->blob_checks.damaged));
    one(x, METRIC_DATABASE_BYTES, s->sizes.database_bytes);
    one(x, METRIC_DATABASE_LOG_BYTES, s->sizes.log_bytes);
}

static void render_standbys(const struct scrape *s, struct exposition *x)
{
    const struct api *api = s->survey->api;
    struct replica_state states[REPLICAS_MAX];
    uint64_t missed = 0;
    size_t n = api->store_driver->replicas ? api->store_driver->replicas(api->store, states, &missed) : 0;

    expo_metric(x, METRIC_STANDBY_UP);
    for (size_t i = 0; i < n; i++)
        expo_int(x, &(struct label){"standby", states[i].name}, 1, states[i].status == REPLICA_OK);
    expo_metric(x, METRIC_STANDBY_AGE);
    for (size_t i = 0; i < n; i++)
        if (states[i].age_us >= 0)
            expo_usec(x, &(struct label){"standby", states[i].name}, 1, states[i].age_us);
    expo_metric(x, METRIC_STANDBY_READS);
    for (size_t i = 0; i < n; i++)
        expo_int(x, &(struct label){"standby", states[i].name}, 1, (int64_t)states[i].reads);
    one(x, METRIC_STANDBY_MISSED, (int64_t)missed);
}

static void by_result(struct exposition *x, enum metric_id id, const char *const *results, const uint64_t *counts,
                      size_t n)
{
    expo_metric(x, id);
    for (size_t i = 0; i < n; i++)
        expo_int(x, &(struct label){"result", results[i]}, 1, (int64_t)counts[i]);
}

static void render_broker(const struct scrape *s, struct exposition *x)
{
    static const char *const jobs_results[] = {"announced", "unannounced"};
    static const char *const message_results[] = {"received", "dropped", "returned"};
    static const char *const submission_results[] = {"admitted", "refused", "deferred"};
    const struct api *api = s->survey->api;
    struct broker_state state = {.reached = true};

    if (api->broker)
        api->broker_driver->state(api->broker, &state);
    one(x, METRIC_BROKER_UP, state.reached);
    one(x, METRIC_BROKER_LOST, (int64_t)state.lost);
    by_result(x, METRIC_BROKER_JOBS, jobs_results, (uint64_t[]){state.announced, state.unannounced}, 2);
    by_result(x, METRIC_BROKER_MESSAGES, message_results, (uint64_t[]){state.received, state.dropped, state.returned},
              3);
    by_result(x, METRIC_BROKER_SUBMISSIONS, submission_results,
              (uint64_t[]){state.admitted, state.refused, state.deferred}, 3);
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
    http_counts(s->survey->req, counts);
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

static void render_spans(const struct scrape *s, struct exposition *x)
{
    const struct spans *spans = s->survey->api->spans;
    struct exporter_counts counts = {0};

    if (spans)
        exporter_counts(spans->exporter, &counts);
    expo_metric(x, METRIC_TRACE_SPANS);
    expo_int(x, &(struct label){"result", "exported"}, 1, (int64_t)counts.exported);
    expo_int(x, &(struct label){"result", "dropped"}, 1, (int64_t)counts.dropped);
}

static void render_process(const struct scrape *s, struct exposition *x)
{
    struct process p;

    process_read(&p);
    expo_metric(x, METRIC_CPU);
    expo_usec(x, NULL, 0, p.cpu_us);
    expo_metric(x, METRIC_START_TIME);
    expo_usec(x, NULL, 0, s->survey->api->started_wall_us);
    one(x, METRIC_RESIDENT, p.resident_bytes);
    one(x, METRIC_VIRTUAL, p.virtual_bytes);
    one(x, METRIC_OPEN_FDS, p.open_fds);
    one(x, METRIC_MAX_FDS, p.max_fds);
}

static void render_alerts(const struct scrape *s, struct exposition *x)
{
    const struct engine_alerts *a = &s->engine->alerts;
    const struct engine_alerts_config *cfg = a->config;

    expo_metric(x, METRIC_OBJECTIVE_EVENTS);
    for (size_t i = 0; a->counted && i < cfg->n_objectives; i++) {
        struct label labels[2] = {{"objective", cfg->objectives[i].name}, {"result", "good"}};
        expo_int(x, labels, 2, (int64_t)a->counted[i].good);
        labels[1].value = "bad";
        expo_int(x, labels, 2, (int64_t)a->counted[i].bad);
    }
    expo_metric(x, METRIC_OBJECTIVE_BUDGET);
    for (size_t i = 0; a->objectives && i < cfg->n_objectives; i++)
        expo_real(x, &(struct label){"objective", cfg->objectives[i].name}, 1, a->objectives[i].budget_left);
    expo_metric(x, METRIC_ALERT_FIRING);
    for (size_t i = 0; a->alerts && i < cfg->n_rules; i++) {
        const struct label labels[2] = {{"alert", cfg->rules[i].name}, {"severity", cfg->rules[i].severity}};
        expo_int(x, labels, 2, a->alerts[i].state == ALERT_FIRING);
    }
}

static int render_sending(const struct scrape *s, struct exposition *x, struct err *err)
{
    struct notify_view *views = NULL;
    size_t n = 0;
    int rc = notify_look(s->survey->api->notify, s->survey->arena, &views, &n, err);

    expo_metric(x, METRIC_RECEIVER_MESSAGES);
    for (size_t i = 0; !rc && i < n; i++) {
        struct label labels[2] = {{"receiver", views[i].name}, {"result", "sent"}};
        expo_int(x, labels, 2, (int64_t)views[i].sent);
        labels[1].value = "given_up";
        expo_int(x, labels, 2, (int64_t)views[i].given_up);
    }
    expo_metric(x, METRIC_RECEIVER_FAILURES);
    for (size_t i = 0; !rc && i < n; i++)
        expo_int(x, &(struct label){"receiver", views[i].name}, 1, (int64_t)views[i].failed);
    expo_metric(x, METRIC_RECEIVER_WAITING);
    for (size_t i = 0; !rc && i < n; i++)
        expo_int(x, &(struct label){"receiver", views[i].name}, 1, views[i].waiting);
    return rc;
}

static int read_workers(struct scrape *s, struct err *err)
{
    const struct api *api = s->survey->api;
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = api->store_driver->workers(api->store, s->arena, &rows, &n, err);
    usec now = api->store_driver->now(api->store);

    for (size_t i = 0; !rc && i < n; i++) {
        s->workers.known++;
        if (now - rows[i].last_seen > LIVE_US)
            continue;
        s->workers.live++;
        s->workers.drained += rows[i].drained_at != 0;
        s->workers.slots +=
            rows[i].drained_at ? rows[i].slots_busy : rows[i].slots_total; /* no room of a drained one */
        s->workers.busy += rows[i].slots_busy;
    }
    return rc;
}

static int render_all(struct scrape *s, struct exposition *x, struct err *err)
{
    static const struct label version = {"version", HAUL_VERSION};

    expo_metric(x, METRIC_BUILD_INFO);
    expo_int(x, &version, 1, 1);
    each_pair(s, x, METRIC_JOBS, jobs);
    each_pair(s, x, METRIC_READY_JOBS, ready_jobs);
    each_pair(s, x, METRIC_OLDEST_READY, oldest_ready);
    queues_paused(s, x);
    each_pair(s, x, METRIC_SUBMISSIONS, submissions);
    each_pair(s, x, METRIC_ATTEMPTS_ENDED, attempts_ended);
    each_pair(s, x, METRIC_JOBS_EXPIRED, jobs_expired);
    each_pair(s, x, METRIC_START_LATENCY, start_latency);
    each_pair(s, x, METRIC_ATTEMPT_DURATION, attempt_duration);
    each_pair(s, x, METRIC_COMPLETION, completion);
    each_pair(s, x, METRIC_JOBS_FINISHED, jobs_finished);
    render_engine(s, x);
    render_store(s, x);
    render_standbys(s, x);
    one(x, METRIC_EVENT_STREAMS, atomic_load(&s->survey->api->event_streams));
    render_broker(s, x);
    render_spans(s, x);
    render_alerts(s, x);
    int rc = render_sending(s, x, err);
    render_process(s, x);
    if (!rc)
        rc = render_http(s, x, err);
    return !rc && x->buf->failed ? no_memory(err) : rc;
}

static int render(struct survey *survey, struct err *err)
{
    struct scrape s = {.survey = survey, .engine = &survey->engine, .arena = survey->arena};
    struct buf body;
    struct exposition x = {.buf = &body};
    int rc = sort_jobs(&s, err);

    if (!rc)
        rc = read_workers(&s, err);
    if (rc)
        return rc;
    survey->api->store_driver->sizes(survey->api->store, &s.sizes);
    buf_init(&body, API_LIST_MAX);
    rc = render_all(&s, &x, err);
    if (!rc)
        reply_text(survey->req, 200, "text/plain; version=0.0.4; charset=utf-8", body.data, body.len);
    buf_release(&body);
    return rc;
}

void metrics_get(struct http_request *req)
{
    survey_start(req, render);
}
