#pragma once
/* SQLite's file layer for the connection that writes: as the platform's own, in fewer calls. Of its log a commit's frames, and of its database a checkpoint's
 * pages, go to the kernel many in one write; and a checkpoint need not wait for its sync. */
#include <sqlite3.h>
#include <stdbool.h>

/** Registers it once. @return its name for sqlite3_open_v2, or NULL: the platform's own is to be used, for which the calls below do without */
const char *vfs_name(void);
/** Makes durable what was written to a log so far, while others write on. Any thread. Once a sync of this file failed, whoever asked for it,
 * all later ones do. @return SQLite's code */
int vfs_log_sync(sqlite3_file *log);
/** Whether a sync that SQLite asks of this database is owed: made by vfs_db_settle, or before the log is begun anew, whichever comes first. Until then
 * the log has all that was not synced. No by default. */
void vfs_db_owe(sqlite3_file *db, bool yes);
/** Makes a sync that is owed; returns when none is. Any thread. Once one failed all later ones do, and the log is not begun anew.
 * @return SQLite's code */
int vfs_db_settle(sqlite3_file *db);
