/* The heads of lanes for all claims of a batch: read at once, as many as they want together, and dealt out in order. */
#include "store/postgres/driver.h"
#include <stdlib.h>

#define LANES 256 /* in a batch; claims from more look by themselves */

struct pool {
    int64_t lane_id, above;
    const char *project; /* an op's */
    size_t want;
    bool wished;
    int64_t ready_next; /* the store's, then */
    int64_t dealt;      /* the latest ready_seq, in this pass */
};
struct heads {
    struct pool pools[LANES];
    size_t n;
};

#define TYPES "iiti"

struct heads *heads_new(void)
{
    return calloc(1, sizeof(struct heads));
}

void heads_free(struct heads *h)
{
    free(h);
}

void heads_clear(struct heads *h)
{
    h->n = 0;
}

void heads_rewind(struct heads *h)
{
    for (size_t i = 0; i < h->n; i++)
        h->pools[i].dealt = 0;
}

static struct pool *pool_of(struct heads *h, const struct tx *t, int64_t lane_id)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->pools[i].lane_id == lane_id && strcmp(h->pools[i].project, t->op->project) == 0)
            return &h->pools[i];
    if (!t->guess || h->n == LANES)
        return NULL;
    struct pool *p = &h->pools[h->n++];
    *p = (struct pool){.lane_id = lane_id, .above = INT64_MAX, .project = t->op->project};
    return p;
}

static int look(struct pg_writer *w, const struct pool *p, struct query **ret, struct err *err)
{
    pg_as_asked(&w->w, true);
    int rc = q_open(w->s.w, ret, err, claim_heads_sql, TYPES, p->lane_id, p->above, p->project, (int64_t)p->want);
    pg_as_asked(&w->w, false);
    return rc;
}

int heads_wish(struct pg_writer *w, struct err *err)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < w->heads->n; i++) {
        AUTO_QUERY struct query *st = NULL;
        struct pool *p = &w->heads->pools[i];
        if (!p->wished)
            rc = look(w, p, &st, err);
        p->wished = true;
        p->ready_next = w->s.ready_next;
    }
    return rc;
}

/** From those that were read: not what the batch has changed meanwhile. *ret_end: there may be no more in the lane. */
static int deal(struct tx *t, struct pool *p, int64_t above, size_t max, struct row *ret, size_t *ret_n, bool *ret_end)
{
    AUTO_QUERY struct query *st = NULL;
    struct pg_writer *w = pg_writer_of(t->s);
    bool more = false;
    size_t seen = 0;
    int rc = look(w, p, &st, t->err);

    while (rc == ERR_OK && *ret_n < max && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more) {
        const int64_t seq = col_int(st, ROW_READY_SEQ);
        const struct uuid id = col_uuid(st, 0);
        seen++;
        if (seq <= MAX(above, p->dealt))
            continue;
        p->dealt = seq;
        if (!t->guess && pg_wrote(&w->w, claim_heads_sql, TYPES, &id))
            continue;
        rc = row_read(st, t->op->arena, &ret[(*ret_n)++], t->err);
    }
    *ret_end = t->guess || (seen < p->want && p->ready_next == t->s->ready_next);
    return rc;
}

int pg_heads(struct tx *t, int64_t lane_id, int64_t above, size_t max, struct row *ret, size_t *ret_n)
{
    struct pool *p = pool_of(pg_writer_of(t->s)->heads, t, lane_id);
    bool end = t->guess;
    int rc = ERR_OK;

    *ret_n = 0;
    if (p && t->guess && !p->wished) {
        p->above = MIN(p->above, above);
        p->want += max;
        return ERR_OK;
    }
    if (p && p->wished && p->above <= above) {
        rc = deal(t, p, above, max, ret, ret_n, &end);
        above = MAX(above, p->dealt);
    }
    if (rc != ERR_OK || end || *ret_n > 0) /* the caller comes again for more */
        return rc;
    rc = claim_heads(t, lane_id, above, max, ret, ret_n);
    if (p && rc == ERR_OK && *ret_n > 0)
        p->dealt = ret[*ret_n - 1].ready_seq;
    return rc;
}
