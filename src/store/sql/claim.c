/* A worker's poll: what this poll id was given before, else the heads of the lanes it may take from. */
#include "store/sql/internal.h"
#include "base/json.h"

/** Locks the worker's row, too: what its poll was given before is looked for once no other server is at the same poll. */
static int worker_seen(struct tx *t, const struct op_claim *op)
{
    return q_run(
        t->c, NULL, t->err,
        "INSERT INTO workers (worker_id, name, host, version, isolation, handlers, slots_total, slots_busy, first_seen,"
        " last_seen, load) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10) ON CONFLICT (worker_id) DO UPDATE SET"
        " name = coalesce(excluded.name, workers.name), host = coalesce(excluded.host, workers.host),"
        " version = coalesce(excluded.version, workers.version),"
        " isolation = coalesce(excluded.isolation, workers.isolation),"
        " handlers = coalesce(excluded.handlers, workers.handlers), slots_total = excluded.slots_total,"
        " slots_busy = excluded.slots_busy, last_seen = excluded.last_seen, load = excluded.load /*first*/",
        "utttttiiit", &op->worker_id, op->worker_name, op->worker_host, op->worker_version, op->isolation, op->handlers,
        (int64_t)op->slots_total, (int64_t)op->slots_busy, t->now, op->load);
}

/** What it was just given is busy, too: a worker without a free slot does not ask again, and would look idle until it does. */
static int worker_given(struct tx *t, const struct op_claim *op)
{
    return q_run(t->c, NULL, t->err,
                 "UPDATE workers SET slots_busy = " SQL_LEAST("slots_total", "slots_busy + ?2") " WHERE worker_id = ?1",
                 "ui", &op->worker_id, (int64_t)op->n_claimed);
}

static int given_before(struct tx *t, struct op_claim *op, size_t max)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err, t->s->sql->given_before, "utt", &op->worker_id, op->poll_id, t->op->project);

    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more && op->n_claimed < max) {
        struct uuid id = col_uuid(st, 0);
        struct row row;

        rc = row_load(t->c, t->op->project, &id, LOAD_FULL, t->op->arena, &row, t->err);
        if (rc == ERR_OK)
            op->claimed[op->n_claimed++].job = row.job;
    }
    return rc;
}

/** Moves the mark of a lane: everything at or below was taken. */
static void mark_set(struct tx *t, int64_t lane_id, int64_t seq)
{
    int64_t before = lane_mark(t->s, lane_id);

    if (t->guess)
        return;
    if (t->s->marks_below > 0)
        seq = MIN(seq, t->s->marks_below - 1);
    t->s->marks[(uint64_t)lane_id % MARKS] = (struct mark){lane_id, MAX(before, seq)};
}

static int attempt_insert(struct tx *t, const struct op_claim *op, const struct job *job, const char *handler_version,
                          double redone)
{
    return q_run(
        t->c, NULL, t->err,
        "INSERT INTO attempts (job_id, attempt, project, token, poll_id, worker_id, worker_name, handler_version, "
        "started_at,"
        " ended_at, outcome, exit_code, signal, cpu_us, peak_memory_bytes, bytes_in, bytes_out, log_bytes, decided,"
        " answer_status, answer_run_at, redone)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, (SELECT name FROM workers WHERE worker_id = ?6)), ?8, ?9, 0, 0, "
        "0, 0,"
        " 0, 0, 0, 0, 0, 0, 0, 0, ?10)",
        "uitbtuttid", &job->job_id, (int64_t)job->attempt, job->project, (const void *)job->token.secret,
        sizeof(job->token.secret), op->poll_id, &op->worker_id, op->worker_name, handler_version, t->now, redone);
}

struct taking {
    json_t *handlers; /* or NULL */
    size_t max, used; /* claims that fit, tokens used */
};

static int take_one(struct tx *t, struct op_claim *op, struct taking *k, struct row *row)
{
    struct job *job = &row->job;
    const double reached = job->progress; /* by the attempt before */
    double redone = -1;
    /* Another server may have made it ready by a clock that is a moment ahead of this one's. */
    const usec now = MAX(t->now, job->run_at);
    int rc = job_claim(job, &t->s->policy, op->worker_id, &op->tokens[k->used], now, t->err);

    if (rc == ERR_ILLEGAL_STATE) { /* overdue: its start deadline passed while it stood there */
        err_clear(t->err);
        struct job_end end;
        rc = job_miss_deadline(job, now, &end, t->err);
        if (rc == ERR_OK)
            rc = ended_add(t, job, OUTCOME_EXPIRED, -1);
        return rc == ERR_OK ? row_save(t, row) : rc;
    }
    if (rc != ERR_OK)
        return rc;
    k->used++;
    if (job->attempt > 1)
        rc = outputs_release(t, &job->job_id); /* what a lapsed attempt had staged */
    if (rc == ERR_OK && job->attempt > 1)
        rc = log_close(t, &job->job_id, job->attempt - 1);
    if (rc == ERR_OK && job->attempt > 1)
        rc = checkpoint_redone(t, &job->job_id, reached, &redone);
    if (rc == ERR_OK)
        rc = row_save(t, row);
    if (rc == ERR_OK)
        rc = attempt_insert(
            t, op, job, k->handlers ? json_string_value(json_object_get(k->handlers, job->task_type)) : NULL, redone);
    if (rc == ERR_OK)
        op->claimed[op->n_claimed++].job = *job;
    return rc;
}

