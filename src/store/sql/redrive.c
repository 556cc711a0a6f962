/* Redrives: dead letters retried or discarded, newest first, a few in a transaction that also says how far it came. So one that is cut off
 * goes on from there, and no job is taken twice: what fails again has failed after the redrive was made, and is none of its. */
#include "base/json.h"
#include "base/rate.h"
#include "store/sql/read.h"

#define COUNT_LOOKED 2000 /* candidates that a pass of counting looks at */
#define TAKE_LOOKED  1000 /* likewise of taking */
#define TAKE_MAX     256  /* jobs that a pass takes; each is a few rows of RETENTION_ROWS */
#define KEY_US       (INT64_C(24) * 3600 * USEC_PER_SEC)
#define TEXT_MAX     8192

#define REDRIVE_COLUMNS                                                                                                \
    "redrive_id, project, action, dry_run, fingerprint, task_type, queue, labels, created_after, created_before,"      \
    " failed_before, jobs_max, rate_n, rate_per_us, state, counted, matched, done, behind, next_at, created_at,"       \
    " ended_at, request_hash"

/* --- rows --- */

struct redrive_row {
    struct redrive r;
    struct uuid behind;
    uint8_t request_hash[32];
};

static struct label_filter label_filter_of(char *text)
{
    char *equals = strchr(text, '=');

    if (equals)
        *equals = '\0';
    return (struct label_filter){text, equals ? equals + 1 : NULL};
}

static int labels_read(const char *text, struct arena *arena, struct job_filter *f, struct err *err)
{
    json_t *labels = NULL, *item;
    size_t i;
    int rc = json_parse(text, strlen(text), &labels, err);

    json_array_foreach (labels, i, item) {
        char *label = arena_strdup(arena, json_string_value(item));
        if (!label || f->n_labels == FILTER_LABELS_MAX) {
            rc = err_set(err, ERR_NO_MEMORY, 0, "labels");
            break;
        }
        f->labels[f->n_labels++] = label_filter_of(label);
    }
    json_decref(labels);
    return rc;
}

static int row_of(struct query *st, struct arena *arena, struct redrive_row *ret, struct err *err)
{
    struct redrive *r = &ret->r;
    struct job_filter *f = &r->filter;
    int i = 0;

    *ret = (struct redrive_row){0};
    r->redrive_id = col_uuid(st, i++);
    f->project = r->project = col_text(st, i++, arena);
    f->status = JOB_FAILED;
    r->action = (enum redrive_action)col_int(st, i++);
    r->dry_run = col_int(st, i++) != 0;
    f->fingerprint = (uint64_t)col_int(st, i++);
    bool has_type = !col_null(st, i);
    f->task_type = col_text(st, i++, arena);
    bool has_queue = !col_null(st, i);
    f->queue = col_text(st, i++, arena);
    const char *labels = col_text(st, i++, arena);
    f->created_after = col_int(st, i++);
    f->created_before = col_int(st, i++);
    f->failed_before = col_int(st, i++);
    r->limit = col_int(st, i++);
    r->rate.n = col_int(st, i++);
    r->rate.per = col_int(st, i++);
    r->state = (enum redrive_state)col_int(st, i++);
    r->counted = col_int(st, i++) != 0;
    r->matched = col_int(st, i++);
    r->done = col_int(st, i++);
    ret->behind = col_uuid(st, i++);
    r->next_at = col_int(st, i++);
    r->created_at = col_int(st, i++);
    r->ended_at = col_int(st, i++);
    col_exact(st, i++, ret->request_hash, sizeof(ret->request_hash));
    if (r->state == REDRIVE_DONE && !r->dry_run)
        r->skipped = MAX(r->matched - r->done, 0);
    if (!r->project || (has_type && !f->task_type) || (has_queue && !f->queue) || !labels)
        return err_set(err, ERR_NO_MEMORY, 0, "redrive");
    return labels_read(labels, arena, f, err);
}

static int row_find(struct conn *c, const char *project, const struct uuid *id, struct arena *arena,
                    struct redrive_row *ret, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(c, &st, err,
                    "SELECT " REDRIVE_COLUMNS
                    " FROM redrives WHERE redrive_id = ?1 AND project = coalesce(?2, project)" SQL_LOCK,
                    "ut", id, project);

    if (rc == ERR_OK)
        rc = q_step(c, st, &found, err);
    if (rc == ERR_OK && !found) {
        char text[UUID_STR_MAX];
        uuid_format(id, text);
        return err_set(err, ERR_NOT_FOUND, 0, "there is no redrive %s", text);
    }
    return rc == ERR_OK ? row_of(st, arena, ret, err) : rc;
}

