/* A batch: one transaction. Ops look before they write, so nearly every refusal leaves nothing behind, and the first try does without
 * savepoints. When an op fails after it wrote, or a statement of the batch does, the transaction is rolled back and the batch tried again
 * with a savepoint an op, each statement waited for, so that the failure is that op's. */
#include "store/postgres/driver.h"
#include "store/postgres/postgres.h"
#include <time.h>

#define RETRY_LEAST_US  (100 * USEC_PER_MSEC)
#define RETRY_MOST_US   (5 * USEC_PER_SEC)
#define RESOLVE_SECONDS 10     /* how long a database is looked for that knows the outcome of a commit */
#define STANDBY_MS      5000   /* how long a standby may take to have it, too */
#define LOCK_MS         "4000" /* less */
#define TRIES           4      /* of a batch that met a deadlock */
#define PAUSE_LOCK      "1751217517"

enum applied {
    APPLIED, /* or refused, with nothing changed */
    SPOILT,  /* it failed after it had changed rows, or a statement before it did */
};

int writer_open(struct pg_writer *w, struct err *err)
{
    int64_t backend = 0;
    int rc = pg_conn_open(&w->w, w->of->url, err);

    w->w.writes_rows = true;
    if (rc == ERR_OK)
        rc = q_int(&w->w.conn, 0, &backend, err, "SELECT CAST(pg_backend_pid() AS bigint)", "");
    if (rc != ERR_OK)
        return rc;
    w->w.direct = backend == PQbackendPID(w->w.pg); /* a pooler gives its own number */
    atomic_fetch_add(&w->of->opened, 1);
    return ERR_OK;
}

static void roll_back(struct pg_writer *w)
{
    if (w->w.pg && !w->w.lost) {
        pg_forget(&w->w);
        q_run(w->s.w, NULL, NULL, "ROLLBACK", "");
        pg_forget(&w->w);
    }
    counts_settle(&w->s, false);
    memory_forget(&w->s);
    w->s.batch_blobs = w->s.batch_bytes = 0;
}

/** What an op did is taken back, if that can be. */
static enum applied undo(struct pg_writer *w, bool savepoint, int64_t writes, size_t counted)
{
    counts_undo(&w->s, counted);
    if (w->w.lost || (w->w.failed.code != ERR_OK && !savepoint))
        return SPOILT;
    if (w->w.writes == writes && w->w.failed.code == ERR_OK)
        return APPLIED;
    if (!savepoint)
        return SPOILT;
    pg_forget(&w->w);
    memory_forget(&w->s);
    return q_run(w->s.w, NULL, NULL, "ROLLBACK TO SAVEPOINT op", "") == ERR_OK ? APPLIED : SPOILT;
}

/** Sets op->err. */
static enum applied apply_one(struct pg_writer *w, struct op *op, usec now, bool savepoint)
{
    struct tx t = {.s = &w->s, .c = w->s.w, .op = op, .now = now, .err = &op->err, .scratch = w->s.scratch};
    enum applied how = APPLIED;
    const size_t counted = w->s.n_changes;

    if (!op_begin(op))
        return APPLIED;
    int rc = savepoint ? q_run(w->s.w, NULL, &op->err, "SAVEPOINT op", "") : ERR_OK;
    const int64_t writes = w->w.writes;
    if (rc == ERR_OK)
        rc = op_run(&t);
    op->err.code = (enum err_code)rc;
    if (rc != ERR_OK)
        how = undo(w, savepoint, writes, counted);
    if (savepoint && how == APPLIED)
        q_run(w->s.w, NULL, NULL, "RELEASE SAVEPOINT op", "");
    arena_reset(w->s.scratch);
    if (rc == ERR_OK) {
        w->s.batch_blobs += t.blobs;
        w->s.batch_bytes += t.blob_bytes;
    }
    return how;
}

/** What the transaction needs of the session, it says itself. Without warnings a wait for a standby that was ended would look like a commit.
 * Every statement of ours finds its rows by an index, however small or unknown to the planner a table is when a plan is made for long. */
static int transaction_wants(struct pg_writer *w, const char *statement_ms, struct err *err)
{
    return q_run(w->s.w, NULL, err,
                 "SELECT set_config('statement_timeout', ?1, true),"
                 " set_config('idle_in_transaction_session_timeout', '15000', true),"
                 " set_config('client_min_messages', 'warning', true),"
                 " set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),"
                 " set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
                 " set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true), CASE "
                 "WHEN current_setting('synchronous_commit')"
                 " = 'off' THEN set_config('synchronous_commit', 'on', true) END",
                 "t", statement_ms);
}

