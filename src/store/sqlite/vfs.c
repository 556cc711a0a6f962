#include "store/sqlite/vfs.h"
#include "store/sqlite/layer.h"
#include <string.h>

static sqlite3_vfs *platform, vfs;

int layer_flush(struct layer *l)
{
    int n = l->waiting;

    l->waiting = 0;
    return n > 0 ? layer_below(l)->pMethods->xWrite(layer_below(l), l->bytes, n, l->at) : SQLITE_OK;
}

int layer_write(struct layer *l, const void *p, int n, sqlite3_int64 at)
{
    int rc = layer_flush(l);

    return rc == SQLITE_OK ? layer_below(l)->pMethods->xWrite(layer_below(l), p, n, at) : rc;
}

int layer_gather(struct layer *l, const void *p, int n, sqlite3_int64 at)
{
    int rc = n > LAYER_BYTES - l->waiting || at != l->at + l->waiting ? layer_flush(l) : SQLITE_OK;

    if (rc != SQLITE_OK)
        return rc;
    if (n > LAYER_BYTES)
        return layer_write(l, p, n, at);
    if (l->waiting == 0)
        l->at = at;
    memcpy(l->bytes + l->waiting, p, (size_t)n);
    l->waiting += n;
    return SQLITE_OK;
}

int layer_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    struct layer *l = layer_of(file);
    int rc = layer_flush(l);

    return rc == SQLITE_OK ? layer_below(l)->pMethods->xRead(layer_below(l), p, n, at) : rc;
}

int layer_sync(struct layer *l)
{
    pthread_mutex_lock(&l->lock);
    int rc = l->failed ? SQLITE_IOERR_FSYNC : layer_below(l)->pMethods->xSync(layer_below(l), SQLITE_SYNC_NORMAL);
    l->failed = rc != SQLITE_OK;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

int layer_close(sqlite3_file *file)
{
    struct layer *l = layer_of(file);
    int flushed = layer_flush(l), rc = layer_below(l)->pMethods->xClose(layer_below(l));

    sqlite3_free(l->bytes);
    pthread_mutex_destroy(&l->lock);
    return flushed == SQLITE_OK ? rc : flushed;
}

int layer_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct layer *l = layer_of(file);
    int rc = layer_flush(l);

    return rc == SQLITE_OK ? layer_below(l)->pMethods->xTruncate(layer_below(l), size) : rc;
}

int layer_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    struct layer *l = layer_of(file);
    int rc = layer_flush(l);

    return rc == SQLITE_OK ? layer_below(l)->pMethods->xFileSize(layer_below(l), ret) : rc;
}

int layer_lock(sqlite3_file *file, int how)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xLock(below, how);
}

int layer_unlock(sqlite3_file *file, int how)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xUnlock(below, how);
}

int layer_locked(sqlite3_file *file, int *ret)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xCheckReservedLock(below, ret);
}

int layer_control(sqlite3_file *file, int op, void *arg)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xFileControl(below, op, arg);
}

int layer_sector(sqlite3_file *file)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xSectorSize(below);
}

int layer_traits(sqlite3_file *file)
{
    sqlite3_file *below = layer_below(layer_of(file));

    return below->pMethods->xDeviceCharacteristics(below);
}

static int open_file(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct layer *l = layer_of(file);
    bool log = flags & SQLITE_OPEN_WAL;

    if (!log && !(flags & SQLITE_OPEN_MAIN_DB))
        return platform->xOpen(platform, name, file, flags, ret_flags);
    *l = (struct layer){.bytes = sqlite3_malloc(LAYER_BYTES)};
    if (!l->bytes)
        return SQLITE_NOMEM;
    int rc = platform->xOpen(platform, name, layer_below(l), flags, ret_flags);
    if (rc != SQLITE_OK) {
        sqlite3_free(l->bytes);
        return rc;
    }
    pthread_mutex_init(&l->lock, NULL);
    if (log) {
        l->db = layer_of(sqlite3_database_file_object(name));
        l->whole_frames = layer_traits(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    }
    l->base.pMethods = log ? &wal_file_methods : &db_file_methods;
    return SQLITE_OK;
}

static void set_up(void)
{
    platform = sqlite3_vfs_find(NULL);
    if (!platform)
        return;
    vfs = *platform;
    vfs.pNext = NULL;
    vfs.zName = "haul-writer";
    vfs.szOsFile += (int)sizeof(struct layer);
    vfs.xOpen = open_file;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        platform = NULL;
}

const char *vfs_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, set_up);
    return platform ? vfs.zName : NULL;
}

int vfs_log_sync(sqlite3_file *log)
{
    return log->pMethods == &wal_file_methods ? layer_sync(layer_of(log))
                                              : log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
}

void vfs_db_owe(sqlite3_file *db, bool yes)
{
    if (db->pMethods != &db_file_methods)
        return;
    pthread_mutex_lock(&layer_of(db)->lock);
    layer_of(db)->owes = yes;
    pthread_mutex_unlock(&layer_of(db)->lock);
}

int vfs_db_settle(sqlite3_file *db)
{
    return db->pMethods == &db_file_methods ? db_file_settle(layer_of(db)) : SQLITE_OK;
}
