/* Dead letters by their fingerprint: entered when a job fails for good, taken out when it is retried or removed, in the transaction that
 * does it. Nobody else pays for them. */
#include "core/fingerprint.h"
#include "store/sql/read.h"

#define GROUPS_US    (150 * USEC_PER_MSEC)
#define ENTER_LOOKED 1000 /* rows that a pass looks at */

#define EARLIEST SQL_LEAST("dead_groups.first_failed_at", "excluded.first_failed_at")
#define LATEST   SQL_MOST("dead_groups.last_failed_at", "excluded.last_failed_at")

/* --- in and out --- */

static int enter(struct tx *t, const struct job *j)
{
    int rc = q_run(t->c, NULL, t->err, "INSERT INTO dead_letters (project, fingerprint, job_id) VALUES (?1, ?2, ?3)",
                   "tiu", j->project, (int64_t)j->fingerprint, &j->job_id);

    if (rc != ERR_OK)
        return rc;
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO dead_groups (project, fingerprint, task_type, jobs, first_failed_at, last_failed_at,"
                 " last_job_id) VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5) ON CONFLICT (project, fingerprint) DO UPDATE SET"
                 " jobs = dead_groups.jobs + 1, first_failed_at = " EARLIEST ","
                 " last_job_id = CASE WHEN excluded.last_failed_at >= dead_groups.last_failed_at"
                 " THEN excluded.last_job_id ELSE dead_groups.last_job_id END,"
                 " last_failed_at = " LATEST,
                 "titiu", j->project, (int64_t)j->fingerprint, j->task_type, j->finished_at, &j->job_id);
}

static int leave(struct tx *t, const struct job *j, uint64_t fingerprint)
{
    static const char *const sql[] = {
        "DELETE FROM dead_groups WHERE project = ?1 AND fingerprint = ?2 AND jobs <= 1",
        "UPDATE dead_groups SET jobs = jobs - 1 WHERE project = ?1 AND fingerprint = ?2",
    };
    int rc =
        q_run(t->c, NULL, t->err, "DELETE FROM dead_letters WHERE project = ?1 AND fingerprint = ?2 AND job_id = ?3",
              "tiu", j->project, (int64_t)fingerprint, &j->job_id);

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(sql); i++)
        rc = q_run(t->c, NULL, t->err, sql[i], "ti", j->project, (int64_t)fingerprint);
    return rc;
}

int dead_save(struct tx *t, struct row *row)
{
    const struct job *j = &row->job;
    int rc = ERR_OK;

    if (j->fingerprint == row->fingerprint_was)
        return ERR_OK;
    if (row->fingerprint_was)
        rc = leave(t, j, row->fingerprint_was);
    if (rc == ERR_OK && j->fingerprint)
        rc = enter(t, j);
    row->fingerprint_was = j->fingerprint;
    return rc;
}

int dead_remove(struct tx *t, const struct row *row)
{
    return row->fingerprint_was ? leave(t, &row->job, row->fingerprint_was) : ERR_OK;
}

/* --- those of before there were fingerprints --- */

bool dead_entered(struct conn *c, int *rc, struct err *err)
{
    int64_t entered = 0;

    *rc = meta_int(c, "dead_entered", &entered, err);
    return entered != 0;
}

/** The next dead letters behind the row where the last pass stopped. The running ones are looked at, too: they are few. */
static int next_ids(struct tx *t, struct uuid ret[OP_CHANGES_MAX], size_t *ret_n, bool *ret_more)
{
    struct dead_walk *w = &t->s->dead_walk;
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err, t->s->sql->dead_next, "tibi", w->project, (int64_t)w->status,
                    (const void *)w->job_id.b, sizeof(w->job_id.b), (int64_t)ENTER_LOOKED);
    size_t looked = 0;

    *ret_n = 0;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more && *ret_n < OP_CHANGES_MAX) {
        const char *project = col_borrow(st, 0);
        looked++;
        snprintf(w->project, sizeof(w->project), "%s", project ? project : "");
        w->status = (int)col_int(st, 1);
        w->job_id = col_uuid(st, 2);
        if (w->status == JOB_FAILED && col_int(st, 3) == 0)
            ret[(*ret_n)++] = w->job_id;
    }
    *ret_more = looked == ENTER_LOOKED || *ret_n == OP_CHANGES_MAX;
    return rc;
}

static int enter_one(struct tx *t, const struct uuid *id)
{
    struct row row;
    int rc = row_load(t->c, NULL, id, LOAD_LEAN, t->scratch, &row, t->err);

    if (rc != ERR_OK)
        return rc;
    row.job.fingerprint = fingerprint_make(row.job.task_type, row.job.last_outcome, row.job.error_log);
    rc = q_run(t->c, NULL, t->err, "UPDATE jobs SET fingerprint = ?2 WHERE job_id = ?1", "ui", id,
               (int64_t)row.job.fingerprint);
    return rc == ERR_OK ? dead_save(t, &row) : rc;
}

