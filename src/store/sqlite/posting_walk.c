/* Rows come by their last id. Where commits overlapped so do they: a row is open from its last id on until its first was told, and the next is
 * told of the open ones' greatest. That is few of them, as a row spans 256 ms at most. */
#include "store/sqlite/posting_walk.h"
#include "store/sqlite/postings.h"
#include <stdlib.h>

struct posting_walk {
    struct conn *c;
    struct query *st;
    bool more;                     /* st stands at a row that is not open yet */
    struct uuid from, before, top; /* top: no row beyond it has an id below `before` */
    bool bounded;                  /* by `before` */
    struct posting_ids *open;      /* what is left of each: at least one */
    size_t n_open, room;
};

static int row_next(struct posting_walk *w, struct err *err)
{
    return q_step(w->c, w->st, &w->more, err);
}

int posting_walk_open(struct conn *c, enum posting_of of, const struct posting *p, const struct uuid *before,
                      const struct uuid *from, struct posting_walk **ret, struct err *err)
{
    struct posting_walk *w = *ret = calloc(1, sizeof(*w));

    if (!w)
        return err_set(err, ERR_NO_MEMORY, 0, "a list");
    w->c = c;
    w->bounded = before;
    w->before = before ? *before : (struct uuid){{0}};
    w->from = from ? *from : (struct uuid){{0}};
    memset(w->top.b, 0xff, sizeof(w->top.b));
    if (before) /* a row whose last is not below it may have ids that are */
        memcpy(w->top.b, before->b, POSTING_IDS_SHARED);
    int rc = q_open(c, &w->st, err,
                    "SELECT last, others FROM postings WHERE what = ?1 AND project = ?2 AND name = ?3 AND value = ?4"
                    " AND last <= ?5 AND last >= ?6 ORDER BY last DESC",
                    "itttub", (int64_t)of, p->project, p->name, posting_value(of, p->value), &w->top,
                    (const void *)w->from.b, sizeof(w->from.b));
    return rc == ERR_OK ? row_next(w, err) : rc;
}

static struct uuid *last_of(struct posting_ids *ids)
{
    return &ids->id[ids->n - 1];
}

/** What it has below `before`. */
static int row_open(struct posting_walk *w, struct err *err)
{
    if (w->n_open == w->room) {
        size_t room = w->room ? 2 * w->room : 4;
        struct posting_ids *open = realloc(w->open, room * sizeof(*open));
        if (!open)
            return err_set(err, ERR_NO_MEMORY, 0, "a list");
        w->open = open;
        w->room = room;
    }
    struct posting_ids *ids = &w->open[w->n_open];
    int rc = posting_ids_read(w->st, 0, ids, err);
    if (rc != ERR_OK)
        return rc;
    while (w->bounded && ids->n > 0 && uuid_compare(last_of(ids), &w->before) >= 0)
        ids->n--;
    w->n_open += ids->n > 0;
    return row_next(w, err);
}

/** Of what the open rows have. NULL: nothing. */
static struct posting_ids *newest(struct posting_walk *w)
{
    struct posting_ids *best = NULL;

    for (size_t i = 0; i < w->n_open; i++)
        if (!best || uuid_compare(last_of(&w->open[i]), last_of(best)) > 0)
            best = &w->open[i];
    return best;
}

static bool row_is_newer(struct posting_walk *w, struct posting_ids *than)
{
    struct uuid last = col_uuid(w->st, 0);

    return uuid_compare(&last, last_of(than)) > 0;
}

int posting_walk_next(struct posting_walk *w, bool *ret_more, struct uuid *ret, struct err *err)
{
    struct posting_ids *best = newest(w);
    int rc = ERR_OK;

    while (rc == ERR_OK && w->more && (!best || row_is_newer(w, best))) {
        rc = row_open(w, err);
        best = newest(w);
    }
    *ret_more = rc == ERR_OK && best && uuid_compare(last_of(best), &w->from) >= 0;
    if (!*ret_more)
        return rc;
    *ret = *last_of(best);
    if (--best->n == 0)
        *best = w->open[--w->n_open];
    return ERR_OK;
}

void posting_walk_close(struct posting_walk *w)
{
    if (!w)
        return;
    q_close(w->st);
    free(w->open);
    free(w);
}
