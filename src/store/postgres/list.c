/* A page of jobs: newest first, along the ids, which are in the order of time. The database chooses which condition leads.
 *
 * Finished jobs lie by the day of finishing, and an id may be in the table of any day from its own on. To merge all of these tables, the database
 * would have to find the first job that fits in each, and look through months where there is none. So a page goes stretch by stretch of ids, each
 * twice as long as the one before, and a stretch looks at the days from its begin on. */
#include "store/postgres/driver.h"
#include "base/buf.h"
#include "core/search.h"
#include <inttypes.h>

#define LIST_US       (150 * USEC_PER_MSEC) /* a page is to take less than 200 ms */
#define TEXT_LOOKED   2000 /* jobs that a page looks at for text; with everything at its largest they take 80 MB */
#define ROW_ARENA_MAX ((size_t)1 << 20) /* one with everything at its largest */

#define DAY_US       (INT64_C(24) * 3600 * USEC_PER_SEC)
#define STRETCH_MOST (64 * DAY_US) /* behind it, all the rest is one */

/* Parameters, whether the statement speaks of them or not: project, task type, queue, before, from, then keys and values of labels. */
#define TYPES                                                                                                          \
    "tttuu"                                                                                                            \
    "tttttttttttttttt"
#define LABEL_FIRST 6
_Static_assert(FILTER_LABELS_MAX == 8, "as TYPES says");

/** Part of a page's way: ids from `from` on, and below the filter's `before`. nil: all. */
struct stretch {
    struct uuid from;
    usec finished_from; /* no job with such an id finished before; 0: not known */
};

static void add_conditions(struct buf *sql, const struct job_filter *f, const struct stretch *s)
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
    if (!uuid_is_nil(&s->from))
        buf_adds(sql, " AND j.job_id >= ?5");
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

static void add_table(struct buf *sql, const struct job_filter *f, const struct stretch *s, const char *columns,
                      bool history, unsigned limit)
{
    buf_printf(sql, "(SELECT %s FROM %s j", columns, history ? "history" : "jobs");
    add_conditions(sql, f, s);
    if (history && s->finished_from > 0)
        buf_printf(sql, " AND j.finished_at >= %" PRId64, s->finished_from);
    buf_printf(sql, " ORDER BY j.job_id DESC LIMIT %u)", limit);
}

static bool in_history(const struct job_filter *f)
{
    return f->status < 0 || job_finished((enum job_status)f->status);
}

static void write_sql(struct buf *sql, const struct job_filter *f, const struct stretch *s, const char *columns,
                      unsigned limit)
{
    const bool finished = in_history(f), other = f->status < 0 || !finished;

    buf_adds(sql, "SELECT * FROM (");
    if (other)
        add_table(sql, f, s, columns, false, limit);
    if (other && finished)
        buf_adds(sql, " UNION ALL ");
    if (finished)
        add_table(sql, f, s, columns, true, limit);
    buf_printf(sql, ") AS page ORDER BY job_id DESC LIMIT %u", limit);
}

static unsigned page_limit(const struct job_filter *f)
{
    return f->limit == 0 ? 50 : MIN(f->limit, 1000u);
}

/** Up to `limit` of the jobs that the filter asks for, newest first; its own limit is not looked at. */
static int page_open(struct conn *c, const struct job_filter *f, const struct stretch *s, const char *columns,
                     unsigned limit, struct query **ret, struct err *err)
{
    const char *l[2 * FILTER_LABELS_MAX] = {NULL};
    struct buf sql;

    for (size_t i = 0; i < f->n_labels; i++) {
        l[2 * i] = f->labels[i].key;
        l[2 * i + 1] = f->labels[i].value;
    }
    buf_init(&sql, 65536);
    write_sql(&sql, f, s, columns, limit);
    int rc = sql.failed ? err_set(err, ERR_TOO_LARGE, 0, "the search is too long")
                        : q_open(c, ret, err, buf_str(&sql), TYPES, f->project, f->task_type, f->queue, &f->before,
                                 &s->from, l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7], l[8], l[9], l[10], l[11],
                                 l[12], l[13], l[14], l[15]);
    buf_release(&sql); /* it was sent */
    return rc;
}

