/* GET /v1/jobs/{job_id}/attempts/{n}/usage, and how a worker's samples are read. */
#include "api/read.h"
#include "api/routes.h"
#include "api/samples.h"
#include "base/auto.h"

#define ARENA_MAX (8u * 1024 * 1024) /* a job at its largest */

static int read_sample(json_t *value, bool newer, size_t i, struct sample *ret, struct err *err)
{
    struct json_reader r;
    char where[32], field[48];
    snprintf(where, sizeof(where), "samples[%zu].", i);
    json_reader_init(&r, value, where, err);
    const double at_s = json_get_real(&r, "at_s", -1, 0, (double)SAMPLE_AT_MAX_US / (double)USEC_PER_SEC);
    ret->cpu = json_get_real(&r, "cpu", -1, 0, SAMPLE_CPU_MAX);
    ret->memory_bytes = json_get_int(&r, "memory_bytes", -1, 0, SAMPLE_MEMORY_MAX);
    const int rc = worker_json_end(&r, newer);
    if (rc)
        return rc;
    ret->at_us = (usec)(at_s * (double)USEC_PER_SEC);
    const char *missing = at_s < 0 ? "at_s" : ret->cpu < 0 ? "cpu" : ret->memory_bytes < 0 ? "memory_bytes" : NULL;
    if (!missing)
        return ERR_OK;
    snprintf(field, sizeof(field), "%s%s", where, missing);
    return err_field(err, field, "is required");
}

int read_samples(struct json_reader *r, bool newer, struct arena *arena, const struct sample **ret, size_t *ret_n)
{
    *ret = NULL;
    *ret_n = 0;
    json_t *list = json_get_value(r, "samples", false, JSON_ARRAY);
    const size_t n = list ? json_array_size(list) : 0;
    if (n > SAMPLES_MAX)
        return r->code = err_field(r->err, "samples", "must have at most %d items", SAMPLES_MAX);
    if (r->code || n == 0)
        return r->code;
    struct sample *samples = arena_array(arena, n, sizeof(*samples));
    if (!samples)
        return r->code = no_memory(r->err);
    for (size_t i = 0; i < n && !r->code; i++)
        r->code = read_sample(json_array_get(list, i), newer, i, &samples[i], r->err);
    *ret = r->code ? NULL : samples;
    *ret_n = r->code ? 0 : n;
    return r->code;
}

static void render_range(struct json_writer *w, const char *key, const struct series_range *v, bool milli)
{
    const int64_t values[] = {v->least, v->mean, v->most};
    static const char *const names[] = {"least", "mean", "most"};
    jw_object(w, key);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (milli)
            jw_real(w, names[i], (double)values[i] / 1000);
        else
            jw_int(w, names[i], values[i]);
    jw_object_end(w);
}

struct usage_read {
    struct api *api;
    struct http_request *req;
    struct uuid job_id;
    int64_t attempt;
};

static int render(void *arg, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct usage_read *u = arg;
    struct series *series = arena_alloc(arena, sizeof(*series));
    struct job job;
    int rc = series ? u->api->store_driver->job_get(u->api->store, API_PROJECT, &u->job_id, arena, &job, err)
                    : no_memory(err);
    if (!rc)
        rc = u->api->store_driver->series(u->api->store, &u->job_id, (uint32_t)u->attempt, series, err);
    if (rc)
        return rc;
    jw_object(w, NULL);
    jw_int(w, "attempt", u->attempt);
    jw_array(w, "points");
    for (unsigned i = 0; i < series->n; i++) {
        const struct series_point *p = &series->points[i];
        jw_object(w, NULL);
        jw_duration_s(w, "at_s", p->at_us);
        render_range(w, "cpu", &p->cpu_milli, true);
        render_range(w, "memory_bytes", &p->memory_bytes, false);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
    return ERR_OK;
}

static void task(void *arg)
{
    struct usage_read *u = arg;
    read_answer(u->req, ARENA_MAX, render, u);
}

void usage_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct usage_read *u = arena_alloc(http_arena(req), sizeof(*u));
    int rc = u ? req_query_none(req, &err) : no_memory(&err);
    if (!rc)
        rc = req_job_id(req, &u->job_id, &err);
    if (!rc && query_int(http_param(req, "n"), "attempt", 1, UINT32_MAX, &u->attempt, &err))
        rc = err_set(&err, ERR_NOT_FOUND, 0, "there is no such attempt");
    if (rc) {
        reply_err(req, &err);
        return;
    }
    u->api = api;
    u->req = req;
    req_run(req, api->reads, task, u);
}
