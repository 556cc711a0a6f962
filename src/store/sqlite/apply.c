/* A batch: one transaction. Ops look before they write, so nearly every refusal leaves nothing behind, and the first try does
 * without savepoints: one an op has SQLite copy each page that the op changes. When an op fails after it wrote, the transaction is rolled
 * back, and the batch tried again with a savepoint an op. An op must therefore bear being applied twice. */
#include "store/sqlite/inserts.h"
#include "base/bug.h"
#include "base/fault.h"

static int (*const kinds[OP_KIND_COUNT])(struct tx *t) = {
    [OP_SUBMIT] = op_submit,
    [OP_CLAIM] = op_claim,
    [OP_HEARTBEAT] = op_heartbeat,
    [OP_PROGRESS] = op_progress,
    [OP_LOG] = op_log,
    [OP_LOG_PACKED] = op_log_packed,
    [OP_OUTPUT] = op_output,
    [OP_CHECKPOINT] = op_checkpoint,
    [OP_COMPLETE] = op_complete,
    [OP_FAIL] = op_fail,
    [OP_CANCEL] = op_cancel,
    [OP_RETRY] = op_retry,
    [OP_DISCARD] = op_discard,
    [OP_BLOB_ADD] = op_blob_add,
    [OP_UPLOAD_ADD] = op_upload_add,
    [OP_UPLOAD_TOUCH] = op_upload_touch,
    [OP_UPLOAD_END] = op_upload_end,
    [OP_SWEEP_LEASES] = op_sweep_leases,
    [OP_SWEEP_DUE] = op_sweep_due,
    [OP_SWEEP_BLOBS] = op_sweep_blobs,
    [OP_SWEEP_UPLOADS] = op_sweep_uploads,
    [OP_SWEEP_DEDUP] = op_sweep_dedup,
    [OP_SWEEP_RETENTION] = op_sweep_retention,
    [OP_SWEEP_LOGS] = op_sweep_logs,
    [OP_SWEEP_LANES] = op_sweep_lanes,
    [OP_GRACE] = op_grace,
};

void memory_forget(struct store *s)
{
    memset(s->marks, 0, sizeof(s->marks));
    s->id_skew_us = 0;
    s->lanes_era++;
}

static bool in_transaction(struct store *s)
{
    return sqlite3_get_autocommit(s->w.db) == 0;
}

static void roll_back(struct store *s)
{
    if (in_transaction(s))
        sqlite3_exec(s->w.db, "ROLLBACK", NULL, NULL, NULL);
    counts_settle(s, false);
    keys_settle(s, false);
    inserts_undo(s, (struct inserts_mark){0});
    memory_forget(s);
    s->batch_blobs = s->batch_bytes = 0;
}

enum applied {
    APPLIED, /* or refused, with nothing changed */
    SPOILT,  /* it failed after it had changed rows */
    GONE     /* SQLite threw the transaction away */
};

/* Where the batch stands before an op. */
struct mark_of_op {
    int64_t rows;
    size_t counted, keyed;
    struct inserts_mark waiting;
};

/** Within a savepoint the op's own rows are written at once. */
static int run(struct tx *t, bool savepoint)
{
    int rc = FAULT("sqlite.op") ? err_set(t->err, ERR_INTERNAL, 0, "fault point") : kinds[t->op->kind](t);

    if (rc == ERR_OK && savepoint)
        rc = inserts_flush(t->s, t->err);
    if (rc == ERR_OK)
        changes_finish(t->op);
    else
        t->op->n_changes = t->op->n_ended = 0;
    return rc;
}

/** What an op did to memory and rows is taken back, if that can be. */
static enum applied undo(struct store *s, bool savepoint, const struct mark_of_op *m)
{
    /* or it was the one to write those that waited, and could not */
    bool wrote = sqlite3_total_changes64(s->w.db) != m->rows || inserts_flushed(s, m->waiting);

    counts_undo(s, m->counted);
    keys_undo(s, m->keyed);
    inserts_undo(s, m->waiting);
    if (!in_transaction(s))
        return GONE;
    if (!wrote)
        return APPLIED;
    if (!savepoint)
        return SPOILT;
    q_run(&s->w, NULL, NULL, "ROLLBACK TO op", "");
    memory_forget(s);
    return APPLIED;
}

/** Sets op->err. */
static enum applied apply_one(struct store *s, struct op *op, usec now, bool savepoint)
{
    struct tx t = {.s = s, .c = &s->w, .op = op, .now = now, .err = &op->err, .scratch = s->scratch};
    enum applied how = APPLIED;

    err_clear(&op->err);
    op->n_changes = op->n_ended = 0;
    op->log_to_pack = false;
    if (!op->project)
        op->project = "default";
    if ((unsigned)op->kind >= OP_KIND_COUNT || (!op->arena && op->kind != OP_GRACE)) {
        err_set(&op->err, ERR_INTERNAL, 0, "an op of kind %d without what it needs", (int)op->kind);
        return APPLIED;
    }
    int rc = op->kind == OP_SUBMIT ? ERR_OK : inserts_flush(s, &op->err); /* other kinds look at those rows */
    if (rc != ERR_OK)                                                     /* and they are others' */
        return in_transaction(s) ? SPOILT : GONE;
    const struct mark_of_op mark = {sqlite3_total_changes64(s->w.db), s->n_changes, keys_mark(s), inserts_mark(s)};
    if (savepoint)
        rc = q_run(&s->w, NULL, &op->err, "SAVEPOINT op", "");
    if (rc == ERR_OK)
        rc = run(&t, savepoint);
    op->err.code = (enum err_code)rc;
    if (rc != ERR_OK)
        how = undo(s, savepoint, &mark);
    if (savepoint && in_transaction(s))
        q_run(&s->w, NULL, NULL, "RELEASE op", "");
    arena_reset(s->scratch);
    if (rc == ERR_OK) {
        s->batch_blobs += t.blobs;
        s->batch_bytes += t.blob_bytes;
    }
    return how;
}

