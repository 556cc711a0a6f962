/* A page of jobs: newest first, along the ids, which are in the order of time. The database chooses which condition leads. */
#include "store/postgres/driver.h"
#include "base/buf.h"
#include "core/search.h"
#include <inttypes.h>

#define LIST_US       (150 * USEC_PER_MSEC) /* a page is to take less than 200 ms */
#define TEXT_LOOKED   2000 /* jobs that a page looks at for text; with everything at its largest they take 80 MB */
#define ROW_ARENA_MAX ((size_t)1 << 20) /* one with everything at its largest */

/* Parameters, whether the statement speaks of them or not: project, task type, queue, before, then keys and values of labels. */
#define TYPES                                                                                                          \
    "tttu"                                                                                                             \
    "tttttttttttttttt"
#define LABEL_FIRST 5
_Static_assert(FILTER_LABELS_MAX == 8, "as TYPES says");

static void add_conditions(struct buf *sql, const struct job_filter *f)
{
    buf_adds(sql, " WHERE j.project = ?1");
    if (f->status >= 0)
        buf_printf(sql, " AND j.status = %d", f->status);
    if (f->task_type)
        buf_adds(sql, " AND j.task_type = ?2");
    if (f->queue)
        buf_adds(sql, " AND j.queue = ?3");
    if (f->created_after)
        buf_printf(sql, " AND j.created_at >= %" PRId64, f->created_after);
    if (f->created_before)
        buf_printf(sql, " AND j.created_at < %" PRId64, f->created_before);
    if (f->fingerprint)
        buf_printf(sql,
                   " AND j.fingerprint = %" PRId64 " AND EXISTS (SELECT 1 FROM dead_letters d WHERE d.project = ?1"
                   " AND d.fingerprint = j.fingerprint AND d.job_id = j.job_id)",
                   (int64_t)f->fingerprint);
    if (f->failed_before)
        buf_printf(sql, " AND j.finished_at < %" PRId64, f->failed_before);
    if (!uuid_is_nil(&f->before))
        buf_adds(sql, " AND j.job_id < ?4");
    for (size_t i = 0; i < f->n_labels; i++) {
        size_t n = LABEL_FIRST + 2 * i;
        buf_printf(sql,
                   " AND EXISTS (SELECT 1 FROM labels l WHERE l.job_id = j.job_id AND l.project = ?1 AND l.key = ?%zu",
                   n);
        if (f->labels[i].value)
            buf_printf(sql, " AND l.value = ?%zu", n + 1);
        buf_adds(sql, ")");
    }
}

static void add_table(struct buf *sql, const struct job_filter *f, const char *columns, const char *table,
                      unsigned limit)
{
    buf_printf(sql, "(SELECT %s FROM %s j", columns, table);
    add_conditions(sql, f);
    buf_printf(sql, " ORDER BY j.job_id DESC LIMIT %u)", limit);
}

static void write_sql(struct buf *sql, const struct job_filter *f, const char *columns, unsigned limit)
{
    bool finished = f->status >= 0 && job_finished((enum job_status)f->status);

    buf_adds(sql, "SELECT * FROM (");
    if (f->status < 0 || !finished)
        add_table(sql, f, columns, "jobs", limit);
    if (f->status < 0)
        buf_adds(sql, " UNION ALL ");
    if (f->status < 0 || finished)
        add_table(sql, f, columns, "history", limit);
    buf_printf(sql, ") AS page ORDER BY job_id DESC LIMIT %u", limit);
}

static unsigned page_limit(const struct job_filter *f)
{
    return f->limit == 0 ? 50 : MIN(f->limit, 1000u);
}

/** Up to `limit` of the jobs that the filter asks for, newest first; its own limit is not looked at. */
static int page_open(struct conn *c, const struct job_filter *f, const char *columns, unsigned limit,
                     struct query **ret, struct err *err)
{
    const char *l[2 * FILTER_LABELS_MAX] = {NULL};
    struct buf sql;

