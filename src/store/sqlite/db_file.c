/* A database in WAL mode is written by checkpoints alone: page by page, each with a system call, though those that were added since the last one
 * lie behind one another. They are gathered here. And when a checkpoint has copied the whole log SQLite syncs the database, since it may begin the log anew
 * from then on: milliseconds in which the connection that writes would wait. That sync can be owed (vfs.h).
 *
 * What this rests on: after a checkpoint's last page SQLite asks for the file's size to be set, and for the sync, before it lets anybody
 * read the database in place of the log: so a page that could not be written fails the checkpoint, as it would have at once. But only where the whole
 * log could be copied: a reader of an older state keeps SQLite from that, and then it asks for nothing more. Such a reader has its mark locked, so SQLite's
 * attempt to lock it fails (the locks are part of the format: https://sqlite.org/walformat.html#wal_locks). Then each page is written at once.
 *
 * A sync that is owed is made before the log's header is written, or its file cut: so at each moment what the database may lose in a power cut is in
 * the log, whole and synced. */
#include "store/sqlite/layer.h"

#define CKPT_LOCK  1
#define READ_LOCKS 3 /* the first; READ_LOCK(0) is held while pages are copied */

static int db_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct layer *d = layer_of(file);

    return d->copies && d->unread ? layer_gather(d, p, n, at) : layer_write(d, p, n, at);
}

int db_file_settle(struct layer *d)
{
    pthread_mutex_lock(&d->lock);
    bool owed = d->owed;
    int rc = d->failed ? SQLITE_IOERR_FSYNC : SQLITE_OK;
    if (owed && rc == SQLITE_OK)
        rc = layer_below(d)->pMethods->xSync(layer_below(d), SQLITE_SYNC_NORMAL);
    d->failed = rc != SQLITE_OK;
    d->owed = false;
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int db_sync(sqlite3_file *file, int flags)
{
    struct layer *d = layer_of(file);
    int rc = layer_flush(d);

    if (rc != SQLITE_OK)
        return rc;
    pthread_mutex_lock(&d->lock);
    bool owes = d->owes;
    d->owed = d->owed || owes;
    pthread_mutex_unlock(&d->lock);
    return owes ? SQLITE_OK : layer_below(d)->pMethods->xSync(layer_below(d), flags);
}

static int db_control(sqlite3_file *file, int op, void *arg)
{
    if (op == SQLITE_FCNTL_CKPT_START || op == SQLITE_FCNTL_CKPT_DONE)
        layer_of(file)->copies = op == SQLITE_FCNTL_CKPT_START;
    return layer_control(file, op, arg);
}

static int db_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **ret)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xShmMap(below, region, size, extend, ret);
}

static int db_shm_lock(sqlite3_file *file, int first, int n, int flags)
{
    struct layer *d = layer_of(file);
    int rc = layer_below(d)->pMethods->xShmLock(layer_below(d), first, n, flags);

    if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) && first == CKPT_LOCK)
        d->unread = true;
    if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) && first >= READ_LOCKS && rc != SQLITE_OK)
        d->unread = false;
    return rc;
}

static void db_shm_barrier(sqlite3_file *file)
{
    sqlite3_file *below = layer_below(layer_of(file));

    below->pMethods->xShmBarrier(below);
}

static int db_shm_unmap(sqlite3_file *file, int remove)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xShmUnmap(below, remove);
}

const sqlite3_io_methods db_file_methods = {
    .iVersion = 2, /* without the third's mapped reads: nobody here maps the database */
    .xClose = layer_close,
    .xRead = layer_read,
    .xWrite = db_write,
    .xTruncate = layer_truncate,
    .xSync = db_sync,
    .xFileSize = layer_size,
    .xLock = layer_lock,
    .xUnlock = layer_unlock,
    .xCheckReservedLock = layer_locked,
    .xFileControl = db_control,
    .xSectorSize = layer_sector,
    .xDeviceCharacteristics = layer_traits,
    .xShmMap = db_shm_map,
    .xShmLock = db_shm_lock,
    .xShmBarrier = db_shm_barrier,
    .xShmUnmap = db_shm_unmap,
};
