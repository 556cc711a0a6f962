#include "fresh_postgres.h"
#include "fixture.h"
#include <libpq-fe.h>
#include <stdlib.h>

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
