/* Blobs' rows: who holds them, and what an attempt staged. */
#include "store/sql/internal.h"
#include "base/bug.h"
#include "base/text.h"

int blob_check_ref(struct tx *t, const char *ref, const char *field, struct uuid *ret_id, uint8_t ret_sha256[32])
{
    AUTO_QUERY struct query *st = NULL;
    bool found;

    if (strncmp(ref, "blob:", 5) != 0 || !uuid_parse(ref + 5, ret_id))
        return err_field(t->err, field, "must be blob: and the id of an upload");
    int rc = q_open(t->c, &st, t->err, "SELECT sha256 FROM blobs WHERE blob_id = ?1 AND project = ?2" SQL_LOCK, "ut",
                    ret_id, t->op->project);
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc != ERR_OK)
        return rc;
    if (!found)
        return err_field(t->err, field, "there is no such upload, or it was kept too long unused");
    if (ret_sha256)
        col_hash(st, 0, ret_sha256);
    return ERR_OK;
}

int blob_ref(struct tx *t, const struct uuid *id, int by)
{
    usec until = t->now + t->s->policy.blob_unreferenced_us;

    return q_run(t->c, NULL, t->err,
                 "UPDATE blobs SET refs = refs + " SQL_MOST("?2", "-refs") ", expires_at = ?3 WHERE blob_id = ?1",
                 "uii", id, (int64_t)by, until);
}

int blob_insert(struct tx *t, const struct uuid *id, int64_t size, const uint8_t sha256[32], const uint8_t *xxh128,
                int64_t *ret_new)
{
    int rc = q_run(t->c, ret_new, t->err,
                   "INSERT INTO blobs (blob_id, project, size, sha256, refs, created_at, expires_at, xxh128) VALUES "
                   "(?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)"
                   " ON CONFLICT DO NOTHING",
                   "utibiib", id, t->op->project, size, (const void *)sha256, (size_t)32, t->now,
                   t->now + t->s->policy.blob_unreferenced_us, (const void *)xxh128, (size_t)16);

    if (rc == ERR_OK && *ret_new) {
        t->blobs++;
        t->blob_bytes += size;
    }
    return rc;
}

/** The row there is must be the same bytes of the same project. */
static int blob_same(struct tx *t, const struct uuid *id, int64_t size, const uint8_t sha256[32])
{
    int64_t same;
    int rc = q_int(t->c, 0, &same, t->err,
                   "SELECT 1 FROM blobs WHERE blob_id = ?1 AND project = ?2 AND size = ?3 AND sha256 = ?4" SQL_LOCK,
                   "utib", id, t->op->project, size, (const void *)sha256, (size_t)32);

    if (rc == ERR_OK && !same)
        rc = err_set(t->err, ERR_CONFLICT, 0, "the blob's id is taken by other bytes");
    return rc;
}

int op_blob_add(struct tx *t)
{
    struct blob_row *row = &t->op->u.blob_add.row;
    int64_t inserted;
    int rc = t->op->u.blob_add.uploaded && !BUG("upload-stays") ? upload_remove(t, &row->blob_id) : ERR_OK;

    if (rc != ERR_OK)
        return rc;
    rc = blob_insert(t, &row->blob_id, row->size, row->sha256, row->summed ? row->xxh128 : NULL, &inserted);

    if (rc == ERR_OK && !inserted)
        rc = blob_same(t, &row->blob_id, row->size, row->sha256);
    row->project = t->op->project;
    row->refs = 0;
    row->created_at = t->now;
    row->expires_at = t->now + t->s->policy.blob_unreferenced_us;
    return rc;
}

static int output_replace(struct tx *t, const struct op_output *o)
{
    AUTO_QUERY struct query *st = NULL;
    bool found;
    struct uuid old = {{0}};
    int rc = q_open(t->c, &st, t->err, "SELECT blob_id FROM outputs WHERE job_id = ?1 AND attempt = ?2 AND name = ?3",
                    "uit", &o->job_id, (int64_t)o->token.attempt, o->name);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc == ERR_OK && found)
        old = col_uuid(st, 0);
    if (rc == ERR_OK && !uuid_is_nil(&old))
        rc = blob_ref(t, &old, -1);
    return rc;
}

