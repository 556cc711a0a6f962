/* Uploads that are not whole yet. */
#include "store/sql/internal.h"

static int unknown(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, 0, "there is no such upload, or it rested too long: begin it again");
}

int op_upload_add(struct tx *t)
{
    struct upload_row *row = &t->op->u.upload.row;
    int64_t full;
    int rc =
        q_int(t->c, 0, &full, t->err, "SELECT 1 FROM uploads LIMIT 1 OFFSET ?1", "i", t->s->policy.uploads_max - 1);

    if (rc == ERR_OK && full)
        rc = err_set(t->err, ERR_BUSY, 0, "%lld uploads are unfinished already: finish or end some, or let them expire",
                     (long long)t->s->policy.uploads_max);
    if (rc != ERR_OK)
        return rc;
    row->project = t->op->project;
    row->created_at = t->now;
    row->expires_at = t->now + t->s->policy.upload_keep_us;
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO uploads (upload_id, project, size, sha256, metadata, created_at, expires_at)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                 "utibtii", &row->upload_id, row->project, row->size, row->hashed ? (const void *)row->sha256 : NULL,
                 (size_t)32, row->metadata, row->created_at, row->expires_at);
}

int op_upload_touch(struct tx *t)
{
    struct upload_row *row = &t->op->u.upload.row;
    int64_t changed;

    row->expires_at = t->now + t->s->policy.upload_keep_us;
    int rc = q_run(t->c, &changed, t->err, "UPDATE uploads SET expires_at = ?3 WHERE upload_id = ?1 AND project = ?2",
                   "uti", &row->upload_id, t->op->project, row->expires_at);
    return rc == ERR_OK && !changed ? unknown(t->err) : rc;
}

int upload_remove(struct tx *t, const struct uuid *id)
{
    int64_t changed;
    int rc = q_run(t->c, &changed, t->err, "DELETE FROM uploads WHERE upload_id = ?1 AND project = ?2", "ut", id,
                   t->op->project);

    return rc == ERR_OK && !changed ? unknown(t->err) : rc;
}

/** One that expired is gone, whether the sweeper has come to it yet or not. */
int op_upload_end(struct tx *t)
{
    int64_t changed;
    int rc =
        q_run(t->c, &changed, t->err, "DELETE FROM uploads WHERE upload_id = ?1 AND project = ?2 AND expires_at > ?3",
              "uti", &t->op->u.upload.row.upload_id, t->op->project, t->now);

    return rc == ERR_OK && !changed ? unknown(t->err) : rc;
}

int read_upload_row(struct conn *c, const char *project, const struct uuid *id, usec now, struct arena *arena,
                    struct upload_row *ret, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(c, &st, err,
                    "SELECT size, sha256, metadata, created_at, expires_at, project FROM uploads"
                    " WHERE upload_id = ?1 AND project = ?2 AND expires_at > ?3",
                    "uti", id, project, now);

    if (rc == ERR_OK)
        rc = q_step(c, st, &found, err);
    if (rc == ERR_OK && !found)
        rc = unknown(err);
    if (rc != ERR_OK)
        return rc;
    *ret = (struct upload_row){.upload_id = *id,
                               .project = col_text(st, 5, arena),
                               .size = col_int(st, 0),
                               .hashed = !col_null(st, 1),
                               .metadata = col_text(st, 2, arena),
                               .created_at = col_int(st, 3),
                               .expires_at = col_int(st, 4)};
    if (ret->hashed)
        col_hash(st, 1, ret->sha256);
    bool whole = ret->project && (ret->metadata || col_null(st, 2));
    return whole ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "upload");
}
