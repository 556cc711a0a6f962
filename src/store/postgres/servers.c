/* The servers of a database. Each has a row, seen again every 2 s by the database's clock; none is asked whether it may write, since
 * nothing that decides is in its memory. What one of them at a time does (sweeps) is a row, too, which a server takes when its holder is
 * not seen any more.
 *
 * The clock: a server's idea of the time is the database's, as it was asked for every 2 s, and goes on with this machine's steady clock in
 * between. No batch is committed whose idea of it was off by more than a second (apply.c). */
#include "store/postgres/driver.h"
#include "store/sql/read.h"
#include <errno.h>
#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#define GONE "interval '6 seconds'" /* not seen for so long: its sweeps are free */
/* Whose writer has that id. */
#define SERVER_OF(id) id " - " id " % 8"
_Static_assert(PG_IDS == 8 && PG_WRITERS <= PG_IDS, "as 0001.sql says");
#define NOW "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"

/** Without a row (it was not seen for long) it has one again. */
static const char seen[] = "INSERT INTO servers (server_id, name, version, started, seen)"
                           " VALUES (?1, ?2, ?3, clock_timestamp(), clock_timestamp())"
                           " ON CONFLICT (server_id) DO UPDATE SET seen = clock_timestamp()";

#define BATCH                                                                                                          \
    "INSERT INTO batches AS b (writer_id, batch, at) VALUES (?1, ?2, clock_timestamp())"                               \
    " ON CONFLICT (writer_id) DO UPDATE SET at = excluded.at, batch = " SQL_MOST("b.batch", "excluded.batch")

int batch_number(struct pg_writer *w, int64_t batch, int64_t *ret, struct err *err)
{
    return ret ? q_int(w->s.w, -1, ret, err, BATCH " RETURNING batch", "ii", w->s.writer_id, batch)
               : q_run(w->s.w, NULL, err, BATCH, "ii", w->s.writer_id, batch);
}

bool clock_is_ours(const struct pg_store *s)
{
    return s->s.clock.boot_us == clock_real().boot_us;
}

int clock_ask(struct pg_store *s, struct conn *c, struct err *err)
{
    const struct clock *clock = &s->s.clock;
    usec before = clock->boot_us(clock->self), now = 0;
    int rc = q_int(c, 0, &now, err, "SELECT " NOW, "");
    usec took = clock->boot_us(clock->self) - before, offset = now - (before + took / 2);

    /* Within what the way there and back may have cost there is nothing to be learnt. */
    if (rc == ERR_OK && (offset - s->s.offset > took || s->s.offset - offset > took))
        s->s.offset = offset;
    return rc;
}

static void renew(struct pg_store *s, struct pg_conn *c)
{
    if (!c->pg || c->lost) {
        pg_conn_close(c);
        if (pg_conn_open(c, s->url, NULL) != ERR_OK)
            return;
    }
    /* Not worth a wait for a disk or a standby; the row may be locked by a batch that waits for one. */
    q_run(&c->conn, NULL, NULL,
          "SELECT set_config('synchronous_commit', 'off', true), set_config('statement_timeout', '4000', true)", "");
    q_run(&c->conn, NULL, NULL, seen, "itt", s->s.writer_id, s->name, HAUL_VERSION);
    if (s->replicas)
        server_joined(s, &c->conn, NULL); /* a row that was gone is another one */
    if (clock_is_ours(s))
        clock_ask(s, &c->conn, NULL);
    pg_forget(c);
}

/** What is only looked at, and may be some seconds old. */
static void sizes_ask(struct pg_store *s, struct pg_conn *c)
{
    int64_t bytes = 0, counters = 0;

    if (c->lost || !c->pg)
        return;
    if (q_int(&c->conn, 0, &bytes, NULL, "SELECT pg_database_size(current_database())", "") == ERR_OK) {
        pthread_mutex_lock(&s->mu);
        s->sizes.database_bytes = bytes;
        pthread_mutex_unlock(&s->mu);
    }
    if (counters_ask(&c->conn, &counters, NULL) == ERR_OK)
        s->s.counters = counters;
    totals_ask(&s->s, &c->conn, NULL);
    pg_forget(c);
}

