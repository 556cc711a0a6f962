/* The server is looked at, and the tables are brought up to date: on a connection of their own, each migration in one transaction, under a
 * lock that ends with it. */
#include "store/postgres/driver.h"
#include <stdlib.h>

/* Two servers that start at once; a transaction's lock, so that a pooler is no matter. The number is "haul". */
#define LOCK "SELECT pg_advisory_xact_lock(1751217516)"

static int check_server(PGconn *pg, struct err *err)
{
    const char *encoding = PQparameterStatus(pg, "server_encoding");
    int version = PQserverVersion(pg);

    if (version < PG_VERSION_LEAST)
        return err_set(err, ERR_UNSUPPORTED, 0, "the database is PostgreSQL %d, haul needs %d or newer",
                       version / 10000, PG_VERSION_LEAST / 10000);
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        return err_set(err, ERR_UNSUPPORTED, 0, "the database's encoding is %s, haul needs UTF8",
                       encoding ? encoding : "unknown");
    return ERR_OK;
}

/** Rows that another server changed are seen anew when their lock is had: only so may several write. */
static int check_isolation(PGconn *pg, struct err *err)
{
    PGresult *res = NULL;
    int rc = pg_exec(pg, "BEGIN ISOLATION LEVEL READ COMMITTED", NULL, err);

    if (rc == ERR_OK)
        rc = pg_exec(pg, "SHOW transaction_isolation", &res, err);
    if (rc == ERR_OK && strcmp(PQgetvalue(res, 0, 0), "read committed") != 0)
        rc = err_set(err, ERR_UNSUPPORTED, 0, "transactions are not READ COMMITTED here, but '%.40s'",
                     PQgetvalue(res, 0, 0));
    PQclear(res);
    return rc == ERR_OK ? pg_exec(pg, "ROLLBACK", NULL, err) : rc;
}

int pg_schema_version(PGconn *pg, unsigned *ret, struct err *err)
{
    PGresult *res = NULL;
    int rc = pg_exec(pg, "SELECT to_regclass('haul_schema') IS NOT NULL", &res, err);
    bool there = rc == ERR_OK && PQgetvalue(res, 0, 0)[0] == 't';

    PQclear(res);
    res = NULL;
    *ret = 0;
    if (rc != ERR_OK || !there)
        return rc;
    rc = pg_exec(pg, "SELECT coalesce(max(version), 0) FROM haul_schema", &res, err);
    if (rc == ERR_OK)
        *ret = (unsigned)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
    PQclear(res);
    if (rc == ERR_OK && *ret > postgres_n_migrations)
        rc =
            err_set(err, ERR_UNSUPPORTED, 0, "the database has schema %u, this program knows up to %u: use a newer one",
                    *ret, postgres_n_migrations);
    return rc;
}

static int migrate_one(PGconn *pg, unsigned number, struct err *err)
{
    char stamp[96];
    int rc = ERR_OK;

    if (number == 1)
        rc = pg_exec(
            pg, "CREATE TABLE haul_schema (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
            NULL, err);
    if (rc == ERR_OK)
        rc = pg_exec(pg, postgres_migrations[number - 1], NULL, err);
    snprintf(stamp, sizeof(stamp), "INSERT INTO haul_schema (version) VALUES (%u)", number);
    return rc == ERR_OK ? pg_exec(pg, stamp, NULL, err) : rc;
}

/** One migration, if one is missing. */
static int step(PGconn *pg, bool *ret_more, struct err *err)
{
    unsigned version = 0;
    int rc = pg_exec(pg, "BEGIN", NULL, err);

    if (rc == ERR_OK)
        rc = pg_exec(pg, LOCK, NULL, err);
    if (rc == ERR_OK)
        rc = pg_schema_version(pg, &version, err);
    *ret_more = rc == ERR_OK && version < postgres_n_migrations;
    if (*ret_more && (rc = migrate_one(pg, version + 1, err)) != ERR_OK)
        err_wrap(err, rc, "migration %u", version + 1);
    if (rc == ERR_OK)
        rc = pg_exec(pg, "COMMIT", NULL, err);
    if (rc != ERR_OK)
        pg_exec(pg, "ROLLBACK", NULL, NULL);
    return rc;
}

int pg_schema(const char *url, struct err *err)
{
    PGconn *pg = NULL;
    unsigned version = 0;
    bool more;
    int rc = pg_connect(url, &pg, err);

    if (rc == ERR_OK)
        rc = check_server(pg, err);
    if (rc == ERR_OK)
        rc = check_isolation(pg, err);
    if (rc == ERR_OK)
        rc = pg_schema_version(pg, &version, err);
    more = version < postgres_n_migrations; /* else no right to make tables is needed */
    while (rc == ERR_OK && more)
        rc = step(pg, &more, err);
    PQfinish(pg);
    return rc;
}
