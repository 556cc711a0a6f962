/* A side of a move: a database of PostgreSQL. A source is read in one transaction that no server can write beside; rows are added by COPY. */
#include "store/sql/move.h"
#include "store/postgres/driver.h"
#include <endian.h>
#include <stdlib.h>

#define SQL_MAX    4096
#define PARAMS_MAX 8

struct pg_side {
    struct store_side side;
    PGconn *pg;
};
static struct pg_side *of(struct store_side *s)
{
    return (struct pg_side *)s; /* which it begins with */
}

static Oid oid_of(char type)
{
    return type == 'i' ? 20 : type == 'd' ? 701 : type == 't' ? 25 : type == 'u' ? 2950 : 17; /* pg_type.dat */
}

/** @param ret  caller: PQclear */
static int exec(struct pg_side *s, const char *sql, const char *types, const struct move_value *v, PGresult **ret,
                struct err *err)
{
    Oid oids[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX], n = (int)strlen(types);
    uint64_t numbers[PARAMS_MAX];
    char text[SQL_MAX];

    if (strlen(sql) >= sizeof(text) || n > PARAMS_MAX)
        return err_set(err, ERR_INTERNAL, 0, "a statement that is too long, or has too many parameters");
    memcpy(text, sql, strlen(sql) + 1);
    for (char *p = text; (p = strchr(p, '?')) != NULL; p++)
        *p = '$';
    for (int i = 0; i < n; i++) {
        numbers[i] = htobe64((uint64_t)v[i].i);
        oids[i] = oid_of(types[i]);
        formats[i] = 1;
        values[i] = v[i].null ? NULL : types[i] == 'i' ? (const char *)&numbers[i] : v[i].p;
        lengths[i] = types[i] == 'i' ? 8 : (int)v[i].n;
    }
    PGresult *res = PQexecParams(s->pg, text, n, oids, values, lengths, formats, 1);
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        int rc = pg_result_err(res, err);
        PQclear(res);
        return rc;
    }
    *ret = res;
    return ERR_OK;
}

