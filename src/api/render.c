/* How things look on the wire. */
#include "api/render.h"
#include "base/sha256.h"
#include "base/timefmt.h"
#include "core/fingerprint.h"

#define JOB_BYTES_USUAL   1200 /* a job without much of a payload: its buffer need not grow */
#define WORKERS_ARENA_MAX (64u * 1024 * 1024)

void render_uuid(struct json_writer *w, const char *key, const struct uuid *u)
{
    char text[UUID_STR_MAX];
    uuid_format(u, text);
    jw_string(w, key, uuid_is_nil(u) ? NULL : text);
}

void render_ref(struct json_writer *w, const char *key, const struct uuid *blob_id)
{
    char id[UUID_STR_MAX], text[UUID_STR_MAX + 8];
    uuid_format(blob_id, id);
    snprintf(text, sizeof(text), "blob:%s", id);
    jw_string(w, key, text);
}

void render_sha256(struct json_writer *w, const char *key, const uint8_t sha256[32])
{
    char hex[SHA256_HEX_MAX];
    hex_format(sha256, 32, hex);
    jw_string(w, key, hex);
}

static void render_limit(struct json_writer *w, const char *name, usec limit_us)
{
    if (limit_us > 0)
        jw_duration_s(w, name, limit_us);
    else
        jw_null(w, name);
}

void render_limits(struct json_writer *w, const struct job *job)
{
    render_limit(w, "timeout_s", job->timeout_us);
    render_limit(w, "no_progress_timeout_s", job->no_progress_us);
}

void render_trace(struct json_writer *w, const char *traceparent, const char *tracestate)
{
    jw_string(w, "traceparent", traceparent);
    jw_string(w, "tracestate", tracestate);
}