static void all_fail(struct op **ops, size_t n, const struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        ops[i]->err = *err;
        ops[i]->n_changes = ops[i]->n_ended = 0;
    }
}

static void commit_failed(struct store *s, int rc, struct err *err)
{
    conn_err(&s->w, rc, err);
    /* In WAL mode the sync comes after the commit's last frame was written. If it fails the frames may or may not be found after
     * a crash, and trying again would report a sync that never happened. A failed write leaves no whole commit behind. */
    bool unknown =
        (rc & 0xff) == SQLITE_IOERR && rc != SQLITE_IOERR_WRITE && rc != SQLITE_IOERR_READ && rc != SQLITE_IOERR_NOMEM;

    if (unknown) {
        s->broken = true;
        err_set(err, ERR_UNKNOWN_OUTCOME, 0, "the commit's sync failed (sqlite %d); restart the server", rc);
    } else {
        err_wrap(err, (int)err->code, "commit");
    }
}

/** Passive, and often, so that none is long. When readers that overlap keep it from resetting the log, they wait once. */
static void checkpoint(struct store *s)
{
    if (s->wal_pages < s->wal_done)
        s->wal_done = 0; /* it began anew */
    bool gated = (int64_t)s->wal_pages * s->page_size > WAL_GATE_BYTES;

    if ((int64_t)(s->wal_pages - s->wal_done) * s->page_size < CHECKPOINT_BYTES)
        return;
    pthread_mutex_lock(&s->mu);
    if (gated) {
        s->gate = true;
        while (s->n_busy > 0) /* bounded: they have deadlines */
            pthread_cond_wait(&s->cond, &s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    /* Its failure loses nothing: the log stays, and the next commit tries again. */
    sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (gated) {
        pthread_mutex_lock(&s->mu);
        s->gate = false;
        pthread_cond_broadcast(&s->cond);
        pthread_mutex_unlock(&s->mu);
    }
    s->wal_done = s->wal_pages;
}

static int batch_begin(struct store *s, usec now, struct err *err)
{
    char text[32];

    if (s->broken)
        return err_set(err, ERR_UNAVAILABLE, 0, "a sync of the database failed; restart the server");
    int rc = q_run(&s->w, NULL, err, "BEGIN IMMEDIATE", "");
    if (rc != ERR_OK)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)now);
    return meta_put(&s->w, "time_us", text, err);
}

static int batch_commit(struct store *s, struct err *err)
{
    AUTO_QUERY sqlite3_stmt *st = NULL;
    int rc = totals_save(s, err);

    if (rc == ERR_OK)
        rc = counts_save(s, err);
    if (rc == ERR_OK)
        rc = keys_save(s, err);
    if (rc == ERR_OK)
        rc = q_open(&s->w, &st, err, "COMMIT", "");
    if (rc != ERR_OK)
        return rc;
    int sql = FAULT("sqlite.commit") ? SQLITE_FULL : FAULT("sqlite.sync") ? SQLITE_IOERR_FSYNC : sqlite3_step(st);
    if (sql == SQLITE_DONE || BUG("ack-failed-commit"))
        return ERR_OK;
    q_close(st);
    commit_failed(s, sql, err);
    return (int)err->code;
}

/** One try. *ret_spoilt: an op failed after it wrote, and nothing was committed. */
static int batch_try(struct store *s, struct op **ops, size_t n, usec now, bool savepoints, bool *ret_spoilt,
                     struct err *err)
{
    int rc = batch_begin(s, now, err);

    *ret_spoilt = false;
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        switch (apply_one(s, ops[i], now, savepoints)) {
        case APPLIED:
            break;
        case SPOILT:
            *ret_spoilt = true;
            /* fallthrough */
        case GONE:
            *err = ops[i]->err;
            rc = (int)err->code;
            break;
        }
    if (rc == ERR_OK && (rc = inserts_flush(s, err)) != ERR_OK)
        *ret_spoilt = in_transaction(s);
    if (rc == ERR_OK)
        rc = changes_age(s, ops, n, err);
    if (rc == ERR_OK)
        rc = batch_commit(s, err);
    if (rc != ERR_OK)
        roll_back(s);
    return rc;
}

void sqlite_apply(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    struct err err = {0};
    usec now = store_now(s);
    bool spoilt;
    int rc = batch_try(s, ops, n, now, false, &spoilt, &err);

    if (spoilt) {
        err_clear(&err);
        rc = batch_try(s, ops, n, now, true, &spoilt, &err);
    }
    if (rc != ERR_OK) {
        all_fail(ops, n, &err);
    } else {
        counts_settle(s, true);
        keys_settle(s, true);
        s->blobs += s->batch_blobs;
        s->blob_bytes += s->batch_bytes;
        s->batch_blobs = s->batch_bytes = 0;
        checkpoint(s);
    }
    decided(arg);
}
