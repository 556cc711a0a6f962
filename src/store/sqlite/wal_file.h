#pragma once
/* SQLite's file layer for the connection that writes: as the platform's own, but a log's frames go to the kernel many in one write. */
#include "base/err.h"

/** Registers it once. @return its name for sqlite3_open_v2, or NULL: the platform's own is to be used, which does the same in more calls */
const char *wal_file_vfs(void);