static void *renewer_main(void *arg)
{
    struct pg_store *s = arg;
    struct pg_conn c = {0};
    struct timespec until;
    unsigned rounds = 0;

    pthread_mutex_lock(&s->mu);
    while (!s->stopping) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += SERVER_SEEN_US / USEC_PER_SEC;
        if (pthread_cond_timedwait(&s->stop_cond, &s->mu, &until) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&s->mu);
        renew(s, &c);
        if (rounds++ % 5 == 0)
            sizes_ask(s, &c);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    pg_conn_close(&c);
    return NULL;
}

int server_joined(struct pg_store *s, struct conn *c, struct err *err)
{
    int64_t joined = 0;
    int rc = q_int(c, 0, &joined, err,
                   "SELECT CAST(extract(epoch FROM started) * 1000000 AS bigint) FROM servers WHERE server_id = ?1",
                   "i", s->s.writer_id);

    if (rc == ERR_OK)
        s->joined = joined;
    return rc;
}

int server_join(struct pg_store *s, struct err *err)
{
    char host[64] = "";

    gethostname(host, sizeof(host) - 1);
    snprintf(s->name, sizeof(s->name), "%s, process %ld", host, (long)getpid());
    int rc = q_int(s->s.w, 0, &s->s.writer_id, err,
                   "INSERT INTO servers (name, version, started, seen) VALUES (?1, ?2, clock_timestamp(),"
                   " clock_timestamp()) RETURNING server_id",
                   "tt", s->name, HAUL_VERSION);
    for (size_t i = 0; i < PG_WRITERS; i++)
        s->writers[i].s.writer_id = s->s.writer_id + (int64_t)i;
    if (rc == ERR_OK)
        rc = clock_ask(s, s->s.w, err);
    return rc == ERR_OK ? server_joined(s, s->s.w, err) : rc;
}

int server_stay(struct pg_store *s, struct err *err)
{
    sizes_ask(s, &s->writers[0].w);
    int sys = pthread_create(&s->renewer, NULL, renewer_main, s);
    if (sys != 0)
        return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
    s->renewing = true;
    return ERR_OK;
}

void server_leave(struct pg_store *s)
{
    if (!s->renewing && !s->keeping)
        return;
    pthread_mutex_lock(&s->mu);
    s->stopping = true;
    pthread_cond_broadcast(&s->stop_cond);
    pthread_mutex_unlock(&s->mu);
    if (s->keeping)
        pthread_join(s->keeper, NULL);
    if (s->renewing)
        pthread_join(s->renewer, NULL);
    s->keeping = s->renewing = false;
    q_run(s->s.w, NULL, NULL, "DELETE FROM servers WHERE server_id = ?1", "i", s->s.writer_id);
    pg_forget(&s->writers[0].w);
}

static bool server_row(struct list *l, struct query *st)
{
    struct server_row *row = list_add(l);

    if (!row)
        return false;
    *row = (struct server_row){.server_id = col_int(st, 0),
                               .name = col_text(st, 1, l->arena),
                               .version = col_text(st, 2, l->arena),
                               .started_at = col_int(st, 3),
                               .seen_at = col_int(st, 4),
                               .live = col_int(st, 5) != 0};
    return row->name && row->version;
}

int pg_servers(struct store *s, struct arena *arena, struct server_row **ret, size_t *ret_n, struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc = read_list(s, READ_DEADLINE_US, &l, server_row, err,
                       "SELECT server_id, name, version, CAST(extract(epoch FROM started) * 1000000 AS bigint),"
                       " CAST(extract(epoch FROM seen) * 1000000 AS bigint),"
                       " CASE WHEN seen > clock_timestamp() - " GONE " THEN 1 ELSE 0 END FROM servers"
                       " ORDER BY started, server_id LIMIT 1000",
                       "");

    *ret = l.items;
    *ret_n = l.n;
    for (size_t i = 0; i < l.n; i++)
        (*ret)[i].self = (*ret)[i].server_id == s->writer_id;
    return rc;
}

