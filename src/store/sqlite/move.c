/* A side of a move: SQLite's file. Nobody else has it open, which the data folder's lock sees to. */
#include "store/sql/move.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/sha256.h"
#include "store/sqlite/driver.h"
#include "store/snapshot.h"
#include "store/sqlite/key_rows.h"
#include "store/sqlite/move_postings.h"
#include "store/sqlite/schema.h"
#include <limits.h>
#include <stdlib.h>

struct sqlite_side {
    struct store_side side;
    struct sqlite_conn c;
    char path[PATH_MAX];
};
static struct sqlite_side *of(struct store_side *s)
{
    return (struct sqlite_side *)s; /* which it begins with */
}

static int failed(struct sqlite_side *s, int rc, struct err *err)
{
    return conn_err(&s->c, rc, err);
}

static int bind_one(sqlite3_stmt *st, int i, char type, const struct move_value *v)
{
    if (v->null)
        return sqlite3_bind_null(st, i);
    if (type == 'i')
        return sqlite3_bind_int64(st, i, v->i);
    if (type == 'd')
        return sqlite3_bind_double(st, i, v->d);
    if (type == 't')
        return sqlite3_bind_text64(st, i, v->p, v->n, SQLITE_STATIC, SQLITE_UTF8);
    return sqlite3_bind_blob64(st, i, v->n > 0 ? v->p : "", v->n, SQLITE_STATIC);
}

static int bind_all(sqlite3_stmt *st, const char *types, const struct move_value *v)
{
    int rc = SQLITE_OK;

    for (int i = 0; types[i] && rc == SQLITE_OK; i++)
        rc = bind_one(st, i + 1, types[i], &v[i]);
    return rc;
}

static int column(sqlite3_stmt *st, int i, char type, struct move_value *ret, struct err *err)
{
    *ret = (struct move_value){.null = sqlite3_column_type(st, i) == SQLITE_NULL};
    if (ret->null)
        return ERR_OK;
    if (type == 'i')
        ret->i = sqlite3_column_int64(st, i);
    else if (type == 'd')
        ret->d = sqlite3_column_double(st, i);
    else {
        ret->p = type == 't' ? (const void *)sqlite3_column_text(st, i) : sqlite3_column_blob(st, i);
        ret->n = (size_t)sqlite3_column_bytes(st, i);
        if (!ret->p && ret->n > 0)
            return err_set(err, ERR_NO_MEMORY, 0, "a row");
    }
    if (type == 'u' && ret->n != 16)
        return err_set(err, ERR_CORRUPT, 0, "the database is damaged: an id of %zu bytes", ret->n);
    return ERR_OK;
}

static int side_select(struct store_side *side, const char *sql, const char *param_types,
                       const struct move_value *params, const char *types, move_row_fn *row, void *arg, struct err *err)
{
    struct sqlite_side *s = of(side);
    struct move_value v[2 * MOVE_COLUMNS_MAX];
    sqlite3_stmt *st = NULL;
    int rc = ERR_OK, sq = sqlite3_prepare_v2(s->c.db, sql, -1, &st, NULL);

    if (sq == SQLITE_OK)
        sq = bind_all(st, param_types, params);
    while (rc == ERR_OK && sq == SQLITE_OK && (sq = sqlite3_step(st)) == SQLITE_ROW) {
        for (int i = 0; types[i] && rc == ERR_OK; i++)
            rc = column(st, i, types[i], &v[i], err);
        if (rc == ERR_OK)
            rc = row(arg, v, err);
        sq = SQLITE_OK;
    }
    if (rc == ERR_OK && sq != SQLITE_DONE)
        rc = failed(s, sq, err);
    sqlite3_finalize(st);
    return rc;
}

static int side_run(struct store_side *side, const char *sql, const char *param_types, const struct move_value *params,
                    int64_t *ret_changed, struct err *err)
{
    struct sqlite_side *s = of(side);
    sqlite3_stmt *st = NULL;
    int sq = sqlite3_prepare_v2(s->c.db, sql, -1, &st, NULL);

    if (sq == SQLITE_OK)
        sq = bind_all(st, param_types, params);
    if (sq == SQLITE_OK)
        sq = sqlite3_step(st);
    int rc = sq == SQLITE_DONE || sq == SQLITE_ROW ? ERR_OK : failed(s, sq, err);
    if (rc == ERR_OK && ret_changed)
        *ret_changed = sqlite3_changes64(s->c.db);
    sqlite3_finalize(st);
    return rc;
}

