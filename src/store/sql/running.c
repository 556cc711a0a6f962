/* What a worker writes while it holds an attempt. Every write carries the token; a stale one changes nothing. */
#include "store/sql/internal.h"
#include <inttypes.h>

#define SEEN_EVERY_US (10 * USEC_PER_SEC) /* heartbeats refresh the worker's last_seen this often */

int running_load(struct tx *t, const struct uuid *job_id, const struct token *token, struct row *ret)
{
    int rc = row_load(t->c, t->op->project, job_id, LOAD_LEAN, t->scratch, ret, t->err);

    if (rc != ERR_OK)
        return rc;
    /* A decided attempt's secret is gone from the row (core), so equality says it is undecided too. A lapsed lease is no reason to
     * refuse: its worker may still complete. */
    if (!token_equal(&ret->job.token, token) || (ret->job.status != JOB_RUNNING && ret->job.status != JOB_PENDING))
        return err_set(t->err, ERR_STALE_TOKEN, 0,
                       "the token is of attempt %" PRIu32 ", which does not hold the job (%s, attempt %" PRIu32 ")",
                       token->attempt, job_status_name(ret->job.status), ret->job.attempt);
    return ERR_OK;
}

static int loss_was_charged(struct tx *t, const struct job *job, bool *ret)
{
    int64_t charged = 0;
    int rc = q_int(t->c, 0, &charged, t->err, "SELECT charged FROM attempts WHERE job_id = ?1 AND attempt = ?2" LIVE,
                   "ui", &job->job_id, (int64_t)job->attempt);

    *ret = charged != 0;
    return rc;
}

int op_heartbeat(struct tx *t)
{
    struct op_heartbeat *op = &t->op->u.heartbeat;
    struct row row;
    int rc = row_load(t->c, t->op->project, &op->job_id, LOAD_LEAN, t->scratch, &row, t->err);

    if (rc == ERR_OK && row.was == JOB_PENDING)
        rc = loss_was_charged(t, &row.job, &row.job.loss_charged);
    if (rc == ERR_OK)
        rc = job_heartbeat(&row.job, &t->s->policy, &op->token, t->now, t->err);
    if (rc != ERR_OK)
        return rc;
    op->was = row.was;
    op->lease_until = row.job.lease_until;
    op->cancel = row.job.cancel_requested_at != 0;
    if (op->was == JOB_PENDING) /* the lease had lapsed: the attempt goes on */
        rc = q_run(t->c, NULL, t->err,
                   "UPDATE attempts SET ended_at = 0, outcome = 0, error = NULL, charged = 0"
                   " WHERE job_id = ?1 AND attempt = ?2" LIVE,
                   "ui", &op->job_id, (int64_t)row.job.attempt);
    if (rc == ERR_OK)
        rc = series_take(t, &row.job, op->samples, op->n_samples);
    if (rc == ERR_OK)
        rc = op->was == JOB_PENDING ? row_save(t, &row) : row_save_running(t, &row);
    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err,
                   "UPDATE workers SET last_seen = ?2 WHERE worker_id = ?1 AND last_seen < ?3 /*once*/", "uii",
                   &row.job.owner_id, t->now, t->now - SEEN_EVERY_US);
    return rc;
}

int op_progress(struct tx *t)
{
    const struct op_progress *op = &t->op->u.progress;
    struct row row;
    int rc;

    if (!(op->percent >= 0 && op->percent <= 100))
        return err_field(t->err, "percent", "must be 0 to 100");
    if (op->message && strlen(op->message) > JOB_MESSAGE_MAX)
        return err_field(t->err, "message", "longer than %d bytes", JOB_MESSAGE_MAX);
    rc = running_load(t, &op->job_id, &op->token, &row);
    if (rc != ERR_OK)
        return rc;
    row.job.progress = op->percent;
    row.job.progress_message = op->message;
    row.job.progress_at = t->now;
    row.job.version++;
    return row.was == JOB_PENDING ? row_save(t, &row) : row_save_running(t, &row);
}
