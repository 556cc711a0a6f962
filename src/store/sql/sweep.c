/* What time alone changes, in every project. Each pass touches at most `limit` rows, and says when to come again. */
#include "base/bug.h"
#include "store/sql/keys.h"

static int64_t begin(struct op_sweep *op)
{
    op->touched = op->n_removed = 0;
    op->removed = NULL;
    op->more = false;
    op->next_at = USEC_NEVER;
    return op->limit == 0 || op->limit > OP_CHANGES_MAX ? OP_CHANGES_MAX : (int64_t)op->limit;
}

/** Ids first, rows later: no statement stands open over its own table while it changes. */
static int ids(struct tx *t, struct uuid ret[OP_CHANGES_MAX], size_t *ret_n, const char *sql, int64_t limit)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err, sql, "ii", t->now, limit);

    *ret_n = 0;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more && *ret_n < OP_CHANGES_MAX)
        ret[(*ret_n)++] = col_uuid(st, 0);
    return rc;
}

static int load(struct tx *t, const struct uuid *id, struct row *row)
{
    return row_load(t->c, NULL, id, LOAD_LEAN, t->scratch, row, t->err);
}

/** What core wants to know of a lapsed lease: who else was lost about then, and how often this job was before. */
static int loss_look(struct tx *t, const struct job *job, struct loss *ret)
{
    _Static_assert(OUTCOME_LOST == 7, "as the statements and the index attempts_lost say");
    const usec window_us = loss_window_us(&t->s->policy), from = job->lease_until - window_us;
    int64_t others = 0, before = 0;
    int rc =
        q_int(t->c, 0, &others, t->err,
              "SELECT EXISTS (SELECT 1 FROM jobs WHERE status = 1 AND confirmed = 1 AND lease_until BETWEEN ?3 AND ?4"
              " AND owner_id <> ?1 AND job_id <> ?2)"
              " OR EXISTS (SELECT 1 FROM attempts WHERE outcome = 7 AND ended_at >= ?3 AND worker_id <> ?1"
              " AND job_id <> ?2)",
              "uuii", &job->owner_id, &job->job_id, from, job->lease_until + window_us);

    if (rc == ERR_OK)
        rc = q_int(t->c, 0, &before, t->err, "SELECT count(*) FROM attempts WHERE job_id = ?1 AND outcome = 7" LIVE,
                   "u", &job->job_id);
    *ret = (struct loss){.lease_until = job->lease_until,
                         .grace_until = t->s->grace_until,
                         .others = others != 0,
                         .before = (uint32_t)before};
    return rc;
}

static int expire_one(struct tx *t, const struct uuid *id)
{
    struct row row;
    struct loss loss;
    struct job_end end;
    int rc = load(t, id, &row);

    if (rc == ERR_OK)
        rc = loss_look(t, &row.job, &loss);
    if (rc != ERR_OK)
        return rc;
    uint32_t losses = row.job.losses;
    rc = job_expire(&row.job, &t->s->policy, loss_charged(&t->s->policy, &loss), t->now, &end, t->err);
    if (rc == ERR_OK)
        rc = ended_add(t, &row.job, end.outcome, -1);
    if (rc == ERR_OK)
        rc = attempt_end(t, id, row.job.attempt, end.outcome, end.words);
    if (rc == ERR_OK && row.job.losses != losses)
        rc = q_run(t->c, NULL, t->err, "UPDATE attempts SET charged = 1 WHERE job_id = ?1 AND attempt = ?2" LIVE, "ui",
                   id, (int64_t)row.job.attempt);
    if (rc == ERR_OK && BUG("lose-checkpoint"))
        rc = checkpoint_release(t, id);
    if (rc == ERR_OK && row.job.status != JOB_PENDING) /* nobody can complete it any more */
        rc = outputs_release(t, id);
    return rc == ERR_OK ? row_save(t, &row) : rc;
}

int op_sweep_leases(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct uuid id[OP_CHANGES_MAX];
    size_t n;
    int64_t limit = begin(op);

    if (op->as_of > 0) /* the op may have waited behind a slow disk, and renewals with it */
        t->now = MIN(t->now, op->as_of);
    if (BUG("lease-by-wall-clock"))
        t->now = t->s->clock.wall_us(t->s->clock.self);
    if (BUG("expire-early"))
        t->now += t->s->policy.lease_us / 4;
    if (t->now < t->s->grace_until) {
        op->next_at = t->s->grace_until;
        return ERR_OK;
    }
    int rc = ids(
        t, id, &n,
        "SELECT job_id FROM jobs WHERE status = 1 AND lease_until <= ?1 ORDER BY lease_until LIMIT ?2" SQL_LOCK_FREE,
        limit);
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        rc = expire_one(t, &id[i]);
        op->touched += rc == ERR_OK;
    }
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &op->next_at, t->err, "SELECT min(lease_until) FROM jobs WHERE status = 1", "");
    op->more = op->next_at <= t->now;
    return rc;
}

