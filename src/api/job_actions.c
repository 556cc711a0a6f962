/* POST /v1/jobs/{job_id}/cancel and /retry, DELETE /v1/jobs/{job_id}. */
#include "api/render.h"
#include "api/routes.h"

static void cancelled(struct call *c)
{
    const struct job *job = &c->op.u.job.job;
    reply_job(c->api, c->req, job->status == JOB_RUNNING ? 202 : 200, job);
}

static void retried(struct call *c)
{
    reply_job(c->api, c->req, 200, &c->op.u.job.job);
}

static void discarded(struct call *c)
{
    reply_empty(c->req, 204);
}

static void act(struct http_request *req, enum op_kind kind, void (*answer)(struct call *c))
{
    struct err err;
    struct call *c = call_enter(req, kind, answer);
    if (!c)
        return;
    err_clear(&err);
    if (req_query_none(req, &err) || req_job_id(req, &c->op.u.job.job_id, &err) || req_no_json(req, &err)) {
        reply_err(req, &err);
        return;
    }
    call_offer(c);
}

void job_cancel_post(struct http_request *req)
{
    act(req, OP_CANCEL, cancelled);
}

void job_retry_post(struct http_request *req)
{
    act(req, OP_RETRY, retried);
}

void job_discard(struct http_request *req)
{
    act(req, OP_DISCARD, discarded);
}
