#include "fresh_postgres.h"
#include "fixture.h"
#include <libpq-fe.h>
#include <stdlib.h>

PGconn *connect_other(void)
{
    PGconn *pg = PQconnectdb(getenv("HAUL_TEST_POSTGRES"));

    if (PQstatus(pg) != CONNECTION_OK)
        fail_msg("connect: %s", PQerrorMessage(pg));
    return pg;
}

int64_t ask_on(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);
    if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    int64_t n = PQntuples(res) > 0 ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;

    PQclear(res);
    return n;
}

int64_t ask(const char *format, ...)
{
    char sql[1024];
    PGconn *pg = connect_other();
    va_list ap;

    va_start(ap, format);
    vsnprintf(sql, sizeof(sql), format, ap);
    va_end(ap);
    int64_t n = ask_on(pg, sql);
    PQfinish(pg);
    return n;
}

void check_postgres(void)
{
    PGconn *pg = connect_other();
    PGresult *res = PQexec(pg, "SELECT a.job_id, a.attempt, a.finished_at, h.finished_at FROM attempts a LEFT JOIN"
                               " history h USING (job_id) WHERE a.finished_at <> coalesce(h.finished_at, 0)");

    if (PQresultStatus(res) != PGRES_TUPLES_OK)
        fail_msg("attempts: %s", PQerrorMessage(pg));
    if (PQntuples(res) > 0)
        fail_msg("attempt %s of job %s lies at %s, the job at %s", PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0),
                 PQgetvalue(res, 0, 2), PQgetvalue(res, 0, 3));
    PQclear(res);
    PQfinish(pg);
}

const char *fresh_postgres(void)
{
    const char *url = getenv("HAUL_TEST_POSTGRES");

    assert_non_null(url);
    ask("BEGIN; SET LOCAL client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; COMMIT");
    return url;
}