const char claim_heads_sql[] =
    "SELECT " ROW_COLUMNS("payload") " FROM jobs WHERE lane_id = ?1 AND ready_seq > ?2 AND project = ?3"
                                     " ORDER BY ready_seq LIMIT ?4" SQL_LOCK_FREE;

int claim_heads(struct tx *t, int64_t lane_id, int64_t above, size_t max, struct row *ret, size_t *ret_n)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err, claim_heads_sql, "iiti", lane_id, above, t->op->project, (int64_t)max);

    *ret_n = 0;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more && *ret_n < max)
        rc = row_read(st, t->op->arena, &ret[(*ret_n)++], t->err);
    return rc;
}

static int take_heads(struct tx *t, struct op_claim *op, struct taking *k, int64_t lane_id, struct row *rows, size_t n)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        int64_t seq = rows[i].ready_seq;

        rc = row_inputs(t->c, t->op->arena, &rows[i].job, t->err);
        if (rc == ERR_OK)
            rc = take_one(t, op, k, &rows[i]);
        if (rc == ERR_OK)
            mark_set(t, lane_id, seq);
    }
    return rc;
}

static int take_lane(struct tx *t, struct op_claim *op, struct taking *k, int64_t lane_id, unsigned count,
                     bool from_start)
{
    int64_t above = from_start ? 0 : lane_mark(t->s, lane_id);
    size_t until = MIN(op->n_claimed + count, k->max), n = 1;
    int rc = ERR_OK;

    if (lane_id <= 0 || !changes_room(t, lane_id))
        return ERR_OK;
    /* Again when some of them were overdue. */
    while (rc == ERR_OK && n > 0 && op->n_claimed < until && k->used < op->n_tokens) {
        size_t max = MIN(until - op->n_claimed, op->n_tokens - k->used);
        struct row *rows = arena_array(t->scratch, max, sizeof(*rows));

        if (!rows)
            return err_set(t->err, ERR_NO_MEMORY, 0, "claims");
        rc = t->s->sql->heads(t, lane_id, above, max, rows, &n);
        if (rc == ERR_OK && n > 0) {
            above = rows[n - 1].ready_seq;
            rc = take_heads(t, op, k, lane_id, rows, n);
        }
    }
    return rc;
}

static int claims_keep(struct tx *t, struct op_claim *op, int rc)
{
    const struct claimed *found = op->claimed;

    op->claimed = NULL;
    if (rc == ERR_OK && op->n_claimed > 0 &&
        !(op->claimed = arena_memdup(t->op->arena, found, op->n_claimed * sizeof(*found))))
        rc = err_set(t->err, ERR_NO_MEMORY, 0, "claims");
    if (rc != ERR_OK)
        op->n_claimed = 0;
    return rc;
}

/** What another server made ready may stand below a mark: it committed late. So none is believed for long. */
static void marks_age(struct tx *t)
{
    if (!t->s->sql->shared || t->now < t->s->marks_until)
        return;
    memset(t->s->marks, 0, sizeof(t->s->marks));
    t->s->marks_until = t->now + MARKS_US;
}

int op_claim(struct tx *t)
{
    struct op_claim *op = &t->op->u.claim;
    struct claimed found[OP_CLAIMS_MAX];
    struct taking k = {.max = ARRAY_LEN(found)};
    int rc;

    op->n_claimed = 0;
    op->again = op->drained = false;
    if (!op->poll_id || !*op->poll_id || strlen(op->poll_id) > 64)
        return err_field(t->err, "poll_id", "must be 1 to 64 bytes");
    marks_age(t);
    op->claimed = found; /* a poll may ask often and get nothing: its arena only holds what was given */
    rc = worker_seen(t, op);
    if (rc == ERR_OK)
        rc = given_before(t, op, k.max);
    op->again = op->n_claimed > 0;
    if (rc == ERR_OK && !op->again)
        rc = worker_drained(t, &op->worker_id, &op->drained);
    if (rc != ERR_OK || op->again || op->drained)
        return claims_keep(t, op, rc);
    if (op->handlers)
        rc = json_parse(op->handlers, strlen(op->handlers), &k.handlers, t->err);
    if (rc == ERR_NO_MEMORY)
        return rc;
    if (rc != ERR_OK) {
        err_clear(t->err);
        return err_field(t->err, "handlers", "must be a JSON object");
    }
    for (size_t i = 0; rc == ERR_OK && i < op->n_take && i < ARRAY_LEN(op->take); i++) {
        rc = queue_paused(t, op->take[i].queue, &op->take[i].paused);
        if (rc == ERR_OK && !op->take[i].paused)
            rc = take_lane(t, op, &k, op->take[i].lane_id, op->take[i].count, op->take[i].from_start);
    }
    json_decref(k.handlers);
    if (rc == ERR_OK && op->n_claimed > 0)
        rc = worker_given(t, op);
    return claims_keep(t, op, rc);
}