/** A pause is not committed beside a claim that did not see it: it waits for those under way, and later ones wait for it. Before any row is
 * locked, so that nobody waits for whoever waits here. */
static int pause_gate(struct pg_writer *w, struct op *const *ops, size_t n, struct err *err)
{
    bool claims = false, pauses = false;

    for (size_t i = 0; i < n; i++) {
        claims |= ops[i]->kind == OP_CLAIM && ops[i]->u.claim.n_take > 0;
        pauses |= ops[i]->kind == OP_PAUSE;
    }
    if (pauses)
        return q_run(w->s.w, NULL, err, "SELECT pg_advisory_xact_lock(" PAUSE_LOCK ")", "");
    return claims ? q_run(w->s.w, NULL, err, "SELECT pg_advisory_xact_lock_shared(" PAUSE_LOCK ")", "") : ERR_OK;
}

/** A server whose idea of the time is not the database's divides by zero here, and so commits nothing: no round trip is spent on asking. One that
 * is stopped in the middle holds nobody's rows for long. */
static int batch_begin(struct pg_writer *w, struct op *const *ops, size_t n, usec now, struct err *err)
{
    int rc = q_run(w->s.w, NULL, err, PG_READ_COMMITTED, "");

    if (rc == ERR_OK)
        rc = transaction_wants(w, "30000", err);
    if (rc == ERR_OK)
        rc = pause_gate(w, ops, n, err);
    if (rc == ERR_OK)
        rc = q_run(w->s.w, NULL, err,
                   "SELECT 1 / CASE WHEN ?1 = 0 OR abs(extract(epoch FROM clock_timestamp()) * 1000000 - ?1) < 1000000"
                   " THEN 1 ELSE 0 END",
                   "i", clock_is_ours(w->of) ? now : 0);
    return rc == ERR_OK ? batch_number(w, ++w->batch, NULL, err) : rc;
}

/** Did the batch commit? Waits for a transaction of ours that the database may still be at. What is seen here may be on no standby yet, and be
 * gone after a failover; when a later write of ours is there, it is there, too. So this is one. */
static int outcome(struct pg_writer *w, bool *ret_committed)
{
    int64_t batch = -1;

    w->w.wait_ms = STANDBY_MS;
    int rc = transaction_wants(w, LOCK_MS, NULL);
    if (rc == ERR_OK)
        rc = batch_number(w, 0, &batch, NULL);
    if (rc == ERR_OK && w->w.warned)
        rc = ERR_UNKNOWN_OUTCOME;
    w->w.wait_ms = 0;
    *ret_committed = rc == ERR_OK && batch == w->batch;
    return rc;
}

/** On a new connection, to whichever host takes writes now. */
static int resolve(struct pg_writer *w, bool *ret_committed)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000000L};
    struct timespec now, until;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RESOLVE_SECONDS;
    do {
        pg_conn_close(&w->w);
        rc = writer_open(w, NULL);
        if (rc == ERR_OK)
            rc = outcome(w, ret_committed);
        if (rc == ERR_OK)
            return ERR_OK;
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (rc != ERR_TIMEOUT && now.tv_sec < until.tv_sec);
    return rc;
}

/** *ret_committed says how it ended when the answer was lost but could be found out. */
static int batch_commit(struct pg_writer *w, struct err *err)
{
    bool committed = false;
    int rc = totals_save(&w->s, err);

    if (rc == ERR_OK)
        rc = counts_save(&w->s, err);
    if (rc == ERR_OK)
        rc = q_run(w->s.w, NULL, err, "COMMIT", "");
    if (rc != ERR_OK)
        return rc;
    w->w.warned = false;
    rc = pg_settle(&w->w, err);
    const bool warned = w->w.warned; /* the wait for a standby was ended: committed there, and perhaps nowhere else */
    if (rc == ERR_OK ? !warned : !w->w.lost)
        return rc;
    if (resolve(w, &committed) != ERR_OK) {
        w->of->ended = true;
        return err_set(err, ERR_UNKNOWN_OUTCOME, 0,
                       warned ? "the database ended the wait for a standby: the commit may be on none"
                              : "the connection to the database ended during a commit");
    }
    return committed ? ERR_OK
                     : err_set(err, ERR_UNAVAILABLE, 0, "the connection to the database ended before a commit");
}

/** In one round trip. */
static int ages(struct pg_writer *w, struct op **ops, size_t n, struct err *err)
{
    if (!w->w.eager) {
        pg_guess(&w->w, true);
        int rc = changes_age(&w->s, ops, n, err);
        pg_guess(&w->w, false);
        if (rc == ERR_OK && pg_wished(&w->w) > 0)
            rc = pg_ask(&w->w, err);
        if (rc != ERR_OK)
            return rc;
    }
    pg_as_asked(&w->w, !w->w.eager);
    int rc = changes_age(&w->s, ops, n, err);
    pg_as_asked(&w->w, false);
    return rc;
}