static int enter_some(struct tx *t, struct op_sweep *op)
{
    struct uuid id[OP_CHANGES_MAX];
    size_t n = 0;
    bool more = false;
    int rc = next_ids(t, id, &n, &more);

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = enter_one(t, &id[i]);
    op->touched = n;
    op->more = true; /* then come the redrives */
    return rc == ERR_OK && !more ? meta_put(t->c, "dead_entered", "1", t->err) : rc;
}

int op_sweep_dead(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    int rc = ERR_OK;

    op->touched = op->redrives = 0;
    memset(op->redriven, 0, sizeof(op->redriven));
    op->more = false;
    op->next_at = USEC_NEVER;
    bool entered = !t->s->sql->dead_next || dead_entered(t->c, &rc, t->err);
    if (rc != ERR_OK)
        return rc;
    if (entered) /* before, a redrive would miss some */
        return redrive_some(t);
    return enter_some(t, op);
}

/* --- groups --- */

/** The newest that is dead still. */
static int example(struct conn *c, const char *project, struct arena *arena, struct dead_group *g, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    struct row row = {0};
    bool found = false;
    int rc = row_load(c, project, &g->job_id, LOAD_LEAN, arena, &row, err);

    if (rc == ERR_NOT_FOUND) {
        err_clear(err);
        rc = ERR_OK;
    }
    if (rc == ERR_OK && row.job.fingerprint != g->fingerprint) {
        rc = q_open(
            c, &st, err,
            "SELECT job_id FROM dead_letters WHERE project = ?1 AND fingerprint = ?2 ORDER BY job_id DESC LIMIT 1",
            "ti", project, (int64_t)g->fingerprint);
        if (rc == ERR_OK)
            rc = q_step(c, st, &found, err);
        if (rc == ERR_OK && found) {
            g->job_id = col_uuid(st, 0);
            rc = row_load(c, project, &g->job_id, LOAD_LEAN, arena, &row, err);
        }
    }
    g->outcome = row.job.last_outcome;
    g->error_log = row.job.error_log;
    return rc;
}

static int add_group(struct conn *c, const char *project, struct query *st, struct list *l, struct err *err)
{
    struct dead_group *g = list_add(l);

    if (!g)
        return read_no_memory(err);
    *g = (struct dead_group){
        .fingerprint = (uint64_t)col_int(st, 0),
        .task_type = col_text(st, 1, l->arena),
        .jobs = col_int(st, 2),
        .first_failed_at = col_int(st, 3),
        .last_failed_at = col_int(st, 4),
        .job_id = col_uuid(st, 5),
    };
    return g->task_type ? example(c, project, l->arena, g, err) : read_no_memory(err);
}

static const char groups_page[] =
    "SELECT fingerprint, task_type, jobs, first_failed_at, last_failed_at, last_job_id FROM dead_groups"
    " WHERE project = ?1 AND (jobs, fingerprint) < (?2, ?3) AND task_type = coalesce(?4, task_type)"
    " ORDER BY jobs DESC, fingerprint DESC LIMIT ?5";
static const char groups_one[] =
    "SELECT fingerprint, task_type, jobs, first_failed_at, last_failed_at, last_job_id FROM dead_groups"
    " WHERE project = ?1 AND fingerprint = ?2 AND task_type = coalesce(?3, task_type)";

int read_dead_groups(struct store *s, const struct dead_filter *f, struct arena *arena, struct dead_page *ret,
                     struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(*ret->groups)};
    const int64_t limit = f->limit == 0 ? 50 : MIN(f->limit, 1000u);
    bool more = false;
    int rc = read_begin(s, GROUPS_US, &r, err);

    *ret = (struct dead_page){0};
    if (rc == ERR_OK)
        ret->complete = dead_entered(r.c, &rc, err);
    if (rc == ERR_OK && f->fingerprint)
        rc = q_open(r.c, &st, err, groups_one, "tit", f->project, (int64_t)f->fingerprint, f->task_type);
    else if (rc == ERR_OK)
        rc = q_open(r.c, &st, err, groups_page, "tiiti", f->project, f->before_jobs ? f->before_jobs : INT64_MAX,
                    (int64_t)f->before, f->task_type, limit + 1);
    while (rc == ERR_OK && (rc = q_step(r.c, st, &more, err)) == ERR_OK && more) {
        if (l.n == (size_t)limit) {
            ret->more = true;
            break;
        }
        rc = add_group(r.c, f->project, st, &l, err);
    }
    ret->groups = l.items;
    ret->n = l.n;
    return rc;
}
