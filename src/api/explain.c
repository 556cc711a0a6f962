/* GET /v1/jobs/{job_id}/explain: why it waits, in which place, and until when, likely. */
#include "api/render.h"
#include "api/routes.h"
#include "api/survey.h"
#include "base/auto.h"
#include "core/waiting.h"

#define POSITION_MAX 10000 /* counted no further */

/* A worker need not have told its name. */
static const char *name_of(const struct survey *s, const struct worker_row *row)
{
    char id[UUID_STR_MAX];
    if (row->name && *row->name)
        return row->name;
    uuid_format(&row->worker_id, id);
    const char *kept = arena_strdup(s->arena, id);
    return kept ? kept : "?";
}

static int read_workers(const struct survey *s, struct waiting_facts *f, struct err *err)
{
    const struct api *api = s->api;
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = api->store_driver->workers(api->store, s->arena, &rows, &n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        if (f->now - rows[i].last_seen > 3 * api->policy.poll_us)
            continue;
        f->live++;
        if (handlers_have(rows[i].handlers, f->job->task_type) != YES)
            continue;
        if (rows[i].drained_at) {
            if (f->drained < WAITING_NAMES_MAX)
                f->drained_names[f->drained] = name_of(s, &rows[i]);
            f->drained++;
            continue;
        }
        f->serving++;
        f->slots += rows[i].slots_total;
        f->free_slots += rows[i].slots_total - MIN(rows[i].slots_busy, rows[i].slots_total);
    }
    return rc;
}

static usec run_mean(const struct survey *s, const struct job *job)
{
    const struct stat_row key = {.queue = job->queue, .task_type = job->task_type};
    const struct histogram *run = &s->engine.pairs[survey_pair(s, &key)].run_us;
    uint64_t n = histogram_total(run);
    return n > 0 ? (usec)((uint64_t)run->sum / n) : -1;
}

static int gather(struct survey *s, struct job *job, struct waiting_facts *f, struct err *err)
{
    const struct store_driver *d = s->api->store_driver;
    struct uuid id;
    int rc = req_job_id(s->req, &id, err);
    if (!rc)
        rc = d->job_get(s->api->store, API_PROJECT, &id, s->arena, job, err);
    if (rc)
        return rc;
    *f = (struct waiting_facts){.job = job, .now = d->now(s->api->store), .run_mean_us = run_mean(s, job)};
    const struct pause *pause = survey_pause(s, job->queue);
    if (pause) {
        f->paused_at = pause->at;
        f->paused_by = pause->by;
        f->paused_reason = pause->reason;
    }
    rc = d->position(s->api->store, &id, POSITION_MAX + 1, &f->before, err);
    f->before_exact = f->before <= POSITION_MAX;
    f->before = MIN(f->before, POSITION_MAX);
    return rc ? rc : read_workers(s, f, err);
}

static void render_facts(struct json_writer *w, const struct waiting_facts *f)
{
    jw_object(w, "workers");
    jw_int(w, "live", f->live);
    jw_int(w, "serving", f->serving);
    jw_int(w, "drained", f->drained);
    jw_int(w, "slots", f->slots);
    jw_int(w, "free_slots", f->free_slots);
    jw_object_end(w);
    if (f->run_mean_us < 0)
        jw_null(w, "run_mean_s");
    else
        jw_duration_s(w, "run_mean_s", f->run_mean_us);
}

static int render(struct survey *s, struct err *err)
{
    struct waiting_verdict v;
    struct waiting_facts f;
    struct json_writer w;
    struct buf body;
    struct job job;
    int rc = gather(s, &job, &f, err);
    if (rc)
        return rc;
    waiting_judge(&f, &v);
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    render_uuid(&w, "job_id", &job.job_id);
    jw_string(&w, "status", job_status_name(job.status));
    jw_string(&w, "reason", waiting_name(v.why));
    jw_string(&w, "text", v.words);
    if (f.before < 0)
        jw_null(&w, "position");
    else
        jw_int(&w, "position", f.before + 1);
    jw_bool(&w, "position_exact", f.before_exact);
    jw_time(&w, "until", v.until);
    render_facts(&w, &f);
    jw_time(&w, "likely_start_at", v.likely_at);
    jw_time(&w, "start_deadline_at", job.start_deadline_at);
    jw_object_end(&w);
    reply_json(s->req, 200, &body);
    return ERR_OK;
}

void job_explain(struct http_request *req)
{
    survey_start(req, render);
}
