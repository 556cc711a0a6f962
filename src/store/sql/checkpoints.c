/* A job's last checkpoint: replaced as a whole by whoever holds the job, read by the next attempt, gone when the job is finished. */
#include "store/sql/read.h"
#include "base/bug.h"
#include "base/text.h"

static int name_order(const void *a, const void *b)
{
    return strcmp((*(const struct checkpoint_file *const *)a)->name, (*(const struct checkpoint_file *const *)b)->name);
}

/** No name twice. */
static int names_check(struct tx *t, const struct op_checkpoint *op)
{
    const struct checkpoint_file **sorted = arena_array(t->scratch, op->n_files + 1, sizeof(*sorted));

    if (!sorted)
        return err_set(t->err, ERR_NO_MEMORY, 0, "checkpoint");
    for (size_t i = 0; i < op->n_files; i++) {
        if (!filename_valid(op->files[i].name))
            return err_field(t->err, "files", "a name is not a file name");
        sorted[i] = &op->files[i];
    }
    qsort(sorted, op->n_files, sizeof(*sorted), name_order);
    for (size_t i = 1; i < op->n_files; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return err_field(t->err, "files", "'%s' is there twice", sorted[i]->name);
    return ERR_OK;
}

/** Every blob is there, of the same project. */
static int blobs_check(struct tx *t, const struct op_checkpoint *op)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < op->n_files; i++) {
        struct uuid id;
        char field[32];
        snprintf(field, sizeof(field), "files[%zu].ref", i);
        rc = blob_check_ref(t, op->files[i].ref, field, &id, NULL);
    }
    return rc;
}

static int files_insert(struct tx *t, const struct op_checkpoint *op)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < op->n_files; i++) {
        struct uuid id;
        if (!uuid_parse(op->files[i].ref + strlen("blob:"), &id))
            return err_field(t->err, "files", "a ref is no blob");
        rc = BUG("checkpoint-unreferenced") ? ERR_OK : blob_ref(t, &id, 1);
        if (rc == ERR_OK)
            rc = q_run(t->c, NULL, t->err,
                       "INSERT INTO checkpoint_files (job_id, name, blob_id, executable) VALUES (?1, ?2, ?3, ?4)",
                       "utui", &op->job_id, op->files[i].name, &id, (int64_t)op->files[i].executable);
    }
    return rc;
}

/** References of the files that are given up: counted, since one blob may be several files. */
static int files_drop(struct tx *t, const struct uuid *job_id)
{
    int rc = q_run(t->c, NULL, t->err,
                   "UPDATE blobs SET expires_at = ?2, refs = refs - " SQL_LEAST(
                       "refs",
                       "(SELECT count(*) FROM checkpoint_files f"
                       " WHERE f.job_id = ?1 AND f.blob_id = blobs.blob_id)") " WHERE blob_id IN (SELECT blob_id FROM "
                                                                              "checkpoint_files WHERE job_id = ?1)",
                   "ui", job_id, t->now + t->s->policy.blob_unreferenced_us);

    return rc == ERR_OK ? q_run(t->c, NULL, t->err, "DELETE FROM checkpoint_files WHERE job_id = ?1", "u", job_id) : rc;
}

/** The network brought it again, or late: what this attempt stored since stays. */
static int came_late(struct tx *t, const struct op_checkpoint *op, bool *ret)
{
    int64_t last = 0;
    int rc = op->sequence == 0
                 ? ERR_OK
                 : q_int(t->c, 0, &last, t->err, "SELECT sequence FROM checkpoints WHERE job_id = ?1 AND attempt = ?2",
                         "ui", &op->job_id, (int64_t)op->token.attempt);

    *ret = op->sequence > 0 && op->sequence <= last && !BUG("checkpoint-late");
    return rc;
}

