/* How attempts and jobs end, and what a person may do to a job. */
#include "base/bug.h"
#include "store/sql/internal.h"
#include "base/text.h"

struct answer {
    bool found;
    enum job_status status;
    usec run_at;
};

/** What a token that was decided before was answered. */
static int answer_find(struct tx *t, const struct uuid *job_id, const struct token *token, struct answer *ret)
{
    AUTO_QUERY struct query *st = NULL;
    struct token stored = {.attempt = token->attempt};
    bool found;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT token, answer_status, answer_run_at FROM attempts"
                    " WHERE job_id = ?1 AND attempt = ?2 AND project = ?3 AND decided <> 0",
                    "uit", job_id, (int64_t)token->attempt, t->op->project);

    *ret = (struct answer){0};
    if (BUG("forget-answer"))
        return rc;
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc != ERR_OK || !found || !col_exact(st, 0, stored.secret, sizeof(stored.secret)))
        return rc;
    if (token_equal(&stored, token))
        *ret = (struct answer){true, (enum job_status)col_int(st, 1), col_int(st, 2)};
    return ERR_OK;
}

/** The attempt's report is accepted; no byte of log will follow it. Before the job's row is saved. */
static int attempt_decide(struct tx *t, struct row *row, const struct usage *u, const char *error)
{
    const struct job *job = &row->job;
    struct log_end end;
    int rc = log_end_look(t, &job->job_id, job->attempt, &end);

    if (rc == ERR_OK) /* before it goes where the job goes */
        rc = series_take(t, job, u->samples, u->n_samples);
    if (rc == ERR_OK)
        rc =
            q_run(t->c, NULL, t->err, t->s->sql->attempt_decide, "uiiiiiiiiixiii", &job->job_id, (int64_t)job->attempt,
                  t->now, (int64_t)job->last_outcome, (int64_t)u->exit_code, (int64_t)u->signal, u->cpu_us,
                  u->peak_memory_bytes, u->bytes_in, u->bytes_out, error, (int64_t)job->status, job->run_at, end.state);
    row->log_closed = true;
    return rc == ERR_OK ? log_end_done(t, &job->job_id, job->attempt, &end) : rc;
}

#define END_ERROR_MAX 256

/** No attempt is to fail for a word about it: what there is no memory for is left out. */
static void end_tell(struct tx *t, const struct job *job, enum outcome outcome, bool reported)
{
    struct op *op = t->op;

    if (!t->s->tell_ends || op->n_ends == OP_CHANGES_MAX)
        return;
    if (op->n_ends == 0 && !(op->ends = arena_array(op->arena, reported ? 1 : OP_CHANGES_MAX, sizeof(*op->ends))))
        return;
    struct attempt_end *end = &op->ends[op->n_ends];
    const char *error = reported && outcome != OUTCOME_SUCCESS ? job->error_log : NULL;
    *end = (struct attempt_end){.job_id = job->job_id,
                                .worker_id = job->owner_id,
                                .attempt = job->attempt,
                                .queue = arena_strdup(op->arena, job->queue),
                                .task_type = arena_strdup(op->arena, job->task_type),
                                .traceparent = arena_strdup(op->arena, job->traceparent),
                                .tracestate = arena_strdup(op->arena, job->tracestate),
                                .error = error ? arena_strndup(op->arena, error, strnlen(error, END_ERROR_MAX)) : NULL,
                                .began_at = outcome == OUTCOME_EXPIRED ? job->run_at : job->started_at,
                                .ended_at = t->now,
                                .outcome = outcome,
                                .status = job->status};
    op->n_ends += end->queue && end->task_type;
}

int ended_add(struct tx *t, const struct job *job, enum outcome outcome, usec ran_us)
{
    struct op *op = t->op;
    end_tell(t, job, outcome, ran_us >= 0);
    size_t i = ran_us < 0 ? 0 : op->n_ended; /* a time stands alone; those without are told together */

    if (op->n_ended == 0 && !(op->ended = arena_array(op->arena, ran_us < 0 ? OP_CHANGES_MAX : 1, sizeof(*op->ended))))
        return err_set(t->err, ERR_NO_MEMORY, 0, "ended attempts");
    while (i < op->n_ended &&
           (op->ended[i].outcome != outcome || op->ended[i].status != job->status ||
            strcmp(op->ended[i].queue, job->queue) != 0 || strcmp(op->ended[i].task_type, job->task_type) != 0))
        i++;
    if (i == OP_CHANGES_MAX) /* only a count is lost; a pass touches no more than that */
        return ERR_OK;
    if (i == op->n_ended) {
        op->ended[i] = (struct ended){.queue = arena_strdup(op->arena, job->queue),
                                      .task_type = arena_strdup(op->arena, job->task_type),
                                      .outcome = outcome,
                                      .ran_us = ran_us,
                                      .status = job->status,
                                      .took_us = job->status == JOB_SUCCESS ? t->now - job->created_at : -1};
        if (!op->ended[i].queue || !op->ended[i].task_type)
            return err_set(t->err, ERR_NO_MEMORY, 0, "ended attempts");
        op->n_ended++;
    }
    op->ended[i].n++;
    return ERR_OK;
}

