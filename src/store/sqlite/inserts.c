#include "store/sqlite/inserts.h"
#include "store/sqlite/key_rows.h"
#include "store/sqlite/postings.h"
#include <stdlib.h>

#define WAITING_MAX POSTINGS_MAX /* rows of a kind: two batches of a hundred, mixed as they came, become one run */

struct new_job {
    struct job job;
    int64_t lane_id, ready_seq;
    const char *project, *key; /* NULL: none */
    int64_t key_row;
    struct known_key known;
    usec expires_at;
};

struct waiting {
    struct posting all[WAITING_MAX];
    size_t n;
};

struct inserts {
    struct new_job jobs[WAITING_MAX];
    size_t n_jobs;
    struct waiting labels, old_labels, old_types; /* old: of jobs that are removed */
    const void *rows[WAITING_MAX];                /* those that are written, in that order */
};

/* OR FAIL: SQLite need not note what to take back of a statement. Who sees it fail rolls more than that back. The columns stand in the table's
 * order, all up to the last that is named: only then SQLite need not copy each value once more. */
#define JOB_INTO                                                                                                       \
    "INSERT OR FAIL INTO jobs (job_id, project, queue, task_type, priority, lane_id, payload, payload_ref, labels,"    \
    " dedup_key, max_attempts, timeout_us, created_at, start_deadline_at, status, run_at, waiting_on, attempt,"        \
    " retries, interruptions, losses, token, token_attempt, owner_id, lease_until, confirmed, cancel_requested_at,"    \
    " started_at, finished_at, last_outcome, error_log, progress, progress_message, progress_at, version, ready_seq,"  \
    " no_progress_us, fingerprint, traceparent, tracestate) VALUES "
#define JOB_ROW   "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,0,0,NULL,0,NULL,0,0,0,0,0,0,NULL,-1,NULL,0,1,?,?,0,?,?)"
#define JOB_TYPES "utttiixtxtiiiiiiizitt"
/* Of jobs of one kind most values are the same: bound once for all rows, as ?1 to ?13. Each bare ? has the number behind the highest before it. */
#define ALIKE_ROW(first)                                                                                               \
    "(" first ",?1,?2,?3,?4,?5,?,?,?,?,?6,?7,?8,?9,?10,?11,?12,0,0,0,0,NULL,0,NULL,0,0,0,0,0,0,NULL,-1,NULL,0,1,?,"    \
    "?13,0,?,?)"
#define ALIKE_TYPES     "tttiiiiiiiiii"
#define ALIKE_ROW_TYPES "uxtxtztt"

static int job_bind(struct query *st, size_t i, const void *arg, struct err *err)
{
    const struct new_job *w = arg;
    const struct job *j = &w->job;

    return q_bind(st, (int)(i * strlen(JOB_TYPES)), err, JOB_TYPES, &j->job_id, j->project, j->queue, j->task_type,
                  (int64_t)j->priority, w->lane_id, j->payload, j->payload_ref, j->labels, j->dedup_key,
                  (int64_t)j->max_attempts, j->timeout_us, j->created_at, j->start_deadline_at, (int64_t)j->status,
                  j->run_at, (int64_t)j->waiting_on, w->ready_seq, j->no_progress_us, j->traceparent, j->tracestate);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || strcmp(a, b) == 0;
}

/** But for what is a row's own in ALIKE_ROW. */
static bool jobs_alike(const struct new_job *a, const struct new_job *b)
{
    const struct job *j = &a->job, *k = &b->job;

    return a->lane_id == b->lane_id && j->priority == k->priority && j->max_attempts == k->max_attempts &&
           j->timeout_us == k->timeout_us && j->created_at == k->created_at &&
           j->start_deadline_at == k->start_deadline_at && j->status == k->status && j->run_at == k->run_at &&
           j->waiting_on == k->waiting_on && j->no_progress_us == k->no_progress_us &&
           same_text(j->project, k->project) && same_text(j->queue, k->queue) && same_text(j->task_type, k->task_type);
}

static int alike_bind(struct query *st, size_t i, const void *arg, struct err *err)
{
    const struct new_job *w = arg;
    const struct job *j = &w->job;
    int rc = ERR_OK;

    if (i == 0)
        rc = q_bind(st, 0, err, ALIKE_TYPES, j->project, j->queue, j->task_type, (int64_t)j->priority, w->lane_id,
                    (int64_t)j->max_attempts, j->timeout_us, j->created_at, j->start_deadline_at, (int64_t)j->status,
                    j->run_at, (int64_t)j->waiting_on, j->no_progress_us);
    if (rc != ERR_OK)
        return rc;
    return q_bind(st, (int)(strlen(ALIKE_TYPES) + i * strlen(ALIKE_ROW_TYPES)), err, ALIKE_ROW_TYPES, &j->job_id,
                  j->payload, j->payload_ref, j->labels, j->dedup_key, w->ready_seq, j->traceparent, j->tracestate);
}