static uint64_t bits_of(const unsigned char *p, int n)
{
    uint64_t v = n > 0 && (p[0] & 0x80) ? UINT64_MAX : 0;

    for (int i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static struct move_value column(const PGresult *res, int row, int i, char type)
{
    struct move_value v = {.null = PQgetisnull(res, row, i)};

    if (v.null)
        return v;
    v.p = PQgetvalue(res, row, i);
    v.n = (size_t)PQgetlength(res, row, i);
    if (type == 'i' || type == 'd') {
        uint64_t bits = bits_of(v.p, (int)v.n);
        v.i = (int64_t)bits;
        memcpy(&v.d, &bits, sizeof(v.d));
    }
    return v;
}

static int side_select(struct store_side *side, const char *sql, const char *param_types,
                       const struct move_value *params, const char *types, move_row_fn *row, void *arg, struct err *err)
{
    struct move_value v[2 * MOVE_COLUMNS_MAX];
    PGresult *res = NULL;
    int rc = exec(of(side), sql, param_types, params, &res, err);

    for (int r = 0; rc == ERR_OK && r < PQntuples(res); r++) {
        for (int i = 0; types[i]; i++)
            v[i] = column(res, r, i, types[i]);
        rc = row(arg, v, err);
    }
    PQclear(res);
    return rc;
}

static int side_run(struct store_side *side, const char *sql, const char *param_types, const struct move_value *params,
                    int64_t *ret_changed, struct err *err)
{
    PGresult *res = NULL;
    int rc = exec(of(side), sql, param_types, params, &res, err);

    if (rc == ERR_OK && ret_changed)
        *ret_changed = strtoll(PQcmdTuples(res), NULL, 10);
    PQclear(res);
    return rc;
}

/* --- COPY --- */

#define COPY_PIECE ((size_t)64 << 10)
#define SOON_US    (INT64_C(3600) * USEC_PER_SEC)

struct copy {
    struct pg_side *s;
    const struct move_columns *columns;
    int width[MOVE_COLUMNS_MAX]; /* bytes of an integer column */
    struct buf out;
};

static int widths_read(struct copy *c, const char *table, struct err *err)
{
    char sql[SQL_MAX];
    PGresult *res = NULL;

    snprintf(sql, sizeof(sql), "SELECT %s FROM %s LIMIT 0", c->columns->list, table);
    int rc = exec(c->s, sql, "", NULL, &res, err);
    for (size_t i = 0; rc == ERR_OK && i < c->columns->n; i++)
        c->width[i] = PQfsize(res, (int)i);
    PQclear(res);
    return rc;
}

static void put_number(struct buf *b, uint64_t v, int bytes)
{
    uint64_t big = htobe64(v);

    buf_add(b, (const char *)&big + 8 - bytes, (size_t)bytes);
}

static void put_row(struct copy *c, const struct move_value *v)
{
    put_number(&c->out, c->columns->n, 2);
    for (size_t i = 0; i < c->columns->n; i++) {
        char type = c->columns->types[i];
        uint64_t bits;
        int n = type == 'i' ? c->width[i] : type == 'd' ? 8 : (int)v[i].n;

        put_number(&c->out, v[i].null ? UINT32_MAX : (uint64_t)n, 4);
        memcpy(&bits, &v[i].d, sizeof(bits));
        if (!v[i].null && (type == 'i' || type == 'd'))
            put_number(&c->out, type == 'i' ? (uint64_t)v[i].i : bits, n);
        else if (!v[i].null)
            buf_add(&c->out, v[i].p, v[i].n);
    }
}

static int lost(const struct copy *c, struct err *err)
{
    return pg_err(NULL, PQerrorMessage(c->s->pg), err);
}

static int send(struct copy *c, struct err *err)
{
    if (c->out.failed)
        return err_set(err, ERR_NO_MEMORY, 0, "a portion of rows");
    if (c->out.len > 0 && PQputCopyData(c->s->pg, c->out.data, (int)c->out.len) != 1)
        return lost(c, err);
    buf_reset(&c->out);
    return ERR_OK;
}

static int send_rows(struct copy *c, const struct buf *rows, struct err *err)
{
    static const char head[] =
        "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0"; /* its signature with one zero byte, no flags, no extension */
    struct move_value v[MOVE_COLUMNS_MAX];
    size_t at = 0;
    int rc = ERR_OK;

    buf_add(&c->out, head, sizeof(head)); /* with the literal's own */
    while (rc == ERR_OK && move_row_next(rows, &at, c->columns->types, v)) {
        put_row(c, v);
        if (c->out.len >= COPY_PIECE)
            rc = send(c, err);
    }
    if (rc == ERR_OK && at != rows->len)
        rc = err_set(err, ERR_INTERNAL, 0, "a portion that is cut");
    put_number(&c->out, UINT16_MAX, 2);
    return rc == ERR_OK ? send(c, err) : rc;
}

/** What became of it; an error of ours ends it, too. */
static int copy_end(struct copy *c, int rc, struct err *err)
{
    PGresult *res;

    if (PQputCopyEnd(c->s->pg, rc == ERR_OK ? NULL : "stopped") != 1)
        return rc == ERR_OK ? lost(c, err) : rc;
    while ((res = PQgetResult(c->s->pg)) != NULL) {
        if (rc == ERR_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
            rc = pg_result_err(res, err);
        PQclear(res);
    }
    return rc;
}

/** The place of a column in a list of names; their number if it is not there. */
static size_t column_at(const struct move_columns *columns, const char *name)
{
    size_t i = 0, n = strlen(name);

    for (const char *p = columns->list; i < columns->n && (strncmp(p, name, n) != 0 || (p[n] != ',' && p[n])); i++)
        p = i + 1 < columns->n ? strchr(p, ' ') + 1 : p;
    return i;
}

/** The first and the last of these instants. @return whether there is any */
static bool span(const struct move_columns *columns, const struct buf *rows, const char *column, usec *ret_first,
                 usec *ret_last)
{
    const size_t i = column_at(columns, column);
    struct move_value v[MOVE_COLUMNS_MAX];

    *ret_first = USEC_NEVER;
    *ret_last = 0;
    for (size_t at = 0; i < columns->n && move_row_next(rows, &at, columns->types, v);) {
        if (v[i].i == 0)
            continue;
        *ret_first = MIN(*ret_first, v[i].i);
        *ret_last = MAX(*ret_last, v[i].i);
    }
    return *ret_first <= *ret_last;
}

/** The days of these rows have tables. */
static int days_make(struct pg_side *s, const struct move_columns *columns, const struct buf *rows, struct err *err)
{
    usec first, last;

    return span(columns, rows, "finished_at", &first, &last) ? pg_days_cover(s->pg, first, last, err) : ERR_OK;
}

static int copy_in(struct pg_side *s, const char *table, const struct move_columns *columns, const struct buf *rows,
                   struct err *err)
{
    struct copy c = {.s = s, .columns = columns};
    char sql[SQL_MAX];
    int rc = widths_read(&c, table, err);

    if (rc != ERR_OK)
        return rc;
    snprintf(sql, sizeof(sql), "COPY %s (%s) FROM STDIN (FORMAT binary)", table, columns->list);
    PGresult *res = PQexec(c.s->pg, sql);
    if (PQresultStatus(res) != PGRES_COPY_IN) {
        rc = pg_result_err(res, err);
        PQclear(res);
        return rc;
    }
    PQclear(res);
    buf_init(&c.out, MOVE_PORTION_MAX);
    rc = copy_end(&c, send_rows(&c, rows, err), err);
    buf_release(&c.out);
    return rc;
}

/** Attempts lie where their job does, which is there already: history is moved before. Most jobs end with their latest attempt, or soon after, so
 * that few tables are looked into first. */
static int attempts_place(struct pg_side *s, const struct move_columns *columns, const struct buf *rows,
                          struct err *err)
{
    char sql[SQL_MAX];
    usec first, last;
    int rc =
        pg_exec(s->pg, "CREATE TEMP TABLE moved_attempts (LIKE attempts INCLUDING DEFAULTS) ON COMMIT DROP", NULL, err);

    if (rc == ERR_OK)
        rc = copy_in(s, "moved_attempts", columns, rows, err);
    if (rc != ERR_OK)
        return rc;
    (void)span(columns, rows, "ended_at", &first, &last);
    snprintf(sql, sizeof(sql),
             "INSERT INTO attempts (%s, finished_at) SELECT %s, coalesce((SELECT h.finished_at FROM history h"
             " WHERE h.job_id = m.job_id AND h.finished_at >= %lld AND h.finished_at < %lld),"
             " (SELECT h.finished_at FROM history h WHERE h.job_id = m.job_id), 0) FROM moved_attempts m;"
             " DROP TABLE moved_attempts",
             columns->list, columns->list, (long long)first, (long long)(last + SOON_US));
    return pg_exec(s->pg, sql, NULL, err);
}

static int side_insert(struct store_side *side, const char *table, const struct move_columns *columns,
                       const struct buf *rows, struct err *err)
{
    struct pg_side *s = of(side);

    if (strcmp(table, "attempts") == 0)
        return attempts_place(s, columns, rows, err);
    int rc = strcmp(table, "history") == 0 ? days_make(s, columns, rows, err) : ERR_OK;
    return rc == ERR_OK ? copy_in(s, table, columns, rows, err) : rc;
}

/* --- opening --- */

/* Where passes take rows from the head by time, SQLite's rows must come in that order (sqlite/move.c). */
static const char *order(const char *table)
{
    if (strcmp(table, "history") == 0)
        return "finished_at:i job_id:u";
    return strcmp(table, "dedup") == 0 ? "expires_at:i project:t key:t" : NULL;
}

static int check_unused(struct store_side *s, struct err *err)
{
    char name[128];
    int rc = side_text(s, "SELECT name FROM servers WHERE seen > clock_timestamp() - interval '6 seconds' LIMIT 1", "",
                       NULL, name, sizeof(name), err);

    if (rc == ERR_OK && name[0])
        rc = err_set(err, ERR_LOCKED, 0,
                     "a server uses the database: %.90s; stop it, or wait some seconds if it was killed", name);
    return rc;
}

static const struct side_ops ops = {.select = side_select,
                                    .run = side_run,
                                    .insert = side_insert,
                                    .begin = "BEGIN ISOLATION LEVEL READ COMMITTED",
                                    .order = order,
                                    .check_unused = check_unused};

/** A server that starts meanwhile waits for this transaction; whoever is there already was seen. */
static int source_begin(struct pg_side *s, struct err *err)
{
    int rc = pg_exec(
        s->pg,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s';"
        " SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE servers IN SHARE MODE",
        NULL, err);

    return rc == ERR_OK ? check_unused(&s->side, err) : rc;
}

static int connect_as(struct pg_side *s, enum move_role role, const char *url, struct err *err)
{
    unsigned version = 0;
    int rc = role == MOVE_TARGET ? pg_schema(url, err) : ERR_OK;

    if (rc == ERR_OK)
        rc = pg_connect(url, &s->pg, err);
    if (rc == ERR_OK)
        rc = pg_schema_version(s->pg, &version, err);
    s->side.empty = rc == ERR_OK && version == 0;
    if (s->side.empty && role == MOVE_NOTE)
        rc = err_set(err, ERR_NOT_FOUND, 0, "there are no tables");
    if (rc == ERR_OK && role != MOVE_NOTE && (role == MOVE_SOURCE || version > 0))
        rc = side_check_schema(version, postgres_n_migrations, err);
    if (rc == ERR_OK && role == MOVE_SOURCE)
        rc = source_begin(s, err);
    return rc;
}

static void side_close(struct store_side *s)
{
    if (!s)
        return;
    PQfinish(of(s)->pg);
    free(s);
}

static int side_open(const struct store_config *config, enum move_role role, struct store_side **ret, struct err *err)
{
    struct pg_side *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "store");
    s->side.ops = &ops;
    int rc = connect_as(s, role, config->url, err);
    if (rc != ERR_OK) {
        side_close(&s->side);
        return err_wrap(err, rc, "store");
    }
    *ret = &s->side;
    return ERR_OK;
}

static int side_identity(struct store_side *s, char ret[MOVE_ID_MAX], struct err *err)
{
    return side_text(
        s,
        "SELECT 'postgres:' || extract(epoch FROM pg_postmaster_start_time()) || ':' ||"
        " (SELECT oid FROM pg_database WHERE datname = current_database()) || ':' || coalesce(current_schema(), '')",
        "", NULL, ret, MOVE_ID_MAX, err);
}

static void side_where(struct store_side *s, char ret[MOVE_PLACE_MAX])
{
    const PGconn *pg = of(s)->pg;
    const char *host = PQhost(pg);

    if (host && *host && *host != '/') /* else a folder of sockets */
        side_place(ret, "the database %s on %s:%s", PQdb(pg), host, PQport(pg));
    else
        side_place(ret, "the database %s on this machine", PQdb(pg));
}

const struct store_moves postgres_moves = {.open = side_open,
                                           .close = side_close,
                                           .identity = side_identity,
                                           .place = side_where,
                                           .moved = side_moved,
                                           .count = side_count,
                                           .meta = side_meta,
                                           .read = side_read,
                                           .begin = side_begin,
                                           .write = side_write,
                                           .finish = side_finish};
