/* What a worker says about its attempt: heartbeat, progress, log, outputs, complete, fail. Each carries the attempt's token. */
#include "api/render.h"
#include "api/report.h"
#include "api/routes.h"
#include "api/samples.h"
#include "api/upload.h"
#include "base/text.h"

static void answer_object(struct call *c, int status, void (*members)(struct call *c, struct json_writer *w))
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    members(c, &w);
    jw_object_end(&w);
    reply_json(c->req, status, &body);
}

/* --- heartbeat --- */

static void heartbeat_members(struct call *c, struct json_writer *w)
{
    usec left_us = c->op.u.heartbeat.lease_until - c->api->store_driver->now(c->api->store);
    jw_duration_s(w, "lease_s", left_us > 0 ? left_us : 0);
    jw_bool(w, "cancel", c->op.u.heartbeat.cancel);
}

static void heartbeat_done(struct call *c)
{
    answer_object(c, 200, heartbeat_members);
}

static int heartbeat_parse(struct http_request *req, struct op_heartbeat *op, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, false, &root, err);
    if (rc || !root)
        return rc;
    json_reader_init(&r, root, "", err);
    const bool newer = req_newer(req);
    read_samples(&r, newer, http_arena(req), &op->samples, &op->n_samples);
    rc = worker_json_end(&r, newer);
    json_decref(root);
    return rc;
}

void worker_heartbeat(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_HEARTBEAT, heartbeat_done);
    if (!c)
        return;
    err_clear(&err);
    struct op_heartbeat *op = &c->op.u.heartbeat;
    if (req_query_none(req, &err) || req_token(req, &op->job_id, &op->token, &err) || heartbeat_parse(req, op, &err))
        reply_err(req, &err);
    else
        call_offer(c);
}

/* --- progress --- */

static void no_content(struct call *c)
{
    reply_empty(c->req, 204);
}

static int progress_parse(struct http_request *req, struct op_progress *op, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, true, &root, err);
    if (rc)
        return rc;
    json_reader_init(&r, root, "", err);
    op->percent = json_get_real(&r, "percent", -1, 0, 100);
    const char *message = json_get_string(&r, "message", false, 0, JOB_MESSAGE_MAX);
    rc = worker_json_end(&r, req_newer(req));
    if (!rc && op->percent < 0)
        rc = err_field(err, "percent", "is required: 0 to 100");
    op->message = rc ? NULL : arena_strdup(http_arena(req), message);
    json_decref(root);
    return rc;
}

void worker_progress(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_PROGRESS, no_content);
    if (!c)
        return;
    err_clear(&err);
    struct op_progress *op = &c->op.u.progress;
    if (req_query_none(req, &err) || req_token(req, &op->job_id, &op->token, &err) || progress_parse(req, op, &err))
        reply_err(req, &err);
    else
        call_offer(c);
}

/* --- log --- */

static void log_members(struct call *c, struct json_writer *w)
{
    jw_int(w, "next_offset", c->op.u.log.next_offset);
}

static void log_done(struct call *c)
{
    answer_object(c, 200, log_members);
}

static int log_parse(struct http_request *req, struct op_log *op, struct err *err)
{
    static const char *const known[] = {"offset", "skipped", NULL};
    int rc = req_query_only(req, known, err);
    if (!rc)
        rc = req_token(req, &op->job_id, &op->token, err);
    if (!rc)
        rc = req_query_int(req, "offset", -1, 0, INT64_MAX - JOB_LOG_CHUNK_MAX, &op->offset, err);
    if (!rc && op->offset < 0)
        rc = err_field(err, "offset", "is required: where these bytes begin");
    if (!rc)
        rc = req_query_int(req, "skipped", 0, 0, INT64_MAX - JOB_LOG_CHUNK_MAX, &op->skipped, err);
    op->bytes = http_body(req, &op->n);
    if (!rc && op->n > JOB_LOG_CHUNK_MAX)
        rc = err_set(err, ERR_TOO_LARGE, 0, "at most %d bytes a call", JOB_LOG_CHUNK_MAX);
    return rc;
}

void worker_log(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_LOG, log_done);
    if (!c)
        return;
    err_clear(&err);
    if (log_parse(req, &c->op.u.log, &err))
        reply_err(req, &err);
    else
        call_offer(c);
}

/* --- outputs --- */

int output_begin(struct http_request *req, struct err *err)
{
    struct api *api = http_app(req);
    struct uuid job_id;
    struct token token;
    struct job job;
    struct upload *u = NULL;
    int rc = req_query_none(req, err);
    if (!rc)
        rc = req_token(req, &job_id, &token, err);
    if (!rc && !filename_valid(http_param(req, "name")))
        rc = err_field(err, "name", "must be a file name of 1 to 255 bytes without '/'");
    /* Asked here too, so that nobody uploads for an hour only to hear that the attempt is over. */
    if (!rc)
        rc = api->store_driver->job_get(api->store, API_PROJECT, &job_id, http_arena(req), &job, err);
    if (!rc && !token_equal(&job.token, &token))
        rc = err_set(err, ERR_STALE_TOKEN, 0, "attempt %u is not the latest any more", token.attempt);
    if (!rc)
        rc = upload_begin(req, &u, err);
    if (rc)
        return rc;
    u->job_id = job_id;
    u->token = token;
    return ERR_OK;
}

