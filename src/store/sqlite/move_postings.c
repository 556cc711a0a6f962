#include "store/sqlite/move_postings.h"
#include "base/arena.h"
#include <stdlib.h>

#define TEXTS_MAX                                                                                                      \
    (POSTINGS_MAX * (size_t)1024) /* of some postings: a project, a key and a value have 446 bytes at most */

struct some_postings {
    struct posting all[POSTINGS_MAX];
    size_t n;
    struct arena *arena;
};

/** Where a posting's parts stand in a row. -1: it has none */
struct posting_columns {
    int job_id, project, name, value;
};
static const struct posting_columns of_jobs = {0, 1, 3, -1}, of_labels = {3, 0, 1, 2};

static int flush(struct conn *c, struct some_postings *some, enum posting_of of, struct err *err)
{
    const struct posting *all[POSTINGS_MAX];

    for (size_t i = 0; i < some->n; i++)
        all[i] = &some->all[i];
    return postings_add(c, of, all, some->n, err);
}

static int flush_all(struct conn *c, struct some_postings *some, const struct posting_columns *where, struct err *err)
{
    int rc = flush(c, some, where->value < 0 ? POSTING_TYPE : POSTING_LABEL, err);

    if (rc == ERR_OK && where->value >= 0)
        rc = flush(c, some, POSTING_KEY, err);
    some->n = 0;
    arena_reset(some->arena);
    return rc;
}

static const char *text(struct some_postings *some, const struct move_value *v)
{
    return v->null ? NULL : arena_strndup(some->arena, v->p, v->n);
}

static int take(struct some_postings *some, const struct posting_columns *where, const struct move_value *v,
                struct err *err)
{
    const struct move_value *id = &v[where->job_id];
    struct posting p = {text(some, &v[where->project]),
                        text(some, &v[where->name]),
                        where->value < 0 ? "" : text(some, &v[where->value]),
                        {{0}}};

    if (!p.project || !p.name || !p.value || id->null || id->n != sizeof(p.job_id.b))
        return err_set(err, ERR_CORRUPT, 0, "the type or a label of a job is damaged");
    memcpy(p.job_id.b, id->p, id->n);
    some->all[some->n++] = p;
    return ERR_OK;
}

static int add(struct conn *c, struct some_postings *some, const struct posting_columns *where,
               const struct move_columns *columns, const struct buf *rows, struct err *err)
{
    struct move_value v[MOVE_COLUMNS_MAX];
    size_t at = 0;
    int rc = ERR_OK;

    while (rc == ERR_OK && move_row_next(rows, &at, columns->types, v)) {
        if (some->n == POSTINGS_MAX)
            rc = flush_all(c, some, where, err);
        if (rc == ERR_OK)
            rc = take(some, where, v, err);
    }
    if (rc == ERR_OK && at != rows->len)
        rc = err_set(err, ERR_INTERNAL, 0, "a portion that is cut");
    return rc == ERR_OK ? flush_all(c, some, where, err) : rc;
}

static int add_rows(struct conn *c, const struct posting_columns *where, const struct move_columns *columns,
                    const struct buf *rows, struct err *err)
{
    struct some_postings *some = calloc(1, sizeof(*some));
    int rc;

    if (some && (some->arena = arena_new(TEXTS_MAX)))
        rc = add(c, some, where, columns, rows, err);
    else
        rc = err_set(err, ERR_NO_MEMORY, 0, "postings");
    if (some)
        arena_free(some->arena);
    free(some);
    return rc;
}

int move_types_add(struct conn *c, const struct move_columns *columns, const struct buf *rows, struct err *err)
{
    return add_rows(c, &of_jobs, columns, rows, err);
}

int move_labels_add(struct conn *c, const struct move_columns *columns, const struct buf *rows, struct err *err)
{
    return add_rows(c, &of_labels, columns, rows, err);
}

int move_labels_each(const struct move_value *v, move_row_fn *row, void *arg, struct err *err)
{
    struct posting_ids ids;
    int rc = posting_ids_of(v[3].p, v[3].n, v[4].p, v[4].n, &ids, err);

    for (size_t i = 0; rc == ERR_OK && i < ids.n; i++) {
        const struct move_value id = {.p = ids.id[i].b, .n = sizeof(ids.id[i].b)},
                                of[] = {v[0], v[1], v[2], id, v[0], v[1], v[2], v[3]};
        rc = row(arg, of, err);
    }
    return rc;
}