static int miss_one(struct tx *t, const struct uuid *id)
{
    struct row row;
    struct job_end end;
    int rc = load(t, id, &row);

    if (rc == ERR_OK)
        rc = job_miss_deadline(&row.job, t->now, &end, t->err);
    if (rc == ERR_OK)
        rc = ended_add(t, &row.job, OUTCOME_EXPIRED, -1);
    if (rc == ERR_OK)
        rc = outputs_release(t, id);
    return rc == ERR_OK ? row_save(t, &row) : rc;
}

static int ready_one(struct tx *t, const struct uuid *id)
{
    struct row row;
    int rc = load(t, id, &row);

    return rc == ERR_OK ? row_save(t, &row) : rc; /* saving sees that it is due */
}

int op_sweep_due(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct uuid id[OP_CHANGES_MAX];
    int64_t limit = begin(op), deadline;
    size_t n;
    int rc = ids(t, id, &n,
                 "SELECT job_id FROM jobs WHERE status = 0 AND start_deadline_at > 0 AND start_deadline_at <= ?1"
                 " ORDER BY start_deadline_at LIMIT ?2" SQL_LOCK_FREE,
                 limit);

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = miss_one(t, &id[i]);
    op->touched = n;
    if (rc == ERR_OK)
        rc = ids(t, id, &n,
                 "SELECT job_id FROM jobs WHERE status = 0 AND ready_seq IS NULL AND waiting_on = 0 AND run_at <= ?1"
                 " ORDER BY run_at LIMIT ?2" SQL_LOCK_FREE,
                 limit - (int64_t)op->touched);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = ready_one(t, &id[i]);
    op->touched += n;
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &op->next_at, t->err,
                   "SELECT min(run_at) FROM jobs WHERE status = 0 AND ready_seq IS NULL AND waiting_on = 0", "");
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &deadline, t->err,
                   "SELECT min(start_deadline_at) FROM jobs WHERE status = 0 AND start_deadline_at > 0", "");
    if (rc == ERR_OK)
        op->next_at = MIN(op->next_at, deadline);
    op->more = op->next_at <= t->now;
    return rc;
}

int op_sweep_blobs(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct uuid id[OP_CHANGES_MAX];
    int64_t limit = begin(op);
    size_t n;
    int rc =
        ids(t, id, &n,
            "SELECT blob_id FROM blobs WHERE refs = 0 AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2" SQL_LOCK_FREE,
            limit);

    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        int64_t size;
        rc = q_int(t->c, 0, &size, t->err, "DELETE FROM blobs WHERE blob_id = ?1 AND refs = 0 RETURNING size", "u",
                   &id[i]);
        t->blobs--;
        t->blob_bytes -= size;
    }
    if (rc == ERR_OK && n > 0 && !(op->removed = arena_memdup(t->op->arena, id, n * sizeof(id[0]))))
        rc = err_set(t->err, ERR_NO_MEMORY, 0, "blobs");
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &op->next_at, t->err, "SELECT min(expires_at) FROM blobs WHERE refs = 0", "");
    op->touched = n;
    op->n_removed = rc == ERR_OK ? n : 0;
    op->more = op->next_at <= t->now;
    return rc;
}

int op_sweep_uploads(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct uuid id[OP_CHANGES_MAX];
    int64_t limit = begin(op);
    size_t n;
    int rc =
        ids(t, id, &n,
            "SELECT upload_id FROM uploads WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2" SQL_LOCK_FREE, limit);

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = q_run(t->c, NULL, t->err, "DELETE FROM uploads WHERE upload_id = ?1", "u", &id[i]);
    if (rc == ERR_OK && n > 0 && !(op->removed = arena_memdup(t->op->arena, id, n * sizeof(id[0]))))
        rc = err_set(t->err, ERR_NO_MEMORY, 0, "uploads");
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &op->next_at, t->err, "SELECT min(expires_at) FROM uploads", "");
    op->touched = n;
    op->n_removed = rc == ERR_OK ? n : 0;
    op->more = op->next_at <= t->now;
    return rc;
}

int op_sweep_dedup(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    int64_t limit = begin(op);
    int rc = keys_expire(t, limit, &op->touched, &op->next_at);

    op->more = rc == ERR_OK && op->next_at <= t->now;
    return rc;
}

/* What one job drags along (log, outputs, attempts) may be thousands of rows: a pass counts rows, not jobs, and ends between two jobs
 * or in the middle of one's log. Other ops come first again before the next pass. */
int rows_left(struct tx *t, int64_t began, int64_t *ret)
{
    int64_t written = 0;
    int rc = q_written(t->c, &written, t->err);

    *ret = RETENTION_ROWS - (written - began);
    return rc;
}

int retire_one(struct tx *t, const struct uuid *id, int64_t rows, bool *ret_whole)
{
    struct row row;
    int64_t chunks;
    int rc = load(t, id, &row);

    *ret_whole = true;
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && (row.was == JOB_PENDING || row.was == JOB_RUNNING))) {
        err_clear(t->err); /* by another server, since it was looked for */
        return ERR_OK;
    }
    if (rc == ERR_OK)
        rc = q_run(t->c, &chunks, t->err, t->s->sql->chunks_some, "ui", id, rows);
    if (rc != ERR_OK)
        return rc;
    *ret_whole = chunks < rows;
    return *ret_whole ? row_remove(t, &row) : ERR_OK;
}

