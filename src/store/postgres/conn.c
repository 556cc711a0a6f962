/* Statements in pipeline mode. One that answers nothing is sent and not waited for: its result is read with the next one that does answer,
 * or with the commit. What a batch will look at is read ahead, and its writes are gathered (ADR 22). Every transaction says itself what it needs:
 * nothing of the session is used, which a pooler may give to another between two transactions, but statements' names where there is none. */
#include "store/postgres/ahead.h"
#include <poll.h>
#include <stdlib.h>

static void on_notice(void *arg, const PGresult *res)
{
    struct pg_conn *c = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);

    if (severity && strcmp(severity, "WARNING") == 0)
        c->warned = true;
}

/** As it is before it is opened. */
static void reset(struct pg_conn *c)
{
    if (c->named)
        named_forget(c->named);
    *c = (struct pg_conn){.conn.ops = &pg_ops, .ahead = c->ahead, .named = c->named, .trips = c->trips};
}

int pg_conn_open(struct pg_conn *c, const char *url, struct err *err)
{
    reset(c);
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
        if (!c->queries[i].borrowed)
            PQclear(c->queries[i].res);
    if (c->ahead)
        ahead_clear(c->ahead);
    PQfinish(c->pg);
    reset(c);
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
    c->pending = c->n_prepares = 0;
    if (c->failed.code == ERR_OK) {
        pg_err(NULL, c->pg ? PQerrorMessage(c->pg) : "not connected", &what);
        c->failed = what;
    }
    if (err)
        *err = c->failed;
    return (int)c->failed.code;
}

/** Does a new connection cure it? */
static bool renewed_by(const struct pg_conn *c, const char *state)
{
    return strcmp(state, "25006") == 0 ||                /* read only: another host may take writes */
           (c->direct && (strcmp(state, "26000") == 0 || /* it does not know a name */
                          strcmp(state, "0A000") == 0)); /* or tables changed under a kept plan */
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
        c->lost = c->lost || renewed_by(c, c->state);
    }
}

/** NULL: there is none, or it did not come in time. */
static PGresult *next_result(struct pg_conn *c)
{
    while (c->wait_ms > 0 && PQisBusy(c->pg)) {
        struct pollfd p = {.fd = PQsocket(c->pg), .events = POLLIN};
        int n = poll(&p, 1, c->wait_ms);
        if (n == 0)
            note(c, ERR_TIMEOUT, NULL);
        if (n <= 0 || !PQconsumeInput(c->pg))
            return NULL;
    }
    return PQgetResult(c->pg);
}

/** Reads the results of all that is pending; those of the last `keep` statements are kept, in order. */
static int read_results(struct pg_conn *c, PGresult **ret, size_t keep, struct err *err)
{
    const size_t n = c->pending;

    if (!c->pg || c->lost || !PQpipelineSync(c->pg))
        return lose(c, err);
    c->trips++;
    for (size_t i = 0, left = n - c->n_prepares; i < n; i++) {
        PGresult *res = next_result(c), *more;
        if (!res || PQstatus(c->pg) == CONNECTION_BAD) {
            if (res)
                take(c, res);
            PQclear(res);
            return lose(c, err);
        }
        while ((more = next_result(c)) != NULL)
            PQclear(more);
        take(c, res);
        if (c->prepares[i] > 0)
            named_set(c->named, c->prepares[i], PQresultStatus(res) == PGRES_COMMAND_OK);
        if (c->prepares[i] == 0 && left-- <= keep)
            ret[keep - left - 1] = res;
        else
            PQclear(res);
    }
    c->pending = c->n_prepares = 0;
    PGresult *sync = next_result(c);
    bool in_step = PQresultStatus(sync) == PGRES_PIPELINE_SYNC;
    PQclear(sync);
    if (!in_step)
        return lose(c, err);
    if (c->failed.code != ERR_OK && err)
        *err = c->failed;
    return (int)c->failed.code;
}

/** Prepared first, when this connection has not done that. */
static bool send_named(struct pg_conn *c, unsigned number, const char *text, const struct params *p)
{
    char name[NAME_MAX_PG];

    named_name(number, name);
    if (!named_known(c->named, number)) {
        if (!PQsendPrepare(c->pg, name, text, p->n, p->types))
            return false;
        named_set(c->named, number, true); /* until its result says otherwise */
        c->prepares[c->pending++] = (uint16_t)number;
        c->n_prepares++;
    }
    return PQsendQueryPrepared(c->pg, name, p->n, p->values, p->lengths, p->formats, 1);
}

