/* Paused queues. A claim looks for its queue's pause in its own transaction; where servers share the database, the driver sees to it that a
 * pause is not committed beside a claim that did not see it. */
#include "store/sql/read.h"

#define PAUSE_COLUMNS "queue, paused_at, paused_by, reason"

static bool pause_row(struct query *st, struct arena *arena, struct pause *ret)
{
    bool by = !col_null(st, 2), reason = !col_null(st, 3);

    *ret = (struct pause){.queue = col_text(st, 0, arena),
                          .at = col_int(st, 1),
                          .by = col_text(st, 2, arena),
                          .reason = col_text(st, 3, arena)};
    return ret->queue && (ret->by || !by) && (ret->reason || !reason);
}

/** What stands, if anything does. */
static int pause_find(struct tx *t, const char *queue, struct pause *ret, bool *ret_found)
{
    AUTO_QUERY struct query *st = NULL;
    int rc =
        q_open(t->c, &st, t->err, "SELECT " PAUSE_COLUMNS " FROM pauses WHERE project = ?1 AND queue = ?2" SQL_LOCK,
               "tt", t->op->project, queue);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, ret_found, t->err);
    if (rc == ERR_OK && *ret_found && !pause_row(st, t->op->arena, ret))
        rc = err_set(t->err, ERR_NO_MEMORY, 0, "a pause");
    return rc;
}

static int pause_insert(struct tx *t, struct op_pause *op)
{
    int64_t n = 0;
    int rc = q_int(t->c, 0, &n, t->err, "SELECT count(*) FROM pauses", "");

    if (rc == ERR_OK && n >= PAUSES_MAX)
        rc = err_set(t->err, ERR_CONFLICT, 0, "%d queues are paused already, which is the most; resume some first",
                     PAUSES_MAX);
    if (rc != ERR_OK)
        return rc;
    op->pause.at = t->now;
    op->changed = t->s->pauses = true;
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO pauses (project, queue, paused_at, paused_by, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
                 "ttitt", t->op->project, op->pause.queue, op->pause.at, op->pause.by, op->pause.reason);
}

int op_pause(struct tx *t)
{
    struct op_pause *op = &t->op->u.pause;
    bool found = false;
    int rc = pause_find(t, op->pause.queue, &op->pause, &found);

    op->changed = false;
    return rc == ERR_OK && !found ? pause_insert(t, op) : rc;
}

int op_resume(struct tx *t)
{
    struct op_pause *op = &t->op->u.pause;
    int rc = pause_find(t, op->pause.queue, &op->pause, &op->changed);

    if (rc == ERR_OK && op->changed)
        rc = q_run(t->c, NULL, t->err, "DELETE FROM pauses WHERE project = ?1 AND queue = ?2", "tt", t->op->project,
                   op->pause.queue);
    return rc;
}

int pauses_load(struct store *s, struct err *err)
{
    int64_t n = 0;
    int rc = q_int(s->w, 0, &n, err, "SELECT count(*) FROM pauses", "");

    s->pauses = n > 0;
    return rc;
}

int queue_paused(struct tx *t, const char *queue, bool *ret)
{
    int64_t n = 0;

    *ret = false;
    if (!queue || (!t->s->pauses && !t->s->sql->shared))
        return ERR_OK;
    int rc = q_int(t->c, 0, &n, t->err, "SELECT count(*) FROM pauses WHERE project = ?1 AND queue = ?2", "tt",
                   t->op->project, queue);
    *ret = n > 0;
    return rc;
}

static bool list_row(struct list *l, struct query *st)
{
    struct pause *p = list_add(l);

    return p && pause_row(st, l->arena, p);
}

int read_pauses(struct store *s, const char *project, struct arena *arena, struct pause **ret, size_t *ret_n,
                struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc = read_list(s, READ_DEADLINE_US, &l, list_row, err,
                       "SELECT " PAUSE_COLUMNS " FROM pauses WHERE project = ?1 ORDER BY queue", "t", project);

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}
