#include "store/sql/query.h"
#include <string.h>

int q_vopen(struct conn *c, struct query **ret, struct err *err, const char *sql, const char *types, va_list ap)
{
    return c->ops->open(c, ret, err, sql, types, ap);
}

int q_open(struct conn *c, struct query **ret, struct err *err, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = c->ops->open(c, ret, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int q_step(struct conn *c, struct query *st, bool *ret_row, struct err *err)
{
    return c->ops->step(st, ret_row, err);
}

void q_close(struct query *st)
{
    if (st)
        st->ops->close(st);
}

int q_run(struct conn *c, int64_t *ret_changed, struct err *err, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    int rc = c->ops->run(c, ret_changed, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int q_int(struct conn *c, int64_t absent, int64_t *ret, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_QUERY struct query *st = NULL;
    bool row;
    va_list ap;

    va_start(ap, types);
    int rc = q_vopen(c, &st, err, sql, types, ap);
    va_end(ap);
    if (rc == ERR_OK)
        rc = q_step(c, st, &row, err);
    if (rc == ERR_OK)
        *ret = row && !col_null(st, 0) ? col_int(st, 0) : absent;
    return rc;
}

int q_written(struct conn *c, int64_t *ret, struct err *err)
{
    return c->ops->written(c, ret, err);
}

const char *col_borrow(struct query *st, int i)
{
    return st->ops->bytes(st, i, NULL);
}

char *col_text(struct query *st, int i, struct arena *arena)
{
    size_t n;

    if (col_null(st, i))
        return NULL;
    const void *p = st->ops->bytes(st, i, &n);
    return arena_strndup(arena, p ? p : "", n);
}

bool col_exact(struct query *st, int i, void *ret, size_t n)
{
    size_t have;
    const void *p = st->ops->bytes(st, i, &have);

    if (!p || have != n)
        return false;
    memcpy(ret, p, n);
    return true;
}

struct uuid col_uuid(struct query *st, int i)
{
    struct uuid u = {{0}};

    col_exact(st, i, u.b, sizeof(u.b));
    return u;
}

void col_hash(struct query *st, int i, uint8_t ret[32])
{
    if (!col_exact(st, i, ret, 32))
        memset(ret, 0, 32);
}
