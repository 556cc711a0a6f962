/* What there is to say of the standbys that answer lists. */
#include "base/finding.h"
#include "store/postgres/replicas.h"
#include <stdlib.h>
#include <time.h>

#define CATCH_UP_ROUNDS 30 /* of 100 ms */

/** The first value of a statement; "" where there is none. */
static void ask(PGconn *pg, const char *sql, char *ret, size_t size)
{
    PGresult *res = NULL;

    snprintf(ret, size, "%s",
             pg_exec(pg, sql, &res, NULL) == ERR_OK && PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
}

/** A standby has its primary's number for ever, and the database the same one in both. */
static void identity(PGconn *pg, char *ret, size_t size)
{
    ask(pg,
        "SELECT concat_ws('/', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        " FROM pg_control_system()",
        ret, size);
}

/** How many bytes it is behind `lsn`; below 0: not known. Given some time to get there. */
static long long behind(PGconn *pg, const char *lsn)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000000L};
    char sql[160], text[32];
    long long bytes = -1;

    snprintf(sql, sizeof(sql), "SELECT greatest(0, pg_wal_lsn_diff('%.40s', pg_last_wal_replay_lsn()))", lsn);
    for (int i = 0; i < CATCH_UP_ROUNDS; i++) {
        ask(pg, sql, text, sizeof(text));
        bytes = *text ? strtoll(text, NULL, 10) : -1;
        if (bytes <= 0)
            break;
        nanosleep(&pause, NULL);
    }
    return bytes;
}

static void check(PGconn *pg, const struct replica_host *host, const char *known, const char *lsn, struct findings *f)
{
    char id[64], text[8];

    identity(pg, id, sizeof(id));
    ask(pg, "SELECT pg_is_in_recovery()", text, sizeof(text));
    if (*known && strcmp(id, known) != 0) {
        finding_add(f, FINDING_FAIL, "standby", "name a standby of the store's primary, and the same database",
                    "%s is another database than the store's: it is never asked", host->name);
        return;
    }
    if (strcmp(text, "t") != 0) {
        finding_add(f, FINDING_WARN, "standby", "name standbys in store_read; the primary is asked without it",
                    "%s takes writes, it is no standby: it is not asked", host->name);
        return;
    }
    const long long bytes = *lsn ? behind(pg, lsn) : -1;
    if (bytes > 0) {
        ask(pg, "SELECT pg_is_wal_replay_paused()", text, sizeof(text));
        finding_add(f, FINDING_WARN, "standby",
                    strcmp(text, "t") == 0 ? "SELECT pg_wal_replay_resume()"
                                           : "pg_stat_replication of the primary, and its log",
                    "%s is %lld bytes behind after three seconds%s: while it is, the primary is asked", host->name,
                    bytes, strcmp(text, "t") == 0 ? ", its replay is paused" : "");
    } else {
        finding_add(f, FINDING_OK, "standby", NULL, "%s is a standby of the store's database%s", host->name,
                    bytes == 0 ? " and has all that it has" : "");
    }
}

void replicas_examine(PGconn *primary, const char *url, struct findings *f)
{
    struct replica_host hosts[REPLICAS_MAX];
    struct err err = {0};
    char known[64], lsn[40];
    size_t n = 0;

    if (!url)
        return;
    if (replica_hosts(url, hosts, &n, &err) != ERR_OK) {
        finding_add(f, FINDING_FAIL, "standby", "correct `store_read` in the configuration", "%s", err.msg);
        return;
    }
    identity(primary, known, sizeof(known));
    ask(primary, "SELECT pg_current_wal_flush_lsn()", lsn, sizeof(lsn));
    for (size_t i = 0; i < n; i++) {
        PGconn *pg = NULL;
        err_clear(&err);
        if (pg_connect(hosts[i].conninfo, &pg, &err) == ERR_OK)
            check(pg, &hosts[i], known, lsn, f);
        else
            finding_add(f, FINDING_FAIL, "standby",
                        "is it running, with hot_standby = on? Until it answers, the primary is asked", "%s: %s",
                        hosts[i].name, err.msg);
        PQfinish(pg);
    }
    replica_hosts_release(hosts, n);
}
