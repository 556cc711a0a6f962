/* A page's query. Every index used here ends in job_id, so that a walk along it is in the order of the list and a cursor is a
 * bound. One condition leads: the one with the fewest entries, counted up to a limit. The others are a column of the answer and
 * no part of WHERE: so each row looked at is seen by the caller, who can stop at any of them and say where to go on. */
#include "store/sqlite/list_query.h"
#include "base/buf.h"

#define COUNT_MAX 2000 /* entries counted to compare; beyond it one is as good as the other */

enum lead { BY_NEWEST, BY_STATUS, BY_TYPE, BY_LABEL, BY_FINGERPRINT };

struct plan {
    const struct job_filter *f;
    bool jobs, history; /* where the status can stand */
    enum lead lead;
    size_t label; /* BY_LABEL: which */
    struct uuid from, before;
    bool has_from, has_before;
};

static const char count_jobs_status[] = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE project = ?1 AND status = ?2"
                                        " AND status <> 0 LIMIT ?3)";
static const char count_history_status[] =
    "SELECT count(*) FROM (SELECT 1 FROM history WHERE project = ?1 AND status = ?2 AND status <> 2"
    " LIMIT ?3)";

static int count_status(struct conn *c, const struct plan *p, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, p->jobs ? count_jobs_status : count_history_status, "tii", p->f->project,
                 (int64_t)p->f->status, (int64_t)COUNT_MAX);
}

static int count_fingerprint(struct conn *c, const struct plan *p, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, "SELECT jobs FROM dead_groups WHERE project = ?1 AND fingerprint = ?2", "ti",
                 p->f->project, (int64_t)p->f->fingerprint);
}

/** The indexes of status leave out what nearly every row is: such a list walks the ids, and most of them fit. */
static bool status_indexed(int status)
{
    _Static_assert(JOB_PENDING == 0 && JOB_SUCCESS == 2, "as jobs_status and history_status say");
    return status >= 0 && status != JOB_PENDING && status != JOB_SUCCESS;
}

static bool by_posting(const struct plan *p)
{
    return p->lead == BY_TYPE || p->lead == BY_LABEL;
}

static struct posting posting_of(const struct plan *p)
{
    const struct job_filter *f = p->f;

    return p->lead == BY_TYPE ? (struct posting){.project = f->project, .name = f->task_type}
                              : (struct posting){f->project, f->labels[p->label].key, f->labels[p->label].value, {{0}}};
}

static enum posting_of what_of(const struct plan *p)
{
    return p->lead == BY_TYPE ? POSTING_TYPE : p->f->labels[p->label].value ? POSTING_LABEL : POSTING_KEY;
}

/** As if that led. */
static int count_postings(struct conn *c, struct plan p, enum lead lead, size_t label, int64_t *ret, struct err *err)
{
    p.lead = lead;
    p.label = label;
    const struct posting posting = posting_of(&p);
    return postings_count(c, what_of(&p), &posting, COUNT_MAX, ret, err);
}

/** Of a type with very many jobs, most of which are history as a rule, those that are not: the newest of them are found at once along the type,
 * but not that there are no more. */
static int choose_live(struct conn *c, struct plan *p, struct err *err)
{
    int64_t more = 0; /* by how many the type has more jobs than are live */
    int rc = ERR_OK;

    if (status_indexed(p->f->status)) {
        p->lead = BY_STATUS;
        return ERR_OK;
    }
    if (!uuid_is_nil(&p->f->before)) /* behind the first page */
        rc = q_int(c, 0, &more, err,
                   "SELECT coalesce(sum(n * (task_type = ?2) - n * (status IN (0, 1, 3))), 0) FROM counters"
                   " WHERE project = ?1",
                   "tt", p->f->project, p->f->task_type);
    p->lead = more > 0 ? BY_NEWEST : BY_TYPE;
    return rc;
}

