#pragma once
/* Migrations: numbered, forward only, each in one transaction; the file's user_version says how many were applied. */
#include "base/err.h"
#include "store/store.h"
#include <sqlite3.h>

extern const char *const sqlite_migrations[]; /* made by embed.py */
extern const unsigned sqlite_n_migrations;

/** Who is told of a start that brings a file up to date, which can take minutes. */
struct schema_telling {
    void (*upgrading)(const struct store_upgrade *u); /* as in struct store_config, or NULL */
    struct clock clock;
    struct store_upgrade now;
    usec began, told;
};

/** Brings the file up to date. ERR_UNSUPPORTED when a newer program wrote it, ERR_CORRUPT when it is not ours.
 * @param telling  its first two are set. When there was something to do it is told, until schema_told, also of what the connection does next,
 *                 as of the last step */
int schema_migrate(sqlite3 *db, struct schema_telling *telling, struct err *err);
void schema_told(sqlite3 *db);
/** How many were applied; 0 for an empty file. The same refusals. */
int schema_version(sqlite3 *db, unsigned *ret, struct err *err);
/** ERR_CORRUPT unless it holds, by name, exactly what its version's migrations make: no table too few, no trigger too many. */
int schema_compare(sqlite3 *db, struct err *err);
