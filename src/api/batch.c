/* POST /v1/jobs:batch: up to 1000 submissions in one request. They are offered to the engine together: a thousand jobs share two or
 * three commits. */
#include "api/batch_items.h"
#include "api/many.h"
#include "api/render.h"
#include "api/routes.h"
#include "api/submission.h"
#include "api/traced.h"
#include "base/auto.h"

/* The ops, and for each item what its text becomes: a few times the text at most. */
#define BATCH_ARENA_MAX (MANY_MAX * sizeof(struct op) + 4u * API_BATCH_MAX)

static void write_result(struct json_writer *w, const struct many *m, size_t i)
{
    const struct op *op = &m->ops[i];
    const struct op_submit *s = &op->u.submit;
    jw_int(w, "index", (int64_t)i);
    if (op->err.code != ERR_OK)
        return;
    jw_int(w, "status", s->duplicate ? 200 : 201);
    render_uuid(w, "job_id", &s->job.job_id);
    jw_bool(w, "duplicate", s->duplicate);
}

static void decided(struct many *m)
{
    size_t created = 0, duplicates = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->ops[i].err.code == ERR_OK && m->ops[i].u.submit.duplicate)
            duplicates++;
        else if (m->ops[i].err.code == ERR_OK)
            created++;
    }
    const struct many_count counts[] = {
        {"created", created}, {"duplicates", duplicates}, {"refused", m->n - created - duplicates}};
    many_reply(m, write_result, counts, ARRAY_LEN(counts));
}

/* Leaves an item's refusal in its op. An error is the whole batch's. */
static int read_item(struct many *m, const struct batch_item *item, const char *key, struct op *op, struct err *err)
{
    struct api *api = m->api;
    if (item->n > API_JSON_MAX) {
        err_set(&op->err, ERR_TOO_LARGE, 0, "the submission has %zu bytes, at most %u are allowed", item->n,
                API_JSON_MAX);
        return ERR_OK;
    }
    if (submission_parse_item(item->text, item->n, key, &api->policy, m->arena, &op->u.submit, &op->err) != ERR_OK) {
        *err = op->err;
        return batch_item_breaks(item, err) ? err_wrap(err, (int)err->code, "jobs[%zu]", (size_t)(op - m->ops))
                                            : ERR_OK;
    }
    op->u.submit.id_only = true;
    op->u.submit.job.job_id = uuid_v7(api->clock.wall_us(api->clock.self), api->rng);
    return submit_hash(op->project, &op->u.submit.job, &op->u.submit.hashes, err);
}

static int read_batch(struct many *m, struct err *err)
{
    struct batch_item *items = NULL;
    size_t n = 0, n_body = 0;
    const char *body = http_body(m->req, &n_body), *header = http_header(m->req, "Idempotency-Key"), *key = NULL;
    int rc = batch_items(body, n_body, MANY_MAX, m->arena, &items, &n, err);
    if (!rc)
        rc = many_ops(m, OP_SUBMIT, n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = batch_key(header, i, m->arena, &key, err);
        if (!rc)
            rc = read_item(m, &items[i], key, &m->ops[i], err);
        if (!rc)
            rc = traced_by_headers(m->req, m->arena, &m->ops[i].u.submit.job, err);
    }
    return rc;
}

static void batch_task(void *arg)
{
    struct many *m = arg;
    struct err err;
    err_clear(&err);
    if (read_batch(m, &err))
        reply_err(m->req, &err);
    else
        many_offer(m);
}

/* 16 MiB take a while to parse: not on the threads that answer heartbeats. */
void jobs_batch(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    struct many *m = api ? many_new(api, req, BATCH_ARENA_MAX, decided) : NULL;
    if (!m)
        return;
    err_clear(&err);
    if (req_query_none(req, &err))
        reply_err(req, &err);
    else
        req_run(req, api->reads, batch_task, m);
}
