/* A connection and its statements: prepared once, found by the address of their text. */
#include "store/sqlite/driver.h"
#include "core/search.h"
#include "store/sqlite/vfs.h"

#define TEXT_MAX 4096

int conn_err(struct sqlite_conn *c, int rc, struct err *err)
{
    enum err_code code;

    switch (rc & 0xff) {
    case SQLITE_FULL:
        code = ERR_NO_SPACE;
        break;
    case SQLITE_NOMEM:
        code = ERR_NO_MEMORY;
        break;
    case SQLITE_IOERR:
        code = ERR_IO;
        break;
    case SQLITE_INTERRUPT:
        return err_set(err, ERR_TIMEOUT, 0, "the read took longer than %d ms", (int)(READ_DEADLINE_US / 1000));
    case SQLITE_BUSY:
        code = ERR_BUSY;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = ERR_CORRUPT;
        break;
    case SQLITE_CANTOPEN:
        code = ERR_IO;
        break;
    default:
        code = ERR_INTERNAL;
    }
    return err_set(err, code, 0, "sqlite: %s (%d)", c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc), rc);
}

static int over_deadline(void *arg)
{
    struct sqlite_conn *c = arg;

    return c->deadline > 0 && c->clock.boot_us(c->clock.self) > c->deadline;
}

int conn_exec(struct sqlite_conn *c, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? ERR_OK : conn_err(c, rc, err);
}

/* haul_has_text(text, job_id, task_type, dedup_key, labels, error_log): job_has_text. */
static void has_text(sqlite3_context *context, int n, sqlite3_value **v)
{
    struct job job = {.task_type = (const char *)sqlite3_value_text(v[2]),
                      .dedup_key = (const char *)sqlite3_value_text(v[3]),
                      .labels = (const char *)sqlite3_value_text(v[4]),
                      .error_log = (const char *)sqlite3_value_text(v[5])};
    const char *text = (const char *)sqlite3_value_text(v[0]);

    if (sqlite3_value_bytes(v[1]) == sizeof(job.job_id.b))
        memcpy(job.job_id.b, sqlite3_value_blob(v[1]), sizeof(job.job_id.b));
    sqlite3_result_int(context, n == 6 && text && job_has_text(&job, text));
}

/* haul_has_label(labels, key, value): labels_have. */
static void has_label(sqlite3_context *context, int n, sqlite3_value **v)
{
    const char *labels = (const char *)sqlite3_value_text(v[0]), *key = (const char *)sqlite3_value_text(v[1]);

    sqlite3_result_int(context,
                       n == 3 && labels && key && labels_have(labels, key, (const char *)sqlite3_value_text(v[2])));
}

/** What a list's statement asks of a row. */
static int add_functions(sqlite3 *db)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    int rc = sqlite3_create_function_v2(db, "haul_has_text", 6, flags, NULL, has_text, NULL, NULL, NULL);

    return rc == SQLITE_OK
               ? sqlite3_create_function_v2(db, "haul_has_label", 3, flags, NULL, has_label, NULL, NULL, NULL)
               : rc;
}

int conn_open(struct sqlite_conn *c, const char *path, bool writer, struct clock clock, struct err *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    int rc;

    *c = (struct sqlite_conn){.conn.ops = &sqlite_ops, .clock = clock};
    rc = sqlite3_open_v2(path, &c->db, flags, writer ? vfs_name() : NULL);
    if (rc == SQLITE_OK)
        rc = add_functions(c->db);
    if (rc != SQLITE_OK) {
        conn_err(c, rc, err);
        conn_close(c);
        return err_wrap(err, (int)err->code, "open '%s'", path);
    }
    sqlite3_busy_timeout(c->db, 2000); /* nobody else writes; opening and recovery take locks for moments */
    if (writer)
        return ERR_OK;
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_progress_handler(c->db, 1000, over_deadline, c);
    rc = conn_exec(
        c, "PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA cache_size = -4096; PRAGMA trusted_schema = 0", err);
    if (rc != ERR_OK)
        conn_close(c);
    return rc;
}

void conn_close(struct sqlite_conn *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->cache); i++)
        sqlite3_finalize(c->cache[i].st);
    sqlite3_close_v2(c->db);
    *c = (struct sqlite_conn){0};
}

/* For an INSERT of what a SELECT finds SQLite copies each page that it changes, to take back what came before the row that fails. `OR FAIL` spares
 * that, where who sees it fail rolls more back (apply.c). A comment in the text asks for it: other databases do not know the words. */
static int prepare_text(sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
    static const char insert[] = "INSERT ", or_fail[] = "INSERT OR FAIL ";
    char text[TEXT_MAX];

    if (strstr(sql, "/*or fail*/") && strncmp(sql, insert, strlen(insert)) == 0 &&
        snprintf(text, sizeof(text), "%s%s", or_fail, sql + strlen(insert)) < (int)sizeof(text))
        sql = text;
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
}

static int prepare(struct sqlite_conn *c, const char *sql, struct sqlite_query **ret, struct err *err)
{
    size_t i = ((uintptr_t)sql >> 3) % STATEMENTS_MAX;
    size_t probes = 0;

    while (c->cache[i].sql && c->cache[i].sql != sql) {
        if (++probes == STATEMENTS_MAX)
            return err_set(err, ERR_INTERNAL, 0, "more than %d statements", STATEMENTS_MAX);
        i = (i + 1) % STATEMENTS_MAX;
    }
    struct sqlite_query *q = &c->cache[i];
    if (!q->sql) {
        int rc = prepare_text(c->db, sql, &q->st);
        if (rc != SQLITE_OK)
            return conn_err(c, rc, err);
        q->sql = sql;
        q->c = c;
        q->q.ops = &sqlite_ops;
    }
    *ret = q;
    return ERR_OK;
}

