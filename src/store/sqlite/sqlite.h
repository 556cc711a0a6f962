#pragma once
/* The store on SQLite: one file, `haul.db`, in the configured directory. Takes one batch at a time and decides it before
 * apply() returns. Nothing else may open the file: the caller holds the directory's lock. */
#include "store/store.h"

const struct store_driver *store_sqlite(void);