int attempt_end(struct tx *t, const struct uuid *job_id, uint32_t attempt, enum outcome outcome, const char *error)
{
    return q_run(t->c, NULL, t->err,
                 "UPDATE attempts SET ended_at = ?3, outcome = ?4, error = ?5 WHERE job_id = ?1 AND attempt = ?2 AND "
                 "decided = 0" LIVE,
                 "uiiix", job_id, (int64_t)attempt, t->now, (int64_t)outcome, error);
}

/** The job of a report, and what its token was answered if it was decided before. A decided attempt's secret is gone from the job's
 * row (core): who holds the one that is there was not answered yet. */
static int report_load(struct tx *t, const struct uuid *job_id, const struct token *token, struct row *ret,
                       struct answer *ret_answer)
{
    *ret_answer = (struct answer){0};
    int rc = row_load(t->c, t->op->project, job_id, LOAD_LEAN, t->scratch, ret, t->err);
    if (rc != ERR_OK || token_equal(&ret->job.token, token))
        return rc;
    return answer_find(t, job_id, token, ret_answer);
}

int op_complete(struct tx *t)
{
    struct op_complete *op = &t->op->u.complete;
    struct answer answer;
    struct row row;
    int rc = report_load(t, &op->job_id, &op->token, &row, &answer);

    if (rc == ERR_OK && answer.found) {
        op->status = answer.status;
        return ERR_OK;
    }
    if (rc == ERR_OK)
        rc = job_complete(&row.job, &op->token, t->now, t->err);
    /* Named outputs must be there even when a cancel makes them unwanted: one rule, whatever came first. */
    if (rc == ERR_OK && !BUG("no-outputs"))
        rc = outputs_publish(t, &op->job_id, row.job.attempt, op->outputs, op->n_outputs);
    if (rc == ERR_OK && row.job.status != JOB_SUCCESS)
        rc = q_run(t->c, NULL, t->err, "UPDATE outputs SET published = 0 WHERE job_id = ?1", "u", &op->job_id);
    if (rc == ERR_OK)
        rc = outputs_release(t, &op->job_id);
    if (rc == ERR_OK)
        rc = attempt_decide(t, &row, &op->usage, NULL);
    if (rc == ERR_OK)
        rc = row_save(t, &row);
    if (rc == ERR_OK)
        rc = ended_add(t, &row.job, row.job.last_outcome, t->now - row.job.started_at);
    op->status = rc == ERR_OK ? row.job.status : JOB_PENDING;
    return rc;
}

int op_fail(struct tx *t)
{
    struct op_fail *op = &t->op->u.fail;
    struct job_failure failure = op->failure;
    struct answer answer;
    struct row row;
    int rc = report_load(t, &op->job_id, &op->token, &row, &answer);

    if (rc == ERR_OK && answer.found) {
        op->status = answer.status;
        op->run_at = answer.run_at;
        return ERR_OK;
    }
    failure.arena = t->scratch;
    if (rc == ERR_OK)
        rc = job_fail(&row.job, &t->s->policy, &op->token, &failure, t->now, t->err);
    if (rc == ERR_OK)
        rc = outputs_release(t, &op->job_id);
    if (rc == ERR_OK)
        rc = attempt_decide(t, &row, &op->usage, row.job.error_log);
    if (rc == ERR_OK)
        rc = row_save(t, &row);
    if (rc == ERR_OK)
        rc = ended_add(t, &row.job, row.job.last_outcome, t->now - row.job.started_at);
    if (rc == ERR_OK) {
        op->status = row.job.status;
        op->run_at = row.job.run_at;
    }
    return rc;
}

static int person_load(struct tx *t, struct row *ret)
{
    const struct op_job *op = &t->op->u.job;

    return row_load(t->c, t->op->project, &op->job_id, op->id_only ? LOAD_LEAN : LOAD_FULL,
                    op->id_only ? t->scratch : t->op->arena, ret, t->err);
}

static void person_answer(struct tx *t, const struct row *row)
{
    struct op_job *op = &t->op->u.job;

    op->job = op->id_only ? (struct job){.job_id = row->job.job_id, .status = row->job.status} : row->job;
}

int op_cancel(struct tx *t)
{
    struct op_job *op = &t->op->u.job;
    struct row row;
    int rc = person_load(t, &row);
    int64_t version = rc == ERR_OK ? row.job.version : 0;

    if (rc == ERR_OK)
        rc = job_cancel(&row.job, t->now, t->err);
    if (rc == ERR_OK && row.job.version != version) {
        if (job_finished(row.job.status))
            rc = outputs_release(t, &op->job_id);
        if (rc == ERR_OK)
            rc = row_save(t, &row);
    }
    if (rc == ERR_OK)
        person_answer(t, &row);
    return rc;
}

int op_retry(struct tx *t)
{
    struct row row;
    int rc = person_load(t, &row);

    if (rc == ERR_OK)
        rc = job_retry(&row.job, t->now, t->err);
    if (rc == ERR_OK)
        rc = row_save(t, &row);
    if (rc == ERR_OK)
        person_answer(t, &row);
    return rc;
}

int op_discard(struct tx *t)
{
    struct row row;
    int rc = person_load(t, &row);

    if (rc != ERR_OK)
        return rc;
    if (row.job.status == JOB_PENDING || row.job.status == JOB_RUNNING)
        return err_set(t->err, ERR_ILLEGAL_STATE, 0, "a job that is %s cannot be discarded: cancel it first",
                       job_status_name(row.job.status));
    person_answer(t, &row);
    return row_remove(t, &row);
}