static int bind(sqlite3_stmt *st, int before, const char *types, va_list ap)
{
    int rc = SQLITE_OK;

    for (int i = before + 1; *types && rc == SQLITE_OK; types++, i++)
        switch (*types) {
        case 'i':
            rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
            break;
        case 'z': {
            int64_t v = va_arg(ap, int64_t);
            rc = v ? sqlite3_bind_int64(st, i, v) : sqlite3_bind_null(st, i);
            break;
        }
        case 'd':
            rc = sqlite3_bind_double(st, i, va_arg(ap, double));
            break;
        case 't':
            rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            break;
        case 'x': {
            const char *s = va_arg(ap, const char *);
            rc = s ? sqlite3_bind_blob64(st, i, s, strlen(s), SQLITE_STATIC) : sqlite3_bind_null(st, i);
            break;
        }
        case 'b': {
            const void *p = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            rc = p ? sqlite3_bind_blob64(st, i, p, n, SQLITE_STATIC) : sqlite3_bind_null(st, i);
            break;
        }
        case 'u': {
            const struct uuid *u = va_arg(ap, const struct uuid *);
            rc = uuid_is_nil(u) ? sqlite3_bind_null(st, i) : sqlite3_bind_blob(st, i, u->b, 16, SQLITE_STATIC);
            break;
        }
        default:
            rc = SQLITE_MISUSE;
        }
    return rc;
}

static sqlite3_stmt *stmt(struct query *st)
{
    return ((struct sqlite_query *)st)->st; /* which begins with it */
}

/* What was bound stays, and is not looked at: before its next step all of a statement is bound anew. */
static void stmt_close(struct query *st)
{
    sqlite3_reset(stmt(st));
}

static int stmt_open(struct conn *conn, struct query **ret, struct err *err, const char *sql, const char *types,
                     va_list ap)
{
    struct sqlite_conn *c = sqlite_conn_of(conn);
    struct sqlite_query *q = NULL;
    int rc = prepare(c, sql, &q, err);

    if (!q)
        return rc;
    if ((rc = bind(q->st, 0, types, ap)) != SQLITE_OK) {
        stmt_close(&q->q);
        return conn_err(c, rc, err);
    }
    *ret = &q->q;
    return ERR_OK;
}

int q_bind(struct query *st, int before, struct err *err, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = bind(stmt(st), before, types, ap);
    va_end(ap);
    return rc == SQLITE_OK ? ERR_OK : conn_err(((struct sqlite_query *)st)->c, rc, err);
}

static int stmt_step(struct query *st, bool *ret_row, struct err *err)
{
    int rc = sqlite3_step(stmt(st));

    *ret_row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : conn_err(((struct sqlite_query *)st)->c, rc, err);
}

static int stmt_run(struct conn *c, int64_t *ret_changed, struct err *err, const char *sql, const char *types,
                    va_list ap)
{
    AUTO_QUERY struct query *st = NULL;
    bool row;
    int rc = stmt_open(c, &st, err, sql, types, ap);

    if (st)
        rc = stmt_step(st, &row, err);
    if (rc == ERR_OK && ret_changed)
        *ret_changed = sqlite3_changes64(sqlite_conn_of(c)->db);
    return rc;
}

static int rows_write(struct conn *c, const struct sql_rows *how, const char *sql, const void *const *rows, size_t n,
                      struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(c, &st, err, sql, "");

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = how->bind(st, i, rows[i], err);
    return rc == ERR_OK ? stmt_step(st, &more, err) : rc;
}

int q_rows(struct conn *c, const struct sql_rows *how, const void *const *rows, size_t n, struct err *err)
{
    int rc = ERR_OK;

    for (size_t size = SQL_SIZES; rc == ERR_OK && size-- > 0;)
        for (size_t k = (size_t)1 << size; rc == ERR_OK && n >= k; rows += k, n -= k)
            rc = rows_write(c, how, how->of[size], rows, k, err);
    return rc;
}

static bool column_null(struct query *st, int i)
{
    return sqlite3_column_type(stmt(st), i) == SQLITE_NULL;
}

static int64_t column_integer(struct query *st, int i)
{
    return sqlite3_column_int64(stmt(st), i);
}

static double column_real(struct query *st, int i)
{
    return sqlite3_column_double(stmt(st), i);
}

static const void *column_bytes(struct query *st, int i, size_t *ret_n)
{
    int type = sqlite3_column_type(stmt(st), i);
    const void *p =
        type == SQLITE_TEXT ? (const void *)sqlite3_column_text(stmt(st), i) : sqlite3_column_blob(stmt(st), i);

    if (ret_n)
        *ret_n = (size_t)sqlite3_column_bytes(stmt(st), i);
    return p;
}

static int written(struct conn *c, int64_t *ret, struct err *err)
{
    *ret = sqlite3_total_changes64(sqlite_conn_of(c)->db);
    return ERR_OK;
}

const struct sql_ops sqlite_ops = {
    .open = stmt_open,
    .run = stmt_run,
    .step = stmt_step,
    .close = stmt_close,
    .is_null = column_null,
    .integer = column_integer,
    .real = column_real,
    .bytes = column_bytes,
    .written = written,
};
