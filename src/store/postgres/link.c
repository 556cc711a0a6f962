/* Connecting, and errors in our words. */
#include "store/postgres/driver.h"
#include <ctype.h>

bool pg_state_passes(const char *state)
{
    return state && (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0); /* serialization, deadlock */
}

static enum err_code code_of(const char *state)
{
    static const struct {
        const char *state; /* or how it begins */
        enum err_code code;
    } codes[] = {
        {"53100", ERR_NO_SPACE},  {"53200", ERR_NO_MEMORY}, {"57014", ERR_TIMEOUT},   {"25006", ERR_UNAVAILABLE},
        {"42501", ERR_FORBIDDEN}, {"28", ERR_FORBIDDEN},    {"3D000", ERR_NOT_FOUND}, {"22021", ERR_INVALID},
        {"XX001", ERR_CORRUPT},   {"XX002", ERR_CORRUPT},   {"08", ERR_UNAVAILABLE},  {"53", ERR_UNAVAILABLE},
        {"57P", ERR_UNAVAILABLE}, {"40", ERR_BUSY},         {"55P03", ERR_BUSY},
    };

    if (!state || !*state)
        return ERR_UNAVAILABLE; /* libpq's own: the connection */
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strncmp(state, codes[i].state, strlen(codes[i].state)) == 0)
            return codes[i].code;
    return ERR_INTERNAL;
}

int pg_err(const char *state, const char *message, struct err *err)
{
    char line[160];
    size_t n = 0;

    for (const char *p = message ? message : "no answer"; *p && n + 1 < sizeof(line); p++)
        if (*p == '\n' || *p == '\t')
            line[n++] = ' ';
        else
            line[n++] = *p;
    while (n > 0 && isspace((unsigned char)line[n - 1]))
        n--;
    line[n] = 0;
    enum err_code code = code_of(state);
    if (code == ERR_INTERNAL)
        return err_set(err, code, 0, "postgres: %s (%s)", line, state);
    return err_set(err, code, 0, "postgres: %s", line);
}

int pg_result_err(const PGresult *res, struct err *err)
{
    return pg_err(PQresultErrorField(res, PG_DIAG_SQLSTATE),
                  res && *PQresultErrorMessage(res) ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
                                                          ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
                                                          : PQresultErrorMessage(res)
                                                    : NULL,
                  err);
}

/** libpq tells why a connection failed in words only. */
static int refused(PGconn *pg, struct err *err)
{
    const char *text = pg ? PQerrorMessage(pg) : "out of memory";
    char line[160];

    if (!pg)
        return err_set(err, ERR_NO_MEMORY, 0, "postgres: connect");
    const char *said = strstr(text, "FATAL:"); /* behind which host it was, at length */
    pg_err(NULL, said ? said + strlen("FATAL:") + strspn(said + strlen("FATAL:"), " ") : text, err);
    if (!err)
        return ERR_UNAVAILABLE;
    snprintf(line, sizeof(line), "%.150s", err->msg + strlen("postgres: "));
    if (strstr(text, "session is read-only") || strstr(text, "server is in hot standby mode"))
        return err_set(err, ERR_UNAVAILABLE, 0, "no host of the store takes writes (a standby?): %.120s", line);
    if (strstr(text, "authentication failed") || strstr(text, "no password supplied") || strstr(text, "pg_hba.conf") ||
        (strstr(text, "role \"") && strstr(text, "does not exist")))
        return err_set(err, ERR_FORBIDDEN, 0, "the database does not let haul in: %.120s", line);
    if (strstr(text, "database \"") && strstr(text, "does not exist"))
        return err_set(err, ERR_NOT_FOUND, 0, "there is no such database, create it first: %.120s", line);
    if (strncmp(text, "invalid ", 8) == 0 || strstr(text, "invalid connection option") || strstr(text, "invalid URI") ||
        strstr(text, "invalid port") || strstr(text, "missing \"=\""))
        return err_set(err, ERR_INVALID, 0, "the store's URL: %.140s", line);
    return err_set(err, ERR_UNAVAILABLE, 0, "cannot reach the database: %.140s", line);
}

static void ignore(void *arg, const PGresult *res) {}

int pg_connect(const char *url, PGconn **ret, struct err *err)
{
    /* Those before dbname may be overridden by the URL, those behind it may not. */
    static const char *const keys[] = {
        "connect_timeout",  "target_session_attrs", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "application_name",     "dbname",          "client_encoding",     NULL};
    const char *values[] = {"5", "read-write", "10", "5", "3", "15000", "haul", url, "UTF8", NULL};
    PGconn *pg = PQconnectdbParams(keys, values, 1);

    if (!pg || PQstatus(pg) != CONNECTION_OK) {
        int rc = refused(pg, err);
        PQfinish(pg);
        return rc;
    }
    PQsetNoticeReceiver(pg, ignore, NULL);
    *ret = pg;
    return ERR_OK;
}

int pg_exec(PGconn *pg, const char *sql, PGresult **ret, struct err *err)
{
    PGresult *res = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(res);
    int rc = ERR_OK;

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        rc = res ? pg_result_err(res, err) : pg_err(NULL, PQerrorMessage(pg), err);
    if (rc == ERR_OK && ret)
        *ret = res;
    else
        PQclear(res);
    return rc;
}