/** Each server counts in rows of its own. Whoever is told that something happened may look for it in a list, and is to find it: so a standby
 * must have come as far (replicas.c). */
int pg_elsewhere(struct store *s, int64_t *ret_mark, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err,
                    "SELECT CAST(coalesce(sum(hashtext(concat_ws('/', server_id, queue, task_type, status, n))), 0)"
                    " AS bigint), " NOW " FROM counters WHERE server_id <> 0 AND " SERVER_OF("server_id") " <> ?1",
                    "i", s->writer_id);
    if (rc == ERR_OK)
        rc = q_step(r.c, st, &row, err);
    if (rc != ERR_OK || !row)
        return rc;
    *ret_mark = col_int(st, 0);
    if (atomic_exchange(&pg_of(s)->elsewhere, *ret_mark) != *ret_mark)
        pg_of(s)->learnt = col_int(st, 1);
    return ERR_OK;
}

/* --- what one server at a time does --- */

#define ASK_AGAIN_US (2 * USEC_PER_SEC)

static const char *sweep_name(enum op_kind kind)
{
    switch (kind) {
    case OP_SWEEP_LEASES:
        return "leases";
    case OP_SWEEP_DUE:
        return "due";
    case OP_SWEEP_BLOBS:
        return "blobs";
    case OP_SWEEP_UPLOADS:
        return "uploads";
    case OP_SWEEP_DEDUP:
        return "keys";
    case OP_SWEEP_RETENTION:
        return "retention";
    case OP_SWEEP_LOGS:
        return "logs";
    case OP_SWEEP_LANES:
        return "lanes";
    default:
        return "dead letters";
    }
}

/** Nobody waits for another's pass: who finds the row locked finds it taken. */
static const char take_sweep[] =
    "UPDATE sweepers w SET server_id = ?2, until = clock_timestamp() + interval '3 minutes', passed = clock_timestamp()"
    " FROM (SELECT name, passed FROM sweepers WHERE name = ?1 AND (server_id = ?2 OR until < clock_timestamp() OR NOT "
    "EXISTS"
    " (SELECT 1 FROM servers v WHERE v.server_id = sweepers.server_id AND v.seen > clock_timestamp() - " GONE "))"
    " FOR UPDATE SKIP LOCKED) o WHERE w.name = o.name RETURNING"
    " CAST(extract(epoch FROM clock_timestamp() - o.passed) * 1000000 AS bigint), w.grace_until";

/** Leases that nobody looked at for half of one's length may have lapsed while nobody could renew them: all servers were away, or the
 * database was, or its clock was set. Then none expires for a lease's length (DESIGN, law 5). All by the one clock. */
static int grace(struct tx *t, usec unseen, usec until)
{
    const usec lease = t->s->policy.lease_us;

    if (unseen > lease / 2 || unseen < -lease / 2) {
        until = MAX(until, t->now + lease);
        int rc = q_run(t->c, NULL, t->err, "UPDATE sweepers SET grace_until = ?1 WHERE name = 'leases'", "i", until);
        if (rc != ERR_OK)
            return rc;
    }
    t->s->grace_until = MAX(t->s->grace_until, until);
    return ERR_OK;
}

int pg_sweep_begin(struct tx *t, bool *ret_ours)
{
    AUTO_QUERY struct query *st = NULL;
    int rc = q_open(t->c, &st, t->err, take_sweep, "ti", sweep_name(t->op->kind), pg_writer_of(t->s)->of->s.writer_id);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, ret_ours, t->err);
    if (rc != ERR_OK)
        return rc;
    if (!*ret_ours) {
        t->op->u.sweep.next_at = t->now + ASK_AGAIN_US;
        return ERR_OK;
    }
    return t->op->kind == OP_SWEEP_LEASES ? grace(t, col_int(st, 0), col_int(st, 1)) : ERR_OK;
}

/** Rows that servers which are gone added to, and counts that came to nothing, become one row, or none. What was deleted is what is added:
 * nothing that comes in between is lost. */
