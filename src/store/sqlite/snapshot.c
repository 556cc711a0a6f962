/* Snapshots, by SQLite's online backup. Its source is the connection that writes: changes of its own SQLite copies along page by
 * page, where a change by any other connection would make it begin again. It holds no read lock between two steps, so the log can be
 * checkpointed and begun anew meanwhile; a transaction that had spilled and rolled back makes it begin again, which costs time only. */
#include "base/fault.h"
#include "base/fs.h"
#include "store/snapshot.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/schema.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define FILE_NAME  "haul.db"
#define STEP_PAGES 256

struct store_snapshot {
    struct sqlite_store *s;
    sqlite3 *to;
    sqlite3_backup *backup;
    int64_t pages; /* of the source, at the latest step */
};

static int snapshot_bytes(struct store *s, int64_t *ret, struct err *err)
{
    const char *path = sqlite_of(s)->path;
    char wal[PATH_MAX + 8];
    struct stat st;

    if (stat(path, &st) < 0)
        return err_set(err, ERR_IO, errno, "'%s'", path);
    *ret = st.st_size;
    snprintf(wal, sizeof(wal), "%s-wal", path);
    if (stat(wal, &st) == 0)
        *ret += st.st_size;
    return ERR_OK;
}

static void snapshot_end(struct store_snapshot *sn)
{
    if (!sn)
        return;
    sqlite3_backup_finish(sn->backup);
    sqlite3_close_v2(sn->to);
    free(sn);
}

static int copy_err(int rc, struct err *err)
{
    return conn_err(&(struct sqlite_conn){0}, rc, err);
}