/* The row is there. Should the output be refused, nothing refers to the blob and it expires. */
static void output_stored(struct call *c)
{
    const struct upload *u = c->data;
    call_reuse(c, OP_OUTPUT, upload_created);
    struct op_output *op = &c->op.u.output;
    op->job_id = u->job_id;
    op->token = u->token;
    op->name = http_param(c->req, "name");
    op->blob_id = u->blob_id;
    op->size = u->size;
    memcpy(op->sha256, u->sha256, sizeof(op->sha256));
    call_offer(c);
}

void output_put(struct http_request *req)
{
    if (api_enter(req))
        upload_finish(http_data(req), output_stored);
}

/* An output whose bytes came before, as an upload of their own. */

struct output_call {
    struct api *api;
    struct http_request *req;
    struct uuid job_id, blob_id;
    struct token token;
    const char *name;
};

static void output_by_ref_task(void *arg)
{
    const struct output_call *o = arg;
    struct blob_row row;
    struct err err;
    err_clear(&err);
    struct upload *u = arena_alloc(http_arena(o->req), sizeof(*u));
    int rc = u ? o->api->store_driver->blob_get(o->api->store, API_PROJECT, &o->blob_id, http_arena(o->req), &row, &err)
               : no_memory(&err);
    if (rc == ERR_NOT_FOUND)
        rc = err_field(&err, "ref", "there is no such upload, or it was kept too long unused");
    if (rc) {
        reply_err(o->req, &err);
        return;
    }
    struct call *c = call_new(o->api, o->req, OP_OUTPUT, upload_created);
    if (!c)
        return;
    *u = (struct upload){.blob_id = o->blob_id, .size = row.size};
    memcpy(u->sha256, row.sha256, sizeof(u->sha256));
    c->data = u;
    c->op.u.output = (struct op_output){.job_id = o->job_id,
                                        .token = o->token,
                                        .name = o->name,
                                        .blob_id = o->blob_id,
                                        .stored = true,
                                        .size = row.size};
    memcpy(c->op.u.output.sha256, row.sha256, sizeof(row.sha256));
    call_offer(c);
}

static int output_read(struct http_request *req, struct output_call *o, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_query_none(req, err);
    if (!rc)
        rc = req_token(req, &o->job_id, &o->token, err);
    if (!rc)
        rc = req_json(req, true, &root, err);
    if (rc)
        return rc;
    json_reader_init(&r, root, "", err);
    const char *name = json_get_string(&r, "name", true, 1, 255), *ref = json_get_string(&r, "ref", true, 1, 1024);
    rc = worker_json_end(&r, req_newer(req));
    if (!rc && !filename_valid(name))
        rc = err_field(err, "name", "must be a file name of 1 to 255 bytes without '/'");
    if (!rc && (strncmp(ref, "blob:", 5) != 0 || !uuid_parse(ref + 5, &o->blob_id)))
        rc = err_field(err, "ref", "must be blob: and the id of an upload");
    if (!rc && !(o->name = arena_strdup(http_arena(req), name)))
        rc = no_memory(err);
    json_decref(root);
    return rc;
}

void output_post(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;
    err_clear(&err);
    if (!api)
        return;
    struct output_call *o = arena_alloc(http_arena(req), sizeof(*o));
    if (!o ? no_memory(&err) : output_read(req, o, &err)) {
        reply_err(req, &err);
        return;
    }
    o->api = api;
    o->req = req;
    req_run(req, api->reads, output_by_ref_task, o);
}

/* --- complete, fail --- */

/* What every report begins with. *ret_root is the caller's to decref, also on error. */
static int report_head(struct http_request *req, struct uuid *ret_job_id, struct token *ret_token, json_t **ret_root,
                       struct err *err)
{
    int rc = req_query_none(req, err);
    if (!rc)
        rc = req_token(req, ret_job_id, ret_token, err);
    return rc ? rc : req_json(req, true, ret_root, err);
}

static void complete_members(struct call *c, struct json_writer *w)
{
    jw_string(w, "status", job_status_name(c->op.u.complete.status));
}

static void complete_done(struct call *c)
{
    answer_object(c, 200, complete_members);
}

static int complete_body(struct http_request *req, struct op_complete *op, struct err *err)
{
    json_t *root = NULL;
    int rc = report_head(req, &op->job_id, &op->token, &root, err);
    if (!rc)
        rc = complete_parse(root, req_newer(req), http_arena(req), op, err);
    json_decref(root);
    return rc;
}

void worker_complete(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_COMPLETE, complete_done);
    if (!c)
        return;
    err_clear(&err);
    if (complete_body(req, &c->op.u.complete, &err))
        reply_err(req, &err);
    else
        call_offer(c);
}

static void fail_members(struct call *c, struct json_writer *w)
{
    jw_string(w, "status", job_status_name(c->op.u.fail.status));
    jw_time(w, "run_at", c->op.u.fail.status == JOB_PENDING ? c->op.u.fail.run_at : 0);
}

static void fail_done(struct call *c)
{
    answer_object(c, 200, fail_members);
}

static int fail_body(struct http_request *req, struct op_fail *op, struct err *err)
{
    json_t *root = NULL;
    int rc = report_head(req, &op->job_id, &op->token, &root, err);
    if (!rc)
        rc = fail_parse(root, req_newer(req), http_arena(req), op, err);
    json_decref(root);
    return rc;
}

void worker_fail(struct http_request *req)
{
    struct err err;
    struct call *c = call_enter(req, OP_FAIL, fail_done);
    if (!c)
        return;
    err_clear(&err);
    if (fail_body(req, &c->op.u.fail, &err)) {
        reply_err(req, &err);
        return;
    }
    c->op.u.fail.failure.dice = rng_u64(c->api->rng);
    call_offer(c);
}
