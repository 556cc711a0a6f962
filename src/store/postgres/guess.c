/* What a batch will look at is found out by running its ops in guess: a look whose answer is not known finds nothing and is wished for, a
 * write is nothing, and whatever the op made is dropped. All wishes are asked at once; then those ops that had some are run again, since a
 * look may follow from another one's answer. A guess may be wrong: then an op makes its look itself. */
#include "store/postgres/driver.h"

/** Kinds whose looks can be told, and which keep nothing else in the store's memory than what is put back below. */
static bool guessable(const struct op *op)
{
    switch (op->kind) {
    case OP_SUBMIT:
    case OP_CLAIM:
    case OP_HEARTBEAT:
    case OP_PROGRESS:
    case OP_LOG:
    case OP_OUTPUT:
    case OP_CHECKPOINT:
    case OP_COMPLETE:
    case OP_FAIL:
    case OP_CANCEL:
    case OP_RETRY:
    case OP_DISCARD:
        return op->arena != NULL;
    default:
        return false;
    }
}

static void guess(struct pg_writer *w, const struct op *op, usec now)
{
    struct store *s = &w->s;
    struct op copy = *op;
    struct tx t = {.s = s, .c = s->w, .op = &copy, .now = now, .err = &copy.err, .scratch = s->scratch, .guess = true};
    const size_t counted = s->n_changes;
    const int64_t ready = s->ready_next;
    const usec skew = s->id_skew_us;

    copy.arena = w->guessed;
    if (op_begin(&copy))
        op_run(&t);
    counts_undo(s, counted);
    s->ready_next = ready;
    s->id_skew_us = skew;
    arena_reset(s->scratch);
    arena_reset(w->guessed);
}

int pg_read_ahead(struct pg_writer *w, struct op **ops, size_t n, usec now, struct err *err)
{
    bool again[STORE_BATCH_MAX];
    size_t wished = 1;
    int rc = ERR_OK;

    if (n > ARRAY_LEN(again))
        n = ARRAY_LEN(again);
    for (size_t i = 0; i < n; i++)
        again[i] = guessable(ops[i]);
    for (unsigned round = 0; rc == ERR_OK && wished > 0 && round < PG_ROUNDS; round++) {
        heads_rewind(w->heads);
        pg_guess(&w->w, true);
        for (size_t i = 0; i < n; i++) {
            size_t before = pg_wished(&w->w);
            if (!again[i])
                continue;
            guess(w, ops[i], now);
            again[i] = ops[i]->kind == OP_CLAIM || pg_wished(&w->w) > before;
        }
        rc = heads_wish(w, err);
        pg_guess(&w->w, false);
        wished = pg_wished(&w->w);
        if (rc == ERR_OK && wished > 0)
            rc = pg_ask(&w->w, err);
    }
    heads_rewind(w->heads);
    return rc;
}
