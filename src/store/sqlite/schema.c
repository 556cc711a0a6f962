/* Migrations. */
#include "store/sqlite/schema.h"

#define APPLICATION_ID 0x6861756c /* "haul" */

static int pragma_int(sqlite3 *db, const char *sql, int *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int(st, 0);
    rc = sqlite3_finalize(st);
    if (rc != SQLITE_OK)
        return err_set(err, (rc & 0xff) == SQLITE_NOTADB ? ERR_CORRUPT : ERR_IO, 0, "%s: %s", sql, sqlite3_errmsg(db));
    return ERR_OK;
}

static int run(sqlite3 *db, const char *sql, struct err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return err_set(err, ERR_IO, 0, "sqlite: %s", sqlite3_errmsg(db));
    return ERR_OK;
}

int schema_migrate(sqlite3 *db, struct err *err)
{
    int version = 0, app = 0, tables = 0;
    int rc = pragma_int(db, "PRAGMA user_version", &version, err);

    if (rc == ERR_OK)
        rc = pragma_int(db, "PRAGMA application_id", &app, err);
    if (rc == ERR_OK)
        rc = pragma_int(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (rc != ERR_OK)
        return rc;
    if (app != APPLICATION_ID && (app != 0 || tables > 0))
        return err_set(err, ERR_CORRUPT, 0, "the database is not haul's");
    if (version < 0 || (unsigned)version > sqlite_n_migrations)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "the database has schema %d, this program knows up to %u: use a newer one", version,
                       sqlite_n_migrations);
    for (unsigned i = (unsigned)version; i < sqlite_n_migrations; i++) {
        char stamp[96];

        snprintf(stamp, sizeof(stamp), "PRAGMA application_id = %d; PRAGMA user_version = %u; COMMIT", APPLICATION_ID,
                 i + 1);
        rc = run(db, "BEGIN IMMEDIATE", err);
        if (rc == ERR_OK)
            rc = run(db, sqlite_migrations[i], err);
        if (rc == ERR_OK)
            rc = run(db, stamp, err);
        if (rc != ERR_OK) {
            sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
            return err_wrap(err, rc, "migration %u", i + 1);
        }
    }
    return ERR_OK;
}
