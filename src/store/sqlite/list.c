/* The jobs that a filter asks for: a page of them, or their ids. */
#include "store/sqlite/list_query.h"

#define LIST_US    (150 * USEC_PER_MSEC) /* then the page ends, short; a page is to take less than 200 ms */
#define BEYOND_MAX 1000 /* candidates looked at behind a full page, to tell whether it is the last one */

#define AUTO_WALK __attribute__((cleanup(list_walk_close)))

static int add_job(struct conn *c, const char *project, const struct uuid *id, struct list *l, struct err *err)
{
    struct row row;
    int rc = row_load(c, project, id, LOAD_LEAN, l->arena, &row, err);

    if (rc == ERR_OK)
        rc = row_inputs(c, l->arena, &row.job, err);
    if (rc != ERR_OK)
        return rc;
    struct job *job = list_add(l);
    if (!job)
        return read_no_memory(err);
    *job = row.job;
    return ERR_OK;
}

int sqlite_jobs_look(struct conn *c, struct job_look *look, struct err *err)
{
    AUTO_WALK struct list_walk w = {0};
    int rc = list_walk_open(c, &look->filter, &w, err);

    look->n = 0;
    look->last = (struct uuid){{0}};
    look->more = true;
    for (unsigned looked = 0; rc == ERR_OK && looked < look->looked_max && look->n < look->max; looked++) {
        struct uuid id;
        bool fits;
        if ((rc = list_walk_next(&w, &look->more, &id, &fits, err)) != ERR_OK || !look->more)
            break;
        look->last = id;
        if (fits && look->ids)
            look->ids[look->n] = id;
        look->n += fits;
    }
    return rc;
}

/** Rows lie in the order they finished, since the store's time never goes back. */
int sqlite_history_head(struct tx *t, int64_t limit, usec until, struct uuid *ret, size_t *ret_n, usec *ret_next)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc =
        q_open(t->c, &st, t->err, "SELECT job_id, finished_at FROM history ORDER BY rowid LIMIT ?1", "i", limit + 1);

    *ret_n = 0;
    *ret_next = USEC_NEVER;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more) {
        if (col_int(st, 1) > until || *ret_n == (size_t)limit) {
            *ret_next = col_int(st, 1);
            break;
        }
        ret[(*ret_n)++] = col_uuid(st, 0);
    }
    return rc;
}

/** Looks at candidates until the page is full, or they end, or time is over. ret->next is the last one that was dealt with. */
static int take_page(struct list_walk *w, const struct job_filter *f, struct list *l, struct job_page *ret,
                     struct err *err)
{
    unsigned limit = f->limit == 0 ? 50 : MIN(f->limit, 1000u);
    unsigned beyond = 0;
    bool more = false, fits;
    struct uuid id;
    int rc;

    while ((rc = list_walk_next(w, &more, &id, &fits, err)) == ERR_OK && more) {
        if (l->n == limit && (fits || ++beyond > BEYOND_MAX)) {
            ret->more = true;
            break;
        }
        if (fits && (rc = add_job(w->c, f->project, &id, l, err)) != ERR_OK)
            break;
        ret->next = id;
    }
    return rc;
}

int sqlite_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                    struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_WALK struct list_walk w = {0};
    struct list l = {.arena = arena, .item_size = sizeof(*ret->jobs)};
    int rc = read_begin(s, LIST_US, &r, err);

    *ret = (struct job_page){0};
    if (rc == ERR_OK)
        rc = list_walk_open(r.c, f, &w, err);
    if (rc == ERR_OK)
        rc = take_page(&w, f, &l, ret, err);
    if (rc == ERR_TIMEOUT && !uuid_is_nil(&ret->next)) { /* some way was made: the next page begins there */
        if (err)
            err_clear(err);
        ret->more = true;
        rc = ERR_OK;
    }
    ret->jobs = l.items;
    ret->n = l.n;
    return rc;
}
