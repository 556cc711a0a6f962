/* Statements in pipeline mode. One that answers nothing is sent and not waited for: its result is read with the next one that does answer,
 * or with the commit. So a batch costs a round trip for each look, and none for what it writes. Statements are unnamed, and every
 * transaction says itself what it needs: nothing of the session is used, which a pooler may give to another between two transactions. */
#include "store/postgres/driver.h"
#include <endian.h>
#include <stdlib.h>

#define PARAMS_MAX 40
#define SQL_MAX    8192

/* pg_type.dat */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_FLOAT8 = 701,
    OID_UUID = 2950
};

static void on_notice(void *arg, const PGresult *res)
{
    struct pg_conn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && strcmp(severity, "WARNING") == 0)
        c->warned = true;
}

int pg_conn_open(struct pg_conn *c, const char *url, struct err *err)
{
    *c = (struct pg_conn){.conn.ops = &pg_ops};
    int rc = pg_connect(url, &c->pg, err);

    if (rc != ERR_OK)
        return rc;
    PQsetNoticeReceiver(c->pg, on_notice, c);
    if (PQenterPipelineMode(c->pg))
        return ERR_OK;
    pg_conn_close(c);
    return err_set(err, ERR_INTERNAL, 0, "postgres: no pipeline");
}

void pg_conn_close(struct pg_conn *c)
{
    for (size_t i = 0; i < PG_QUERIES; i++)
        PQclear(c->queries[i].res);
    PQfinish(c->pg);
    *c = (struct pg_conn){.conn.ops = &pg_ops};
}

static void note(struct pg_conn *c, int code, const char *state)
{
    if (c->failed.code != ERR_OK)
        return;
    c->failed.code = (enum err_code)code;
    snprintf(c->state, sizeof(c->state), "%s", state ? state : "");
}

static int lose(struct pg_conn *c, struct err *err)
{
    struct err what = {0};

    c->lost = true;
    c->pending = 0;
    if (c->failed.code == ERR_OK) {
        pg_err(NULL, c->pg ? PQerrorMessage(c->pg) : "not connected", &what);
        c->failed = what;
    }
    if (err)
        *err = c->failed;
    return (int)c->failed.code;
}

static void take(struct pg_conn *c, PGresult *res)
{
    struct err what = {0};

    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        c->changes += strncmp(PQcmdStatus(res), "SELECT", 6) == 0 ? 0 : strtoll(PQcmdTuples(res), NULL, 10);
        break;
    case PGRES_PIPELINE_ABORTED: /* behind one that failed */
        break;
    default:
        if (c->failed.code == ERR_OK) {
            int rc = pg_result_err(res, &what);
            note(c, rc, PQresultErrorField(res, PG_DIAG_SQLSTATE));
            c->failed = what;
        }
    }
}

/** Reads the results of all that is pending; the last one's is kept, if asked for. */
static int settle(struct pg_conn *c, PGresult **ret_last, struct err *err)
{
    if (!c->pg || c->lost || !PQpipelineSync(c->pg))
        return lose(c, err);
    while (c->pending > 0) {
        PGresult *res = PQgetResult(c->pg), *more;
        if (!res || PQstatus(c->pg) == CONNECTION_BAD) {
            if (res)
                take(c, res);
            PQclear(res);
            return lose(c, err);
        }
        while ((more = PQgetResult(c->pg)) != NULL)
            PQclear(more);
        c->pending--;
        take(c, res);
        if (c->pending == 0 && ret_last)
            *ret_last = res;
        else
            PQclear(res);
    }
    PGresult *sync = PQgetResult(c->pg);
    bool in_step = PQresultStatus(sync) == PGRES_PIPELINE_SYNC;
    PQclear(sync);
    if (!in_step)
        return lose(c, err);
    if (c->failed.code != ERR_OK && err)
        *err = c->failed;
    return (int)c->failed.code;
}

int pg_settle(struct pg_conn *c, struct err *err)
{
    return settle(c, NULL, err);
}

void pg_forget(struct pg_conn *c)
{
    if (!c->lost)
        settle(c, NULL, NULL);
    err_clear(&c->failed);
    c->state[0] = 0;
    c->warned = false;
}

struct params {
    int n;
    Oid types[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];
    uint64_t numbers[PARAMS_MAX];
};

static void param(struct params *p, Oid type, const void *value, size_t n, bool binary)
{
    p->types[p->n] = type;
    p->values[p->n] = value;
    p->lengths[p->n] = (int)n;
    p->formats[p->n] = binary;
    p->n++;
}

static void number(struct params *p, Oid type, uint64_t bits)
{
    p->numbers[p->n] = htobe64(bits);
    param(p, type, &p->numbers[p->n], sizeof(bits), true);
}

static bool params_read(struct params *p, const char *types, va_list ap)
{
    p->n = 0;
    for (; *types && p->n < PARAMS_MAX; types++)
        switch (*types) {
        case 'i':
            number(p, OID_INT8, (uint64_t)va_arg(ap, int64_t));
            break;
        case 'z': {
            int64_t v = va_arg(ap, int64_t);
            number(p, OID_INT8, (uint64_t)v);
            if (v == 0)
                p->values[p->n - 1] = NULL;
            break;
        }
        case 'd': {
            double v = va_arg(ap, double);
            uint64_t bits;
            memcpy(&bits, &v, sizeof(bits));
            number(p, OID_FLOAT8, bits);
            break;
        }
        case 't': {
            const char *s = va_arg(ap, const char *);
            param(p, OID_TEXT, s, 0, false);
            break;
        }
        case 'x': {
            const char *s = va_arg(ap, const char *);
            param(p, OID_BYTEA, s, s ? strlen(s) : 0, true);
            break;
        }
        case 'b': {
            const void *b = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            param(p, OID_BYTEA, b, n, true);
            break;
        }
        case 'u': {
            const struct uuid *u = va_arg(ap, const struct uuid *);
            param(p, OID_UUID, uuid_is_nil(u) ? NULL : u->b, 16, true);
            break;
        }
        default:
            return false;
        }
    return *types == 0;
}