static int rows_insert(struct store_side *side, const char *table, const struct move_columns *columns,
                       const struct buf *rows, struct err *err)
{
    struct sqlite_side *s = of(side);
    struct move_value v[MOVE_COLUMNS_MAX];
    char sql[2048];
    sqlite3_stmt *st = NULL;
    size_t at = 0;
    int n = snprintf(sql, sizeof(sql), "INSERT INTO %s (%s) VALUES (?", table, columns->list);

    for (size_t i = 1; i < columns->n; i++)
        n += snprintf(sql + n, sizeof(sql) - (size_t)n, ",?");
    snprintf(sql + n, sizeof(sql) - (size_t)n, ")");
    int sq = sqlite3_prepare_v2(s->c.db, sql, -1, &st, NULL);
    while (sq == SQLITE_OK && move_row_next(rows, &at, columns->types, v)) {
        sq = bind_all(st, columns->types, v);
        if (sq == SQLITE_OK && (sq = sqlite3_step(st)) == SQLITE_DONE)
            sq = sqlite3_reset(st);
    }
    int rc = sq == SQLITE_OK ? ERR_OK : failed(s, sq, err);
    if (rc == ERR_OK && at != rows->len)
        rc = err_set(err, ERR_INTERNAL, 0, "a portion that is cut");
    sqlite3_finalize(st);
    return rc;
}

/* --- keys, which are packed (key_rows.h); a key's place is its row's number --- */

/** Gets the rows that were packed. */
struct taker {
    move_row_fn *row;
    void *arg;
};

static struct move_value bytes_value(const void *p, size_t n)
{
    return (struct move_value){.p = p, .n = n};
}

static int take_key(void *arg, const struct packed_key *key, struct err *err)
{
    const struct taker *t = arg;
    const struct move_value v[] = {bytes_value(key->project, strlen(key->project)),
                                   bytes_value(key->key, key->n_key),
                                   bytes_value(key->job_id.b, sizeof(key->job_id.b)),
                                   bytes_value(key->request_hash, 32),
                                   bytes_value(key->content_hash, 32),
                                   {.i = key->expires_at},
                                   {.i = key->row}};

    return t->row(t->arg, v, err);
}

static int keys_select(struct store_side *s, const struct move_value *after, size_t limit, move_row_fn *row, void *arg,
                       struct err *err)
{
    return key_rows_each(&of(s)->c.conn, after ? after->i : 0, (int64_t)limit, take_key, &(struct taker){row, arg},
                         err);
}

static int count_key(void *arg, const struct packed_key *key, struct err *err)
{
    ++*(int64_t *)arg;
    return ERR_OK;
}

static int keys_count(struct store_side *s, int64_t *ret, struct err *err)
{
    return key_rows_each(&of(s)->c.conn, 0, INT64_MAX, count_key, ret, err);
}

/** As take_key has them. */
static int key_of(const struct move_value *v, int64_t row, char project[JOB_NAME_MAX + 1], struct packed_key *ret,
                  struct err *err)
{
    if (v[0].n > JOB_NAME_MAX || v[1].n == 0 || v[1].n > JOB_KEY_MAX || v[2].n != sizeof(ret->job_id.b) ||
        v[3].n != 32 || v[4].n != 32)
        return err_set(err, ERR_CORRUPT, 0, "a key of a submission is damaged");
    memcpy(project, v[0].p, v[0].n);
    project[v[0].n] = '\0';
    *ret = (struct packed_key){.row = row,
                               .project = project,
                               .key = v[1].p,
                               .n_key = v[1].n,
                               .request_hash = v[3].p,
                               .content_hash = v[4].p,
                               .expires_at = v[5].i};
    memcpy(ret->job_id.b, v[2].p, v[2].n);
    return ERR_OK;
}