static int send(struct pg_conn *c, const char *text, const struct params *p, struct err *err)
{
    if (!c->pg || c->lost)
        return lose(c, err);
    if (c->pending + 2 > PG_PENDING_MAX) {
        int rc = read_results(c, NULL, 0, err);
        if (rc != ERR_OK)
            return rc;
    }
    const unsigned number = c->direct && c->named ? named_number(c->named, text, p) : 0;
    if (number > 0 ? !send_named(c, number, text, p)
                   : !PQsendQueryParams(c->pg, text, p->n, p->types, p->values, p->lengths, p->formats, 1))
        return lose(c, err);
    c->prepares[c->pending++] = 0;
    return ERR_OK;
}

static int send_many(struct pg_conn *c, const struct shape *s, struct arrays *a, struct err *err)
{
    struct params p;

    if (!arrays_params(a, &p))
        return err_set(err, ERR_NO_MEMORY, 0, "postgres: parameters");
    return send(c, s->many, &p, err);
}

/** What was gathered. */
static int flush(struct pg_conn *c, struct err *err)
{
    struct ahead *a = c->ahead;
    int rc = ERR_OK;

    for (size_t i = 0; a && rc == ERR_OK && i < a->n_groups; i++)
        rc = send_many(c, a->groups[i]->shape, &a->groups[i]->arrays, err);
    if (a)
        gather_clear(a);
    return rc;
}

static int settle(struct pg_conn *c, PGresult **ret_last, struct err *err)
{
    int rc = flush(c, err);

    return rc == ERR_OK ? read_results(c, ret_last, ret_last ? 1 : 0, err) : rc;
}

int pg_settle(struct pg_conn *c, struct err *err)
{
    return settle(c, NULL, err);
}

void pg_forget(struct pg_conn *c)
{
    if (c->ahead)
        ahead_clear(c->ahead);
    if (!c->lost && c->pending > 0)
        read_results(c, NULL, 0, NULL);
    err_clear(&c->failed);
    c->state[0] = 0;
    c->warned = false;
}

/** ?1 is $1 here; what is to be locked is, where it is to be written. */
#define OF_LIVE " AND finished_at = 0"

bool pg_words(const char *sql, bool locks, char ret[SQL_MAX])
{
    size_t n = strlen(sql);

    if (n >= SQL_MAX)
        return false;
    memcpy(ret, sql, n + 1);
    for (char *p = ret; (p = strchr(p, '?')) != NULL; p++)
        *p = '$';
    char *live = strstr(ret, LIVE);
    if (live) {
        char rest[SQL_MAX];
        if (n + strlen(OF_LIVE) >= SQL_MAX)
            return false;
        snprintf(rest, sizeof(rest), "%s", live + strlen(LIVE));
        snprintf(live, SQL_MAX - (size_t)(live - ret), OF_LIVE "%s", rest);
    }
    char *lock = locks ? strstr(ret, "/*FOR UPDATE") : NULL, *end = lock ? strstr(lock, "*/") : NULL;
    if (end) {
        memset(lock, ' ', strlen("/*"));
        memset(end, ' ', strlen("*/"));
    }
    return true;
}

/** In its place: behind what was gathered before. */
static int put(struct pg_conn *c, struct err *err, const char *sql, const char *types, const struct params *p)
{
    char text[SQL_MAX];
    const bool look = strncmp(sql, "SELECT", 6) == 0;
    int rc = pg_words(sql, c->writes_rows, text) ? flush(c, err)
                                                 : err_set(err, ERR_INTERNAL, 0, "a statement that is too long");

    if (rc == ERR_OK)
        rc = send(c, text, p, err);
    c->writes += !look;
    if (!look && c->ahead)
        traces_add(&c->ahead->traces, shape_of(c->ahead->shapes, sql, types, true), p);
    return rc;
}

/** Without a round trip, if it can be. */
static bool known(struct pg_conn *c, struct pg_query *q, const char *sql, const char *types, const struct params *p)
{
    struct ahead *a = c->ahead;

    if (!a || (!a->guessing && a->n_wishes == 0))
        return false;
    const struct shape *s = shape_of(a->shapes, sql, types, a->guessing);
    if (ahead_find_fresh(a, s, p, q)) {
        a->open_question = false;
        return true;
    }
    q->res = NULL;
    q->borrowed = false;
    if (!a->guessing)
        return false;
    if (!s || !s->later || !a->open_question)
        ahead_wish(a, s, p);
    a->open_question = true;
    q->n_rows = 0;
    return true;
}

