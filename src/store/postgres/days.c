/* Rows of finished jobs lie by the UTC day of finishing, each day a table of its own (ADR 32). One thread of each server makes the coming days'
 * ahead, and drops the table of a past day once retention has emptied it. Both need locks that others may have for hours: each is waited for
 * LOCK_MS, during which whoever writes history waits behind us, and if it is not had then, the next pass tries again, later and later.
 *
 * A row whose day has no table lies in the default one, where it is found and retired like any other; no table is made over it any more. */
#include "store/postgres/driver.h"
#include "store/postgres/postgres.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DAY_US     (INT64_C(24) * 3600 * USEC_PER_SEC)
#define AHEAD_US   (3 * DAY_US)
#define MARGIN_US  (INT64_C(3600) * USEC_PER_SEC) /* after a day is over, no batch under way finishes a job in it */
#define MAKE_MAX   8                              /* a pass */
#define PASS_S     60
#define PASS_MOST  900 /* s, when something was in the way */
#define LOCK_MS    "50"
#define CHECK_MS   "120000" /* a table full of rows that are deleted is long to look at; nobody waits for that */
#define TABLES     "SELECT pg_advisory_xact_lock(1751217518)"
#define COVER_MAX  200            /* tables that a move makes; what is older lies in the default one */
#define WIDE_AFTER (100 * DAY_US) /* who keeps jobs for longer has tables of four weeks */
#define WIDE_US    (28 * DAY_US)

static const struct table {
    const char *name, *key;
} tables[] = {{"history", "job_id"}, {"attempts", "job_id, attempt"}};

struct pass {
    struct conn *c;
    const struct table *table;
    usec now, keep;
    struct err *err;
};

static void part_name(const char *of, usec first, char ret[64])
{
    const time_t seconds = (time_t)(first / USEC_PER_SEC);
    struct tm day;

    gmtime_r(&seconds, &day);
    snprintf(ret, 64, "%s_%04d%02d%02d", of, day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

/** alone: two servers make and drop one after the other. */
static int begin(const struct pass *p, const char *statement_ms, bool alone)
{
    int rc = q_run(p->c, NULL, p->err, PG_READ_COMMITTED, "");

    if (rc == ERR_OK)
        rc = q_run(p->c, NULL, p->err,
                   "SELECT set_config('lock_timeout', '" LOCK_MS "', true), set_config('statement_timeout', ?1, true)",
                   "t", statement_ms);
    return rc == ERR_OK && alone ? q_run(p->c, NULL, p->err, TABLES, "") : rc;
}

static int end(const struct pass *p, int rc)
{
    struct pg_conn *c = pg_conn_of(p->c);

    if (rc == ERR_OK)
        rc = q_run(p->c, NULL, p->err, "COMMIT", "");
    if (rc == ERR_OK)
        rc = pg_settle(c, p->err);
    pg_forget(c);
    if (rc != ERR_OK) {
        q_run(p->c, NULL, NULL, "ROLLBACK", "");
        pg_forget(c);
    }
    return rc;
}

__attribute__((format(printf, 2, 3))) static int run(const struct pass *p, const char *format, ...)
{
    char sql[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(sql, sizeof(sql), format, ap);
    va_end(ap);
    int rc = q_run(p->c, NULL, p->err, sql, "");
    return rc == ERR_OK ? pg_settle(pg_conn_of(p->c), p->err) : rc; /* the text is ours */
}

/* --- making --- */

static usec floor_to(usec at, usec width)
{
    return at - (at % width + width) % width;
}

/** Whether rows that have no other place would have one there. */
static int rows_there(const struct pass *p, usec first, usec until, int64_t *ret)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "SELECT 1 FROM %s_default WHERE finished_at >= ?1 AND finished_at < ?2 LIMIT 1",
             p->table->name);
    return q_int(p->c, 0, ret, p->err, sql, "ii", first, until);
}

#define PART_SQL 512

/** Made apart and attached: so whoever reads or writes the others does not wait. */
static void part_sql(const struct table *t, usec first, usec until, char ret[3][PART_SQL])
{
    char name[64];

    part_name(t->name, first, name);
    snprintf(ret[0], PART_SQL, "CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING STORAGE, PRIMARY KEY (%s))", name,
             t->name, t->key);
    snprintf(ret[1], PART_SQL, "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%lld) TO (%lld)", t->name, name,
             (long long)first, (long long)until);
    snprintf(ret[2], PART_SQL, "INSERT INTO days (of_table, first, until) VALUES ('%s', %lld, %lld)", t->name,
             (long long)first, (long long)until);
}

static int make(const struct pass *p, usec first, usec until)
{
    char sql[3][PART_SQL];
    int rc = ERR_OK;

    part_sql(p->table, first, until, sql);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(sql); i++)
        rc = run(p, "%s", sql[i]);
    return rc;
}

