/* A frame of the log is 24 bytes and a page, and SQLite writes each with a call of its own: two system calls a page, and three pages of the
 * kernel's cache touched. Frames lie behind one another, so they are gathered here until a commit's last one, or until anything else is
 * asked of the file.
 *
 * What this rests on: other connections look at a frame only when the wal-index says that it is there, which SQLite writes after the commit's
 * last frame and its sync. And what could not be written is given up: that commit fails as a whole, since the store writes no page before
 * (PRAGMA cache_spill); while it opens, when pages are written earlier, any failure ends it. */
#include "store/sqlite/layer.h"

#define FRAME_HEADER 24

static int wal_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct layer *w = layer_of(file);
    const unsigned char *bytes = p;
    bool whole = w->commit;
    /* Its header: from here on the frames that were in it are gone. */
    int rc = at == 0 ? db_file_settle(w->db) : SQLITE_OK;

    if (rc == SQLITE_OK)
        rc = w->whole_frames ? layer_gather(w, p, n, at) : layer_write(w, p, n, at);
    if (rc != SQLITE_OK || !w->whole_frames)
        return rc;
    /* A frame's header tells the database's size in pages if it ends a commit, else 0. */
    w->commit = n == FRAME_HEADER && (bytes[4] | bytes[5] | bytes[6] | bytes[7]);
    return whole ? layer_flush(w) : SQLITE_OK;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = db_file_settle(layer_of(file)->db);

    return rc == SQLITE_OK ? layer_truncate(file, size) : rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    int rc = layer_flush(layer_of(file));

    return rc == SQLITE_OK ? layer_sync(layer_of(file)) : rc;
}

/* A log is not locked; the database is. */
const sqlite3_io_methods wal_file_methods = {
    .iVersion = 1,
    .xClose = layer_close,
    .xRead = layer_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = layer_size,
    .xLock = layer_lock,
    .xUnlock = layer_unlock,
    .xCheckReservedLock = layer_locked,
    .xFileControl = layer_control,
    .xSectorSize = layer_sector,
    .xDeviceCharacteristics = layer_traits,
};
