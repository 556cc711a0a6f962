/* POST /v1/jobs:cancel, :retry and :discard: what job_actions.c does to one job, done to up to 1000, each with an outcome of its own. */
#include "api/many.h"
#include "api/render.h"
#include "api/routes.h"
#include "base/auto.h"

#define BULK_ARENA_MAX (MANY_MAX * sizeof(struct op) + 4u * 1024 * 1024)

static void write_result(struct json_writer *w, const struct many *m, size_t i)
{
    const struct op *op = &m->ops[i];
    const struct job *job = &op->u.job.job;
    render_uuid(w, "job_id", &op->u.job.job_id);
    if (op->err.code != ERR_OK)
        return;
    bool asked = op->kind == OP_CANCEL && job->status == JOB_RUNNING; /* its worker was told; it is not over yet */
    jw_int(w, "status", asked ? 202 : 200);
    if (op->kind != OP_DISCARD)
        jw_string(w, "job_status", job_status_name(job->status));
}

static void decided(struct many *m)
{
    size_t done = 0;
    for (size_t i = 0; i < m->n; i++)
        done += m->ops[i].err.code == ERR_OK;
    const struct many_count counts[] = {{"done", done}, {"refused", m->n - done}};
    many_reply(m, write_result, counts, ARRAY_LEN(counts));
}

static int read_id(const json_t *item, const struct many *m, size_t i, struct uuid *ret, struct err *err)
{
    char field[ERR_FIELD_MAX];
    snprintf(field, sizeof(field), "job_ids[%zu]", i);
    if (!uuid_parse(json_string_value(item), ret))
        return err_field(err, field, "must be the id of a job, a UUID");
    for (size_t k = 0; k < i; k++)
        if (uuid_equal(&m->ops[k].u.job.job_id, ret))
            return err_field(err, field, "is there twice: also as job_ids[%zu]", k);
    return ERR_OK;
}

static int read_ids(struct many *m, enum op_kind kind, json_t *root, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, root, "", err);
    const json_t *ids = json_get_value(&r, "job_ids", true, JSON_ARRAY);
    int rc = json_reader_end(&r);
    size_t n = json_array_size(ids);
    if (!rc && n == 0)
        rc = err_field(err, "job_ids", "must have 1 to %d items", MANY_MAX);
    if (!rc && n > MANY_MAX) {
        rc = err_set(err, ERR_TOO_LARGE, 0, "there are %zu job_ids, at most %d are allowed: split them", n, MANY_MAX);
        snprintf(err->field, sizeof(err->field), "job_ids");
    }
    if (!rc)
        rc = many_ops(m, kind, n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        m->ops[i].u.job.id_only = true;
        rc = read_id(json_array_get(ids, i), m, i, &m->ops[i].u.job.job_id, err);
    }
    return rc;
}

static void act(struct http_request *req, enum op_kind kind)
{
    struct err err;
    json_t *root = NULL;
    struct api *api = api_enter(req);
    struct many *m = api ? many_new(api, req, BULK_ARENA_MAX, decided) : NULL;
    if (!m)
        return;
    err_clear(&err);
    int rc = req_query_none(req, &err);
    if (!rc)
        rc = req_json(req, true, &root, &err);
    if (!rc)
        rc = read_ids(m, kind, root, &err);
    json_decref(root);
    if (rc)
        reply_err(req, &err);
    else
        many_offer(m);
}

void jobs_cancel(struct http_request *req)
{
    act(req, OP_CANCEL);
}

void jobs_retry(struct http_request *req)
{
    act(req, OP_RETRY);
}

void jobs_discard(struct http_request *req)
{
    act(req, OP_DISCARD);
}