/** How far it came. */
static int row_progress(struct tx *t, const struct redrive_row *row)
{
    const struct redrive *r = &row->r;

    return q_run(t->c, NULL, t->err,
                 "UPDATE redrives SET state = ?2, counted = ?3, matched = ?4, done = ?5, behind = ?6, next_at = ?7,"
                 " ended_at = ?8 WHERE redrive_id = ?1",
                 "uiiiiuii", &r->redrive_id, (int64_t)r->state, (int64_t)r->counted, r->matched, r->done, &row->behind,
                 r->next_at, r->ended_at);
}

/* --- asked for, and called off --- */

static int labels_text(const struct job_filter *f, struct arena *arena, const char **ret, struct err *err)
{
    struct json_writer w;
    struct buf b;

    buf_init(&b, TEXT_MAX);
    jw_init(&w, &b);
    jw_array(&w, NULL);
    for (size_t i = 0; i < f->n_labels; i++) {
        const struct label_filter *l = &f->labels[i];
        const char *text = l->value ? arena_printf(arena, "%s=%s", l->key, l->value) : l->key;
        jw_string(&w, NULL, text ? text : "");
        b.failed = b.failed || !text;
    }
    jw_array_end(&w);
    *ret = b.failed ? NULL : arena_strdup(arena, buf_str(&b));
    buf_release(&b);
    return *ret ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "labels");
}

/** The redrive of a key that is remembered; one whose day is over gives its key back. */
static int known(struct tx *t, bool *ret_known)
{
    struct op_redrive *op = &t->op->u.redrive;
    AUTO_QUERY struct query *st = NULL;
    struct redrive_row row = {0};
    bool found = false;
    int rc =
        q_open(t->c, &st, t->err, "SELECT " REDRIVE_COLUMNS " FROM redrives WHERE project = ?1 AND request_key = ?2",
               "tt", t->op->project, op->key);

    *ret_known = false;
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc == ERR_OK && found)
        rc = row_of(st, t->op->arena, &row, t->err);
    if (rc != ERR_OK || !found || row.r.created_at <= t->now - KEY_US)
        return rc;
    if (memcmp(row.request_hash, op->request_hash, sizeof(row.request_hash)) != 0) {
        char text[UUID_STR_MAX];
        uuid_format(&row.r.redrive_id, text);
        return err_set(t->err, ERR_CONFLICT, 0, "the key belongs to another request: redrive %s", text);
    }
    *ret_known = op->duplicate = true;
    op->redrive = row.r;
    return ERR_OK;
}

static int room(struct tx *t)
{
    int64_t running, kept;
    int rc = q_int(t->c, 0, &running, t->err, "SELECT count(*) FROM redrives WHERE state = 0", "");

    if (rc == ERR_OK)
        rc = q_int(t->c, 0, &kept, t->err, "SELECT count(*) FROM redrives WHERE created_at > ?1", "i", t->now - KEY_US);
    if (rc == ERR_OK && (running >= REDRIVES_RUNNING_MAX || kept >= REDRIVES_DAY_MAX))
        return err_set(t->err, ERR_BUSY, 0,
                       "%lld redrives are running, and %lld were asked for within a day: that is all there may be",
                       (long long)running, (long long)kept);
    return rc;
}

/** Those that ended long ago, beyond the newest. */
static int prune(struct tx *t)
{
    return q_run(t->c, NULL, t->err,
                 "DELETE FROM redrives WHERE state <> 0 AND created_at <= ?1 AND redrive_id < (SELECT redrive_id"
                 " FROM redrives ORDER BY redrive_id DESC LIMIT 1 OFFSET ?2)",
                 "ii", t->now - KEY_US, (int64_t)REDRIVES_KEPT);
}

static int fingerprint_known(struct tx *t, const struct job_filter *f)
{
    int64_t n = 0;
    int rc = ERR_OK;

    if (!f->fingerprint || (t->s->sql->dead_next && !dead_entered(t->c, &rc, t->err)))
        return rc;
    rc = q_int(t->c, 0, &n, t->err, "SELECT jobs FROM dead_groups WHERE project = ?1 AND fingerprint = ?2", "ti",
               t->op->project, (int64_t)f->fingerprint);
    if (rc == ERR_OK && n == 0)
        rc = err_set(t->err, ERR_NOT_FOUND, 0, "no dead letter has the fingerprint %016llx",
                     (unsigned long long)f->fingerprint);
    return rc;
}