static int keys_insert(struct store_side *s, const struct move_columns *columns, const struct buf *rows,
                       struct err *err)
{
    struct conn *c = &of(s)->c.conn;
    struct key_pack pack = {.n = 0};
    struct packed_key key;
    struct move_value v[MOVE_COLUMNS_MAX];
    char project[JOB_NAME_MAX + 1];
    int64_t row = 0;
    size_t at = 0;
    int rc = key_rows_top(c, &row, err);

    while (rc == ERR_OK && move_row_next(rows, &at, columns->types, v)) {
        rc = key_of(v, ++row, project, &key, err);
        if (rc == ERR_OK)
            rc = key_pack_add(c, &pack, &key, err);
    }
    if (rc == ERR_OK && at != rows->len)
        rc = err_set(err, ERR_INTERNAL, 0, "a portion that is cut");
    return rc == ERR_OK ? key_pack_end(c, &pack, err) : rc;
}

/* --- labels, which are postings; a label's place is its row's --- */

#define LABELS_SHARE 16 /* some rows have eighty labels */

static int take_labels(void *arg, const struct move_value *v, struct err *err)
{
    const struct taker *t = arg;

    return move_labels_each(v, t->row, t->arg, err);
}

static int labels_select(struct store_side *s, const struct move_value *after, size_t limit, move_row_fn *row,
                         void *arg, struct err *err)
{
    static const struct move_value first[] = {{.p = ""}, {.p = ""}, {.p = ""}, {.p = ""}};
    struct taker taker = {row, arg};
    char sql[256];

    snprintf(sql, sizeof(sql),
             "SELECT project, name, value, last, others FROM postings WHERE what = %d AND (project, name, value, last)"
             " > (?1, ?2, ?3, ?4) ORDER BY project, name, value, last LIMIT %zu",
             POSTING_LABEL, MAX(limit / LABELS_SHARE, 1u));
    return side_select(s, sql, "tttb", after ? after : first, "tttbb", take_labels, &taker, err);
}

static int take_number(void *arg, const struct move_value *v, struct err *err)
{
    *(int64_t *)arg = v[0].i;
    return ERR_OK;
}

static int labels_count(struct store_side *s, int64_t *ret, struct err *err)
{
    char sql[128];

    snprintf(sql, sizeof(sql), "SELECT coalesce(sum(1 + length(others) / %zu), 0) FROM postings WHERE what = %d",
             sizeof(struct uuid) - POSTING_IDS_SHARED, POSTING_LABEL);
    return side_select(s, sql, "", NULL, "i", take_number, ret, err);
}

static int labels_insert(struct store_side *s, const struct move_columns *columns, const struct buf *rows,
                         struct err *err)
{
    return move_labels_add(&of(s)->c.conn, columns, rows, err);
}

/* --- the rest --- */

static int side_insert(struct store_side *s, const char *table, const struct move_columns *columns,
                       const struct buf *rows, struct err *err)
{
    int rc = rows_insert(s, table, columns, rows, err);

    if (rc == ERR_OK && (strcmp(table, "jobs") == 0 || strcmp(table, "history") == 0))
        rc = move_types_add(&of(s)->c.conn, columns, rows, err);
    return rc;
}

/* History and keys lie in the order in which their time comes, and passes take them from the head: moved in that order, they lie so again. */
static const char *order(const char *table)
{
    return strcmp(table, "history") == 0 ? "rowid:i" : NULL;
}

static const struct side_packed *packed(const char *table)
{
    static const struct side_packed keys = {"row:i", keys_select, keys_count, keys_insert},
                                    labels = {"project:t name:t value:t last:u", labels_select, labels_count,
                                              labels_insert};

    return strcmp(table, "dedup") == 0 ? &keys : strcmp(table, "labels") == 0 ? &labels : NULL;
}

static const struct side_ops ops = {.select = side_select,
                                    .run = side_run,
                                    .insert = side_insert,
                                    .begin = "BEGIN IMMEDIATE",
                                    .order = order,
                                    .packed = packed};