int pg_house(struct tx *t)
{
    static const char *const sql[] = {
        "DELETE FROM servers WHERE seen < clock_timestamp() - interval '1 minute'",
        "DELETE FROM batches b WHERE NOT EXISTS (SELECT 1 FROM servers s WHERE s.server_id = " SERVER_OF(
            "b.writer_id") ")",
        "WITH gone AS (DELETE FROM counters c WHERE server_id <> 0 AND (NOT EXISTS (SELECT 1 FROM servers s WHERE"
        " s.server_id = " SERVER_OF(
            "c.server_id") ") OR (project, queue, task_type, status) IN (SELECT project, queue, task_type, "
                           "status"
                           " FROM counters GROUP BY project, queue, task_type, status HAVING sum(n) = 0)) RETURNING *)"
                           " INSERT INTO counters (server_id, project, queue, task_type, status, n)"
                           " SELECT 0, project, queue, task_type, status, sum(n) FROM gone GROUP BY project, queue, "
                           "task_type, status"
                           " HAVING sum(n) <> 0 ORDER BY project, queue, task_type, status"
                           " ON CONFLICT (project, queue, task_type, status, server_id) DO UPDATE SET n = counters.n + "
                           "excluded.n",
        "DELETE FROM counters WHERE server_id = 0 AND n = 0",
        "WITH gone AS (DELETE FROM totals c WHERE server_id <> 0 AND NOT EXISTS (SELECT 1 FROM servers s WHERE"
        " s.server_id = " SERVER_OF(
            "c.server_id") ") RETURNING *)"
                           " INSERT INTO totals (server_id, name, n) SELECT 0, name, sum(n) FROM gone GROUP BY name "
                           "ORDER BY name"
                           " ON CONFLICT (name, server_id) DO UPDATE SET n = totals.n + excluded.n",
    };
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(sql); i++)
        rc = q_run(t->c, NULL, t->err, sql[i], "");
    return rc;
}

/** What a move into this database left to a start: numbers that go on behind what it brought, and totals. */
static int moved_in(struct conn *c, struct err *err)
{
    static const char *const sql[] = {
        "SELECT setval(pg_get_serial_sequence('lanes', 'lane_id'), m) FROM (SELECT max(lane_id) AS m FROM lanes) k,"
        " lanes_lane_id_seq q WHERE m > q.last_value",
        "INSERT INTO totals (name, server_id, n) SELECT 'blobs', 0, count(*) FROM blobs WHERE NOT EXISTS"
        " (SELECT 1 FROM totals WHERE name = 'blobs') HAVING count(*) > 0 ON CONFLICT DO NOTHING",
        "INSERT INTO totals (name, server_id, n) SELECT 'blob_bytes', 0, sum(size) FROM blobs WHERE NOT EXISTS"
        " (SELECT 1 FROM totals WHERE name = 'blob_bytes') HAVING count(*) > 0 ON CONFLICT DO NOTHING",
    };
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(sql); i++)
        rc = q_run(c, NULL, err, sql[i], "");
    return rc;
}

int server_prepare(struct pg_store *s, struct err *err)
{
    /* Whatever the database's default is: another server may do the same at this moment. */
    int rc = q_run(s->s.w, NULL, err, PG_READ_COMMITTED, "");

    if (rc == ERR_OK)
        rc = moved_in(s->s.w, err);
    for (int kind = OP_SWEEP_LEASES; rc == ERR_OK && kind <= OP_SWEEP_DEAD; kind++)
        rc = q_run(s->s.w, NULL, err,
                   "INSERT INTO sweepers (name, server_id, until, passed, grace_until)"
                   " VALUES (?1, 0, '-infinity', clock_timestamp(), 0) ON CONFLICT DO NOTHING",
                   "t", sweep_name((enum op_kind)kind));
    if (rc == ERR_OK)
        rc = q_run(s->s.w, NULL, err, "COMMIT", "");
    return rc == ERR_OK ? pg_settle(&s->writers[0].w, err) : rc;
}
