#pragma once
/* SQLite's page cache, spared from searching itself in vain. */

/** Before SQLite's first use. */
void sqlite_page_cache_set_up(void);