/** The shortest walk; of equals a label, then the fingerprint, then the type. */
static int choose_lead(struct conn *c, struct plan *p, struct err *err)
{
    int64_t n = 0, least = INT64_MAX;
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < p->f->n_labels; i++) {
        rc = count_postings(c, *p, BY_LABEL, i, &n, err);
        if (rc == ERR_OK && n < least) {
            least = n;
            p->lead = BY_LABEL;
            p->label = i;
        }
    }
    if (rc == ERR_OK && p->f->fingerprint && (rc = count_fingerprint(c, p, &n, err)) == ERR_OK &&
        (n < least || least == COUNT_MAX)) {
        least = n;
        p->lead = BY_FINGERPRINT;
    }
    if (rc == ERR_OK && p->f->task_type && (rc = count_postings(c, *p, BY_TYPE, 0, &n, err)) == ERR_OK && n < least) {
        least = n;
        if (n < COUNT_MAX || p->history)
            p->lead = BY_TYPE;
        else
            rc = choose_live(c, p, err);
    }
    if (rc == ERR_OK && status_indexed(p->f->status) && (rc = count_status(c, p, &n, err)) == ERR_OK && n < least)
        p->lead = BY_STATUS;
    return rc;
}

/* --- bounds --- */

/** The least id of a millisecond. false: beyond what an id can say. */
static bool id_of_ms(int64_t ms, struct uuid *ret)
{
    *ret = (struct uuid){{0}};
    for (int i = 0; i < 6; i++)
        ret->b[i] = (uint8_t)(ms >> (40 - 8 * i));
    return ms > 0 && ms < INT64_C(1) << 48;
}

/** Ids are made by the wall clock of a server, created_at by the store's: they were never further apart than id_skew_us. So time bounds
 * ids, roughly; created_at itself decides. */
static int bound_by_time(struct conn *c, struct plan *p, struct err *err)
{
    const struct job_filter *f = p->f;
    int64_t skew = 0, us;
    struct uuid id;
    int rc = f->created_after || f->created_before ? meta_int(c, "id_skew_us", &skew, err) : ERR_OK;

    p->before = f->before;
    p->has_before = !uuid_is_nil(&f->before);
    if (rc != ERR_OK)
        return rc;
    if (f->created_after && !__builtin_sub_overflow(f->created_after, skew, &us) && us > 0)
        p->has_from = id_of_ms(us / USEC_PER_MSEC, &p->from);
    if (f->created_before && !__builtin_add_overflow(f->created_before, skew, &us) &&
        id_of_ms(us / USEC_PER_MSEC + 1, &id) && (!p->has_before || uuid_compare(&id, &p->before) < 0)) {
        p->before = id;
        p->has_before = true;
    }
    return ERR_OK;
}

/* --- SQL --- */

static void add_bounds(struct buf *sql, const struct plan *p)
{
    if (p->has_from)
        buf_adds(sql, " AND job_id >= :from");
    if (p->has_before)
        buf_adds(sql, " AND job_id < :before");
}

/** The labels that do not lead. */
static void add_labels(struct buf *sql, const struct plan *p)
{
    for (size_t i = 0; i < p->f->n_labels; i++)
        if (p->lead != BY_LABEL || p->label != i)
            buf_printf(sql, " AND haul_has_label(labels, :key%zu, :value%zu)", i, i);
}

/** What a job's row must say, besides what leads. */
static void add_row_conditions(struct buf *sql, const struct plan *p)
{
    const struct job_filter *f = p->f;

    if (f->status >= 0 && p->lead != BY_STATUS)
        buf_adds(sql, " AND status = :status");
    if (f->fingerprint && p->lead != BY_FINGERPRINT)
        buf_adds(sql, " AND fingerprint = :fingerprint");
    if (f->task_type && p->lead != BY_TYPE)
        buf_adds(sql, " AND task_type = :type");
    if (f->queue)
        buf_adds(sql, " AND queue = :queue");
    if (f->created_after)
        buf_adds(sql, " AND created_at >= :after");
    if (f->created_before)
        buf_adds(sql, " AND created_at < :until");
    if (f->failed_before)
        buf_adds(sql, " AND finished_at < :failed");
    add_labels(sql, p);
    if (f->text) /* last: it costs the most */
        buf_adds(sql, " AND haul_has_text(:text, job_id, task_type, dedup_key, labels, error_log)");
}

static void add_table(struct buf *sql, const struct plan *p, const char *table)
{
    static const char *const before[] = {[BY_NEWEST] = "sqlite_autoindex_", [BY_STATUS] = ""},
                             *const after[] = {[BY_NEWEST] = "_1", [BY_STATUS] = "_status"},
                             *const where[] = {
                                 [BY_NEWEST] = "job_id > x''", [BY_STATUS] = "project = :project AND status = :status"};

    buf_adds(sql, "SELECT job_id, 1");
    if (p->lead == BY_NEWEST) /* by the key itself: one index less to write */
        buf_adds(sql, " AND project = :project");
    add_row_conditions(sql, p);
    buf_printf(sql, " AS fits FROM %s j INDEXED BY %s%s%s WHERE %s", table, before[p->lead], table, after[p->lead],
               where[p->lead]);
    if (p->lead == BY_STATUS) /* the index's own condition, in its words */
        buf_adds(sql, p->jobs ? " AND status <> 0" : " AND status <> 2");
    add_bounds(sql, p);
}

