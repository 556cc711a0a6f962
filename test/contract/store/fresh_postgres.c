#include "fresh_postgres.h"
#include "fixture.h"
#include <libpq-fe.h>
#include <stdlib.h>

void check_postgres(void)
{
    PGconn *pg = PQconnectdb(getenv("HAUL_TEST_POSTGRES"));
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
    PGconn *pg = PQconnectdb(url);
    PGresult *res = PQexec(pg, "BEGIN; SET LOCAL client_min_messages = error; DROP SCHEMA public CASCADE;"
                               " CREATE SCHEMA public; COMMIT");

    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        fail_msg("empty the database: %s", PQerrorMessage(pg));
    PQclear(res);
    PQfinish(pg);
    return url;
}
