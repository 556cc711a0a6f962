/* A frame of the log is 24 bytes and a page, and SQLite writes each with a call of its own: two system calls a page, and three pages of the
 * kernel's cache touched. Frames lie behind one another, so they are gathered here until a commit's last one, or until anything else is
 * asked of the file.
 *
 * What this rests on: other connections look at a frame only when the wal-index says that it is there, which SQLite writes after the commit's
 * last frame and its sync. And what could not be written is given up: that commit fails as a whole, since the store writes no page before
 * (PRAGMA cache_spill); while it opens, when pages are written earlier, any failure ends it. */
#include "store/sqlite/wal_file.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GATHER_BYTES (128 * 1024) /* beyond it little is gained */
#define FRAME_HEADER 24

struct wal_file {
    sqlite3_file base;
    char *gathered;
    int n;
    sqlite3_int64 at;     /* where it belongs */
    bool commit;          /* the next page ends one */
    pthread_mutex_t lock; /* one sync at a time */
    bool failed;          /* one did: the kernel reports that once only, and may have given the pages up */
    bool
        gathers; /* a frame comes in two whole writes. Where others' bytes may suffer in a sector, SQLite has more and smaller ones */
    /* the platform's file follows */
};

static sqlite3_vfs *platform, vfs;

static sqlite3_file *file_of(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)((struct wal_file *)(void *)file + 1);
}

/** @return SQLite's code */
static int flush(sqlite3_file *file)
{
    struct wal_file *w = (void *)file;
    sqlite3_file *real = file_of(file);
    int rc = w->n > 0 ? real->pMethods->xWrite(real, w->gathered, w->n, w->at) : SQLITE_OK;

    w->n = 0;
    return rc;
}

static int wal_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct wal_file *w = (void *)file;
    const unsigned char *bytes = p;
    bool whole = w->commit;
    int rc = SQLITE_OK;

    if (n > GATHER_BYTES - w->n || at != w->at + w->n)
        rc = flush(file);
    if (rc != SQLITE_OK)
        return rc;
    if (!w->gathers || n > GATHER_BYTES)
        return file_of(file)->pMethods->xWrite(file_of(file), p, n, at);
    if (w->n == 0)
        w->at = at;
    memcpy(w->gathered + w->n, p, (size_t)n);
    w->n += n;
    /* A frame's header tells the database's size in pages if it ends a commit, else 0. */
    w->commit = n == FRAME_HEADER && (bytes[4] | bytes[5] | bytes[6] | bytes[7]);
    return whole ? flush(file) : SQLITE_OK;
}

static int wal_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    int rc = flush(file);

    return rc == SQLITE_OK ? file_of(file)->pMethods->xRead(file_of(file), p, n, at) : rc;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = flush(file);

    return rc == SQLITE_OK ? file_of(file)->pMethods->xTruncate(file_of(file), size) : rc;
}

static int sync_real(sqlite3_file *file, int flags)
{
    struct wal_file *w = (void *)file;

    pthread_mutex_lock(&w->lock);
    int rc = w->failed ? SQLITE_IOERR_FSYNC : file_of(file)->pMethods->xSync(file_of(file), flags);
    w->failed = rc != SQLITE_OK;
    pthread_mutex_unlock(&w->lock);
    return rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    int rc = flush(file);

    return rc == SQLITE_OK ? sync_real(file, flags) : rc;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    int rc = flush(file);

    return rc == SQLITE_OK ? file_of(file)->pMethods->xFileSize(file_of(file), ret) : rc;
}

static int wal_close(sqlite3_file *file)
{
    int flushed = flush(file), rc = file_of(file)->pMethods->xClose(file_of(file));

    sqlite3_free(((struct wal_file *)(void *)file)->gathered);
    pthread_mutex_destroy(&((struct wal_file *)(void *)file)->lock);
    return flushed == SQLITE_OK ? rc : flushed;
}

/* A log is not locked; the database is. */

static int wal_lock(sqlite3_file *file, int how)
{
    return file_of(file)->pMethods->xLock(file_of(file), how);
}

static int wal_unlock(sqlite3_file *file, int how)
{
    return file_of(file)->pMethods->xUnlock(file_of(file), how);
}

static int wal_locked(sqlite3_file *file, int *ret)
{
    return file_of(file)->pMethods->xCheckReservedLock(file_of(file), ret);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    return file_of(file)->pMethods->xFileControl(file_of(file), op, arg);
}

static int wal_sector(sqlite3_file *file)
{
    return file_of(file)->pMethods->xSectorSize(file_of(file));
}

static int wal_traits(sqlite3_file *file)
{
    return file_of(file)->pMethods->xDeviceCharacteristics(file_of(file));
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_locked,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector,
    .xDeviceCharacteristics = wal_traits,
};

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct wal_file *w = (void *)file;

    if (!(flags & SQLITE_OPEN_WAL))
        return platform->xOpen(platform, name, file, flags, ret_flags);
    *w = (struct wal_file){.gathered = sqlite3_malloc(GATHER_BYTES)};
    if (!w->gathered)
        return SQLITE_NOMEM;
    int rc = platform->xOpen(platform, name, file_of(file), flags, ret_flags);
    if (rc != SQLITE_OK) {
        sqlite3_free(w->gathered);
        return rc;
    }
    pthread_mutex_init(&w->lock, NULL);
    w->base.pMethods = &methods;
    w->gathers = wal_traits(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    return SQLITE_OK;
}

static void set_up(void)
{
    platform = sqlite3_vfs_find(NULL);
    if (!platform)
        return;
    vfs = *platform;
    vfs.pNext = NULL;
    vfs.zName = "haul-wal";
    vfs.szOsFile += (int)sizeof(struct wal_file);
    vfs.xOpen = open_file;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        platform = NULL;
}

const char *wal_file_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, set_up);
    return platform ? vfs.zName : NULL;
}

int wal_file_sync(sqlite3_file *file)
{
    return file->pMethods == &methods ? sync_real(file, SQLITE_SYNC_NORMAL)
                                      : file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}
