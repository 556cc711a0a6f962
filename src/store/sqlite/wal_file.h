#pragma once
/* SQLite's file layer for the connection that writes: as the platform's own, but a log's frames go to the kernel many in one write. */
#include "base/err.h"
#include <sqlite3.h>

/** Registers it once. @return its name for sqlite3_open_v2, or NULL: the platform's own is to be used, which does the same in more calls */
const char *wal_file_vfs(void);
/** Makes durable what was written to a log so far, while others write on. Any thread. Once a sync of this file failed, whoever asked for it,
 * all later ones do. @return SQLite's code */
int wal_file_sync(sqlite3_file *file);