static int insert(struct tx *t, const char *labels)
{
    const struct op_redrive *op = &t->op->u.redrive;
    const struct redrive *r = &op->redrive;
    const struct job_filter *f = &r->filter;

    return q_run(
        t->c, NULL, t->err,
        "INSERT INTO redrives (redrive_id, project, action, dry_run, fingerprint, task_type, queue, labels,"
        " created_after, created_before, failed_before, jobs_max, rate_n, rate_per_us, state, counted, matched,"
        " done, behind, next_at, created_at, ended_at, request_key, request_hash) VALUES (?1, ?2, ?3, ?4, ?5,"
        " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0, 0, 0, NULL, ?15, ?15, 0, ?16, ?17)",
        "utiiittxiiiiiiitb", &r->redrive_id, r->project, (int64_t)r->action, (int64_t)r->dry_run,
        (int64_t)f->fingerprint, f->task_type, f->queue, labels, f->created_after, f->created_before, f->failed_before,
        r->limit, r->rate.n, r->rate.per, t->now, op->key, (const void *)op->request_hash, sizeof(op->request_hash));
}

int op_redrive(struct tx *t)
{
    struct op_redrive *op = &t->op->u.redrive;
    struct redrive *r = &op->redrive;
    const char *labels = NULL;
    bool again = false;
    int rc = op->key ? known(t, &again) : ERR_OK;

    if (rc != ERR_OK || again)
        return rc;
    op->duplicate = false;
    rc = fingerprint_known(t, &r->filter);
    if (rc == ERR_OK)
        rc = room(t);
    if (rc == ERR_OK)
        rc = labels_text(&r->filter, t->op->arena, &labels, t->err);
    if (rc != ERR_OK)
        return rc;
    r->project = r->filter.project = t->op->project;
    r->filter.status = JOB_FAILED;
    r->created_at = r->next_at = t->now; /* only what failed before */
    r->filter.failed_before = r->filter.failed_before ? MIN(r->filter.failed_before, t->now) : t->now;
    r->state = REDRIVE_RUNNING;
    rc = prune(t);
    if (rc == ERR_OK && op->key)
        rc = q_run(t->c, NULL, t->err, "UPDATE redrives SET request_key = NULL WHERE project = ?1 AND request_key = ?2",
                   "tt", t->op->project, op->key);
    return rc == ERR_OK ? insert(t, labels) : rc;
}

int op_redrive_cancel(struct tx *t)
{
    struct op_redrive *op = &t->op->u.redrive;
    struct redrive_row row;
    int rc = row_find(t->c, t->op->project, &op->redrive.redrive_id, t->op->arena, &row, t->err);

    if (rc == ERR_OK && row.r.state == REDRIVE_DONE)
        rc = err_set(t->err, ERR_ILLEGAL_STATE, 0, "a redrive that is done cannot be cancelled");
    if (rc == ERR_OK && row.r.state == REDRIVE_RUNNING) {
        row.r.state = REDRIVE_CANCELLED;
        row.r.ended_at = t->now;
        rc = row_progress(t, &row);
    }
    if (rc == ERR_OK)
        op->redrive = row.r;
    return rc;
}

/* --- a pass --- */

static void end(struct redrive *r, usec now)
{
    r->state = REDRIVE_DONE;
    r->ended_at = now;
}

static int count_some(struct tx *t, struct redrive_row *row)
{
    struct redrive *r = &row->r;
    struct job_look look = {.filter = r->filter, .looked_max = COUNT_LOOKED, .max = SIZE_MAX};

    if (r->limit)
        look.max = (size_t)(r->limit - r->matched);
    look.filter.before = row->behind;
    int rc = t->s->sql->jobs_look(t->c, &look, t->err);
    if (rc != ERR_OK)
        return rc;
    r->matched += (int64_t)look.n;
    row->behind = look.last;
    r->next_at = t->now;
    if (!look.more || (r->limit && r->matched >= r->limit)) {
        r->counted = true;
        row->behind = (struct uuid){{0}};
        if (r->dry_run || r->matched == 0)
            end(r, t->now);
    }
    return ERR_OK;
}

static int retry_one(struct tx *t, const struct uuid *id)
{
    struct row row;
    int rc = row_load(t->c, NULL, id, LOAD_LEAN, t->scratch, &row, t->err);

    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && row.was != JOB_FAILED)) {
        err_clear(t->err); /* by another server, since it was looked for */
        return ERR_OK;
    }
    if (rc == ERR_OK)
        rc = job_retry(&row.job, t->now, t->err);
    return rc == ERR_OK ? row_save(t, &row) : rc;
}

