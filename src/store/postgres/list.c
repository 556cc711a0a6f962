/* A page of jobs: newest first, along the ids, which are in the order of time. The database chooses which condition leads. */
#include "store/postgres/driver.h"
#include "base/buf.h"
#include <inttypes.h>

#define LIST_US (150 * USEC_PER_MSEC) /* a page is to take less than 200 ms */

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

static int take_page(struct conn *c, struct query *st, unsigned limit, struct list *l, struct job_page *ret,
                     struct err *err)
{
    bool more = false;
    int rc = ERR_OK;

    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        struct row row;
        if (l->n == limit) {
            ret->more = true;
            break;
        }
        rc = row_read(st, l->arena, &row, err);
        if (rc == ERR_OK)
            rc = row_inputs(c, l->arena, &row.job, err);
        if (rc != ERR_OK)
            break;
        struct job *job = list_add(l);
        if (!job)
            return read_no_memory(err);
        *job = row.job;
        ret->next = row.job.job_id;
    }
    return rc;
}

int pg_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(*ret->jobs)};
    unsigned limit = f->limit == 0 ? 50 : MIN(f->limit, 1000u);
    int rc = read_begin(s, LIST_US, &r, err);

    *ret = (struct job_page){0};
    if (rc == ERR_OK)
        rc = page_open(r.c, f, ROW_COLUMNS("'{}'"), limit + 1, &st, err);
    if (rc == ERR_OK)
        rc = take_page(r.c, st, limit, &l, ret, err);
    ret->jobs = l.items;
    ret->n = l.n;
    return rc;
}