    for (size_t i = 0; i < f->n_labels; i++) {
        l[2 * i] = f->labels[i].key;
        l[2 * i + 1] = f->labels[i].value;
    }
    buf_init(&sql, 65536);
    write_sql(&sql, f, columns, limit);
    int rc = sql.failed
                 ? err_set(err, ERR_TOO_LARGE, 0, "the search is too long")
                 : q_open(c, ret, err, buf_str(&sql), TYPES, f->project, f->task_type, f->queue, &f->before, l[0], l[1],
                          l[2], l[3], l[4], l[5], l[6], l[7], l[8], l[9], l[10], l[11], l[12], l[13], l[14], l[15]);
    buf_release(&sql); /* it was sent */
    return rc;
}

int pg_jobs_look(struct conn *c, struct job_look *look, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    size_t max = MIN(look->max, (size_t)look->looked_max);
    bool more = false;
    int rc = page_open(c, &look->filter, "job_id", (unsigned)max, &st, err);

    look->n = 0;
    look->last = (struct uuid){{0}};
    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        look->last = col_uuid(st, 0);
        if (look->ids)
            look->ids[look->n] = look->last;
        look->n++;
    }
    look->more = look->n == max;
    return rc;
}

static int keep(struct conn *c, struct query *st, struct list *l, struct err *err)
{
    struct row row;
    int rc = row_read(st, l->arena, &row, err);

    if (rc == ERR_OK)
        rc = row_inputs(c, l->arena, &row.job, err);
    struct job *job = rc == ERR_OK ? list_add(l) : NULL;
    if (job)
        *job = row.job;
    return rc == ERR_OK && !job ? read_no_memory(err) : rc;
}

/** @param own  what the row is read into, and used again for the next one */
static int text_fits(struct query *st, const char *text, struct arena *own, bool *ret, struct err *err)
{
    struct row row;

    arena_reset(own);
    int rc = row_read(st, own, &row, err);
    *ret = rc == ERR_OK && job_has_text(&row.job, text);
    return rc;
}

/** @param look_max  of the rows that the statement tells at most so many are looked at */
static int take_page(struct conn *c, struct query *st, const struct job_filter *f, unsigned look_max, struct list *l,
                     struct job_page *ret, struct err *err)
{
    const unsigned limit = page_limit(f);
    struct arena *own = f->text ? arena_new(ROW_ARENA_MAX) : NULL;
    bool more = false, fits = true;
    int rc = f->text && !own ? read_no_memory(err) : ERR_OK;

    for (unsigned looked = 0; rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more; looked++) {
        if (l->n == limit || looked == look_max) {
            ret->more = true;
            break;
        }
        if (f->text)
            rc = text_fits(st, f->text, own, &fits, err);
        if (rc == ERR_OK && fits)
            rc = keep(c, st, l, err);
        if (rc == ERR_OK)
            ret->next = col_uuid(st, 0);
    }
    arena_free(own);
    return rc;
}

static int list_look(struct store *s, const struct job_filter *f, unsigned look_max, struct arena *arena,
                     struct job_page *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(*ret->jobs)};
    int rc = read_begin(s, LIST_US, &r, err);

    *ret = (struct job_page){0};
    if (rc == ERR_OK)
        rc = page_open(r.c, f, ROW_COLUMNS("'{}'"), look_max + 1, &st, err);
    if (rc == ERR_OK)
        rc = take_page(r.c, st, f, look_max, &l, ret, err);
    ret->jobs = l.items;
    ret->n = l.n;
    return rc;
}

int pg_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret, struct err *err)
{
    int rc = list_look(s, f, f->text ? TEXT_LOOKED : page_limit(f), arena, ret, err);

    if (rc != ERR_TIMEOUT || !f->text)
        return rc;
    err_clear(err); /* so many are not found in time, as its other conditions are: as many as a page without text has */
    return list_look(s, f, page_limit(f), arena, ret, err);
}