void render_inputs(struct json_writer *w, const char *key, const struct job *job)
{
    jw_array(w, key);
    for (size_t i = 0; i < job->n_inputs; i++) {
        jw_object(w, NULL);
        jw_string(w, "name", job->inputs[i].name);
        jw_string(w, "ref", job->inputs[i].ref);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void render_progress(struct json_writer *w, const struct job *job)
{
    if (job->progress < 0) {
        jw_null(w, "progress");
        return;
    }
    jw_object(w, "progress");
    jw_real(w, "percent", job->progress);
    jw_string(w, "message", job->progress_message);
    jw_time(w, "at", job->progress_at);
    jw_object_end(w);
}

static void render_checkpoint(struct json_writer *w, const struct checkpoint *cp)
{
    if (!cp || !cp->attempt) {
        jw_null(w, "checkpoint");
        return;
    }
    jw_object(w, "checkpoint");
    jw_int(w, "attempt", cp->attempt);
    jw_time(w, "at", cp->at);
    if (cp->percent < 0)
        jw_null(w, "percent");
    else
        jw_real(w, "percent", cp->percent);
    jw_int(w, "files", (int64_t)cp->n_files);
    jw_int(w, "bytes", cp->bytes);
    jw_object_end(w);
}

/* A dead letter of before they were kept has one, too, from the first time it is looked at. */
static void render_fingerprint_of(struct json_writer *w, const struct job *job)
{
    uint64_t fingerprint = job->fingerprint;
    if (!fingerprint && job->status == JOB_FAILED)
        fingerprint = fingerprint_make(job->task_type, job->last_outcome, job->error_log);
    render_fingerprint(w, "fingerprint", fingerprint);
}

void render_fingerprint(struct json_writer *w, const char *key, uint64_t fingerprint)
{
    char text[FINGERPRINT_MAX];
    if (!fingerprint) {
        jw_null(w, key);
        return;
    }
    fingerprint_format(fingerprint, text);
    jw_string(w, key, text);
}

void render_job(struct json_writer *w, const char *key, const struct job *job, const struct job_view *view)
{
    const char *labels = job->labels ? job->labels : "{}";
    jw_object(w, key);
    render_uuid(w, "job_id", &job->job_id);
    jw_string(w, "project", job->project);
    jw_string(w, "queue", job->queue);
    jw_string(w, "task_type", job->task_type);
    jw_int(w, "priority", job->priority);
    jw_string(w, "status", job_status_name(job->status));
    if (!view->brief) {
        const char *payload = job->payload ? job->payload : "{}";
        jw_raw(w, "payload", payload, strlen(payload));
    }
    jw_string(w, "payload_ref", job->payload_ref);
    render_inputs(w, "inputs", job);
    jw_raw(w, "labels", labels, strlen(labels));
    jw_string(w, "dedup_key", job->dedup_key);
    jw_int(w, "max_attempts", job->max_attempts);
    render_limits(w, job);
    render_trace(w, job->traceparent, job->tracestate);
    jw_time(w, "created_at", job->created_at);
    jw_time(w, "run_at", job->run_at);
    jw_time(w, "start_deadline_at", job->start_deadline_at);
    jw_int(w, "attempt", job->attempt);
    jw_int(w, "retries", job->retries);
    jw_int(w, "interruptions", job->interruptions);
    jw_int(w, "losses", job->losses);
    render_uuid(w, "owner_id", &job->owner_id);
    jw_time(w, "lease_until", job->lease_until);
    jw_time(w, "cancel_requested_at", job->cancel_requested_at);
    jw_time(w, "started_at", job->started_at);
    jw_time(w, "finished_at", job->finished_at);
    jw_string(w, "outcome", job->last_outcome == OUTCOME_NONE ? NULL : outcome_name(job->last_outcome));
    jw_string(w, "result_url", view->result_url);
    jw_string(w, "error_log", job->error_log);
    render_fingerprint_of(w, job);
    render_progress(w, job);
    jw_int(w, "version", job->version);
    if (!view->brief) {
        render_checkpoint(w, view->checkpoint);
        jw_string(w, "waiting_reason", view->waiting_reason);
    }
    jw_object_end(w);
}

const char *render_result_url(struct arena *arena, const struct job *job, const struct output *outputs, size_t n)
{
    char id[UUID_STR_MAX];
    if (job->status != JOB_SUCCESS || n == 0)
        return NULL;
    if (n == 1) {
        uuid_format(&outputs[0].blob_id, id);
        return arena_printf(arena, "/v1/blobs/%s", id);
    }
    uuid_format(&job->job_id, id);
    return arena_printf(arena, "/v1/jobs/%s/outputs", id);
}

int render_job_brief(struct api *api, struct arena *arena, struct json_writer *w, const char *key,
                     const struct job *job, struct err *err)
{
    struct job_view view = {.brief = true};
    if (job->status == JOB_SUCCESS) {
        struct output *outputs = NULL;
        size_t n = 0;
        int rc = api->store_driver->outputs(api->store, &job->job_id, arena, &outputs, &n, err);
        if (rc)
            return rc;
        view.result_url = render_result_url(arena, job, outputs, n);
    }
    render_job(w, key, job, &view);
    return ERR_OK;
}

const char *render_waiting_reason(struct arena *arena, const struct job *job, enum serving serving, usec now)
{
    char at[RFC3339_MAX];
    if (job->status != JOB_PENDING)
        return NULL;
    if (job->waiting_on > 0)
        return arena_printf(arena, "waiting for %u other jobs", job->waiting_on);
    if (job->run_at > now) {
        rfc3339_format(job->run_at, at);
        return arena_printf(arena, job->retries > 0 ? "backing off until %s" : "not due until %s", at);
    }
    if (serving == SERVING_DRAINED)
        return arena_printf(arena, "all workers that can run task type '%s' are drained", job->task_type);
    if (serving == SERVING_NOBODY)
        return arena_printf(arena, "no worker that is known can run task type '%s'", job->task_type);
    return "waiting for a free slot";
}

void render_attempt(struct json_writer *w, const struct attempt *a)
{
    /* Only a worker's own report carries an exit status; what the server decided itself (lost, unconfirmed) has none. */
    bool reported = a->outcome != OUTCOME_NONE && a->outcome != OUTCOME_LOST && a->outcome != OUTCOME_UNCONFIRMED &&
                    a->outcome != OUTCOME_EXPIRED;
    jw_object(w, NULL);
    jw_int(w, "attempt", a->attempt);
    render_uuid(w, "worker_id", &a->worker_id);
    jw_string(w, "worker_name", a->worker_name);
    jw_string(w, "handler_version", a->handler_version);
    jw_time(w, "started_at", a->started_at);
    jw_time(w, "ended_at", a->ended_at);
    jw_string(w, "outcome", a->outcome == OUTCOME_NONE ? NULL : outcome_name(a->outcome));
    if (reported && a->usage.exit_code >= 0 && a->usage.signal == 0)
        jw_int(w, "exit_code", a->usage.exit_code);
    else
        jw_null(w, "exit_code");
    if (a->usage.signal > 0)
        jw_int(w, "signal", a->usage.signal);
    else
        jw_null(w, "signal");
    jw_duration_s(w, "cpu_s", a->usage.cpu_us);
    jw_int(w, "peak_memory_bytes", a->usage.peak_memory_bytes);
    jw_int(w, "bytes_in", a->usage.bytes_in);
    jw_int(w, "bytes_out", a->usage.bytes_out);
    jw_int(w, "log_bytes", a->log_bytes);
    jw_string(w, "error", a->error);
    if (a->redone < 0)
        jw_null(w, "redone");
    else
        jw_real(w, "redone", a->redone);
    jw_object_end(w);
}

void render_output(struct json_writer *w, const struct output *o)
{
    char id[UUID_STR_MAX], url[64];
    uuid_format(&o->blob_id, id);
    snprintf(url, sizeof(url), "/v1/blobs/%s", id);
    jw_object(w, NULL);
    jw_string(w, "name", o->name);
    render_ref(w, "ref", &o->blob_id);
    jw_string(w, "url", url);
    jw_int(w, "size", o->size);
    render_sha256(w, "sha256", o->sha256);
    jw_object_end(w);
}

static const char *worker_state(const struct worker_row *row, usec now, usec gone_after_us)
{
    if (now - row->last_seen > gone_after_us)
        return "gone";
    if (!row->drained_at)
        return "live";
    return row->slots_busy ? "draining" : "drained";
}

void render_worker(struct json_writer *w, const struct worker_row *row, usec now, usec gone_after_us)
{
    const char *handlers = row->handlers && *row->handlers ? row->handlers : "{}";
    jw_object(w, NULL);
    render_uuid(w, "worker_id", &row->worker_id);
    jw_string(w, "name", row->name);
    jw_string(w, "host", row->host);
    jw_string(w, "version", row->version);
    jw_string(w, "isolation", row->isolation);
    jw_raw(w, "handlers", handlers, strlen(handlers));
    jw_int(w, "slots_total", row->slots_total);
    jw_int(w, "slots_busy", row->slots_busy);
    if (row->load)
        jw_raw(w, "load", row->load, strlen(row->load));
    else
        jw_null(w, "load");
    jw_time(w, "first_seen", row->first_seen);
    jw_time(w, "last_seen", row->last_seen);
    jw_string(w, "state", worker_state(row, now, gone_after_us));
    jw_time(w, "drained_at", row->drained_at);
    jw_string(w, "drained_by", row->drained_by);
    jw_object_end(w);
}

enum knowledge handlers_have(const char *handlers, const char *task_type)
{
    if (!handlers)
        return NO;
    json_t *map = NULL;
    if (json_parse(handlers, strlen(handlers), &map, NULL) != ERR_OK)
        return UNKNOWN;
    enum knowledge have = json_object_get(map, task_type) ? YES : NO;
    json_decref(map);
    return have;
}

static enum serving who_can_run(struct api *api, const char *task_type, usec now)
{
    struct arena *arena = arena_new(WORKERS_ARENA_MAX);
    struct worker_row *rows = NULL;
    size_t n = 0;
    enum serving found = !arena || api->store_driver->workers(api->store, arena, &rows, &n, NULL) != ERR_OK
                             ? SERVING_UNKNOWN
                             : SERVING_NOBODY;
    for (size_t i = 0; i < n && found != SERVING_SOMEBODY; i++) {
        if (now - rows[i].last_seen > 3 * api->policy.poll_us)
            continue;
        enum knowledge one = handlers_have(rows[i].handlers, task_type);
        if (one == UNKNOWN)
            found = SERVING_UNKNOWN;
        else if (one == YES && !rows[i].drained_at)
            found = SERVING_SOMEBODY;
        else if (one == YES && found == SERVING_NOBODY)
            found = SERVING_DRAINED;
    }
    arena_free(arena);
    return found;
}

static void reply_job_rendered(struct http_request *req, int status, const struct job *job, const struct job_view *view)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, API_ANSWER_MAX);
    buf_reserve(&body, JOB_BYTES_USUAL);
    jw_init(&w, &body);
    render_job(&w, NULL, job, view);
    reply_json(req, status, &body);
}

