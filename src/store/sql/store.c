/* What a store keeps in memory, and the table of ops. */
#include "store/sql/internal.h"
#include "base/fault.h"
#include <inttypes.h>
#include <stdlib.h>

static int (*const kinds[OP_KIND_COUNT])(struct tx *t) = {
    [OP_SUBMIT] = op_submit,
    [OP_CLAIM] = op_claim,
    [OP_HEARTBEAT] = op_heartbeat,
    [OP_PROGRESS] = op_progress,
    [OP_LOG] = op_log,
    [OP_LOG_PACKED] = op_log_packed,
    [OP_OUTPUT] = op_output,
    [OP_CHECKPOINT] = op_checkpoint,
    [OP_COMPLETE] = op_complete,
    [OP_FAIL] = op_fail,
    [OP_CANCEL] = op_cancel,
    [OP_RETRY] = op_retry,
    [OP_DISCARD] = op_discard,
    [OP_REDRIVE] = op_redrive,
    [OP_REDRIVE_CANCEL] = op_redrive_cancel,
    [OP_PAUSE] = op_pause,
    [OP_DRAIN] = op_drain,
    [OP_UNDRAIN] = op_undrain,
    [OP_RESUME] = op_resume,
    [OP_BLOB_ADD] = op_blob_add,
    [OP_UPLOAD_ADD] = op_upload_add,
    [OP_UPLOAD_TOUCH] = op_upload_touch,
    [OP_UPLOAD_END] = op_upload_end,
    [OP_SWEEP_LEASES] = op_sweep_leases,
    [OP_SWEEP_DUE] = op_sweep_due,
    [OP_SWEEP_BLOBS] = op_sweep_blobs,
    [OP_SWEEP_UPLOADS] = op_sweep_uploads,
    [OP_SWEEP_DEDUP] = op_sweep_dedup,
    [OP_SWEEP_RETENTION] = op_sweep_retention,
    [OP_SWEEP_LOGS] = op_sweep_logs,
    [OP_SWEEP_LANES] = op_sweep_lanes,
    [OP_SWEEP_DEAD] = op_sweep_dead,
    [OP_GRACE] = op_grace,
    [OP_TALLY] = op_tally,
    [OP_OFFICE] = op_office,
};

bool op_begin(struct op *op)
{
    err_clear(&op->err);
    op->n_changes = op->n_ended = op->n_ends = 0;
    op->log_to_pack = false;
    if (!op->project)
        op->project = "default";
    if ((unsigned)op->kind < OP_KIND_COUNT && (op->arena || op->kind == OP_GRACE))
        return true;
    err_set(&op->err, ERR_INTERNAL, 0, "an op of kind %d without what it needs", (int)op->kind);
    return false;
}

static bool is_sweep(enum op_kind kind)
{
    return kind >= OP_SWEEP_LEASES && kind <= OP_SWEEP_DEAD;
}

/** A sweep that is another server's does nothing here. */
static int begin_sweep(struct tx *t, bool *ret_ours)
{
    struct op_sweep *op = &t->op->u.sweep;

    *ret_ours = true;
    if (!is_sweep(t->op->kind) || !t->s->sql->sweep_begin)
        return ERR_OK;
    op->touched = op->n_removed = op->n_logs = op->redrives = 0;
    op->more = false;
    op->next_at = USEC_NEVER;
    return t->s->sql->sweep_begin(t, ret_ours);
}

int op_run(struct tx *t)
{
    bool ours = true;
    int rc = begin_sweep(t, &ours);

    if (rc != ERR_OK || !ours)
        return rc;
    rc = !t->guess && FAULT("store.op") ? err_set(t->err, ERR_INTERNAL, 0, "fault point") : kinds[t->op->kind](t);

    if (rc == ERR_OK)
        changes_finish(t->op);
    else
        t->op->n_changes = t->op->n_ended = t->op->n_ends = 0;
    return rc;
}

void ops_fail(struct op **ops, size_t n, const struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        ops[i]->err = *err;
        ops[i]->n_changes = ops[i]->n_ended = ops[i]->n_ends = 0;
    }
}

void memory_forget(struct store *s)
{
    memset(s->marks, 0, sizeof(s->marks));
    s->id_skew_us = 0;
    s->dead_walk = (struct dead_walk){0};
    s->lanes_era++;
}

usec store_now(struct store *s)
{
    return s->clock.boot_us(s->clock.self) + s->offset;
}

/* --- meta --- */