#define WORKER_KEEP_US (INT64_C(24) * 3600 * USEC_PER_SEC) /* at least, however short the retention */

/** Workers that nobody heard of for as long: in containers each start is a new one. Attempts keep their names. */
static int workers_forget(struct tx *t, usec before, int64_t limit, size_t *ret_n)
{
    int64_t n = 0;
    int rc =
        q_run(t->c, &n, t->err,
              "DELETE FROM workers WHERE worker_id IN (SELECT worker_id FROM workers WHERE last_seen <= ?1 LIMIT ?2)",
              "ii", before, limit);

    *ret_n = (size_t)n;
    return rc == ERR_OK && n > 0 ? drains_forget(t) : rc;
}

/** Finished jobs whose retention is over. Dead letters are not in history: they stay until somebody decides. */
int op_sweep_retention(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct uuid id[OP_CHANGES_MAX];
    int64_t limit = begin(op), began = 0, rows = RETENTION_ROWS;
    usec keep = t->s->policy.retention_us;
    size_t n = 0;

    if (keep <= 0)
        return ERR_OK;
    usec over = keep / (BUG("retire-early") ? 2 : 1);
    int rc = q_written(t->c, &began, t->err);
    if (rc == ERR_OK)
        rc = t->s->sql->history_head(t, limit, t->now - over, id, &n, &op->next_at);
    if (rc == ERR_OK && op->next_at != USEC_NEVER)
        op->next_at += over;
    bool whole = true;
    for (size_t i = 0; rc == ERR_OK && i < n && rows > 0; i++) {
        rc = retire_one(t, &id[i], rows, &whole);
        op->touched++;
        if (rc == ERR_OK)
            rc = rows_left(t, began, &rows);
    }
    op->more = op->touched < n || !whole || op->next_at <= t->now;
    if (rc == ERR_OK && !op->more) {
        rc = workers_forget(t, t->now - MAX(keep, WORKER_KEEP_US), limit, &n);
        op->touched += n;
        op->more = n == (size_t)limit;
    }
    return rc;
}

#define LANES_WALK 1000 /* looked at in a pass */

/** Those where nobody stands, above `after` up to `until`. */
static int lanes_empty(struct tx *t, int64_t after, int64_t until, int64_t limit, struct op_sweep *op)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT lane_id FROM lanes l WHERE lane_id > ?1 AND lane_id <= ?2 AND NOT EXISTS"
                    " (SELECT 1 FROM jobs j WHERE j.lane_id = l.lane_id AND j.ready_seq IS NOT NULL)"
                    " ORDER BY lane_id LIMIT ?3",
                    "iii", after, until, limit);

    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more &&
           op->touched < ARRAY_LEN(op->lanes))
        op->lanes[op->touched++] = col_int(st, 0);
    return rc;
}

/** Clients make up task types: a lane where nobody stands goes, once there are more than LANES_KEPT. A pass walks on from where the
 * last one stopped, so that it is short among a million lanes full of jobs, too. */
int op_sweep_lanes(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    int64_t limit = begin(op), many = 0, until = 0, after = t->s->lanes_seen;
    int rc = t->s->sql->house ? t->s->sql->house(t) : ERR_OK;

    if (rc == ERR_OK)
        rc = q_int(t->c, 0, &many, t->err, "SELECT 1 FROM lanes LIMIT 1 OFFSET ?1", "i", (int64_t)LANES_KEPT);
    if (rc != ERR_OK || !many)
        return rc;
    rc = q_int(t->c, 0, &until, t->err,
               "SELECT lane_id FROM lanes WHERE lane_id > ?1 ORDER BY lane_id LIMIT 1 OFFSET ?2", "ii", after,
               (int64_t)LANES_WALK);
    if (rc == ERR_OK)
        rc = lanes_empty(t, after, until ? until : INT64_MAX, limit, op);
    for (size_t i = 0; rc == ERR_OK && i < op->touched; i++)
        rc = q_run(t->c, NULL, t->err, "DELETE FROM lanes WHERE lane_id = ?1", "i", op->lanes[i]);
    t->s->lanes_era++;
    if (rc == ERR_OK)
        t->s->lanes_seen = op->touched == (size_t)limit ? op->lanes[op->touched - 1] : until;
    op->more = t->s->lanes_seen != 0;
    return rc;
}

int op_grace(struct tx *t)
{
    char text[32];
    usec until = MAX(t->op->u.grace.until, t->s->grace_until);

    snprintf(text, sizeof(text), "%lld", (long long)until);
    int rc = meta_put(t->c, "grace_until", text, t->err);
    if (rc == ERR_OK)
        t->s->grace_until = until; /* should the batch roll back, a lease only lives longer than it had to */
    return rc;
}