/** Those that were found, as far as a pass has room: for rows, of which one job may drag thousands, and for lanes. */
static int take(struct tx *t, struct redrive_row *row, const struct job_look *look, bool *ret_all)
{
    int64_t began, rows = RETENTION_ROWS;
    int rc = q_written(t->c, &began, t->err);
    bool whole = true;
    size_t i;

    for (i = 0; rc == ERR_OK && i < look->n && rows > 0 && t->op->n_changes < OP_CHANGES_MAX; i++) {
        if (row->r.action == REDRIVE_RETRY)
            rc = retry_one(t, &look->ids[i]);
        else
            rc = retire_one(t, &look->ids[i], rows, &whole);
        if (rc == ERR_OK)
            rc = rows_left(t, began, &rows);
        if (rc != ERR_OK || !whole)
            break;
        row->behind = look->ids[i];
        row->r.done++;
        t->op->u.sweep.redriven[row->r.action]++;
    }
    *ret_all = rc == ERR_OK && i == look->n;
    return rc;
}

static int take_some(struct tx *t, struct redrive_row *row)
{
    struct redrive *r = &row->r;
    struct uuid ids[TAKE_MAX];
    struct job_look look = {.filter = r->filter, .looked_max = TAKE_LOOKED, .ids = ids};
    const int64_t before = r->done;
    bool all;

    look.max = rate_batch(&r->rate, ARRAY_LEN(ids));
    if (r->limit && r->limit - r->done < (int64_t)look.max)
        look.max = (size_t)(r->limit - r->done);
    look.filter.before = row->behind;
    int rc = t->s->sql->jobs_look(t->c, &look, t->err);
    if (rc == ERR_OK)
        rc = take(t, row, &look, &all);
    if (rc != ERR_OK)
        return rc;
    if (all)
        row->behind = look.last;
    t->op->u.sweep.touched = (size_t)(r->done - before);
    r->next_at = rate_next(&r->rate, r->next_at, t->now, t->op->u.sweep.touched);
    if (all && (!look.more || (r->limit && r->done >= r->limit)))
        end(r, t->now);
    return ERR_OK;
}

int redrive_some(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct redrive_row row;
    AUTO_QUERY struct query *st = NULL;
    int64_t running = 0;
    bool due = false;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT " REDRIVE_COLUMNS " FROM redrives WHERE state = 0 AND next_at <= ?1"
                    " ORDER BY next_at, redrive_id LIMIT 1" SQL_LOCK,
                    "i", t->now);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, &due, t->err);
    if (rc == ERR_OK && due)
        rc = row_of(st, t->scratch, &row, t->err);
    q_close(st);
    st = NULL;
    if (rc == ERR_OK && due)
        rc = row.r.counted ? take_some(t, &row) : count_some(t, &row);
    if (rc == ERR_OK && due)
        rc = row_progress(t, &row);
    if (rc == ERR_OK)
        rc = q_int(t->c, USEC_NEVER, &op->next_at, t->err, "SELECT min(next_at) FROM redrives WHERE state = 0", "");
    if (rc == ERR_OK)
        rc = q_int(t->c, 0, &running, t->err, "SELECT count(*) FROM redrives WHERE state = 0", "");
    op->redrives = (size_t)running;
    op->more = op->next_at <= t->now;
    return rc;
}

/* --- reads --- */

int read_redrive_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                     struct redrive *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    struct redrive_row row;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = row_find(r.c, project, id, arena, &row, err);
    if (rc == ERR_OK)
        *ret = row.r;
    return rc;
}

int read_redrives(struct store *s, const struct redrive_filter *f, struct arena *arena, struct redrive_page *ret,
                  struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(struct redrive)};
    const size_t limit = f->limit == 0 ? 50 : MIN(f->limit, 1000u);
    struct uuid last;
    bool more = false;

    memset(last.b, 0xff, sizeof(last.b));
    *ret = (struct redrive_page){0};
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);
    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err,
                    "SELECT " REDRIVE_COLUMNS " FROM redrives WHERE project = ?1 AND redrive_id < ?2"
                    " ORDER BY redrive_id DESC LIMIT ?3",
                    "tui", f->project, uuid_is_nil(&f->before) ? &last : &f->before, (int64_t)limit + 1);
    while (rc == ERR_OK && (rc = q_step(r.c, st, &more, err)) == ERR_OK && more) {
        struct redrive_row row;
        struct redrive *item;
        if ((ret->more = l.n == limit))
            break;
        rc = row_of(st, arena, &row, err);
        if (rc == ERR_OK && !(item = list_add(&l)))
            rc = read_no_memory(err);
        else if (rc == ERR_OK)
            *item = row.r;
    }
    ret->redrives = l.items;
    ret->n = l.n;
    return rc;
}
