/* What submissions insert, and their keys: sent with the batch, nothing is waited for but whether a key is known. */
#include "store/postgres/driver.h"

int pg_insert_job(struct tx *t, const struct row *row)
{
    const struct job *j = &row->job;

    return q_run(
        t->c, NULL, t->err,
        "INSERT INTO jobs (job_id, project, queue, task_type, priority, lane_id, payload, payload_ref, labels,"
        " dedup_key, max_attempts, timeout_us, no_progress_us, created_at, start_deadline_at, status, run_at,"
        " waiting_on, ready_seq, attempt, retries, interruptions, losses, token_attempt, lease_until, confirmed,"
        " cancel_requested_at, started_at, finished_at, last_outcome, progress, progress_at, version,"
        " traceparent, tracestate) VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,"
        " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 1, ?20, ?21)",
        "utttiixtxtiiiiiiiiztt", &j->job_id, j->project, j->queue, j->task_type, (int64_t)j->priority, row->lane_id,
        j->payload, j->payload_ref, j->labels, j->dedup_key, (int64_t)j->max_attempts, j->timeout_us, j->no_progress_us,
        j->created_at, j->start_deadline_at, (int64_t)j->status, j->run_at, (int64_t)j->waiting_on, row->ready_seq,
        j->traceparent, j->tracestate);
}

int pg_insert_label(struct tx *t, const struct job *job, const char *key, const char *value)
{
    return q_run(t->c, NULL, t->err, "INSERT INTO labels (project, key, value, job_id) VALUES (?1, ?2, ?3, ?4)", "tttu",
                 job->project, key, value, &job->job_id);
}

int pg_remove_labels(struct tx *t, const struct job *job)
{
    if (strcmp(job->labels, "{}") == 0)
        return ERR_OK;
    return q_run(t->c, NULL, t->err,
                 "DELETE FROM labels WHERE project = ?1 AND job_id = ?2"
                 " AND key IN (SELECT json_object_keys(CAST(?3 AS json)))",
                 "tut", job->project, &job->job_id, job->labels);
}

/** One whose window is over gives way. */
int pg_key_find(struct tx *t, const char *key, struct known_key *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool its = false;

    *ret = (struct known_key){0};
    int rc = q_open(t->c, &st, t->err,
                    "SELECT job_id, request_hash, content_hash, expires_at FROM dedup WHERE project = ?1 AND key = ?2",
                    "tt", t->op->project, key);
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &its, t->err);
    if (rc != ERR_OK || !its)
        return rc;
    if (col_int(st, 3) <= t->now)
        return q_run(t->c, NULL, t->err, "DELETE FROM dedup WHERE project = ?1 AND key = ?2 AND expires_at <= ?3",
                     "tti", t->op->project, key, t->now); /* not another server's new one */
    ret->found = true;
    ret->job_id = col_uuid(st, 0);
    col_hash(st, 1, ret->request_hash);
    col_hash(st, 2, ret->content_hash);
    return ERR_OK;
}

int pg_key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at)
{
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO dedup (project, key, job_id, request_hash, content_hash, expires_at)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                 "ttubbi", t->op->project, key, &what->job_id, (const void *)what->request_hash,
                 sizeof(what->request_hash), (const void *)what->content_hash, sizeof(what->content_hash), expires_at);
}

int pg_key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id)
{
    return q_run(t->c, NULL, t->err, "DELETE FROM dedup WHERE project = ?1 AND key = ?2 AND job_id = ?3", "ttu",
                 project, key, job_id);
}

int pg_keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next)
{
    int64_t n = 0;
    int rc = q_run(t->c, &n, t->err,
                   "DELETE FROM dedup WHERE ctid = ANY (ARRAY (SELECT ctid FROM dedup WHERE expires_at <= ?1"
                   " ORDER BY expires_at LIMIT ?2))",
                   "ii", t->now, limit);

    *ret_n = (size_t)n;
    return rc == ERR_OK ? q_int(t->c, USEC_NEVER, ret_next, t->err, "SELECT min(expires_at) FROM dedup", "") : rc;
}
