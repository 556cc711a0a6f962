#pragma once
/* The store on SQLite: one file, `haul.db`, in the configured directory. Takes a second batch while the
 * first is synced, once `overlap` was called. Nothing else may open the file: the caller holds the directory's lock. */
#include "store/store.h"

const struct store_driver *store_sqlite(void);