int op_checkpoint(struct tx *t)
{
    const struct op_checkpoint *op = &t->op->u.checkpoint;
    struct row row;
    bool late = false;
    int rc = BUG("checkpoint-any-token")
                 ? row_load(t->c, t->op->project, &op->job_id, LOAD_LEAN, t->scratch, &row, t->err)
                 : running_load(t, &op->job_id, &op->token, &row);

    if (rc == ERR_OK)
        rc = came_late(t, op, &late);
    if (rc != ERR_OK || late)
        return rc;
    if (op->n_files > JOB_CHECKPOINT_MAX)
        return err_set(t->err, ERR_TOO_LARGE, 0, "more than %d files in a checkpoint", JOB_CHECKPOINT_MAX);
    rc = names_check(t, op);
    if (rc == ERR_OK)
        rc = blobs_check(t, op);
    t->s->checkpoints = true; /* also should the batch roll back: then it is looked for in vain */
    if (rc == ERR_OK)
        rc = files_drop(t, &op->job_id);
    if (rc == ERR_OK)
        rc = files_insert(t, op);
    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err,
                   "INSERT INTO checkpoints (job_id, attempt, at, progress, files, sequence, bytes) VALUES (?1, ?2, "
                   "?3, ?4, ?5, ?6,"
                   " (SELECT coalesce(sum(b.size), 0) FROM checkpoint_files f JOIN blobs b ON b.blob_id = f.blob_id"
                   " WHERE f.job_id = ?1)) ON CONFLICT (job_id) DO UPDATE SET attempt = excluded.attempt,"
                   " at = excluded.at, progress = excluded.progress, files = excluded.files, bytes = excluded.bytes,"
                   " sequence = excluded.sequence",
                   "uiidii", &op->job_id, (int64_t)op->token.attempt, t->now, op->percent, (int64_t)op->n_files,
                   op->sequence);
    row.job.version++;
    if (rc == ERR_OK)
        rc = row.was == JOB_PENDING ? row_save(t, &row) : row_save_running(t, &row);
    return rc;
}

int checkpoint_redone(struct tx *t, const struct uuid *job_id, double reached, double *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = ERR_OK;

    *ret = -1;
    if (reached < 0)
        return ERR_OK;
    if (t->s->checkpoints)
        rc = q_open(t->c, &st, t->err, "SELECT progress FROM checkpoints WHERE job_id = ?1", "u", job_id);
    if (rc == ERR_OK && t->s->checkpoints)
        rc = q_step(t->c, st, &found, t->err);
    const double kept = found ? col_real(st, 0) : 0;
    if (rc == ERR_OK && kept >= 0)
        *ret = MAX(reached - kept, 0) / 100;
    return rc;
}

int checkpoints_load(struct store *s, struct err *err)
{
    int64_t any = 0;
    int rc = q_int(s->w, 0, &any, err, "SELECT 1 FROM checkpoints LIMIT 1", "");

    s->checkpoints = any != 0 || s->sql->shared; /* else another server may make one at any time */
    return rc;
}

int checkpoint_release(struct tx *t, const struct uuid *job_id)
{
    int64_t there = 0;
    int rc = !t->s->checkpoints
                 ? ERR_OK
                 : q_int(t->c, 0, &there, t->err, "SELECT 1 FROM checkpoints WHERE job_id = ?1", "u", job_id);

    if (rc != ERR_OK || !there)
        return rc;
    rc = files_drop(t, job_id);
    return rc == ERR_OK ? q_run(t->c, NULL, t->err, "DELETE FROM checkpoints WHERE job_id = ?1", "u", job_id) : rc;
}

static int files_read(struct conn *c, const struct uuid *job_id, struct list *l, struct checkpoint *ret,
                      struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(c, &st, err,
                    "SELECT f.name, f.blob_id, f.executable, b.size, b.sha256 FROM checkpoint_files f"
                    " JOIN blobs b ON b.blob_id = f.blob_id WHERE f.job_id = ?1 ORDER BY f.name",
                    "u", job_id);

    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        struct checkpoint_row *f = list_add(l);
        if (!f)
            return read_no_memory(err);
        *f = (struct checkpoint_row){.name = col_text(st, 0, l->arena),
                                     .blob_id = col_uuid(st, 1),
                                     .executable = col_int(st, 2) != 0,
                                     .size = col_int(st, 3)};
        col_hash(st, 4, f->sha256);
        if (!f->name)
            return read_no_memory(err);
    }
    ret->files = l->items;
    ret->n_files = l->n;
    return rc;
}

int read_checkpoint(struct store *s, const struct uuid *job_id, struct arena *arena, struct checkpoint *ret,
                    struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    struct list l = {.arena = arena, .item_size = sizeof(*ret->files)};
    bool found = false;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    *ret = (struct checkpoint){0};
    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err, "SELECT attempt, at, progress, files, bytes FROM checkpoints WHERE job_id = ?1", "u",
                    job_id);
    if (rc == ERR_OK)
        rc = q_step(r.c, st, &found, err);
    if (rc != ERR_OK || !found)
        return rc;
    ret->attempt = (uint32_t)col_int(st, 0);
    ret->at = col_int(st, 1);
    ret->percent = col_real(st, 2);
    ret->n_files = (size_t)col_int(st, 3);
    ret->bytes = col_int(st, 4);
    return arena ? files_read(r.c, job_id, &l, ret, err) : ERR_OK;
}
