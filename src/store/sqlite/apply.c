/* A batch: one transaction. Ops look before they write, so nearly every refusal leaves nothing behind, and the first try does
 * without savepoints: one an op has SQLite copy each page that the op changes. When an op fails after it wrote, the transaction is rolled
 * back, and the batch tried again with a savepoint an op. An op must therefore bear being applied twice. */
#include "store/sqlite/inserts.h"
#include "base/bug.h"
#include "base/fault.h"

static bool in_transaction(struct sqlite_store *s)
{
    return sqlite3_get_autocommit(s->w.db) == 0;
}

static void roll_back(struct sqlite_store *s)
{
    if (in_transaction(s))
        sqlite3_exec(s->w.db, "ROLLBACK", NULL, NULL, NULL);
    counts_settle(&s->s, false);
    keys_settle(s, false);
    inserts_undo(s, (struct inserts_mark){0});
    memory_forget(&s->s);
    s->s.batch_blobs = s->s.batch_bytes = 0;
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
    int rc = op_run(t);

    if (rc == ERR_OK && savepoint && (rc = inserts_flush(sqlite_of(t->s), t->err)) != ERR_OK)
        t->op->n_changes = t->op->n_ended = t->op->n_ends = 0;
    return rc;
}

/** What an op did to memory and rows is taken back, if that can be. */
static enum applied undo(struct sqlite_store *s, bool savepoint, const struct mark_of_op *m)
{
    /* or it was the one to write those that waited, and could not */
    bool wrote = sqlite3_total_changes64(s->w.db) != m->rows || inserts_flushed(s, m->waiting);

    counts_undo(&s->s, m->counted);
    keys_undo(s, m->keyed);
    inserts_undo(s, m->waiting);
    if (!in_transaction(s))
        return GONE;
    if (!wrote)
        return APPLIED;
    if (!savepoint)
        return SPOILT;
    q_run(&s->w.conn, NULL, NULL, "ROLLBACK TO op", "");
    memory_forget(&s->s);
    return APPLIED;
}

/** Sets op->err. */
static enum applied apply_one(struct sqlite_store *s, struct op *op, usec now, bool savepoint)
{
    struct tx t = {.s = &s->s, .c = &s->w.conn, .op = op, .now = now, .err = &op->err, .scratch = s->s.scratch};
    enum applied how = APPLIED;

    if (!op_begin(op))
        return APPLIED;
    int rc = op->kind == OP_SUBMIT ? ERR_OK : inserts_flush(s, &op->err); /* other kinds look at those rows */
    if (rc != ERR_OK)                                                     /* and they are others' */
        return in_transaction(s) ? SPOILT : GONE;
    const struct mark_of_op mark = {sqlite3_total_changes64(s->w.db), s->s.n_changes, keys_mark(s), inserts_mark(s)};
    if (savepoint)
        rc = q_run(&s->w.conn, NULL, &op->err, "SAVEPOINT op", "");
    if (rc == ERR_OK)
        rc = run(&t, savepoint);
    op->err.code = (enum err_code)rc;
    if (rc != ERR_OK)
        how = undo(s, savepoint, &mark);
    if (savepoint && in_transaction(s))
        q_run(&s->w.conn, NULL, NULL, "RELEASE op", "");
    arena_reset(s->s.scratch);
    if (rc == ERR_OK) {
        s->s.batch_blobs += t.blobs;
        s->s.batch_bytes += t.blob_bytes;
    }
    return how;
}

static void commit_failed(struct sqlite_store *s, int rc, struct err *err)
{
    conn_err(&s->w, rc, err);
    /* In WAL mode the sync comes after the commit's last frame was written. If it fails the frames may or may not be found after
     * a crash, and trying again would report a sync that never happened. A failed write leaves no whole commit behind. */
    bool unknown =
        (rc & 0xff) == SQLITE_IOERR && rc != SQLITE_IOERR_WRITE && rc != SQLITE_IOERR_READ && rc != SQLITE_IOERR_NOMEM;

    if (unknown) {
        s->broken = true;
        durable_fail(&s->durable);
        err_set(err, ERR_UNKNOWN_OUTCOME, 0, "the commit's sync failed (sqlite %d); restart the server", rc);
    } else {
        err_wrap(err, (int)err->code, "commit");
    }
}

static bool checkpoint_due(struct sqlite_store *s)
{
    if (s->wal_pages < s->wal_done)
        s->wal_done = 0; /* it began anew */
    return !s->broken && (int64_t)(s->wal_pages - s->wal_done) * s->page_size >= CHECKPOINT_BYTES;
}