static int cover(PGconn *pg, const struct table *t, usec from, usec until, struct err *err)
{
    char sql[3][PART_SQL], ask[1024];
    PGresult *res = NULL;

    snprintf(ask, sizeof(ask),
             "SELECT d FROM generate_series(%lld, %lld, %lld) d WHERE (SELECT count(*) FROM days WHERE of_table = '%s')"
             " < %d AND NOT EXISTS"
             " (SELECT 1 FROM days WHERE of_table = '%s' AND first < d + %lld AND until > d) AND NOT EXISTS"
             " (SELECT 1 FROM %s_default WHERE finished_at >= d AND finished_at < d + %lld) LIMIT %d",
             (long long)floor_to(from, DAY_US), (long long)until, (long long)DAY_US, t->name, COVER_MAX, t->name,
             (long long)DAY_US, t->name, (long long)DAY_US, COVER_MAX);
    int rc = pg_exec(pg, ask, &res, err);
    for (int row = 0; rc == ERR_OK && row < PQntuples(res); row++) {
        const usec first = strtoll(PQgetvalue(res, row, 0), NULL, 10);
        part_sql(t, first, first + DAY_US, sql);
        for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(sql); i++)
            rc = pg_exec(pg, sql[i], NULL, err);
    }
    PQclear(res);
    return rc;
}

int pg_days_cover(PGconn *pg, usec from, usec until, struct err *err)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(tables); i++)
        rc = cover(pg, &tables[i], from, until, err);
    return rc;
}

/** The next one behind those that there are. */
static int make_next(const struct pass *p, usec *from, bool *ret_made)
{
    const usec width = p->keep > 0 && p->keep <= WIDE_AFTER ? DAY_US : WIDE_US;
    int64_t newest = 0, taken = 0;
    int rc = begin(p, "4000", true);

    *ret_made = false;
    if (rc == ERR_OK)
        rc = q_int(p->c, 0, &newest, p->err, "SELECT max(until) FROM days WHERE of_table = ?1", "t", p->table->name);
    const usec first = MAX(MAX(newest, *from), floor_to(p->now, DAY_US)), until = floor_to(first, width) + width;
    if (rc == ERR_OK && first <= p->now + AHEAD_US) {
        rc = rows_there(p, first, until, &taken);
        if (rc == ERR_OK && !taken)
            rc = make(p, first, until);
        *from = until;
        *ret_made = rc == ERR_OK;
    }
    return end(p, rc);
}

static int make_ahead(const struct pass *p)
{
    bool made = true;
    usec from = 0;
    int rc = ERR_OK;

    for (unsigned i = 0; rc == ERR_OK && made && i < MAKE_MAX; i++)
        rc = make_next(p, &from, &made);
    return rc;
}

/* --- dropping --- */

/** Whoever reads the default table or this one is waited for, and whoever comes then waits for us: LOCK_MS at most. */
static int detach(const struct pass *p, usec first, const char *name)
{
    int rc = begin(p, "4000", true);

    if (rc == ERR_OK)
        rc = q_run(p->c, NULL, p->err, "UPDATE days SET detached = 1 WHERE of_table = ?1 AND first = ?2", "ti",
                   p->table->name, first);
    if (rc == ERR_OK)
        rc = run(p, "ALTER TABLE %s DETACH PARTITION %s", p->table->name, name);
    return end(p, rc);
}

/** It was empty when it was looked at; should there be a row all the same, it goes back. */
static int drop(const struct pass *p, usec first, const char *name)
{
    int rc = begin(p, CHECK_MS, true);

    if (rc == ERR_OK)
        rc = run(p, "INSERT INTO %s SELECT * FROM %s", p->table->name, name);
    if (rc == ERR_OK)
        rc = run(p, "DROP TABLE %s", name);
    if (rc == ERR_OK)
        rc = q_run(p->c, NULL, p->err, "DELETE FROM days WHERE of_table = ?1 AND first = ?2", "ti", p->table->name,
                   first);
    return end(p, rc);
}

static int is_empty(const struct pass *p, const char *name, bool *ret)
{
    char sql[128];
    int64_t row = 0;

    snprintf(sql, sizeof(sql), "SELECT 1 FROM %s LIMIT 1", name);
    int rc = begin(p, CHECK_MS, false);
    if (rc == ERR_OK)
        rc = q_int(p->c, 0, &row, p->err, sql, "");
    *ret = !row;
    return end(p, rc);
}

