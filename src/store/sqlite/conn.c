/* A connection and its statements: prepared once, found by the address of their text. */
#include "store/sqlite/internal.h"
#include "store/sqlite/wal_file.h"

int conn_err(struct conn *c, int rc, struct err *err)
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
    struct conn *c = arg;

    return c->deadline > 0 && c->clock.boot_us(c->clock.self) > c->deadline;
}

int conn_exec(struct conn *c, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? ERR_OK : conn_err(c, rc, err);
}

int conn_open(struct conn *c, const char *path, bool writer, struct clock clock, struct err *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
    int rc;

    *c = (struct conn){.clock = clock};
    rc = sqlite3_open_v2(path, &c->db, flags, writer ? wal_file_vfs() : NULL);
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

void conn_close(struct conn *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->cache); i++)
        sqlite3_finalize(c->cache[i].st);
    sqlite3_close_v2(c->db);
    *c = (struct conn){0};
}

static int prepare(struct conn *c, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    size_t i = ((uintptr_t)sql >> 3) % STATEMENTS_MAX;
    size_t probes = 0;

    while (c->cache[i].sql && c->cache[i].sql != sql) {
        if (++probes == STATEMENTS_MAX)
            return err_set(err, ERR_INTERNAL, 0, "more than %d statements", STATEMENTS_MAX);
        i = (i + 1) % STATEMENTS_MAX;
    }
    if (!c->cache[i].sql) {
        int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->cache[i].st, NULL);
        if (rc != SQLITE_OK)
            return conn_err(c, rc, err);
        c->cache[i].sql = sql;
    }
    *ret = c->cache[i].st;
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

int q_vopen(struct conn *c, sqlite3_stmt **ret, struct err *err, const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *st = NULL;
    int rc = prepare(c, sql, &st, err);

    if (rc != ERR_OK)
        return rc;
    if ((rc = bind(st, 0, types, ap)) != SQLITE_OK) {
        q_close(st);
        return conn_err(c, rc, err);
    }
    *ret = st;
    return ERR_OK;
}

int q_open(struct conn *c, sqlite3_stmt **ret, struct err *err, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = q_vopen(c, ret, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int q_bind(struct conn *c, sqlite3_stmt *st, int before, struct err *err, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = bind(st, before, types, ap);
    va_end(ap);
    return rc == SQLITE_OK ? ERR_OK : conn_err(c, rc, err);
}

int q_step(struct conn *c, sqlite3_stmt *st, bool *ret_row, struct err *err)
{
    int rc = sqlite3_step(st);

    *ret_row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : conn_err(c, rc, err);
}

void q_close(sqlite3_stmt *st)
{
    if (st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
}

int q_run(struct conn *c, int64_t *ret_changed, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_QUERY sqlite3_stmt *st = NULL;
    bool row;
    va_list ap;

    va_start(ap, types);
    int rc = q_vopen(c, &st, err, sql, types, ap);
    va_end(ap);
    if (rc == ERR_OK)
        rc = q_step(c, st, &row, err);
    if (rc == ERR_OK && ret_changed)
        *ret_changed = sqlite3_changes64(c->db);
    return rc;
}

static int rows_write(struct conn *c, const struct sql_rows *how, const char *sql, const void *const *rows, size_t n,
                      struct err *err)
{
    AUTO_QUERY sqlite3_stmt *st = NULL;
    bool more;
    int rc = q_open(c, &st, err, sql, "");

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = how->bind(c, st, i, rows[i], err);
    return rc == ERR_OK ? q_step(c, st, &more, err) : rc;
}

int q_rows(struct conn *c, const struct sql_rows *how, const void *const *rows, size_t n, struct err *err)
{
    int rc = ERR_OK;

    if (n == SQL_ROWS)
        return rows_write(c, how, how->full, rows, n, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = rows_write(c, how, how->one, rows + i, 1, err);
    return rc;
}

int q_int(struct conn *c, int64_t absent, int64_t *ret, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_QUERY sqlite3_stmt *st = NULL;
    bool row;
    va_list ap;

    va_start(ap, types);
    int rc = q_vopen(c, &st, err, sql, types, ap);
    va_end(ap);
    if (rc == ERR_OK)
        rc = q_step(c, st, &row, err);
    if (rc == ERR_OK)
        *ret = row && sqlite3_column_type(st, 0) != SQLITE_NULL ? sqlite3_column_int64(st, 0) : absent;
    return rc;
}

char *col_text(sqlite3_stmt *st, int i, struct arena *arena)
{
    if (sqlite3_column_type(st, i) == SQLITE_NULL)
        return NULL;
    const void *p = sqlite3_column_blob(st, i);
    int n = sqlite3_column_bytes(st, i);
    return arena_strndup(arena, p ? p : "", (size_t)n);
}

struct uuid col_uuid(sqlite3_stmt *st, int i)
{
    struct uuid u = {{0}};

    if (sqlite3_column_bytes(st, i) == 16)
        memcpy(u.b, sqlite3_column_blob(st, i), 16);
    return u;
}

void col_hash(sqlite3_stmt *st, int i, uint8_t ret[32])
{
    memset(ret, 0, 32);
    if (sqlite3_column_bytes(st, i) == 32)
        memcpy(ret, sqlite3_column_blob(st, i), 32);
}