/** Does a job's row say more than what leads? */
static bool row_decides(const struct plan *p)
{
    const struct job_filter *f = p->f;

    return f->status >= 0 || (f->task_type && p->lead != BY_TYPE) || f->queue || f->created_after ||
           f->created_before || f->failed_before || f->text || (f->fingerprint && p->lead != BY_FINGERPRINT) ||
           f->n_labels > (p->lead == BY_LABEL ? 1u : 0u);
}

/** Does the row of a job say so? @param id  which */
static void add_row_of(struct buf *sql, const struct plan *p, const char *id)
{
    buf_adds(sql, "0");
    for (int i = 0; i < 2; i++) {
        if (!(i == 0 ? p->jobs : p->history))
            continue;
        buf_printf(sql, " OR EXISTS (SELECT 1 FROM %s j WHERE j.job_id = %s", i == 0 ? "jobs" : "history", id);
        add_row_conditions(sql, p);
        buf_adds(sql, ")");
    }
}

/** From the dead letters, which know only ids. */
static void add_dead(struct buf *sql, const struct plan *p)
{
    buf_adds(sql, "SELECT job_id, ");
    if (row_decides(p))
        add_row_of(sql, p, "l.job_id");
    else
        buf_adds(sql, "1");
    buf_adds(sql, " AS fits FROM dead_letters l WHERE project = :project AND fingerprint = :fingerprint");
    add_bounds(sql, p);
    buf_adds(sql, " ORDER BY job_id DESC");
}

static void add_tables(struct buf *sql, const struct plan *p)
{
    if (p->jobs)
        add_table(sql, p, "jobs");
    if (p->jobs && p->history)
        buf_adds(sql, " UNION ALL ");
    if (p->history)
        add_table(sql, p, "history");
    buf_adds(sql, " ORDER BY job_id DESC");
}

static void write_sql(struct buf *sql, const struct plan *p)
{
    if (by_posting(p)) { /* a walk tells them, one by one */
        buf_adds(sql, "SELECT ");
        add_row_of(sql, p, ":id");
    } else if (p->lead == BY_FINGERPRINT) {
        add_dead(sql, p);
    } else {
        add_tables(sql, p);
    }
}

static void bind_text(sqlite3_stmt *st, int *rc, const char *name, const char *text)
{
    int i = sqlite3_bind_parameter_index(st, name);
    if (*rc == SQLITE_OK && i > 0)
        *rc = sqlite3_bind_text(st, i, text, -1, SQLITE_STATIC);
}

static void bind_int(sqlite3_stmt *st, int *rc, const char *name, int64_t v)
{
    int i = sqlite3_bind_parameter_index(st, name);
    if (*rc == SQLITE_OK && i > 0)
        *rc = sqlite3_bind_int64(st, i, v);
}

static void bind_id(sqlite3_stmt *st, int *rc, const char *name, const struct uuid *id)
{
    int i = sqlite3_bind_parameter_index(st, name);
    if (*rc == SQLITE_OK && i > 0)
        *rc = sqlite3_bind_blob(st, i, id->b, sizeof(id->b), SQLITE_TRANSIENT);
}

static int bind_all(sqlite3_stmt *st, const struct plan *p)
{
    const struct job_filter *f = p->f;
    int rc = SQLITE_OK;

    bind_text(st, &rc, ":project", f->project);
    bind_int(st, &rc, ":status", f->status);
    bind_text(st, &rc, ":type", f->task_type);
    bind_text(st, &rc, ":queue", f->queue);
    bind_int(st, &rc, ":after", f->created_after);
    bind_int(st, &rc, ":until", f->created_before);
    bind_int(st, &rc, ":fingerprint", (int64_t)f->fingerprint);
    bind_int(st, &rc, ":failed", f->failed_before);
    bind_text(st, &rc, ":text", f->text);
    bind_id(st, &rc, ":from", &p->from);
    bind_id(st, &rc, ":before", &p->before);
    for (size_t i = 0; i < f->n_labels; i++) {
        char name[32];
        snprintf(name, sizeof(name), ":key%zu", i);
        bind_text(st, &rc, name, f->labels[i].key);
        snprintf(name, sizeof(name), ":value%zu", i);
        bind_text(st, &rc, name, f->labels[i].value);
    }
    return rc;
}

