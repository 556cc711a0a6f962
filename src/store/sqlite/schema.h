#pragma once
/* Migrations: numbered, forward only, each in one transaction; the file's user_version says how many were applied. */
#include "base/err.h"
#include "store/store.h"
#include <sqlite3.h>

extern const char *const sqlite_migrations[]; /* made by embed.py */
extern const unsigned sqlite_n_migrations;

/** Brings the file up to date. ERR_UNSUPPORTED when a newer program wrote it, ERR_CORRUPT when it is not ours.
 * @param upgrading  as in struct store_config, or NULL */
int schema_migrate(sqlite3 *db, struct clock clock, void (*upgrading)(const struct store_upgrade *u), struct err *err);
/** How many were applied; 0 for an empty file. The same refusals. */
int schema_version(sqlite3 *db, unsigned *ret, struct err *err);
/** ERR_CORRUPT unless it holds, by name, exactly what its version's migrations make: no table too few, no trigger too many. */
int schema_compare(sqlite3 *db, struct err *err);
