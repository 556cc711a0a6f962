#include "store/sqlite/key_merge.h"
#include "store/sqlite/key_rows.h"
#include <stdlib.h>

/** What a merge takes from: a run, a chunk of it at a time, or sorted entries. */
struct source {
    struct key_run *run; /* or NULL */
    size_t next_chunk;
    const struct key_entry *all;
    size_t n, at;
    struct key_entry loaded[KEY_CHUNK];
};

struct key_merge {
    struct key_run *made;
    struct source from[KEY_MERGE_MAX];
    unsigned n_from;
    int64_t floor; /* rows below are gone */
    struct key_entry out[KEY_CHUNK];
    size_t n_out;
    bool last_looked; /* the last entry's row is known to be there, or the entry was left out for that */
    int64_t last;     /* its hash */
    bool any;
    bool moved, done; /* by the batch at work */
};

int key_merge_begin(struct conn *c, int64_t run, unsigned level, struct key_merge **ret, struct err *err)
{
    struct key_merge *m = *ret = calloc(1, sizeof(*m));

    if (m)
        m->made = calloc(1, sizeof(*m->made));
    if (!m || !m->made) {
        free(m);
        *ret = NULL;
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    }
    m->made->id = run;
    m->made->level = level;
    m->moved = true; /* what is below its floor may be there again after a rollback */
    return key_rows_floor(c, &m->floor, err);
}

void key_merge_add_run(struct key_merge *m, struct key_run *run)
{
    run->merging = true;
    m->from[m->n_from++].run = run;
}

void key_merge_add_sorted(struct key_merge *m, const struct key_entry *all, size_t n)
{
    struct source *s = &m->from[m->n_from++];

    s->all = all;
    s->n = n;
}

static int out_write(struct conn *c, struct key_space *space, struct key_merge *m, struct err *err)
{
    int rc = m->n_out ? key_chunk_append(c, space, m->made, m->out, m->n_out, err) : ERR_OK;

    m->n_out = 0;
    return rc;
}

static int row_there(struct conn *c, int64_t row, bool *ret, struct err *err)
{
    struct known_key its;
    usec expires_at;
    int rc = key_row_find(c, row, NULL, NULL, &its, &expires_at, err);

    *ret = its.found;
    return rc;
}

/** Keeps an entry. Of those with one hash, which are as a rule one key that was forgotten and came again, only what is there: however often
 * it came, a run has it once. */
static int keep(struct conn *c, struct key_space *space, struct key_merge *m, const struct key_entry *e,
                struct err *err)
{
    bool again = m->any && m->last == e->hash, there = true;
    int rc = ERR_OK;

    if (again && !m->last_looked) {
        rc = row_there(c, m->out[m->n_out - 1].row, &there, err);
        m->n_out -= !there;
        m->last_looked = true;
    }
    if (rc == ERR_OK && again)
        rc = row_there(c, e->row, &there, err);
    if (rc == ERR_OK && there && m->n_out == KEY_CHUNK)
        rc = out_write(c, space, m, err);
    if (rc != ERR_OK || !there)
        return rc;
    m->out[m->n_out++] = *e;
    m->last = e->hash;
    m->last_looked = again;
    m->any = true;
    return ERR_OK;
}

/** *ret NULL: there is no more. */
static int source_head(struct conn *c, struct source *s, const struct key_entry **ret, struct err *err)
{
    *ret = NULL;
    if (s->at == s->n && s->run && s->next_chunk < s->run->n_chunks) {
        int rc = key_chunk_read(c, s->run->chunks[s->next_chunk].row, s->loaded, &s->n, err);
        if (rc != ERR_OK)
            return rc;
        s->next_chunk++;
        s->all = s->loaded;
        s->at = 0;
    }
    if (s->at < s->n)
        *ret = &s->all[s->at];
    return ERR_OK;
}

static bool below(const struct key_entry *a, const struct key_entry *b)
{
    return a->hash < b->hash || (a->hash == b->hash && a->row < b->row);
}

/** The lowest of the sources' heads; NULL: all are at their end. */
static int lowest(struct conn *c, struct key_merge *m, struct source **ret, struct err *err)
{
    const struct key_entry *least = NULL, *e;

    *ret = NULL;
    for (unsigned i = 0; i < m->n_from; i++) {
        int rc = source_head(c, &m->from[i], &e, err);
        if (rc != ERR_OK)
            return rc;
        if (e && (!least || below(e, least))) {
            least = e;
            *ret = &m->from[i];
        }
    }
    return ERR_OK;
}

int key_run_remove(struct conn *c, struct key_run *run, struct err *err)
{
    run->going = true;
    return q_run(c, NULL, err, "DELETE FROM key_runs WHERE run = ?1", "i", run->id);
}

/** The merged run takes its sources' place. */
static int merge_end(struct conn *c, struct key_space *space, struct key_merge *m, struct err *err)
{
    const struct key_run *made = m->made;
    int rc = out_write(c, space, m, err);

    if (rc == ERR_OK && made->n_chunks)
        rc = q_run(c, NULL, err, "INSERT INTO key_runs (run, level, chunks, entries, top) VALUES (?1, ?2, ?3, ?4, ?5)",
                   "iiiii", made->id, (int64_t)made->level, (int64_t)made->n_chunks, made->entries, made->top);
    for (unsigned i = 0; rc == ERR_OK && i < m->n_from; i++)
        if (m->from[i].run)
            rc = key_run_remove(c, m->from[i].run, err);
    m->done = true;
    return rc;
}

int key_merge_move(struct conn *c, struct key_space *space, struct key_merge *m, size_t entries, struct err *err)
{
    struct source *s;
    int rc = ERR_OK;

    if (entries)
        m->moved = true;
    for (; rc == ERR_OK && !m->done && entries > 0; entries--) {
        if ((rc = lowest(c, m, &s, err)) != ERR_OK)
            break;
        if (!s)
            return merge_end(c, space, m, err);
        const struct key_entry *e = &s->all[s->at++];
        if (e->row >= m->floor)
            rc = keep(c, space, m, e, err);
    }
    return rc;
}

size_t key_merge_moved(const struct key_merge *m)
{
    return m->from[0].at;
}

bool key_merge_done(const struct key_merge *m)
{
    return m->done;
}

int64_t key_merge_floor(const struct key_merge *m)
{
    return m->floor;
}

bool key_merge_settle(struct key_merge *m, bool committed)
{
    bool over = m->moved && (m->done || !committed);

    m->moved = false;
    for (unsigned i = 0; over && i < m->n_from; i++)
        if (m->from[i].run)
            m->from[i].run->merging = false;
    return over;
}

struct key_run *key_merge_free(struct key_merge *m)
{
    struct key_run *made = m ? m->made : NULL;

    free(m);
    return made;
}