/** One try. *ret_spoilt: an op failed after it wrote, and nothing was committed. */
static int batch_try(struct pg_writer *w, struct op **ops, size_t n, usec now, bool savepoints, bool *ret_spoilt,
                     struct err *err)
{
    pg_forget(&w->w);
    heads_clear(w->heads);
    w->w.eager = savepoints;
    int rc = batch_begin(w, ops, n, now, err);
    *ret_spoilt = false;
    if (rc == ERR_OK && !savepoints) {
        pg_gather(&w->w);
        rc = pg_read_ahead(w, ops, n, now, err);
    }
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        if (apply_one(w, ops[i], now, savepoints) == SPOILT) {
            *err = ops[i]->err;
            rc = (int)err->code;
            *ret_spoilt = true;
        }
    if (rc == ERR_OK)
        rc = ages(w, ops, n, err);
    w->w.eager = false;
    if (rc == ERR_OK)
        rc = batch_commit(w, err);
    return rc;
}

/** What went wrong, and whether to try again: at once, or op by op. */
static bool again(struct pg_writer *w, int rc, unsigned tries, bool spoilt, bool *savepoints, struct err *err)
{
    const bool passes = pg_state_passes(w->w.state), failed = w->w.failed.code != ERR_OK, lost = w->w.lost;

    if (strcmp(w->w.state, "22012") == 0) { /* batch_begin's */
        err_set(err, ERR_UNAVAILABLE, 0, "this server's clock and the database's do not agree");
        return tries < TRIES;
    }
    if (strcmp(w->w.state, "23505") == 0 && tries < TRIES / 2) /* another server, the same key: it is known now */
        return true;
    if (rc == ERR_UNKNOWN_OUTCOME)
        return false;
    if (lost || rc == ERR_UNAVAILABLE) /* nothing was committed: once more on a new connection */
        return tries < 2;
    if (passes)
        return tries < TRIES;
    if ((!spoilt && !failed) || *savepoints)
        return false;
    *savepoints = true;
    return true;
}

/** Not more often than the last failure allows. */
static int connected(struct pg_writer *w, struct err *err)
{
    usec now = w->s.clock.boot_us(w->s.clock.self);

    if (w->of->ended)
        return err_set(err, ERR_UNAVAILABLE, 0, "a write's outcome is unknown: this server ends");
    if (w->w.pg && !w->w.lost)
        return ERR_OK;
    if (now < w->retry_at)
        return err_set(err, ERR_UNAVAILABLE, 0, "the database cannot be reached; it is tried again in a moment");
    pg_conn_close(&w->w);
    int rc = writer_open(w, err);
    w->retry_us = rc == ERR_OK ? 0 : MIN(MAX(w->retry_us * 2, RETRY_LEAST_US), RETRY_MOST_US);
    w->retry_at = w->s.clock.boot_us(w->s.clock.self) + w->retry_us;
    return rc == ERR_OK ? rc : err_set(err, ERR_UNAVAILABLE, 0, "the database cannot be reached");
}

void writer_apply(struct pg_writer *w, struct op **ops, size_t n)
{
    struct pg_store *of = w->of;
    struct err err = {0};
    bool spoilt = false, savepoints = false, more;
    int rc = connected(w, &err);

    w->s.counters = of->s.counters;
    for (unsigned tries = 1; rc == ERR_OK; tries++) {
        rc = batch_try(w, ops, n, writer_begin(w), savepoints, &spoilt, &err);
        if (rc == ERR_OK)
            break;
        const bool apart = strcmp(w->w.state, "22012") == 0;
        more = again(w, rc, tries, spoilt, &savepoints, &err);
        roll_back(w);
        if (more && apart)
            clock_ask(of, w->s.w, NULL);
        if (!more)
            break;
        err_clear(&err);
        rc = connected(w, &err);
    }
    if (rc != ERR_OK) {
        ops_fail(ops, n, &err);
        return;
    }
    w->acknowledged = w->batch;
    counts_settle(&w->s, true);
    of->s.blobs += w->s.batch_blobs;
    of->s.blob_bytes += w->s.batch_bytes;
    w->s.batch_blobs = w->s.batch_bytes = 0;
}

uint64_t store_postgres_round_trips(struct store *s)
{
    uint64_t trips = 0;

    for (size_t i = 0; i < PG_WRITERS; i++)
        trips += pg_of(s)->writers[i].w.trips;
    return trips;
}