int meta_put(struct conn *c, const char *key, const char *value, struct err *err)
{
    return q_run(c, NULL, err,
                 "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                 "tt", key, value);
}

int meta_int(struct conn *c, const char *key, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, "SELECT CAST(value AS BIGINT) FROM meta WHERE key = ?1", "t", key);
}

int totals_ask(struct store *s, struct conn *c, struct err *err)
{
    int64_t blobs = 0, bytes = 0;
    int rc = q_int(c, 0, &blobs, err, "SELECT CAST(sum(n) AS BIGINT) FROM totals WHERE name = 'blobs'", "");

    if (rc == ERR_OK)
        rc = q_int(c, 0, &bytes, err, "SELECT CAST(sum(n) AS BIGINT) FROM totals WHERE name = 'blob_bytes'", "");
    if (rc == ERR_OK) {
        s->blobs = blobs;
        s->blob_bytes = bytes;
    }
    return rc;
}

static int totals_add(struct store *s, const char *name, int64_t n, struct err *err)
{
    return q_run(s->w, NULL, err,
                 "INSERT INTO totals (name, server_id, n) VALUES (?1, ?2, ?3)"
                 " ON CONFLICT (name, server_id) DO UPDATE SET n = totals.n + excluded.n",
                 "tii", name, s->writer_id, n);
}

int totals_load(struct store *s, struct err *err)
{
    if (s->sql->shared)
        return totals_ask(s, s->w, err);
    int64_t known, blobs = 0, bytes = 0;
    int rc = q_int(s->w, 0, &known, err, "SELECT count(*) FROM meta WHERE key IN ('blobs', 'blob_bytes')", "");

    if (rc == ERR_OK && known == 2)
        rc = meta_int(s->w, "blobs", &blobs, err);
    else if (rc == ERR_OK)
        rc = q_int(s->w, 0, &blobs, err, "SELECT count(*) FROM blobs", "");
    if (rc == ERR_OK && known == 2)
        rc = meta_int(s->w, "blob_bytes", &bytes, err);
    else if (rc == ERR_OK)
        rc = q_int(s->w, 0, &bytes, err, "SELECT CAST(sum(size) AS BIGINT) FROM blobs", "");
    s->blobs = blobs;
    s->blob_bytes = bytes;
    return rc;
}

int totals_save(struct store *s, struct err *err)
{
    char text[32];

    if (s->batch_blobs == 0 && s->batch_bytes == 0)
        return ERR_OK;
    if (s->sql->shared) {
        int known = totals_add(s, "blobs", s->batch_blobs, err);
        return known == ERR_OK ? totals_add(s, "blob_bytes", s->batch_bytes, err) : known;
    }
    snprintf(text, sizeof(text), "%" PRId64, s->blobs + s->batch_blobs);
    int rc = meta_put(s->w, "blobs", text, err);
    snprintf(text, sizeof(text), "%" PRId64, s->blob_bytes + s->batch_bytes);
    return rc == ERR_OK ? meta_put(s->w, "blob_bytes", text, err) : rc;
}

/* --- the start, and the end --- */

int sql_store_init(struct store *s, const struct store_config *config, struct err *err)
{
    s->clock = config->clock;
    s->policy = config->policy;
    s->tell_ends = config->tell_ends;
    s->lanes_era = 1;
    s->writer_id = 1; /* where one server has the store */
    s->scratch = arena_new(TX_SCRATCH_MAX);
    return s->scratch ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "scratch");
}

int sql_store_load(struct store *s, struct err *err)
{
    int rc = totals_load(s, err);

    if (rc == ERR_OK)
        rc = meta_int(s->w, "grace_until", &s->grace_until, err);
    if (rc == ERR_OK && !s->sql->shared)
        rc = q_int(s->w, 0, &s->ready_next, err, "SELECT max(ready_seq) FROM jobs WHERE ready_seq IS NOT NULL", "");
    s->ready_next++;
    if (rc == ERR_OK && !s->sql->shared)
        rc = q_int(s->w, 0, &s->lane_next, err, "SELECT max(lane_id) FROM lanes", "");
    s->lane_next++;
    if (rc == ERR_OK)
        rc = counts_load(s, err);
    if (rc == ERR_OK)
        rc = checkpoints_load(s, err);
    if (rc == ERR_OK)
        rc = pauses_load(s, err);
    return rc == ERR_OK ? drains_load(s, err) : rc;
}

void sql_store_release(struct store *s)
{
    counts_free(s);
    arena_free(s->scratch);
}