static const struct sql_rows jobs = SQL_ROWS(JOB_INTO, JOB_ROW, job_bind),
                             alike = SQL_ROWS_OF(JOB_INTO, ALIKE_ROW("?14"), ALIKE_ROW("?"), "", alike_bind);

static int by_id(const void *a, const void *b)
{
    const struct new_job *const *x = a, *const *y = b;

    return uuid_compare(&(*x)->job.job_id, &(*y)->job.job_id);
}

/* In the order of the trees that they go into each row's place is next to the one before, mostly at the end: ids are of the time. */
static void sort(const void **rows, size_t n, int (*compare)(const void *a, const void *b))
{
    size_t i = 1;

    while (i < n && compare(&rows[i - 1], &rows[i]) <= 0)
        i++;
    if (i < n)
        qsort(rows, n, sizeof(*rows), compare);
}

/** @param write  postings_add or postings_remove */
static int postings_flush(struct sqlite_store *s, struct waiting *w, enum posting_of of, postings_fn *write,
                          struct err *err)
{
    const struct posting *all[WAITING_MAX];

    for (size_t i = 0; i < w->n; i++)
        all[i] = &w->all[i];
    return write(&s->w.conn, of, all, w->n, err);
}

/** Each by its key, and by all of it. Whatever comes of it: none waits any more. */
static int labels_flush(struct sqlite_store *s, struct waiting *w, postings_fn *write, struct err *err)
{
    int rc = postings_flush(s, w, POSTING_LABEL, write, err);

    if (rc == ERR_OK)
        rc = postings_flush(s, w, POSTING_KEY, write, err);
    w->n = 0;
    return rc;
}

static int old_types_flush(struct sqlite_store *s, struct err *err)
{
    int rc = postings_flush(s, &s->inserts->old_types, POSTING_TYPE, postings_remove, err);

    s->inserts->old_types.n = 0;
    return rc;
}

/** Of the jobs that wait. */
static int types_flush(struct sqlite_store *s, size_t n, struct err *err)
{
    const struct inserts *in = s->inserts;
    struct posting types[WAITING_MAX];
    const struct posting *all[WAITING_MAX];

    for (size_t i = 0; i < n; i++) {
        const struct job *j = &in->jobs[i].job;
        types[i] = (struct posting){j->project, j->task_type, NULL, j->job_id};
        all[i] = &types[i];
    }
    return postings_add(&s->w.conn, POSTING_TYPE, all, n, err);
}

/** In the order they came, which is that of their rows' numbers. */
static int keys_flush(struct sqlite_store *s, size_t n, struct err *err)
{
    struct key_pack pack;
    int rc = ERR_OK;

    pack.n = 0;
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        const struct new_job *w = &s->inserts->jobs[i];
        if (w->key)
            rc = key_pack_add(&s->w.conn, &pack,
                              &(struct packed_key){.row = w->key_row,
                                                   .project = w->project,
                                                   .key = w->key,
                                                   .n_key = strlen(w->key),
                                                   .job_id = w->job.job_id,
                                                   .request_hash = w->known.request_hash,
                                                   .content_hash = w->known.content_hash,
                                                   .expires_at = w->expires_at},
                              err);
    }
    return rc == ERR_OK ? key_pack_end(&s->w.conn, &pack, err) : rc;
}

static int jobs_flush(struct sqlite_store *s, struct err *err)
{
    struct inserts *in = s->inserts;
    size_t n = in->n_jobs;
    bool same = true;

    for (size_t i = 0; i < n; i++) {
        in->rows[i] = &in->jobs[i];
        same = same && jobs_alike(&in->jobs[0], &in->jobs[i]);
    }
    in->n_jobs = 0;
    sort(in->rows, n, by_id);
    int rc = q_rows(&s->w.conn, same ? &alike : &jobs, in->rows, n, err);
    if (rc == ERR_OK)
        rc = types_flush(s, n, err);
    return rc == ERR_OK ? keys_flush(s, n, err) : rc;
}

