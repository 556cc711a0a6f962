#pragma once
/* Statements, whatever database runs them. Parameters are ?1, ?2 ... in the text; what the shared statements say, every driver's database
 * understands. A driver embeds the two structs in its own. */
#include "base/arena.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/uuid.h"
#include <stdarg.h>

struct conn;
struct query;

struct sql_ops { /* as the functions below */
    int (*open)(struct conn *c, struct query **ret, struct err *err, const char *sql, const char *types, va_list ap);
    int (*run)(struct conn *c, int64_t *ret_changed, struct err *err, const char *sql, const char *types, va_list ap);
    int (*step)(struct query *st, bool *ret_row, struct err *err);
    void (*close)(struct query *st);
    bool (*is_null)(struct query *st, int i);
    int64_t (*integer)(struct query *st, int i); /* NULL: 0 */
    double (*real)(struct query *st, int i);
    /** Text or bytes, a zero byte behind text; NULL: NULL and 0. Good until the next step. ret_n may be NULL. */
    const void *(*bytes)(struct query *st, int i, size_t *ret_n);
    int (*written)(struct conn *c, int64_t *ret, struct err *err);
    bool by_day; /* rows of finished jobs lie by when they finished: a look that says about when is cheaper */
};
struct conn {
    const struct sql_ops *ops;
};
struct query {
    const struct sql_ops *ops;
};

/* A query: `sql` must be a literal or otherwise live as long as the connection. `types` tells the parameters:
 * i int64_t, z int64_t, 0 is NULL, d double, t text or NULL, x text or NULL kept as bytes, b pointer and size_t (NULL pointer: NULL),
 * u struct uuid pointer (nil: NULL). They are borrowed until the query is closed. */
int q_open(struct conn *c, struct query **ret, struct err *err, const char *sql, const char *types, ...);
int q_vopen(struct conn *c, struct query **ret, struct err *err, const char *sql, const char *types, va_list ap);
/** Next row, if any. */
int q_step(struct conn *c, struct query *st, bool *ret_row, struct err *err);
void q_close(struct query *st); /* NULL accepted */
/** Without rows. ret_changed may be NULL: then a driver may put it off, and report its failure with a later statement or the commit. */
int q_run(struct conn *c, int64_t *ret_changed, struct err *err, const char *sql, const char *types, ...);
/** One integer: the first column of the first row, `absent` when there is none or it is NULL. */
int q_int(struct conn *c, int64_t absent, int64_t *ret, struct err *err, const char *sql, const char *types, ...);
/** Rows that the connection's statements have inserted, changed or deleted since it was opened. */
int q_written(struct conn *c, int64_t *ret, struct err *err);

/* Behind a query for rows that the op goes on to change. Where transactions meet, a connection that writes takes the words for part of the
 * statement: nobody else changes these rows until the batch is decided. FREE: rows that somebody else has are left out, not waited for. */
#define SQL_LOCK      " /*FOR UPDATE*/"
#define SQL_LOCK_FREE " /*FOR UPDATE SKIP LOCKED*/"

/* Other words to a driver that reads ahead of the ops, and nothing to others: of a look, that it must be made where it stands (alone), or which
 * writes make it stale (of all), or that it is made only once the one before it was answered (later); of a write, that looks rely on the lock it takes (first), or that it is the same made twice (once). */

#define AUTO_QUERY __attribute__((cleanup(auto_query)))
static inline void auto_query(struct query **st)
{
    q_close(*st);
}
static inline bool col_null(struct query *st, int i)
{
    return st->ops->is_null(st, i);
}
static inline int64_t col_int(struct query *st, int i)
{
    return st->ops->integer(st, i);
}
static inline double col_real(struct query *st, int i)
{
    return st->ops->real(st, i);
}
/** Good until the next step. NULL: NULL, and 0. */
static inline const void *col_bytes(struct query *st, int i, size_t *ret_n)
{
    return st->ops->bytes(st, i, ret_n);
}
const char *col_borrow(struct query *st, int i);              /* until the next step; NULL stays NULL */
char *col_text(struct query *st, int i, struct arena *arena); /* text or bytes; NULL stays NULL */
struct uuid col_uuid(struct query *st, int i);                /* NULL: nil */
void col_hash(struct query *st, int i, uint8_t ret[32]);
/** Exactly n bytes. false: it holds others, or none; `ret` is left as it was. */
bool col_exact(struct query *st, int i, void *ret, size_t n);