void reply_job_read(struct api *api, struct http_request *req, int status, const struct job *job)
{
    struct job_view view = {0};
    struct checkpoint checkpoint = {0};
    struct err err;
    err_clear(&err);
    if (job->attempt > 0 && !job_finished(job->status)) {
        if (api->store_driver->checkpoint(api->store, &job->job_id, NULL, &checkpoint, &err) != ERR_OK) {
            reply_err(req, &err);
            return;
        }
        view.checkpoint = &checkpoint;
    }
    if (job->status == JOB_SUCCESS) {
        struct output *outputs = NULL;
        size_t n = 0;
        if (api->store_driver->outputs(api->store, &job->job_id, http_arena(req), &outputs, &n, &err) != ERR_OK) {
            reply_err(req, &err);
            return;
        }
        view.result_url = render_result_url(http_arena(req), job, outputs, n);
    } else if (job->status == JOB_PENDING) {
        usec now = api->store_driver->now(api->store);
        bool due = job->run_at <= now && job->waiting_on == 0;
        enum serving serving = due ? who_can_run(api, job->task_type, now) : SERVING_SOMEBODY;
        if (serving != SERVING_UNKNOWN) /* better no reason than a wrong one */
            view.waiting_reason = render_waiting_reason(http_arena(req), job, serving, now);
    }
    reply_job_rendered(req, status, job, &view);
}

struct job_reply {
    struct api *api;
    struct http_request *req;
    int status;
    const struct job *job;
};

static void reply_job_task(void *arg)
{
    struct job_reply *r = arg;
    reply_job_read(r->api, r->req, r->status, r->job);
}

void reply_job(struct api *api, struct http_request *req, int status, const struct job *job)
{
    if (job->status != JOB_SUCCESS) { /* what is in hand is enough: nobody has to read, and no other thread to wake */
        struct job_view view = {0};
        usec now = api->store_driver->now(api->store);
        if (job->status == JOB_PENDING && (job->run_at > now || job->waiting_on > 0))
            view.waiting_reason = render_waiting_reason(http_arena(req), job, SERVING_SOMEBODY, now);
        reply_job_rendered(req, status, job, &view);
        return;
    }
    struct job_reply *r = arena_alloc(http_arena(req), sizeof(*r));
    struct err err;
    if (!r) {
        no_memory(&err);
        reply_err(req, &err);
        return;
    }
    *r = (struct job_reply){.api = api, .req = req, .status = status, .job = job};
    err_clear(&err);
    if (pool_run(api->reads, reply_job_task, r, &err) != ERR_OK)
        reply_err(req, &err); /* its result_url is in the store */
}