int inserts_flush(struct sqlite_store *s, struct err *err)
{
    int rc = jobs_flush(s, err);

    if (rc == ERR_OK)
        rc = labels_flush(s, &s->inserts->labels, postings_add, err);
    if (rc == ERR_OK)
        rc = labels_flush(s, &s->inserts->old_labels, postings_remove, err);
    if (rc == ERR_OK)
        rc = old_types_flush(s, err);
    inserts_undo(s, (struct inserts_mark){0});
    return rc;
}

int sqlite_insert_job(struct tx *t, const struct row *row)
{
    struct inserts *in = sqlite_of(t->s)->inserts;
    int rc = in->n_jobs == WAITING_MAX ? jobs_flush(sqlite_of(t->s), t->err) : ERR_OK;

    if (rc == ERR_OK)
        in->jobs[in->n_jobs++] =
            (struct new_job){.job = row->job, .lane_id = row->lane_id, .ready_seq = row->ready_seq};
    return rc;
}

int insert_key(struct tx *t, int64_t row, const char *key, const struct known_key *what, usec expires_at)
{
    struct inserts *in = sqlite_of(t->s)->inserts;

    if (in->n_jobs == 0 || in->jobs[in->n_jobs - 1].key)
        return err_set(t->err, ERR_INTERNAL, 0, "a key without its job");
    struct new_job *w = &in->jobs[in->n_jobs - 1];
    w->project = t->op->project;
    w->key = key;
    w->key_row = row;
    w->known = *what;
    w->expires_at = expires_at;
    return ERR_OK;
}

int sqlite_insert_label(struct tx *t, const struct job *job, const char *key, const char *value)
{
    struct waiting *w = &sqlite_of(t->s)->inserts->labels;
    int rc = w->n == WAITING_MAX ? labels_flush(sqlite_of(t->s), w, postings_add, t->err) : ERR_OK;

    if (rc == ERR_OK)
        w->all[w->n++] = (struct posting){job->project, key, value, job->job_id};
    return rc;
}

static int remove_label(struct tx *t, const struct job *job, const char *key, const char *value)
{
    struct waiting *w = &sqlite_of(t->s)->inserts->old_labels;
    int rc = w->n == WAITING_MAX ? labels_flush(sqlite_of(t->s), w, postings_remove, t->err) : ERR_OK;

    if (rc == ERR_OK)
        w->all[w->n++] = (struct posting){job->project, key, value, job->job_id};
    return rc;
}

/* A job that is removed lives no longer than its op: its texts are kept. */
int sqlite_remove_postings(struct tx *t, const struct job *job)
{
    struct waiting *w = &sqlite_of(t->s)->inserts->old_types;
    struct job j = {.job_id = job->job_id,
                    .project = arena_strdup(t->op->arena, job->project),
                    .task_type = arena_strdup(t->op->arena, job->task_type),
                    .labels = job->labels};

    if (!j.project || !j.task_type)
        return err_set(t->err, ERR_NO_MEMORY, 0, "a job's type");
    int rc = w->n == WAITING_MAX ? old_types_flush(sqlite_of(t->s), t->err) : ERR_OK;
    if (rc != ERR_OK)
        return rc;
    w->all[w->n++] = (struct posting){j.project, j.task_type, NULL, j.job_id};
    return labels_each(t, &j, remove_label);
}

bool inserts_hold_key(const struct sqlite_store *s, int64_t row)
{
    for (size_t i = 0; i < s->inserts->n_jobs; i++)
        if (s->inserts->jobs[i].key && s->inserts->jobs[i].key_row == row)
            return true;
    return false;
}

struct inserts_mark inserts_mark(const struct sqlite_store *s)
{
    const struct inserts *in = s->inserts;

    return (struct inserts_mark){in->n_jobs, in->labels.n, in->old_labels.n, in->old_types.n};
}

bool inserts_flushed(const struct sqlite_store *s, struct inserts_mark mark)
{
    const struct inserts *in = s->inserts;

    return in->n_jobs < mark.jobs || in->labels.n < mark.labels || in->old_labels.n < mark.old_labels ||
           in->old_types.n < mark.old_types;
}

void inserts_undo(struct sqlite_store *s, struct inserts_mark mark)
{
    struct inserts *in = s->inserts;

    in->n_jobs = MIN(in->n_jobs, mark.jobs);
    in->labels.n = MIN(in->labels.n, mark.labels);
    in->old_labels.n = MIN(in->old_labels.n, mark.old_labels);
    in->old_types.n = MIN(in->old_types.n, mark.old_types);
}

int inserts_init(struct sqlite_store *s, struct err *err)
{
    s->inserts = calloc(1, sizeof(*s->inserts));
    return s->inserts ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "rows to be inserted");
}

void inserts_free(struct sqlite_store *s)
{
    free(s->inserts);
}
