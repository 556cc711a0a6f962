/* Reads of jobs: one, or a page of them. */
#include "store/sqlite/read.h"
#include "base/buf.h"

int read_job_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena, struct job *ret,
                 struct err *err)
{
    AUTO_READING struct reading r = {0};
    struct row row;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = row_load(r.c, project, id, LOAD_FULL, arena, &row, err);
    if (rc == ERR_OK)
        *ret = row.job;
    return rc;
}

/* --- lists --- */

/** One table's part of a page, written so that each filter uses the index that ends in job_id. */
static void list_part(struct buf *sql, const struct job_filter *f, const char *table)
{
    buf_printf(sql, "SELECT * FROM (SELECT " ROW_COLUMNS("x'7b7d'") " FROM %s WHERE project = ?1", table);
    if (!uuid_is_nil(&f->before))
        buf_adds(sql, " AND job_id < ?2");
    if (f->status >= 0)
        buf_adds(sql, " AND status = ?3");
    if (f->task_type)
        buf_adds(sql, " AND task_type = ?4");
    if (f->queue)
        buf_adds(sql, " AND queue = ?5");
    buf_adds(sql, " ORDER BY job_id DESC LIMIT ?6)");
}

static int list_prepare(struct conn *c, const struct job_filter *f, unsigned limit, sqlite3_stmt **ret, struct err *err)
{
    struct buf sql;
    bool jobs = f->status < 0 || !job_finished((enum job_status)f->status);
    bool history = f->status < 0 || job_finished((enum job_status)f->status);

    buf_init(&sql, 16384);
    if (jobs)
        list_part(&sql, f, "jobs");
    if (jobs && history)
        buf_adds(&sql, " UNION ALL ");
    if (history)
        list_part(&sql, f, "history");
    buf_adds(&sql, " ORDER BY job_id DESC LIMIT ?6");
    int rc = sql.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(c->db, buf_str(&sql), -1, ret, NULL);
    buf_release(&sql);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(*ret, 1, f->project, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && !uuid_is_nil(&f->before))
        rc = sqlite3_bind_blob(*ret, 2, f->before.b, 16, SQLITE_STATIC);
    if (rc == SQLITE_OK && f->status >= 0)
        rc = sqlite3_bind_int(*ret, 3, f->status);
    if (rc == SQLITE_OK && f->task_type)
        rc = sqlite3_bind_text(*ret, 4, f->task_type, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && f->queue)
        rc = sqlite3_bind_text(*ret, 5, f->queue, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(*ret, 6, (int64_t)limit + 1);
    return rc == SQLITE_OK ? ERR_OK : conn_err(c, rc, err);
}

static void auto_finalize(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
}

int read_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                  struct err *err)
{
    AUTO_READING struct reading r = {0};
    __attribute__((cleanup(auto_finalize))) sqlite3_stmt *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(*ret->jobs)};
    unsigned limit = f->limit == 0 ? 50 : MIN(f->limit, 1000u);
    bool more = false;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    *ret = (struct job_page){0};
    if (rc == ERR_OK)
        rc = list_prepare(r.c, f, limit, &st, err);
    while (rc == ERR_OK && (rc = q_step(r.c, st, &more, err)) == ERR_OK && more) {
        struct row row;

        if (ret->n == limit) {
            ret->more = true;
            break;
        }
        rc = row_read(st, arena, &row, err);
        struct job *job = rc == ERR_OK ? list_add(&l) : NULL;
        if (rc == ERR_OK && !job)
            return read_no_memory(err);
        if (job)
            *job = row.job;
        ret->jobs = l.items;
        ret->n = l.n;
    }
    for (size_t i = 0; rc == ERR_OK && i < ret->n; i++)
        rc = row_inputs(r.c, arena, &ret->jobs[i], err);
    return rc;
}
