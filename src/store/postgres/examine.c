/* A look at a database, which changes nothing. */
#include "base/finding.h"
#include "store/move.h"
#include "store/postgres/replicas.h"
#include "store/snapshot.h"
#include <stdlib.h>

#define SKEW_US     USEC_PER_SEC
#define SLOW_US     (10 * USEC_PER_MSEC)
#define CONNECTIONS 20 /* that a server may want, with some to spare */
#define ROUNDS      5

struct look {
    PGconn *pg;
    struct findings *f;
};

/** The first value; "" where there is none. */
static int ask(struct look *l, const char *sql, char *ret, size_t size, struct err *err)
{
    PGresult *res = NULL;
    int rc = pg_exec(l->pg, sql, &res, err);

    snprintf(ret, size, "%s", rc == ERR_OK && PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
    return rc;
}

static bool yes(struct look *l, const char *sql)
{
    char text[8];

    return ask(l, sql, text, sizeof(text), NULL) == ERR_OK && text[0] == 't';
}

static void check_kind(struct look *l)
{
    const char *encoding = PQparameterStatus(l->pg, "server_encoding"),
               *version = PQparameterStatus(l->pg, "server_version");

    if (PQserverVersion(l->pg) < PG_VERSION_LEAST)
        finding_add(l->f, FINDING_FAIL, "version", "upgrade the database", "PostgreSQL %s, haul needs %d or newer",
                    version, PG_VERSION_LEAST / 10000);
    else
        finding_add(l->f, FINDING_OK, "version", NULL, "PostgreSQL %s", version);
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        finding_add(l->f, FINDING_FAIL, "encoding", "create the database with 'createdb -E UTF8 -T template0'",
                    "the database's encoding is %s, haul needs UTF8", encoding ? encoding : "unknown");
}

static void check_rights(struct look *l, unsigned version)
{
    static const char write_all[] =
        "SELECT has_table_privilege('jobs', 'SELECT') AND has_table_privilege('jobs', 'INSERT') AND"
        " has_table_privilege('jobs', 'UPDATE') AND has_table_privilege('jobs', 'DELETE') AND"
        " has_table_privilege('servers', 'INSERT') AND has_table_privilege('meta', 'UPDATE')";

    if (version == 0 && !yes(l, "SELECT has_schema_privilege(current_schema(), 'CREATE')"))
        finding_add(l->f, FINDING_FAIL, "rights",
                    "CREATE SCHEMA haul AUTHORIZATION the role, or GRANT CREATE ON SCHEMA",
                    "the role may not make its tables");
    else if (version > 0 && !yes(l, write_all))
        finding_add(l->f, FINDING_FAIL, "rights", "connect as the role that made the tables, or grant it all of them",
                    "the role may not write the tables");
    else
        finding_add(l->f, FINDING_OK, "rights", NULL, version ? "reads and writes its tables" : "may make its tables");
}

/** Only who owns a table may attach another one to it. */
static void check_history(struct look *l)
{
    char text[32] = "";

    if (!yes(l, "SELECT bool_and(pg_has_role(relowner, 'USAGE')) AND has_schema_privilege(current_schema(), 'CREATE')"
                " FROM pg_class WHERE oid IN (SELECT CAST(of_table AS regclass) FROM days UNION ALL SELECT"
                " CAST('history' AS regclass))"))
        finding_add(l->f, FINDING_WARN, "history",
                    "connect as the role that made the tables, with CREATE on the schema",
                    "the role may not make the tables of coming days: all finished jobs will lie in one");
    else if (ask(l,
                 "SELECT floor((max(until) - extract(epoch FROM clock_timestamp()) * 1000000) / 86400000000) FROM days",
                 text, sizeof(text), NULL) == ERR_OK &&
             strtol(text, NULL, 10) > 0)
        finding_add(l->f, FINDING_OK, "history", NULL, "its tables are made, %ld days ahead", strtol(text, NULL, 10));
    else
        finding_add(l->f, FINDING_OK, "history", NULL, "a server that starts makes the tables of the coming days");
}

static void check_schema(struct look *l, char ret_folder[UUID_STR_MAX])
{
    unsigned version = 0;
    struct err err = {0};
    char mark[MOVE_MARK_MAX], moved[MOVE_MOVED_MAX], holder[8];
    int rc = pg_schema_version(l->pg, &version, &err);

    if (rc == ERR_UNSUPPORTED)
        finding_add(l->f, FINDING_FAIL, "schema", "use the haul that wrote it, or a newer one", "%s", err.msg);
    else if (rc != ERR_OK)
        finding_add(l->f, FINDING_FAIL, "schema", "see what the database says", "%s", err.msg);
    if (rc != ERR_OK)
        return;
    if (version == 0 && ask(l, "SELECT to_regclass('jobs')::text", holder, sizeof(holder), NULL) == ERR_OK && holder[0])
        finding_add(l->f, FINDING_FAIL, "schema", "give haul a schema or a database of its own",
                    "other tables lie there");
    else if (version == 0)
        finding_add(l->f, FINDING_OK, "schema", NULL, "no tables yet: the first start makes them");
    else
        finding_add(l->f, FINDING_OK, "schema", NULL, "%u of %u", version, postgres_n_migrations);
    check_rights(l, version);
    if (version == 0)
        return;
    check_history(l);
    if (ask(l, "SELECT value FROM meta WHERE key = '" STORE_META_MOVE "'", mark, sizeof(mark), NULL) == ERR_OK &&
        mark[0])
        finding_add(l->f, FINDING_FAIL, "move", "run 'haul migrate' again, to its end",
                    "the database is the target of a move that was not finished");
    else if (ask(l, "SELECT value FROM meta WHERE key = '" STORE_META_MOVED "'", moved, sizeof(moved), NULL) ==
                 ERR_OK &&
             moved[0])
        finding_add(l->f, FINDING_FAIL, "move", MOVED_REMEDY, "what the database holds was moved %s", moved);
    ask(l, "SELECT value FROM meta WHERE key = '" STORE_META_BLOB_FOLDER "'", ret_folder, UUID_STR_MAX, NULL);
}

static void check_durability(struct look *l)
{
    char fsync[8] = "", pages[8] = "";

    ask(l, "SHOW fsync", fsync, sizeof(fsync), NULL);
    ask(l, "SHOW full_page_writes", pages, sizeof(pages), NULL);
    if (strcmp(fsync, "off") == 0 || strcmp(pages, "off") == 0)
        finding_add(l->f, FINDING_WARN, "durability", "fsync = on and full_page_writes = on in postgresql.conf",
                    "%s is off: a power cut may lose what was acknowledged, or all of it",
                    strcmp(fsync, "off") == 0 ? "fsync" : "full_page_writes");
    else
        finding_add(l->f, FINDING_OK, "durability", NULL, "fsync and full_page_writes are on");
}

/** The database's clock against ours at the middle of the question. */
static void check_clock(struct look *l)
{
    char text[32];
    struct clock clock = clock_real();
    usec before = clock.wall_us(clock.self);
    int rc = ask(l, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", text, sizeof(text), NULL);
    usec after = clock.wall_us(clock.self), skew = strtoll(text, NULL, 10) - (before + (after - before) / 2);
    usec apart = skew < 0 ? -skew : skew;

    if (rc != ERR_OK)
        return;
    if (apart > SKEW_US + (after - before) / 2)
        finding_add(l->f, FINDING_WARN, "clock", "synchronise both machines (chrony, systemd-timesyncd)",
                    "the database's clock is %lld.%03lld s %s this machine's", (long long)(apart / USEC_PER_SEC),
                    (long long)(apart % USEC_PER_SEC / 1000), skew < 0 ? "behind" : "before");
    else
        finding_add(l->f, FINDING_OK, "clock", NULL, "within a second of the database's");
}

static void check_round_trip(struct look *l)
{
    struct clock clock = clock_real();
    usec best = INT64_MAX;
    char text[8];

    for (int i = 0; i < ROUNDS; i++) {
        usec begun = clock.boot_us(clock.self);
        if (ask(l, "SELECT 1", text, sizeof(text), NULL) == ERR_OK)
            best = MIN(best, clock.boot_us(clock.self) - begun);
    }
    if (best > SLOW_US)
        finding_add(l->f, FINDING_WARN, "round trip", "run the server near its database",
                    "%lld ms: a batch of jobs takes several", (long long)(best / USEC_PER_MSEC));
    else
        finding_add(l->f, FINDING_OK, "round trip", NULL, "%lld.%02lld ms", (long long)(best / USEC_PER_MSEC),
                    (long long)(best % USEC_PER_MSEC / 10));
}

static void check_connections(struct look *l)
{
    char text[32];

    if (ask(l,
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int -"
            " (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend')",
            text, sizeof(text), NULL) != ERR_OK)
        return;
    long left = strtol(text, NULL, 10);
    if (left < CONNECTIONS)
        finding_add(l->f, FINDING_WARN, "connections", "raise max_connections, or put a pooler in between",
                    "%ld are left, a server wants up to %d", left, CONNECTIONS);
    else
        finding_add(l->f, FINDING_OK, "connections", NULL, "%ld are left", left);
}

static const char *remedy_of(int rc, const struct err *err)
{
    if (strstr(err->msg, "takes writes"))
        return "name the primary too, or promote one";
    switch (rc) {
    case ERR_FORBIDDEN:
        return "role and password of the URL (or ~/.pgpass), and pg_hba.conf";
    case ERR_NOT_FOUND:
        return "createdb -E UTF8 -T template0 NAME";
    case ERR_INVALID:
        return "correct the URL: postgres://ROLE@HOST/DATABASE";
    default:
        return "is it running? host, port, firewall, listen_addresses";
    }
}

void pg_examine(const struct store_config *config, struct findings *f, char ret_folder[UUID_STR_MAX])
{
    struct look l = {.f = f};
    struct err err = {0};
    int rc = pg_connect(config->url, &l.pg, &err);

    ret_folder[0] = '\0';
    if (rc != ERR_OK) {
        finding_add(f, FINDING_FAIL, "database", remedy_of(rc, &err), "%s", err.msg);
        return;
    }
    finding_add(f, FINDING_OK, "database", NULL, "%s on %s takes writes", PQdb(l.pg),
                *PQhost(l.pg) ? PQhost(l.pg) : "this machine");
    check_kind(&l);
    check_schema(&l, ret_folder);
    check_durability(&l);
    check_clock(&l);
    check_round_trip(&l);
    check_connections(&l);
    replicas_examine(l.pg, config->read_url, f);
    PQfinish(l.pg);
}