/** The blob of an output. */
static int output_blob(struct tx *t, const struct op_output *o)
{
    int64_t inserted = 0;
    int rc = o->stored ? ERR_OK : blob_insert(t, &o->blob_id, o->size, o->sha256, NULL, &inserted);

    if (rc == ERR_OK && !inserted)
        rc = blob_same(t, &o->blob_id, o->size, o->sha256);
    return rc == ERR_CONFLICT && o->stored
               ? err_field(t->err, "ref", "there is no such upload, or it was kept too long unused")
               : rc;
}

int op_output(struct tx *t)
{
    struct op_output *o = &t->op->u.output;
    struct row row;
    int64_t n;
    int rc = running_load(t, &o->job_id, &o->token, &row);

    if (rc != ERR_OK)
        return rc;
    if (!o->name || !filename_valid(o->name))
        return err_field(t->err, "name", "is not a file name");
    rc = q_int(t->c, 0, &n, t->err, "SELECT count(*) FROM outputs WHERE job_id = ?1 AND attempt = ?2 AND name <> ?3",
               "uit", &o->job_id, (int64_t)o->token.attempt, o->name);
    if (rc == ERR_OK && n >= JOB_OUTPUTS_MAX)
        return err_set(t->err, ERR_TOO_LARGE, 0, "more than %d outputs", JOB_OUTPUTS_MAX);
    if (rc == ERR_OK)
        rc = output_blob(t, o);
    if (rc == ERR_OK)
        rc = output_replace(t, o);
    if (rc == ERR_OK)
        rc = blob_ref(t, &o->blob_id, 1);
    if (rc == ERR_OK)
        rc =
            q_run(t->c, NULL, t->err,
                  "INSERT INTO outputs (job_id, attempt, name, blob_id, size, sha256, published) VALUES (?1, ?2, ?3, "
                  "?4, ?5, ?6, 0)"
                  " ON CONFLICT (job_id, attempt, name) DO UPDATE SET blob_id = excluded.blob_id, size = excluded.size,"
                  " sha256 = excluded.sha256, published = 0",
                  "uituib", &o->job_id, (int64_t)o->token.attempt, o->name, &o->blob_id, o->size,
                  (const void *)o->sha256, (size_t)32);
    return rc;
}

int outputs_release(struct tx *t, const struct uuid *job_id)
{
    int64_t n;
    usec until = t->now + t->s->policy.blob_unreferenced_us;
    int rc =
        q_int(t->c, 0, &n, t->err, "SELECT count(*) FROM outputs WHERE job_id = ?1 AND published = 0", "u", job_id);

    if (rc != ERR_OK || n == 0)
        return rc;
    /* A blob may stand under several names: each held a reference of its own. */
    rc = q_run(
        t->c, NULL, t->err,
        "UPDATE blobs SET expires_at = ?2, refs = refs - " SQL_LEAST(
            "refs",
            "(SELECT count(*) FROM outputs o WHERE o.job_id = ?1 AND o.published = 0 AND o.blob_id = "
            "blobs.blob_id)") " WHERE blob_id IN (SELECT blob_id FROM outputs WHERE job_id = ?1 AND published = 0)",
        "ui", job_id, until);
    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err, "DELETE FROM outputs WHERE job_id = ?1 AND published = 0", "u", job_id);
    return rc;
}

int outputs_publish(struct tx *t, const struct uuid *job_id, uint32_t attempt, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t changed;
        int rc = q_run(t->c, &changed, t->err,
                       "UPDATE outputs SET published = 1 WHERE job_id = ?1 AND attempt = ?2 AND name = ?3", "uit",
                       job_id, (int64_t)attempt, names[i]);
        if (rc != ERR_OK)
            return rc;
        if (!changed) {
            char field[ERR_FIELD_MAX];
            snprintf(field, sizeof(field), "outputs[%zu]", i);
            return err_field(t->err, field, "'%s' was not uploaded in this attempt", names[i]);
        }
    }
    return ERR_OK;
}