/** The oldest one, if it is over, or was begun. */
static int oldest(const struct pass *p, usec *ret_first, bool *ret_detached)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = begin(p, "4000", false);

    *ret_first = -1;
    if (rc == ERR_OK)
        rc = q_open(p->c, &st, p->err,
                    "SELECT first, detached FROM days WHERE of_table = ?1 AND (detached <> 0 OR until <= ?2)"
                    " ORDER BY first LIMIT 1",
                    "ti", p->table->name, p->now - p->keep - MARGIN_US);
    if (rc == ERR_OK)
        rc = q_step(p->c, st, &found, p->err);
    if (rc == ERR_OK && found) {
        *ret_first = col_int(st, 0);
        *ret_detached = col_int(st, 1) != 0;
    }
    return end(p, rc);
}

static int drop_past(const struct pass *p)
{
    int rc = ERR_OK;

    for (unsigned i = 0; rc == ERR_OK && i < MAKE_MAX; i++) {
        usec first = -1;
        bool detached = false, empty = true;
        char name[64];

        rc = oldest(p, &first, &detached);
        if (rc != ERR_OK || first < 0)
            break;
        part_name(p->table->name, first, name);
        if (!detached)
            rc = is_empty(p, name, &empty);
        if (rc == ERR_OK && !empty)
            break;
        if (rc == ERR_OK && !detached)
            rc = detach(p, first, name);
        if (rc == ERR_OK)
            rc = drop(p, first, name);
    }
    return rc;
}

int pg_days(struct pg_store *s, struct err *err)
{
    struct pg_conn c = {0};
    int rc = pg_conn_open(&c, s->url, err);

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(tables); i++) {
        struct pass p = {&c.conn, &tables[i], store_now(&s->s), s->s.policy.retention_us, err};
        rc = make_ahead(&p);
        if (rc == ERR_OK && p.keep > 0)
            rc = drop_past(&p);
    }
    pg_conn_close(&c);
    return rc;
}

int store_postgres_days(struct store *s, struct err *err)
{
    return pg_days(pg_of(s), err);
}

/* --- the thread --- */

static void *keeper_main(void *arg)
{
    struct pg_store *s = arg;
    struct timespec until;
    unsigned pause = PASS_S;

    pthread_mutex_lock(&s->mu);
    while (!s->stopping) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += pause;
        if (pthread_cond_timedwait(&s->stop_cond, &s->mu, &until) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&s->mu);
        pause = pg_days(s, NULL) == ERR_OK ? PASS_S : MIN(pause * 2, PASS_MOST);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

int pg_days_keep(struct pg_store *s, struct err *err)
{
    pg_days(s, NULL); /* what it cannot make is done without */
    int sys = pthread_create(&s->keeper, NULL, keeper_main, s);
    if (sys != 0)
        return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
    s->keeping = true;
    return ERR_OK;
}

/* --- what retention takes --- */

#define LATE_US   (60 * USEC_PER_SEC)  /* no batch is longer under way */
#define BELIEF_US (600 * USEC_PER_SEC) /* and whatever happens, it is looked at from the start again after that */

/** Entries of rows that are deleted stay at the head of the index as long as anybody's transaction may see them: each pass begins where the last
 * one found the first. */
static usec head_from(struct pg_store *s, usec now)
{
    if (now >= s->head_until) {
        s->head_from = 0;
        s->head_until = now + BELIEF_US;
    }
    return s->head_from;
}

int pg_history_head(struct tx *t, int64_t limit, usec until, struct uuid *ret, size_t *ret_n, usec *ret_next)
{
    struct pg_store *s = pg_writer_of(t->s)->of;
    AUTO_QUERY struct query *st = NULL;
    const usec from = head_from(s, t->now);
    bool more = false;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT job_id, finished_at FROM history WHERE finished_at >= ?1 AND finished_at <= ?2"
                    " ORDER BY finished_at, job_id LIMIT ?3",
                    "iii", from, until, limit + 1);

    *ret_n = 0;
    *ret_next = USEC_NEVER;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more && *ret_n < (size_t)limit) {
        if (*ret_n == 0)
            s->head_from = MAX(from, col_int(st, 1) - LATE_US);
        ret[(*ret_n)++] = col_uuid(st, 0);
    }
    if (rc == ERR_OK && more)
        *ret_next = col_int(st, 1);
    else if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, ret_next, t->err, "SELECT min(finished_at) FROM history WHERE finished_at > ?1",
                   "i", until);
    return rc;
}