static int open_source(struct sqlite_side *s, enum move_role role, struct err *err)
{
    unsigned version = 0;
    int rc = inspect(s->path, clock_real(), err);

    if (rc == ERR_OK)
        rc = conn_open(&s->c, s->path, false, clock_real(), err);
    if (rc == ERR_OK)
        rc = schema_version(s->c.db, &version, err);
    s->side.empty = rc == ERR_OK && version == 0;
    if (rc == ERR_OK && (role == MOVE_SOURCE || version > 0))
        rc = side_check_schema(version, sqlite_n_migrations, err);
    return rc;
}

/** Of what there is already, or of a file that is made. */
static int open_writer(struct sqlite_side *s, struct err *err)
{
    int rc = inspect(s->path, clock_real(), err);

    if (rc == ERR_OK)
        rc = conn_open(&s->c, s->path, true, clock_real(), err);
    if (rc == ERR_OK)
        rc = conn_exec(&s->c,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF;"
                       "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = 0;"
                       "PRAGMA cache_size = -65536; PRAGMA journal_size_limit = 67108864",
                       err);
    return rc;
}

static int open_target(struct sqlite_side *s, struct err *err)
{
    int rc = open_writer(s, err);

    if (rc == ERR_OK)
        rc = schema_migrate(s->c.db, &(struct schema_telling){0}, err);
    return rc == ERR_OK ? conn_exec(&s->c, "PRAGMA cache_spill = 0", err) : rc; /* as wal_file.c asks */
}

/** Of any schema that is known: meta has been in all of them. */
static int open_note(struct sqlite_side *s, struct err *err)
{
    unsigned version = 0;
    int rc = open_writer(s, err);

    if (rc == ERR_OK)
        rc = schema_version(s->c.db, &version, err);
    if (rc == ERR_OK && version == 0)
        rc = err_set(err, ERR_NOT_FOUND, 0, "there is no database");
    return rc == ERR_OK ? conn_exec(&s->c, "PRAGMA cache_spill = 0", err) : rc;
}

static void side_close(struct store_side *s)
{
    if (!s)
        return;
    conn_close(&of(s)->c);
    free(s);
}

static int side_open(const struct store_config *config, enum move_role role, struct store_side **ret, struct err *err)
{
    struct sqlite_side *s = calloc(1, sizeof(*s));
    int rc = s ? fs_join(s->path, sizeof(s->path), config->dir, sqlite_snapshots.file, err)
               : err_set(err, ERR_NO_MEMORY, 0, "store");

    if (rc != ERR_OK) {
        free(s);
        return rc;
    }
    s->side.ops = &ops;
    bool there = fs_size(s->path) > 0;
    if (!there && (role == MOVE_SOURCE || role == MOVE_NOTE))
        rc = err_set(err, ERR_NOT_FOUND, 0, "there is no database");
    else if (!there && role == MOVE_LOOK)
        s->side.empty = true;
    else if (role == MOVE_NOTE)
        rc = open_note(s, err);
    else
        rc = role == MOVE_TARGET ? open_target(s, err) : open_source(s, role, err);
    if (rc != ERR_OK) {
        side_close(&s->side);
        return err_wrap(err, rc, "store in '%.120s'", config->dir);
    }
    *ret = &s->side;
    return ERR_OK;
}

static int side_identity(struct store_side *s, char ret[MOVE_ID_MAX], struct err *err)
{
    char path[PATH_MAX];
    uint8_t hash[32];

    if (!realpath(of(s)->path, path))
        snprintf(path, sizeof(path), "%s", of(s)->path); /* it is not there yet */
    sha256_once(path, strlen(path), hash);
    snprintf(ret, MOVE_ID_MAX, "sqlite:");
    hex_format(hash, sizeof(hash), ret + 7);
    return ERR_OK;
}

static void side_where(struct store_side *s, char ret[MOVE_PLACE_MAX])
{
    AUTO_FREE char *whole = realpath(of(s)->path, NULL);
    const char *path = whole ? whole : of(s)->path, *slash = strrchr(path, '/');

    side_place(ret, "the data folder %.*s", slash ? (int)(slash - path) : 0, path);
}

const struct store_moves sqlite_moves = {.open = side_open,
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