static int query_open(struct conn *conn, struct query **ret, struct err *err, const char *sql, const char *types,
                      va_list ap)
{
    struct pg_conn *c = pg_conn_of(conn);
    struct pg_query *q = c->queries;
    struct params p;

    while (q < c->queries + PG_QUERIES && q->used)
        q++;
    if (q == c->queries + PG_QUERIES)
        return err_set(err, ERR_INTERNAL, 0, "more than %d queries at once", PG_QUERIES);
    *q = (struct pg_query){.q.ops = &pg_ops, .c = c, .row = -1};
    int rc = params_read(&p, types, ap) ? ERR_OK : err_set(err, ERR_INTERNAL, 0, "too many parameters");
    if (rc == ERR_OK && !known(c, q, sql, types, &p)) {
        q->rows = NULL;
        q->shift = 0;
        rc = put(c, err, sql, types, &p);
        if (rc == ERR_OK)
            rc = settle(c, &q->res, err);
        q->n_rows = rc == ERR_OK ? PQntuples(q->res) : 0;
    }
    if (rc != ERR_OK) {
        PQclear(q->res);
        q->res = NULL;
        return rc;
    }
    q->used = true;
    *ret = &q->q;
    return ERR_OK;
}

static bool gathered(struct pg_conn *c, const char *sql, const char *types, const struct params *p)
{
    const struct shape *s;

    if (!c->ahead || !c->ahead->gathering || !(s = shape_of(c->ahead->shapes, sql, types, true)) ||
        !(gather_was_first(c->ahead, s, p) || gather_add(c->ahead, s, p)))
        return false;
    c->writes++;
    traces_add(&c->ahead->traces, s, p);
    return true;
}

static int query_run(struct conn *conn, int64_t *ret_changed, struct err *err, const char *sql, const char *types,
                     va_list ap)
{
    struct pg_conn *c = pg_conn_of(conn);
    PGresult *res = NULL;
    struct params p;

    if (c->ahead && c->ahead->guessing) {
        const struct shape *s = shape_of(c->ahead->shapes, sql, types, true);
        if (s && s->first && params_read(&p, types, ap))
            gather_first(c->ahead, s, &p);
        if (ret_changed)
            *ret_changed = 1;
        return ERR_OK;
    }
    if (!params_read(&p, types, ap))
        return err_set(err, ERR_INTERNAL, 0, "too many parameters");
    if (!ret_changed && gathered(c, sql, types, &p))
        return ERR_OK;
    int rc = put(c, err, sql, types, &p);
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

    *ret_row = ++q->row < q->n_rows;
    return ERR_OK;
}

static void query_close(struct query *st)
{
    if (!of(st)->borrowed)
        PQclear(of(st)->res);
    of(st)->res = NULL;
    of(st)->used = false;
}

static int row_at(const struct pg_query *q)
{
    return q->rows ? q->rows[q->row] : q->row;
}

static bool column_null(struct query *st, int i)
{
    return PQgetisnull(of(st)->res, row_at(of(st)), i + of(st)->shift);
}

static const void *column_bytes(struct query *st, int i, size_t *ret_n)
{
    const struct pg_query *q = of(st);
    const int row = row_at(q), column = i + q->shift;
    bool null = PQgetisnull(q->res, row, column);

    if (ret_n)
        *ret_n = null ? 0 : (size_t)PQgetlength(q->res, row, column);
    return null ? NULL : PQgetvalue(q->res, row, column);
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
    int rc = settle(c, NULL, err);

    *ret = c->changes;
    return rc;
}

/* --- read ahead --- */

void pg_guess(struct pg_conn *c, bool on)
{
    c->ahead->guessing = on;
}

void pg_gather(struct pg_conn *c)
{
    c->ahead->gathering = true;
}

size_t pg_wished(const struct pg_conn *c)
{
    return c->ahead->n_wished;
}

void pg_as_asked(struct pg_conn *c, bool on)
{
    c->ahead->stale = on;
}

bool pg_wrote(struct pg_conn *c, const char *look, const char *types, const struct uuid *id)
{
    const struct shape *s = shape_of(c->ahead->shapes, look, types, true);

    return !s || traces_has(&c->ahead->traces, id->b, sizeof(id->b), s->tables);
}

int pg_ask(struct pg_conn *c, struct err *err)
{
    struct ahead *a = c->ahead;
    PGresult *results[ARRAY_LEN(a->asked)] = {NULL};
    size_t first = a->n_asked, n = 0;
    int rc = ERR_OK;

    while (first > 0 && !a->asked[first - 1]->done)
        first--;
    rc = flush(c, err);
    if (rc == ERR_OK && c->pending + 2 * (a->n_asked - first) > PG_PENDING_MAX)
        rc = read_results(c, NULL, 0, err);
    for (size_t i = first; rc == ERR_OK && i < a->n_asked; i++, n++)
        rc = send_many(c, a->asked[i]->shape, &a->asked[i]->arrays, err);
    if (rc == ERR_OK)
        rc = read_results(c, results, n, err);
    for (size_t i = 0; i < n; i++)
        if (rc != ERR_OK)
            PQclear(results[i]);
        else if (!asked_take(a->asked[first + i], results[i]))
            rc = err_set(err, ERR_NO_MEMORY, 0, "postgres: what was read ahead");
    a->n_wished = 0;
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
    .by_day = true,
};
