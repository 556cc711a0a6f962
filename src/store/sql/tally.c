/* Tallies: a row of meta each, to which servers add. Once a minute or so, so it may be read and written whole. */
#include "core/tally.h"
#include "store/sql/internal.h"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, 0, "a tally");
}

static int kept_so_far(struct tx *t, struct tally *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(t->c, &st, t->err, "SELECT value FROM meta WHERE key = ?1" SQL_LOCK, "t", t->op->u.tally.key);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc == ERR_OK)
        tally_read(ret, found ? col_borrow(st, 0) : NULL);
    return rc;
}

int op_tally(struct tx *t)
{
    struct op_tally *op = &t->op->u.tally;
    struct buf text;
    /* another server must not make the row between the look and the write */
    int rc = q_run(t->c, NULL, t->err, "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
                   "tt", op->key, "");

    if (rc == ERR_OK && !(op->total = arena_alloc(t->op->arena, sizeof(*op->total))))
        rc = no_memory(t->err);
    if (rc == ERR_OK)
        rc = kept_so_far(t, op->total);
    if (rc != ERR_OK)
        return rc;
    tally_merge(op->total, op->more);
    buf_init(&text, TALLY_TEXT_MAX);
    tally_write(op->total, t->now, &text);
    rc = text.failed ? no_memory(t->err) : meta_put(t->c, op->key, buf_str(&text), t->err);
    buf_release(&text);
    return rc;
}