/* Nobody needs the file after a crash: no journal, no syncs. What is sent is read back and hashed. */
static int snapshot_start(struct store_snapshot *sn, const char *path, struct err *err)
{
    int rc = sqlite3_open_v2(
        path, &sn->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(sn->to,
                          "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                          "PRAGMA cache_size = -4096",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return copy_err(rc, err);
    sn->backup = sqlite3_backup_init(sn->to, "main", sn->s->w.db, "main");
    return sn->backup ? ERR_OK : copy_err(sqlite3_errcode(sn->to), err);
}

static int snapshot_begin(struct store *s, const char *dir, struct store_snapshot **ret, struct err *err)
{
    char path[PATH_MAX];
    struct store_snapshot *sn = calloc(1, sizeof(*sn));
    int rc = sn ? fs_join(path, sizeof(path), dir, FILE_NAME, err) : err_set(err, ERR_NO_MEMORY, 0, "snapshot");

    if (rc == ERR_OK) {
        sn->s = sqlite_of(s);
        rc = snapshot_start(sn, path, err);
    }
    if (rc != ERR_OK) {
        snapshot_end(sn);
        return err_wrap(err, rc, "begin a copy of the database");
    }
    *ret = sn;
    return ERR_OK;
}

/* What was added since the latest step is made good for, twice: else a flood of large submissions, each batch larger than a step,
 * would keep the copy from ever being whole. */
static int step_pages(struct store_snapshot *sn, int *ret, struct err *err)
{
    int64_t pages;
    int rc = q_int(&sn->s->w.conn, 0, &pages, err, "PRAGMA page_count", "");
    int64_t grown = sn->pages > 0 && pages > sn->pages ? pages - sn->pages : 0;

    sn->pages = pages;
    *ret = (int)MIN(STEP_PAGES + 2 * grown, INT_MAX / 2);
    return rc;
}

static int snapshot_step(struct store_snapshot *sn, bool *ret_whole, struct err *err)
{
    int pages;

    if (sn->s->broken)
        return err_set(err, ERR_UNAVAILABLE, 0, "a sync of the database failed; restart the server");
    int rc = step_pages(sn, &pages, err);
    if (rc != ERR_OK)
        return rc;
    rc = FAULT("sqlite.copy") ? SQLITE_FULL : sqlite3_backup_step(sn->backup, pages);

    *ret_whole = rc == SQLITE_DONE;
    if (rc == SQLITE_OK || rc == SQLITE_DONE || (rc & 0xff) == SQLITE_BUSY || rc == SQLITE_LOCKED)
        return ERR_OK; /* a reader that opens takes a lock for a moment: the next step tries again */
    return err_wrap(err, copy_err(rc, err), "copy the database");
}

/* --- a copy that lies still --- */

struct store_copy {
    struct sqlite_conn c;
    struct query *blobs; /* where next_blob stands */
};

static void copy_close(struct store_copy *c)
{
    if (!c)
        return;
    q_close(c->blobs);
    conn_close(&c->c);
    free(c);
}

/** Immutable: SQLite then neither looks for a log beside it nor makes one. */
static int uri_of(const char *path, char *ret, size_t size, struct err *err)
{
    size_t n = (size_t)snprintf(ret, size, "file:%s", path[0] == '/' ? "//" : "");

    for (const char *p = path; *p && n + 20 < size; p++)
        if (strchr("%?#", *p))
            n += (size_t)snprintf(ret + n, size - n, "%%%02X", (unsigned)(unsigned char)*p);
        else
            ret[n++] = *p;
    if (n + 20 >= size)
        return err_set(err, ERR_TOO_LARGE, 0, "the path '%.100s'... is too long", path);
    snprintf(ret + n, size - n, "?immutable=1");
    return ERR_OK;
}

static int copy_connect(struct store_copy *c, const char *path, struct err *err)
{
    char uri[PATH_MAX * 3];
    int rc = uri_of(path, uri, sizeof(uri), err);

    if (rc != ERR_OK)
        return rc;
    int sql = sqlite3_open_v2(
        uri, &c->c.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (sql != SQLITE_OK)
        return copy_err(sql, err);
    return conn_exec(
        &c->c, "PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA trusted_schema = 0; PRAGMA cell_size_check = 1",
        err);
}

static int copy_info(struct store_copy *c, const char *path, struct store_copy_info *ret, struct err *err)
{
    struct stat st;
    unsigned schema = 0;
    int rc = schema_version(c->c.db, &schema, err);

    if (rc == ERR_OK && schema == 0)
        rc = err_set(err, ERR_CORRUPT, 0, "it has no tables");
    if (rc == ERR_OK)
        rc = schema_compare(c->c.db, err);
    if (rc == ERR_OK && stat(path, &st) < 0)
        rc = err_set(err, ERR_IO, errno, "'%s'", path);
    if (rc != ERR_OK)
        return rc;
    *ret = (struct store_copy_info){.bytes = st.st_size, .schema = schema};
    rc = q_int(&c->c.conn, 0, &ret->jobs, err, "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM history)",
               "");
    if (rc == ERR_OK)
        rc = q_int(&c->c.conn, 0, &ret->blobs, err, "SELECT count(*) FROM blobs", "");
    if (rc == ERR_OK)
        rc = q_int(&c->c.conn, 0, &ret->blob_bytes, err, "SELECT sum(size) FROM blobs", "");
    return rc == ERR_OK ? meta_int(&c->c.conn, "time_us", &ret->time_us, err) : rc;
}

static int copy_open(const char *dir, struct store_copy **ret, struct store_copy_info *ret_info, struct err *err)
{
    char path[PATH_MAX];
    struct store_copy *c = calloc(1, sizeof(*c));
    int rc = c ? fs_join(path, sizeof(path), dir, FILE_NAME, err) : err_set(err, ERR_NO_MEMORY, 0, "copy");

    if (c)
        c->c.conn.ops = &sqlite_ops;
    if (rc == ERR_OK)
        rc = copy_connect(c, path, err);
    if (rc == ERR_OK)
        rc = copy_info(c, path, ret_info, err);
    if (rc != ERR_OK) {
        copy_close(c);
        return err_wrap(err, rc, "the copy of the database");
    }
    *ret = c;
    return ERR_OK;
}

static int copy_check(struct store_copy *c, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->c.db, "PRAGMA integrity_check(1)", -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (!text)
        rc = conn_err(&c->c, rc, err);
    else if (strcmp(text, "ok") != 0)
        rc = err_set(err, ERR_CORRUPT, 0, "the database is damaged: %s", text);
    else
        rc = ERR_OK;
    sqlite3_finalize(st);
    return rc;
}

static int copy_meta(struct store_copy *c, const char *key, char *ret, size_t size, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(&c->c.conn, &st, err, "SELECT value FROM meta WHERE key = ?1", "t", key);

    if (rc == ERR_OK)
        rc = q_step(&c->c.conn, st, &found, err);
    if (rc != ERR_OK)
        return rc;
    const char *text = found ? col_borrow(st, 0) : "";
    if (!text || strlen(text) >= size)
        return err_set(err, ERR_CORRUPT, 0, "the database's '%s' is none", key);
    snprintf(ret, size, "%s", text);
    return ERR_OK;
}

static int copy_next_blob(struct store_copy *c, struct store_copy_blob *ret, bool *ret_more, struct err *err)
{
    int rc = ERR_OK;

    *ret_more = false;
    if (!c->blobs)
        rc = q_open(&c->c.conn, &c->blobs, err, "SELECT blob_id, size, sha256 FROM blobs ORDER BY blob_id", "");
    if (rc == ERR_OK)
        rc = q_step(&c->c.conn, c->blobs, ret_more, err);
    if (rc != ERR_OK || !*ret_more) {
        q_close(c->blobs);
        c->blobs = NULL;
        return rc;
    }
    *ret = (struct store_copy_blob){.blob_id = col_uuid(c->blobs, 0), .size = col_int(c->blobs, 1)};
    col_hash(c->blobs, 2, ret->sha256);
    if (uuid_is_nil(&ret->blob_id) || ret->size < 0)
        return err_set(err, ERR_CORRUPT, 0, "the database is damaged: a row of a blob without an id or a size");
    return ERR_OK;
}

const struct store_snapshots sqlite_snapshots = {
    .file = FILE_NAME,
    .bytes = snapshot_bytes,
    .begin = snapshot_begin,
    .step = snapshot_step,
    .end = snapshot_end,
    .open = copy_open,
    .check = copy_check,
    .meta = copy_meta,
    .next_blob = copy_next_blob,
    .close = copy_close,
};
