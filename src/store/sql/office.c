/* Offices: a row of meta each, "HOLDER UNTIL NOTES". Every server writes it, so it is locked before it is looked at. */
#include "store/sql/internal.h"
#include <string.h>

#define TEXT_MAX   ((size_t)1 << 20)
#define HOLDER_MAX 64

struct office {
    char holder[HOLDER_MAX + 1]; /* "": nobody yet */
    usec until;
    const char *notes; /* in the arena */
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, 0, "an office");
}

static void parse(const char *text, struct office *ret)
{
    const size_t n = strcspn(text, " ");
    char *end = NULL;

    *ret = (struct office){.notes = ""};
    if (n == 0 || n > HOLDER_MAX || text[n] != ' ')
        return;
    memcpy(ret->holder, text, n);
    ret->until = strtoll(text + n + 1, &end, 10);
    ret->notes = *end == ' ' ? end + 1 : end;
}

static int look(struct tx *t, struct office *ret)
{
    const struct op_office *op = &t->op->u.office;
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    /* another server must not make the row between the look and the write */
    int rc = q_run(t->c, NULL, t->err, "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
                   "tt", op->key, "");

    if (rc == ERR_OK)
        rc = q_open(t->c, &st, t->err, "SELECT value FROM meta WHERE key = ?1" SQL_LOCK, "t", op->key);
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc != ERR_OK)
        return rc;
    const char *text = found ? col_borrow(st, 0) : NULL;
    text = arena_strdup(t->op->arena, text ? text : "");
    if (!text)
        return no_memory(t->err);
    parse(text, ret);
    return ERR_OK;
}

int op_office(struct tx *t)
{
    struct op_office *op = &t->op->u.office;
    struct office was = {.notes = ""};
    struct buf text;
    int rc = look(t, &was);

    if (rc != ERR_OK)
        return rc;
    const bool ours = strcmp(was.holder, op->holder) == 0;
    op->was = was.notes;
    op->held = ours || was.until <= t->now;
    op->taken = op->held && !ours;
    if (!op->held || (op->taken && op->for_us == 0))
        return ERR_OK;
    buf_init(&text, TEXT_MAX);
    buf_printf(&text, "%s %lld %s", op->holder, (long long)(op->for_us ? t->now + op->for_us : 0),
               ours && op->notes ? op->notes : was.notes);
    rc = text.failed ? no_memory(t->err) : meta_put(t->c, op->key, buf_str(&text), t->err);
    buf_release(&text);
    return rc;
}
