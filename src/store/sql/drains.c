/* Workers that are given nothing more. A poll locks its worker's row before it looks here (claim.c), and so does whoever drains it: where
 * servers share the database, too, no claim passes a drain that was answered. */
#include "store/sql/internal.h"

/** Locks the worker's row. */
static int worker_find(struct tx *t, const struct uuid *id, usec *ret_last_seen)
{
    AUTO_QUERY struct query *st = NULL;
    char text[UUID_STR_MAX];
    bool found = false;
    int rc = q_open(t->c, &st, t->err, "SELECT last_seen FROM workers WHERE worker_id = ?1" SQL_LOCK, "u", id);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc == ERR_OK && found)
        *ret_last_seen = col_int(st, 0);
    uuid_format(id, text);
    return rc == ERR_OK && !found ? err_set(t->err, ERR_NOT_FOUND, 0, "there is no worker %s", text) : rc;
}

static int drain_find(struct tx *t, struct op_drain *op, bool *ret_found)
{
    AUTO_QUERY struct query *st = NULL;
    int rc = q_open(t->c, &st, t->err, "SELECT drained_at, drained_by FROM drains WHERE worker_id = ?1", "u",
                    &op->worker_id);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, ret_found, t->err);
    if (rc != ERR_OK || !*ret_found)
        return rc;
    const bool by = !col_null(st, 1);
    op->at = col_int(st, 0);
    op->by = col_text(st, 1, t->op->arena);
    return by && !op->by ? err_set(t->err, ERR_NO_MEMORY, 0, "a drain") : ERR_OK;
}

int op_drain(struct tx *t)
{
    struct op_drain *op = &t->op->u.drain;
    usec last_seen = 0;
    bool found = false;
    int rc = worker_find(t, &op->worker_id, &last_seen);

    op->changed = false;
    if (rc == ERR_OK && t->now - last_seen > op->gone_after_us)
        rc = err_set(t->err, ERR_ILLEGAL_STATE, 0, "the worker is gone: there is nothing to drain");
    if (rc == ERR_OK)
        rc = drain_find(t, op, &found);
    if (rc != ERR_OK || found)
        return rc;
    op->at = t->now;
    op->changed = t->s->drains = true;
    return q_run(t->c, NULL, t->err, "INSERT INTO drains (worker_id, drained_at, drained_by) VALUES (?1, ?2, ?3)",
                 "uit", &op->worker_id, op->at, op->by);
}

int op_undrain(struct tx *t)
{
    struct op_drain *op = &t->op->u.drain;
    usec last_seen = 0;
    int rc = worker_find(t, &op->worker_id, &last_seen);

    op->at = 0;
    op->changed = false;
    if (rc == ERR_OK)
        rc = drain_find(t, op, &op->changed);
    if (rc == ERR_OK && op->changed)
        rc = q_run(t->c, NULL, t->err, "DELETE FROM drains WHERE worker_id = ?1", "u", &op->worker_id);
    return rc;
}

int drains_load(struct store *s, struct err *err)
{
    int64_t n = 0;
    int rc = q_int(s->w, 0, &n, err, "SELECT count(*) FROM drains", "");

    s->drains = n > 0;
    return rc;
}

int worker_drained(struct tx *t, const struct uuid *worker_id, bool *ret)
{
    int64_t n = 0;

    *ret = false;
    if (!t->s->drains && !t->s->sql->shared)
        return ERR_OK;
    int rc = q_int(t->c, 0, &n, t->err, "SELECT count(*) FROM drains WHERE worker_id = ?1", "u", worker_id);
    *ret = n > 0;
    return rc;
}

int drains_forget(struct tx *t)
{
    if (!t->s->drains && !t->s->sql->shared)
        return ERR_OK;
    return q_run(t->c, NULL, t->err, "DELETE FROM drains WHERE worker_id NOT IN (SELECT worker_id FROM workers)", "");
}
