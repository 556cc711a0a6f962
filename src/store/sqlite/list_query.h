#pragma once
/* Within the driver: which jobs a page may hold. */
#include "store/sqlite/driver.h"

/** A statement that tells candidates, newest first: their id, and whether they are what the filter asks for. It goes along one index,
 * the one with the least to look at, and sorts nothing. Caller: sqlite3_finalize. */
int list_query(struct conn *c, const struct job_filter *f, sqlite3_stmt **ret, struct err *err);
