#pragma once
/* Memory for SQLite. */

/** Before SQLite's first use. Without memory or a key for it all stays as it was. */
void sqlite_memory_set_up(void);