static void blank(char *p, const char *what)
{
    if ((p = strstr(p, what)) != NULL)
        memset(p, ' ', strlen(what));
}

/** ?1 is $1 here; what is to be locked is, where it is to be written. */
static bool words(const struct pg_conn *c, const char *sql, char ret[SQL_MAX])
{
    size_t n = strlen(sql);

    if (n >= SQL_MAX)
        return false;
    memcpy(ret, sql, n + 1);
    for (char *p = ret; (p = strchr(p, '?')) != NULL; p++)
        *p = '$';
    if (c->writes_rows) {
        blank(ret, "/*");
        blank(ret, "*/");
    }
    return true;
}

static int put(struct pg_conn *c, struct err *err, const char *sql, const char *types, va_list ap)
{
    struct params p;
    char text[SQL_MAX];

    if (!params_read(&p, types, ap) || !words(c, sql, text))
        return err_set(err, ERR_INTERNAL, 0, "a statement that is too long, or has too many parameters");
    if (!c->pg || c->lost)
        return lose(c, err);
    if (c->pending == PG_PENDING_MAX) {
        int rc = settle(c, NULL, err);
        if (rc != ERR_OK)
            return rc;
    }
    if (!PQsendQueryParams(c->pg, text, p.n, p.types, p.values, p.lengths, p.formats, 1))
        return lose(c, err);
    c->pending++;
    c->writes += strncmp(sql, "SELECT", 6) != 0;
    return ERR_OK;
}

static int query_open(struct conn *conn, struct query **ret, struct err *err, const char *sql, const char *types,
                      va_list ap)
{
    struct pg_conn *c = pg_conn_of(conn);
    struct pg_query *q = c->queries;

    while (q < c->queries + PG_QUERIES && q->used)
        q++;
    if (q == c->queries + PG_QUERIES)
        return err_set(err, ERR_INTERNAL, 0, "more than %d queries at once", PG_QUERIES);
    *q = (struct pg_query){.q.ops = &pg_ops, .c = c, .row = -1};
    int rc = put(c, err, sql, types, ap);
    if (rc == ERR_OK)
        rc = settle(c, &q->res, err);
    if (rc != ERR_OK) {
        PQclear(q->res);
        q->res = NULL;
        return rc;
    }
    q->used = true;
    *ret = &q->q;
    return ERR_OK;
}

static int query_run(struct conn *conn, int64_t *ret_changed, struct err *err, const char *sql, const char *types,
                     va_list ap)
{
    struct pg_conn *c = pg_conn_of(conn);
    PGresult *res = NULL;
    int rc = put(c, err, sql, types, ap);

    if (rc != ERR_OK || (!ret_changed && !c->eager))
        return rc;
    rc = settle(c, &res, err);
    if (rc == ERR_OK && ret_changed)
        *ret_changed = strtoll(PQcmdTuples(res), NULL, 10);
    PQclear(res);
    return rc;
}

static struct pg_query *of(struct query *st)
{
    return (struct pg_query *)st; /* which it begins with */
}

static int query_step(struct query *st, bool *ret_row, struct err *err)
{
    struct pg_query *q = of(st);

    *ret_row = ++q->row < PQntuples(q->res);
    return ERR_OK;
}

static void query_close(struct query *st)
{
    PQclear(of(st)->res);
    of(st)->res = NULL;
    of(st)->used = false;
}

static bool column_null(struct query *st, int i)
{
    return PQgetisnull(of(st)->res, of(st)->row, i);
}

static const void *column_bytes(struct query *st, int i, size_t *ret_n)
{
    const struct pg_query *q = of(st);
    bool null = PQgetisnull(q->res, q->row, i);

    if (ret_n)
        *ret_n = null ? 0 : (size_t)PQgetlength(q->res, q->row, i);
    return null ? NULL : PQgetvalue(q->res, q->row, i);
}

static int64_t column_integer(struct query *st, int i)
{
    size_t n;
    const unsigned char *p = column_bytes(st, i, &n);
    uint64_t v = p && n > 0 && (p[0] & 0x80) && n > 1 ? UINT64_MAX : 0; /* bool is one byte, and no number */

    for (size_t k = 0; p && k < n && n <= 8; k++)
        v = v << 8 | p[k];
    return (int64_t)v;
}

static double column_real(struct query *st, int i)
{
    size_t n;
    const void *p = column_bytes(st, i, &n);
    uint64_t bits = 0;
    double v;

    if (!p || n != sizeof(bits))
        return 0;
    memcpy(&bits, p, sizeof(bits));
    bits = be64toh(bits);
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static int written(struct conn *conn, int64_t *ret, struct err *err)
{
    struct pg_conn *c = pg_conn_of(conn);
    int rc = c->pending > 0 ? settle(c, NULL, err) : ERR_OK;

    *ret = c->changes;
    return rc;
}

const struct sql_ops pg_ops = {
    .open = query_open,
    .run = query_run,
    .step = query_step,
    .close = query_close,
    .is_null = column_null,
    .integer = column_integer,
    .real = column_real,
    .bytes = column_bytes,
    .written = written,
};
