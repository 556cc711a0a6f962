#include "bench/bare.h"
#include "base/auto.h"
#include "base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>

#define BLOCK  4096
#define BLOCKS 1024 /* 4 MiB, written once before: a sync then carries data and no change of the file's length */

double bare_per_second(const struct bare_rate *r)
{
    return r->ns > 0 ? (double)r->done * 1e9 / (double)r->ns : 0;
}

static int sql_err(struct bare *b, const char *what, struct err *err)
{
    int code = sqlite3_errcode(b->db) & 0xff;
    return err_set(err, code == SQLITE_FULL ? ERR_NO_SPACE : ERR_IO, 0, "SQLite alone: %s: %s", what,
                   sqlite3_errmsg(b->db));
}

static int disk_open(struct bare *b, struct err *err)
{
    static const char block[BLOCK];
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof(path), b->dir, "syncs", err);
    if (rc)
        return rc;
    b->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (b->fd < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", path);
    for (int i = 0; i < BLOCKS && !rc; i++)
        rc = fs_write_all(b->fd, block, sizeof(block), err);
    if (!rc && fsync(b->fd) != 0)
        rc = err_set(err, ERR_IO, errno, "sync '%s'", path);
    return rc;
}

static int sqlite_open(struct bare *b, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof(path), b->dir, "plain.db", err);
    if (rc)
        return rc;
    if (sqlite3_open_v2(path, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
            SQLITE_OK ||
        sqlite3_exec(b->db,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "CREATE TABLE jobs (id BLOB PRIMARY KEY NOT NULL, queue TEXT NOT NULL, type TEXT NOT NULL,"
                     " payload BLOB NOT NULL, labels BLOB NOT NULL, status INTEGER NOT NULL, created INTEGER NOT NULL)",
                     NULL, NULL, NULL) != SQLITE_OK)
        return sql_err(b, "open", err);
    return ERR_OK;
}

int bare_open(struct bare *b, const char *dir, unsigned batch, struct err *err)
{
    *b = (struct bare){.fd = -1, .sync.batch = 1};
    int rc = fs_mkdirs(dir, 0700, err);
    if (rc)
        return rc;
    b->dir = strdup(dir);
    if (!b->dir)
        return err_set(err, ERR_NO_MEMORY, 0, "bare limits");
    b->sqlite[b->n_sqlite++].batch = 1;
    b->sqlite[b->n_sqlite++].batch = 100;
    if (batch != 1 && batch != 100)
        b->sqlite[b->n_sqlite++].batch = batch;
    rc = disk_open(b, err);
    return rc ? rc : sqlite_open(b, err);
}

void bare_close(struct bare *b)
{
    struct err ignored = {0};
    if (!b->dir)
        return;
    if (b->fd >= 0)
        close(b->fd);
    sqlite3_close(b->db);
    fs_remove_tree(b->dir, &ignored);
    free(b->dir);
    b->dir = NULL;
}

int bare_sync(struct bare *b, int64_t *ret_ns, struct err *err)
{
    char block[BLOCK];
    int64_t begin = mono_ns();
    memset(block, (int)(b->at & 0xff), sizeof(block));
    if (pwrite(b->fd, block, sizeof(block), (off_t)(b->at++ % BLOCKS) * BLOCK) != sizeof(block) ||
        fdatasync(b->fd) != 0)
        return err_set(err, ERR_IO, errno, "synced writes in '%s'", b->dir);
    *ret_ns = mono_ns() - begin;
    return ERR_OK;
}

/* Keys that rise, as those of jobs do (UUIDv7), and rows of a small submission's size. */
static int insert(struct bare *b, sqlite3_stmt *st)
{
    static const char payload[] =
        "{\"url\":\"s3://bucket/clip-0000000000.mov\",\"bench\":\"0123456789abcdef-0123456789\"}";
    unsigned char id[16] = {0};
    uint64_t n = ++b->rows;
    for (int i = 15; i >= 8; i--, n >>= 8)
        id[i] = (unsigned char)n;
    sqlite3_bind_blob(st, 1, id, sizeof(id), SQLITE_STATIC);
    sqlite3_bind_text(st, 2, "bench", -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, "bench_v1", -1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 4, payload, sizeof(payload) - 1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 5, "{\"customer\":\"acme\"}", 19, SQLITE_STATIC);
    sqlite3_bind_int(st, 6, 0);
    sqlite3_bind_int64(st, 7, (sqlite3_int64)b->rows);
    int rc = sqlite3_step(st);
    sqlite3_reset(st);
    return rc;
}

static bool step(sqlite3_stmt *st)
{
    bool ok = sqlite3_step(st) == SQLITE_DONE;
    return sqlite3_reset(st) == SQLITE_OK && ok;
}

static int sqlite_slice(struct bare *b, struct bare_rate *r, int64_t for_ns, struct err *err)
{
    static const char *const texts[] = {"BEGIN IMMEDIATE", "INSERT INTO jobs VALUES (?,?,?,?,?,?,?)", "COMMIT"};
    sqlite3_stmt *st[3] = {NULL};
    int64_t begin = mono_ns(), now = begin;
    bool ok = true;
    for (int i = 0; i < 3; i++)
        ok = ok && sqlite3_prepare_v2(b->db, texts[i], -1, &st[i], NULL) == SQLITE_OK;
    while (ok && now - begin < for_ns) {
        ok = step(st[0]);
        for (unsigned i = 0; i < r->batch && ok; i++)
            ok = insert(b, st[1]) == SQLITE_DONE;
        ok = ok && step(st[2]);
        int64_t after = mono_ns();
        latency_add(&r->latency, after - now);
        now = after;
        r->done += ok ? r->batch : 0;
    }
    r->ns += now - begin;
    int rc = ok ? ERR_OK : sql_err(b, "insert", err);
    for (int i = 0; i < 3; i++)
        sqlite3_finalize(st[i]);
    return rc;
}

static int sync_slice(struct bare *b, int64_t for_ns, struct err *err)
{
    int rc = ERR_OK;
    for (int64_t begin = mono_ns(), took; !rc && mono_ns() - begin < for_ns;) {
        rc = bare_sync(b, &took, err);
        if (rc)
            continue;
        latency_add(&b->sync.latency, took);
        b->sync.done++;
        b->sync.ns += took;
    }
    return rc;
}

int bare_slice(struct bare *b, int64_t ns, struct err *err)
{
    int rc = sync_slice(b, ns, err);
    for (unsigned i = 0; i < b->n_sqlite && !rc; i++)
        rc = sqlite_slice(b, &b->sqlite[i], ns, err);
    return rc;
}
