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

static const char count_pair[] =
    "SELECT count(*) FROM (SELECT 1 FROM labels WHERE project = ?1 AND key = ?2 AND value = ?3"
    " LIMIT ?4)";
static const char count_key[] = "SELECT count(*) FROM (SELECT 1 FROM labels WHERE project = ?1 AND key = ?2 LIMIT ?4)";
static const char count_jobs_status[] = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE project = ?1 AND status = ?2"
                                        " AND status <> 0 LIMIT ?3)";
static const char count_history_status[] =
    "SELECT count(*) FROM (SELECT 1 FROM history WHERE project = ?1 AND status = ?2 AND status <> 2"
    " LIMIT ?3)";
static const char count_jobs_type[] = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE project = ?1 AND task_type = ?2"
                                      " LIMIT ?3)";
static const char count_history_type[] = "SELECT count(*) FROM (SELECT 1 FROM history WHERE project = ?1"
                                         " AND task_type = ?2 LIMIT ?3)";

static int count_label(struct conn *c, const char *project, const struct label_filter *l, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, l->value ? count_pair : count_key, "ttti", project, l->key, l->value,
                 (int64_t)COUNT_MAX);
}

static int count_status(struct conn *c, const struct plan *p, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, p->jobs ? count_jobs_status : count_history_status, "tii", p->f->project,
                 (int64_t)p->f->status, (int64_t)COUNT_MAX);
}

static int count_type(struct conn *c, const struct plan *p, int64_t *ret, struct err *err)
{
    int64_t n[2] = {0, 0};
    int rc = ERR_OK;

    if (p->jobs)
        rc = q_int(c, 0, &n[0], err, count_jobs_type, "tti", p->f->project, p->f->task_type, (int64_t)COUNT_MAX);
    if (rc == ERR_OK && p->history)
        rc = q_int(c, 0, &n[1], err, count_history_type, "tti", p->f->project, p->f->task_type, (int64_t)COUNT_MAX);
    *ret = MIN(n[0] + n[1], COUNT_MAX);
    return rc;
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

/** The shortest walk; of equals a label, then the fingerprint, then the type. */
static int choose_lead(struct conn *c, struct plan *p, struct err *err)
{
    int64_t n = 0, least = INT64_MAX;
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < p->f->n_labels; i++) {
        rc = count_label(c, p->f->project, &p->f->labels[i], &n, err);
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
    if (rc == ERR_OK && p->f->task_type && (rc = count_type(c, p, &n, err)) == ERR_OK && n < least) {
        least = n;
        p->lead = BY_TYPE;
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

static void add_label_condition(struct buf *sql, const struct plan *p, size_t i)
{
    buf_printf(sql, "project = :project AND key = :key%zu", i);
    if (p->f->labels[i].value)
        buf_printf(sql, " AND value = :value%zu", i);
}

/** The labels that do not lead; `id` names the job. */
static void add_labels(struct buf *sql, const struct plan *p, const char *id)
{
    for (size_t i = 0; i < p->f->n_labels; i++) {
        if (p->lead == BY_LABEL && p->label == i)
            continue;
        buf_adds(sql, " AND EXISTS (SELECT 1 FROM labels o WHERE ");
        add_label_condition(sql, p, i);
        buf_printf(sql, " AND o.job_id = %s)", id);
    }
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
    if (f->text) /* last: it costs the most */
        buf_adds(sql, " AND haul_has_text(:text, job_id, task_type, dedup_key, labels, error_log)");
}

static void add_table(struct buf *sql, const struct plan *p, const char *table)
{
    static const struct {
        const char *before, *after; /* the table's name */
    } index[] = {[BY_NEWEST] = {"sqlite_autoindex_", "_1"}, [BY_STATUS] = {"", "_status"}, [BY_TYPE] = {"", "_type"}};
    static const char *const where[] = {[BY_NEWEST] = "job_id > x''",
                                        [BY_STATUS] = "project = :project AND status = :status",
                                        [BY_TYPE] = "project = :project AND task_type = :type"};

    buf_adds(sql, "SELECT job_id, 1");
    if (p->lead == BY_NEWEST) /* by the key itself: one index less to write */
        buf_adds(sql, " AND project = :project");
    add_row_conditions(sql, p);
    add_labels(sql, p, "j.job_id");
    buf_printf(sql, " AS fits FROM %s j INDEXED BY %s%s%s WHERE %s", table, index[p->lead].before, table,
               index[p->lead].after, where[p->lead]);
    if (p->lead == BY_STATUS) /* the index's own condition, in its words */
        buf_adds(sql, p->jobs ? " AND status <> 0" : " AND status <> 2");
    add_bounds(sql, p);
}

/** From a table that knows only ids: of labels, or of dead letters. */
static void add_from_ids(struct buf *sql, const struct plan *p)
{
    const struct job_filter *f = p->f;
    bool row = f->status >= 0 || f->task_type || f->queue || f->created_after || f->created_before ||
               f->failed_before || f->text || (f->fingerprint && p->lead != BY_FINGERPRINT);

    buf_adds(sql, "SELECT job_id, 1");
    add_labels(sql, p, "l.job_id");
    if (row) {
        buf_adds(sql, " AND (0");
        for (int i = 0; i < 2; i++) {
            if (!(i == 0 ? p->jobs : p->history))
                continue;
            buf_printf(sql, " OR EXISTS (SELECT 1 FROM %s j WHERE j.job_id = l.job_id", i == 0 ? "jobs" : "history");
            add_row_conditions(sql, p);
            buf_adds(sql, ")");
        }
        buf_adds(sql, ")");
    }
    if (p->lead == BY_FINGERPRINT) {
        buf_adds(sql, " AS fits FROM dead_letters l WHERE project = :project AND fingerprint = :fingerprint");
    } else {
        buf_adds(sql, " AS fits FROM labels l WHERE ");
        add_label_condition(sql, p, p->label);
    }
    add_bounds(sql, p);
}

static void write_sql(struct buf *sql, const struct plan *p)
{
    if (p->lead == BY_LABEL || p->lead == BY_FINGERPRINT) {
        add_from_ids(sql, p);
    } else {
        if (p->jobs)
            add_table(sql, p, "jobs");
        if (p->jobs && p->history)
            buf_adds(sql, " UNION ALL ");
        if (p->history)
            add_table(sql, p, "history");
    }
    buf_adds(sql, " ORDER BY job_id DESC");
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

int list_query(struct conn *c, const struct job_filter *f, sqlite3_stmt **ret, struct err *err)
{
    struct plan p = {.f = f};
    struct buf sql;

    p.jobs = f->status < 0 || !job_finished((enum job_status)f->status);
    p.history = !f->fingerprint && (f->status < 0 || job_finished((enum job_status)f->status));
    int rc = choose_lead(c, &p, err);
    if (rc == ERR_OK)
        rc = bound_by_time(c, &p, err);
    if (rc != ERR_OK)
        return rc;
    buf_init(&sql, 16384);
    write_sql(&sql, &p);
    int sqlite = sql.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(sqlite_conn_of(c)->db, buf_str(&sql), -1, ret, NULL);
    buf_release(&sql);
    if (sqlite == SQLITE_OK)
        sqlite = bind_all(*ret, &p);
    return sqlite == SQLITE_OK ? ERR_OK : conn_err(sqlite_conn_of(c), sqlite, err);
}