/** Passive, and often, so that none is long. When readers that overlap keep it from resetting the log, they wait once. */
static void checkpoint(struct sqlite_store *s)
{
    bool gated = (int64_t)s->wal_pages * s->page_size > WAL_GATE_BYTES;

    if (gated)
        read_pool_shut(&s->pool);
    /* Its failure loses nothing: the log stays, and the next commit tries again. */
    sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    durable_owe(&s->durable);
    if (gated)
        read_pool_open(&s->pool);
    s->wal_done = s->wal_pages;
}

static int batch_begin(struct sqlite_store *s, usec now, struct err *err)
{
    char text[32];

    if (s->broken)
        return err_set(err, ERR_UNAVAILABLE, 0, "a sync of the database failed; restart the server");
    int rc = q_run(&s->w.conn, NULL, err, "BEGIN IMMEDIATE", "");
    if (rc != ERR_OK)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)now);
    return meta_put(&s->w.conn, "time_us", text, err);
}

/** @return SQLITE_DONE, or what went wrong in SQLite's words */
static int commit_step(struct sqlite_store *s)
{
    AUTO_QUERY struct query *st = NULL;
    int rc = q_open(&s->w.conn, &st, NULL, "COMMIT", "");

    return rc == ERR_OK ? sqlite3_step(((struct sqlite_query *)st)->st) : SQLITE_NOMEM;
}

static int batch_commit(struct sqlite_store *s, struct err *err)
{
    int rc = totals_save(&s->s, err);

    if (rc == ERR_OK)
        rc = counts_save(&s->s, err);
    if (rc == ERR_OK)
        rc = keys_save(s, err);
    if (rc != ERR_OK)
        return rc;
    durable_begin(&s->durable);
    int sql = FAULT("sqlite.commit") ? SQLITE_FULL : commit_step(s);
    durable_written(&s->durable, sql == SQLITE_DONE);
    if (sql == SQLITE_DONE || BUG("ack-failed-commit"))
        return ERR_OK;
    commit_failed(s, sql, err);
    return (int)err->code;
}

/** One try. *ret_spoilt: an op failed after it wrote, and nothing was committed. */
static int batch_try(struct sqlite_store *s, struct op **ops, size_t n, usec now, bool savepoints, bool *ret_spoilt,
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
        rc = changes_age(&s->s, ops, n, err);
    if (rc == ERR_OK)
        rc = batch_commit(s, err);
    if (rc != ERR_OK)
        roll_back(s);
    return rc;
}

/** Its ops' outcomes are set; they are told once it is durable. */
static void batch_written(struct sqlite_store *s, struct written_batch b)
{
    counts_settle(&s->s, true);
    keys_settle(s, true);
    s->s.blobs += s->s.batch_blobs;
    s->s.blob_bytes += s->s.batch_bytes;
    s->s.batch_blobs = s->s.batch_bytes = 0;
    b.commit = durable_seen(&s->durable);
    s->flying[s->n_flying++] = b;
}

static void oldest_decide(struct sqlite_store *s)
{
    struct written_batch b = s->flying[0];
    struct err err = {0};

    s->n_flying--;
    memmove(s->flying, s->flying + 1, s->n_flying * sizeof(b));
    if (BUG("answer-before-sync"))
        b.decided(b.arg);
    if (durable_upto(&s->durable, b.commit, &err) != ERR_OK) {
        s->broken = true;
        if (BUG("answer-before-sync"))
            return;
        err_set(&err, ERR_UNKNOWN_OUTCOME, 0, "the commit's sync failed; restart the server");
        ops_fail(b.ops, b.n, &err);
    }
    if (!BUG("answer-before-sync"))
        b.decided(b.arg);
}

void sqlite_poll(struct store *store, bool wait)
{
    struct sqlite_store *s = sqlite_of(store);

    while (s->n_flying && (wait || durable_decided(&s->durable, s->flying[0].commit))) {
        oldest_decide(s);
        wait = false;
    }
    if (!s->n_flying && checkpoint_due(s))
        checkpoint(s);
}

void sqlite_apply(struct store *store, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    struct sqlite_store *s = sqlite_of(store);
    struct err err = {0};
    usec now = store_now(&s->s);
    bool spoilt;

    durable_want(&s->durable); /* of the batch before, while this one is applied */
    while (s->n_flying == SQLITE_BATCHES_MAX || (s->n_flying && checkpoint_due(s)))
        sqlite_poll(store, true);
    int rc = batch_try(s, ops, n, now, false, &spoilt, &err);
    if (spoilt) {
        err_clear(&err);
        rc = batch_try(s, ops, n, now, true, &spoilt, &err);
    }
    if (rc != ERR_OK) {
        ops_fail(ops, n, &err);
        decided(arg);
        return;
    }
    batch_written(s, (struct written_batch){.ops = ops, .n = n, .decided = decided, .arg = arg});
    while (s->n_flying && !s->overlaps)
        sqlite_poll(store, true);
}