int pg_jobs_look(struct conn *c, struct job_look *look, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    size_t max = MIN(look->max, (size_t)look->looked_max);
    bool more = false;
    int rc = page_open(c, &look->filter, &(struct stretch){0}, "job_id", (unsigned)max, &st, err);

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

/** A page on its way. */
struct walk {
    struct conn *c;
    struct job_filter filter; /* with `before` where it has come to */
    unsigned limit, look_max; /* jobs of the page; rows that it may look at */
    unsigned looked;
    usec skew_us, ends_at;
    struct list l;
    struct job_page *page;
    struct arena *own; /* what rows are read into that are looked at for text; NULL: they are not */
};

static int take_rows(struct walk *w, struct query *st, struct err *err)
{
    const char *text = w->filter.text;
    bool more = false, fits = true;
    int rc = ERR_OK;

    for (; rc == ERR_OK && (rc = q_step(w->c, st, &more, err)) == ERR_OK && more; w->looked++) {
        if (w->l.n == w->limit || w->looked == w->look_max) {
            w->page->more = true;
            break;
        }
        if (text)
            rc = text_fits(st, text, w->own, &fits, err);
        if (rc == ERR_OK && fits)
            rc = keep(w->c, st, &w->l, err);
        if (rc == ERR_OK)
            w->page->next = col_uuid(st, 0);
    }
    return rc;
}

static int take_stretch(struct walk *w, const struct stretch *s, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    int rc = page_open(w->c, &w->filter, s, ROW_COLUMNS("'{}'"), w->look_max + 1 - w->looked, &st, err);

    return rc == ERR_OK ? take_rows(w, st, err) : rc;
}

/** The first id of a millisecond. */
static struct uuid id_from(usec at)
{
    struct uuid id = {{0}};
    uint64_t ms = (uint64_t)(at / USEC_PER_MSEC);

    for (int i = 5; i >= 0; i--, ms >>= 8)
        id.b[i] = (uint8_t)ms;
    return id;
}

/** Ids tell when they were made, to within the skew; no job finished before, but for a clock that was set since. */
static struct stretch stretch_from(const struct walk *w, usec from)
{
    const usec apart = w->skew_us > USEC_NEVER - DAY_US ? USEC_NEVER : w->skew_us + DAY_US;

    return (struct stretch){id_from(from), from > apart ? from - apart : 0};
}

static int walk_stretches(struct walk *w, usec now, const struct clock *clock, struct err *err)
{
    const usec skew = w->skew_us, after = w->filter.created_after;
    usec top = uuid_is_nil(&w->filter.before) ? MAX(now, 0) : uuid_v7_us(&w->filter.before);
    const usec least = after > skew ? after - skew : 0;

    for (usec length = DAY_US; length <= STRETCH_MOST; length *= 2) {
        const usec from = top - top % DAY_US - length;
        if (from <= least)
            break;
        struct stretch s = stretch_from(w, from);
        int rc = take_stretch(w, &s, err);
        if (rc != ERR_OK || w->page->more)
            return rc;
        w->filter.before = s.from;
        top = from;
        if (clock->boot_us(clock->self) > w->ends_at) { /* a short page: the next one begins here */
            w->page->next = s.from;
            w->page->more = true;
            return ERR_OK;
        }
    }
    struct stretch rest = least > DAY_US ? stretch_from(w, least) : (struct stretch){0};
    return take_stretch(w, &rest, err);
}

static int list_look(struct store *s, const struct job_filter *f, unsigned look_max, struct arena *arena,
                     struct job_page *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    struct walk w = {.filter = *f,
                     .limit = page_limit(f),
                     .look_max = look_max,
                     .l = {.arena = arena, .item_size = sizeof(*ret->jobs)},
                     .page = ret,
                     .own = f->text ? arena_new(ROW_ARENA_MAX) : NULL};
    int rc = f->text && !w.own ? read_no_memory(err) : read_begin(s, LIST_US, &r, err);

    *ret = (struct job_page){0};
    w.c = r.c;
    w.ends_at = s->clock.boot_us(s->clock.self) + LIST_US;
    if (rc == ERR_OK && in_history(f))
        rc = q_int(w.c, USEC_PER_SEC, &w.skew_us, err,
                   "SELECT CAST(value AS bigint) FROM meta WHERE key = 'id_skew_us'", "");
    if (rc == ERR_OK)
        rc = in_history(f) ? walk_stretches(&w, store_now(s), &s->clock, err)
                           : take_stretch(&w, &(struct stretch){0}, err);
    arena_free(w.own);
    ret->jobs = w.l.items;
    ret->n = w.l.n;
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
