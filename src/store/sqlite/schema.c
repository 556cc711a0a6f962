/* Migrations. */
#include "store/sqlite/schema.h"
#include "base/buf.h"
#include <string.h>

#define APPLICATION_ID 0x6861756c /* "haul" */
#define NAMES_MAX      (64u << 10)
#define STEP_OPCODES   10000 /* of SQLite's, between two looks at the clock: some hundred microseconds */

static int sql_err(sqlite3 *db, int rc, const char *what, struct err *err)
{
    enum err_code code = ERR_IO;

    if ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT)
        code = ERR_CORRUPT;
    else if ((rc & 0xff) == SQLITE_NOMEM)
        code = ERR_NO_MEMORY;
    return err_set(err, code, 0, "%s: %s", what, sqlite3_errmsg(db));
}

static int pragma_int(sqlite3 *db, const char *sql, int *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

    if (rc == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW)
            *ret = sqlite3_column_int(st, 0);
        rc = sqlite3_finalize(st);
    }
    return rc == SQLITE_OK ? ERR_OK : sql_err(db, rc, sql, err);
}

static int run(sqlite3 *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? ERR_OK : sql_err(db, rc, "sqlite", err);
}

int schema_version(sqlite3 *db, unsigned *ret, struct err *err)
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
    *ret = (unsigned)version;
    return ERR_OK;
}

static void step_begins(struct schema_telling *t, unsigned step)
{
    t->began = t->told = t->clock.boot_us(t->clock.self);
    t->now.step = step;
    t->now.for_us = 0;
    t->upgrading(&t->now);
}

/** As SQLite wants it: 0, go on. */
static int step_runs(void *arg)
{
    struct schema_telling *t = arg;
    usec now = t->clock.boot_us(t->clock.self);

    if (now - t->told < UPGRADE_TOLD_US)
        return 0;
    t->told = now;
    t->now.for_us = now - t->began;
    t->upgrading(&t->now);
    return 0;
}

/** @param step  from 1 */
static int migrate(sqlite3 *db, unsigned step, struct err *err)
{
    char stamp[96];

    snprintf(stamp, sizeof(stamp), "PRAGMA application_id = %d; PRAGMA user_version = %u; COMMIT", APPLICATION_ID,
             step);
    int rc = run(db, "BEGIN IMMEDIATE", err);
    if (rc == ERR_OK)
        rc = run(db, sqlite_migrations[step - 1], err);
    if (rc == ERR_OK)
        rc = run(db, stamp, err);
    if (rc == ERR_OK)
        return ERR_OK;
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return err_wrap(err, rc, "migration %u", step);
}

int schema_migrate(sqlite3 *db, struct schema_telling *telling, struct err *err)
{
    unsigned version = 0;
    int rc = schema_version(db, &version, err);
    /* an empty file has nothing to wait for */
    bool tell = telling->upgrading && version > 0 && version < sqlite_n_migrations;

    telling->now = (struct store_upgrade){.from = version, .to = sqlite_n_migrations};
    if (rc == ERR_OK && tell)
        sqlite3_progress_handler(db, STEP_OPCODES, step_runs, telling);
    for (unsigned i = version + 1; rc == ERR_OK && i <= sqlite_n_migrations; i++) {
        if (tell)
            step_begins(telling, i);
        rc = migrate(db, i, err);
    }
    return rc;
}

void schema_told(sqlite3 *db)
{
    sqlite3_progress_handler(db, 0, NULL, NULL);
}

/** What stands in it by name, sorted; not what SQLite keeps for itself. */
static int names_of(sqlite3 *db, struct buf *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(
        db, "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1", -1,
        &st, NULL);

    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        buf_printf(ret, "%s\n", name ? name : "");
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    if (rc != SQLITE_DONE)
        return sql_err(db, rc, "read the database's tables", err);
    if (ret->failed && ret->len < NAMES_MAX / 2)
        return err_set(err, ERR_NO_MEMORY, 0, "read the database's tables");
    return ret->failed ? err_set(err, ERR_CORRUPT, 0, "the database has more tables than haul makes") : ERR_OK;
}

static int fresh_names(unsigned version, struct buf *ret, struct err *err)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) ==
                     SQLITE_OK
                 ? ERR_OK
                 : err_set(err, ERR_NO_MEMORY, 0, "database");

    for (unsigned i = 0; rc == ERR_OK && i < version; i++)
        rc = run(db, sqlite_migrations[i], err);
    if (rc == ERR_OK)
        rc = names_of(db, ret, err);
    sqlite3_close_v2(db);
    return rc;
}

int schema_compare(sqlite3 *db, struct err *err)
{
    struct buf got, want;
    unsigned version;

    buf_init(&got, NAMES_MAX);
    buf_init(&want, NAMES_MAX);
    int rc = schema_version(db, &version, err);
    if (rc == ERR_OK)
        rc = fresh_names(version, &want, err);
    if (rc == ERR_OK)
        rc = names_of(db, &got, err);
    if (rc == ERR_OK && strcmp(buf_str(&got), buf_str(&want)) != 0)
        rc = err_set(err, ERR_CORRUPT, 0, "the database's tables, indexes and triggers are not those of schema %u",
                     version);
    buf_release(&got);
    buf_release(&want);
    return rc;
}
