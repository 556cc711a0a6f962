#pragma once
/* Migrations: numbered, forward only, each in one transaction; the file's user_version says how many were applied. */
#include "base/err.h"
#include <sqlite3.h>

extern const char *const sqlite_migrations[]; /* made by embed.py */
extern const unsigned sqlite_n_migrations;

/** Brings the file up to date. ERR_UNSUPPORTED when a newer program wrote it, ERR_CORRUPT when it is not ours. */
int schema_migrate(sqlite3 *db, struct err *err);