static int prepare(struct sqlite_conn *c, const struct plan *p, sqlite3_stmt **ret, struct err *err)
{
    struct buf sql;

    buf_init(&sql, 16384);
    write_sql(&sql, p);
    int rc = sql.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(c->db, buf_str(&sql), -1, ret, NULL);
    buf_release(&sql);
    if (rc == SQLITE_OK)
        rc = bind_all(*ret, p);
    return rc == SQLITE_OK ? ERR_OK : conn_err(c, rc, err);
}

static int walk_open(struct conn *c, const struct plan *p, struct posting_walk **ret, struct err *err)
{
    const struct posting posting = posting_of(p);

    return posting_walk_open(c, what_of(p), &posting, p->has_before ? &p->before : NULL, p->has_from ? &p->from : NULL,
                             ret, err);
}

/** Of a type it is known how many are pending. */
static int count_pending(struct conn *c, const struct job_filter *f, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err,
                 "SELECT coalesce(sum(n), 0) FROM counters WHERE project = ?1 AND task_type = ?2 AND status = 0", "tt",
                 f->project, f->task_type);
}

int list_walk_open(struct conn *c, const struct job_filter *f, struct list_walk *ret, struct err *err)
{
    struct plan p = {.f = f};

    *ret = (struct list_walk){.c = c, .left = INT64_MAX};
    p.jobs = f->status < 0 || !job_finished((enum job_status)f->status);
    p.history = !f->fingerprint && (f->status < 0 || job_finished((enum job_status)f->status));
    int rc = choose_lead(c, &p, err);
    if (rc == ERR_OK)
        rc = bound_by_time(c, &p, err);
    if (rc == ERR_OK && f->task_type && f->status == JOB_PENDING)
        rc = count_pending(c, f, &ret->left, err);
    if (rc == ERR_OK && by_posting(&p))
        rc = walk_open(c, &p, &ret->walk, err);
    if (rc == ERR_OK && (!by_posting(&p) || row_decides(&p)))
        rc = prepare(sqlite_conn_of(c), &p, &ret->st, err);
    return rc;
}

static int step(struct list_walk *w, bool *ret_row, struct err *err)
{
    int rc = sqlite3_step(w->st);

    *ret_row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : conn_err(sqlite_conn_of(w->c), rc, err);
}

/** As a statement tells it. */
static void id_of(sqlite3_stmt *st, struct uuid *ret, bool *ret_fits)
{
    *ret = (struct uuid){{0}};
    if (sqlite3_column_bytes(st, 0) == sizeof(ret->b))
        memcpy(ret->b, sqlite3_column_blob(st, 0), sizeof(ret->b));
    *ret_fits = sqlite3_column_int(st, 1);
}

/** Does the row of that job say so? */
static int look(struct list_walk *w, const struct uuid *id, bool *ret_fits, struct err *err)
{
    int rc = ERR_OK;

    sqlite3_reset(w->st);
    bind_id(w->st, &rc, ":id", id);
    bool row = false;
    rc = rc == SQLITE_OK ? step(w, &row, err) : conn_err(sqlite_conn_of(w->c), rc, err);
    *ret_fits = row && sqlite3_column_int(w->st, 0);
    return rc;
}

int list_walk_next(struct list_walk *w, bool *ret_more, struct uuid *ret, bool *ret_fits, struct err *err)
{
    int rc = ERR_OK;

    *ret_more = *ret_fits = false;
    if (w->left == 0)
        return ERR_OK;
    rc = w->walk ? posting_walk_next(w->walk, ret_more, ret, err) : step(w, ret_more, err);
    if (rc != ERR_OK || !*ret_more)
        return rc;
    *ret_fits = true;
    if (w->walk && w->st)
        rc = look(w, ret, ret_fits, err);
    else if (w->st)
        id_of(w->st, ret, ret_fits);
    w->left -= *ret_fits;
    return rc;
}

void list_walk_close(struct list_walk *w)
{
    sqlite3_finalize(w->st);
    posting_walk_close(w->walk);
}
