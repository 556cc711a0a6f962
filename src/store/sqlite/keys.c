/* The keys of submissions, each remembered for its window. Clients choose them, at random mostly: an index kept in their order would have
 * each submission read and write a page of its own, and that cost grows with the number of keys. So keys lie in the order they came
 * (key_rows.c), and the index (by hash: key_runs.c) takes them in sorted portions, a little with every batch that brings new ones. What it
 * does not have yet is known in memory: first `fresh`, then, sorted, `merging`. A start reads those again. Most keys are new, and a filter
 * (key_filter.c) knows nearly all that are not in the index. */
#include "store/sqlite/inserts.h"
#include "store/sqlite/key_filter.h"
#include "store/sqlite/key_rows.h"
#include "store/sqlite/key_runs.h"
#include <stdlib.h>

#define PORTION 49152u            /* keys that become a run in one go */
#define ROOM    (PORTION / 3 * 4) /* a portion is written twice as fast as keys come, so the next one is never that long */
#define SLOTS   (4 * PORTION / 3 * 2) /* a power of two */
#define PACE    2
#define INDEXED "keys_indexed"
#define DRAWERS 16384u /* of a sorted portion, by the hash's highest bits: a few keys each */

/* In the order they came, with a table of places. */
struct key_set {
    struct key_entry *all;
    uint32_t *slots; /* place in `all` + 1, by hash; linear probing; all are 0 while the set is empty */
    size_t n;
};

/* Sorted by hash. */
struct portion {
    struct key_entry *all;
    uint32_t drawer[DRAWERS + 1]; /* where each begins in `all`, and the last ends */
    size_t n;
    int64_t top; /* the highest row */
};

struct keys {
    struct key_filter *filter; /* of what is indexed */
    struct key_runs *runs;     /* the index */
    struct key_set fresh;
    struct portion merging;
    size_t filtered;  /* so many of merging are in the filter */
    size_t committed; /* of fresh */
    bool written;     /* the batch at work made merging a run */
    int64_t next_row; /* none is given twice while an entry may name it */
};

/* --- in memory --- */

static size_t slot_of(int64_t hash)
{
    return (size_t)hash & (SLOTS - 1);
}

static void set_add(struct key_set *set, struct key_entry entry)
{
    size_t i = slot_of(entry.hash);

    while (set->slots[i])
        i = (i + 1) & (SLOTS - 1);
    set->all[set->n++] = entry;
    set->slots[i] = (uint32_t)set->n;
}

/** Takes the latest away: no other was placed behind one of them since. */
static void set_cut(struct key_set *set, size_t n)
{
    while (set->n > n) {
        size_t i = slot_of(set->all[set->n - 1].hash);
        while (set->slots[i] != set->n)
            i = (i + 1) & (SLOTS - 1);
        set->slots[i] = 0;
        set->n--;
    }
}

static int by_hash(const void *a, const void *b)
{
    const struct key_entry *x = a, *y = b;

    return (x->hash > y->hash) - (x->hash < y->hash);
}

/** The next of that hash in a set in the order of coming. `*at` begins at 0. */
static const struct key_entry *fresh_next(const struct key_set *set, int64_t hash, size_t *at)
{
    for (size_t i = slot_of(hash) + *at; set->slots[i & (SLOTS - 1)]; i++) {
        const struct key_entry *e = &set->all[set->slots[i & (SLOTS - 1)] - 1];
        ++*at;
        if (e->hash == hash)
            return e;
    }
    return NULL;
}

/** In the order of hashes, as numbers with a sign. */
static size_t drawer_of(int64_t hash)
{
    return (size_t)(((uint64_t)hash ^ UINT64_C(1) << 63) >> 50);
}

/** The first that is not below. */
static size_t portion_from(const struct portion *p, int64_t hash)
{
    size_t d = drawer_of(hash);

    return key_entries_from(p->all, p->drawer[d], p->drawer[d + 1], hash);
}

/** Hashes are even: what is put into drawers is nearly sorted.
 * @param from  n entries (1..ROOM) in the order they came, which is that of their rows */
static void portion_fill(struct portion *p, const struct key_entry *from, size_t n)
{
    uint32_t *end = p->drawer; /* of each drawer, until it is filled from there to its beginning */

    memset(p->drawer, 0, sizeof(p->drawer));
    for (size_t i = 0; i < n; i++)
        end[drawer_of(from[i].hash)]++;
    for (size_t d = 1; d <= DRAWERS; d++)
        end[d] += end[d - 1];
    for (size_t i = n; i-- > 0;)
        p->all[--end[drawer_of(from[i].hash)]] = from[i];
    for (size_t d = 0; d < DRAWERS; d++)
        if (p->drawer[d + 1] - p->drawer[d] > 1)
            qsort(p->all + p->drawer[d], p->drawer[d + 1] - p->drawer[d], sizeof(*p->all), by_hash);
    p->n = n;
    p->top = from[n - 1].row;
}

/** The keys that came are the next portion. */
static void portion_take(struct keys *k)
{
    portion_fill(&k->merging, k->fresh.all, k->fresh.n);
    key_runs_take(k->runs, k->merging.all, k->merging.n);
    memset(k->fresh.slots, 0, SLOTS * sizeof(k->fresh.slots[0]));
    k->fresh.n = k->committed = 0;
}

/* --- the filter --- */

static void filter_each(void *arg, const struct key_entry *e)
{
    key_filter_add(arg, e->hash);
}

/** What is in the run that is being made, and not in the filter. */
static void filter_follow(struct keys *k)
{
    for (; k->filtered < key_runs_taken(k->runs); k->filtered++)
        key_filter_add(k->filter, k->merging.all[k->filtered].hash);
}

/** Makes a share anew, between two batches. */
static int share_make(struct sqlite_store *s, unsigned share, struct err *err)
{
    struct keys *k = s->keys;
    int64_t first = key_filter_first(share), last = first + (KEY_FILTER_SPAN - 1);

    key_filter_clear(k->filter, share, key_runs_entries(k->runs) / KEY_FILTER_SHARES);
    int rc = key_runs_each(&s->w.conn, k->runs, first, last, filter_each, k->filter, err);
    if (rc != ERR_OK)
        key_filter_doubt(k->filter, share);
    for (size_t i = 0; i < k->filtered; i++)
        if (k->merging.all[i].hash >= first && k->merging.all[i].hash <= last)
            key_filter_add(k->filter, k->merging.all[i].hash);
    return rc;
}

/* --- finding and adding --- */

/** Is that row the key's? One whose window is over gives way. */
static int row_look(struct tx *t, int64_t row, const char *key, struct known_key *ret)
{
    struct known_key its = {.found = false};
    usec expires_at = 0;
    int rc = inserts_hold_key(sqlite_of(t->s), row) ? inserts_flush(sqlite_of(t->s), t->err) : ERR_OK;

    if (rc == ERR_OK)
        rc = key_row_find(t->c, row, t->op->project, key, &its, &expires_at, t->err);
    if (rc != ERR_OK || !its.found)
        return rc;
    if (expires_at <= t->now)
        return key_row_forget(t->c, row, NULL, t->err);
    its.hash = ret->hash;
    *ret = its;
    return ERR_OK;
}

int sqlite_key_find(struct tx *t, const char *key, struct known_key *ret)
{
    const struct keys *k = sqlite_of(t->s)->keys;
    const struct key_entry *e;
    struct key_walk walk = {0};
    const struct submit_hashes *made = &t->op->u.submit.hashes;
    int64_t hash = made->made ? made->key : key_hash(t->op->project, key), row = 0;
    size_t at = 0;
    int rc = ERR_OK;

    *ret = (struct known_key){.hash = hash};
    while (rc == ERR_OK && !ret->found && (e = fresh_next(&k->fresh, hash, &at)))
        rc = row_look(t, e->row, key, ret);
    for (size_t i = portion_from(&k->merging, hash);
         rc == ERR_OK && !ret->found && i < k->merging.n && k->merging.all[i].hash == hash; i++)
        rc = row_look(t, k->merging.all[i].row, key, ret);
    if (!key_filter_may_hold(k->filter, hash))
        return rc;
    while (rc == ERR_OK && !ret->found && (rc = key_runs_next(t->c, k->runs, hash, &walk, &row, t->err)) == ERR_OK &&
           row)
        rc = row_look(t, row, key, ret);
    return rc;
}

int sqlite_key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at)
{
    struct keys *k = sqlite_of(t->s)->keys;
    struct key_entry entry = {what->hash, k->next_row};

    if (k->fresh.n == ROOM)
        return err_set(t->err, ERR_INTERNAL, 0, "more than %u keys wait for their index", ROOM);
    int rc = insert_key(t, entry.row, key, what, expires_at);
    if (rc != ERR_OK)
        return rc;
    k->next_row++;
    set_add(&k->fresh, entry);
    return ERR_OK;
}

/* --- forgetting. An entry of the index stays where it is: it names what is not there --- */

int sqlite_key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id)
{
    const struct keys *k = sqlite_of(t->s)->keys;
    const struct key_entry *e;
    struct key_walk walk = {0};
    int64_t hash = key_hash(project, key), row = 0;
    size_t at = 0;
    int rc = ERR_OK;

    while (rc == ERR_OK && (e = fresh_next(&k->fresh, hash, &at)))
        rc = key_row_forget(t->c, e->row, job_id, t->err);
    for (size_t i = portion_from(&k->merging, hash); rc == ERR_OK && i < k->merging.n && k->merging.all[i].hash == hash;
         i++)
        rc = key_row_forget(t->c, k->merging.all[i].row, job_id, t->err);
    if (!key_filter_may_hold(k->filter, hash))
        return rc;
    while (rc == ERR_OK && (rc = key_runs_next(t->c, k->runs, hash, &walk, &row, t->err)) == ERR_OK && row)
        rc = key_row_forget(t->c, row, job_id, t->err);
    return rc;
}

/** From the head: rows lie in the order they came, which is that of their windows' ends. (Where the window was made shorter, those that came
 * after wait for those before; row_look takes none of them for known.) */
int sqlite_keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next)
{
    return key_rows_expire(t->c, t->now, limit, ret_n, ret_next, t->err);
}

/* --- with a batch --- */

size_t keys_mark(const struct sqlite_store *s)
{
    return s->keys->fresh.n;
}

void keys_undo(struct sqlite_store *s, size_t mark)
{
    set_cut(&s->keys->fresh, mark);
}

/** Moves on so many entries of each merge. At the end of a portion it is noted how far the rows are indexed. */
static int index_advance(struct sqlite_store *s, size_t entries, struct err *err)
{
    struct keys *k = s->keys;
    char text[32];
    int rc = key_runs_advance(&s->w.conn, k->runs, entries, &k->written, err);

    filter_follow(k); /* should the batch roll back, some keys too many are in it */
    if (rc != ERR_OK || !k->written)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)k->merging.top);
    return meta_put(&s->w.conn, INDEXED, text, err);
}

int keys_save(struct sqlite_store *s, struct err *err)
{
    struct keys *k = s->keys;
    size_t came = k->fresh.n - k->committed;

    return came && key_runs_busy(k->runs) ? index_advance(s, PACE * came, err) : ERR_OK;
}

void keys_settle(struct sqlite_store *s, bool committed)
{
    struct keys *k = s->keys;
    int full;

    key_runs_settle(k->runs, committed);
    if (!committed) {
        set_cut(&k->fresh, k->committed);
        k->written = false;
        return;
    }
    k->committed = k->fresh.n;
    if (k->written)
        k->merging.n = k->filtered = 0;
    k->written = false;
    if (k->merging.n == 0 && k->fresh.n >= PORTION)
        portion_take(k);
    if ((full = key_filter_full(k->filter)) >= 0)
        share_make(s, (unsigned)full, NULL); /* should that fail, it has looks made in vain */
}

/* --- at the start --- */

static int key_read(void *arg, const struct packed_key *key, struct err *err)
{
    struct key_set *set = arg;
    char text[JOB_KEY_MAX + 1];

    memcpy(text, key->key, key->n_key);
    text[key->n_key] = '\0';
    set_add(set, (struct key_entry){key_hash(key->project, text), key->row});
    return ERR_OK;
}

static int rows_read(struct sqlite_store *s, int64_t after, int64_t *ret_last, struct err *err)
{
    struct key_set *fresh = &s->keys->fresh;
    int rc = key_rows_each(&s->w.conn, after, PORTION, key_read, fresh, err);

    if (fresh->n)
        *ret_last = fresh->all[fresh->n - 1].row;
    return rc;
}

/** All that is to be moved, in a transaction of its own. */
static int index_all(struct sqlite_store *s, struct err *err)
{
    int rc = conn_exec(&s->w, "BEGIN IMMEDIATE", err);

    if (rc == ERR_OK)
        rc = index_advance(s, SIZE_MAX, err);
    if (rc == ERR_OK)
        rc = conn_exec(&s->w, "COMMIT", err);
    if (rc != ERR_OK) /* there is no store */
        return rc;
    keys_settle(s, true);
    /* many portions must not make a long log */
    sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return ERR_OK;
}

/** What is full portions of rows that are not indexed. The rest stays in memory. */
static int rows_index(struct sqlite_store *s, int64_t *last, struct err *err)
{
    struct keys *k = s->keys;
    int rc;

    while ((rc = rows_read(s, *last, last, err)) == ERR_OK && k->fresh.n == PORTION) {
        portion_take(k);
        while (rc == ERR_OK && key_runs_busy(k->runs))
            rc = index_all(s, err);
        if (rc != ERR_OK)
            return rc;
    }
    k->committed = k->fresh.n;
    return rc;
}

static int keys_new(struct sqlite_store *s, struct err *err)
{
    struct keys *k = s->keys = calloc(1, sizeof(*s->keys));

    if (!k)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    k->filter = key_filter_new();
    k->fresh.all = calloc(ROOM, sizeof(*k->fresh.all));
    k->fresh.slots = calloc(SLOTS, sizeof(*k->fresh.slots));
    k->merging.all = calloc(ROOM, sizeof(*k->merging.all));
    return k->filter && k->fresh.all && k->fresh.slots && k->merging.all ? ERR_OK
                                                                         : err_set(err, ERR_NO_MEMORY, 0, "keys");
}

int keys_load(struct sqlite_store *s, struct err *err)
{
    int64_t last = 0, top = 0;
    int rc = keys_new(s, err);

    if (rc == ERR_OK)
        rc = key_runs_load(&s->w.conn, &s->keys->runs, err);
    for (unsigned i = 0; rc == ERR_OK && i < KEY_FILTER_SHARES; i++)
        rc = share_make(s, i, err);
    if (rc == ERR_OK)
        rc = meta_int(&s->w.conn, INDEXED, &last, err);
    if (rc == ERR_OK)
        rc = rows_index(s, &last, err);
    if (rc == ERR_OK)
        rc = key_rows_top(&s->w.conn, &top, err);
    if (rc == ERR_OK)
        s->keys->next_row = MAX(top, last) + 1;
    return rc;
}

void keys_free(struct sqlite_store *s)
{
    if (!s->keys)
        return;
    key_filter_free(s->keys->filter);
    key_runs_free(s->keys->runs);
    free(s->keys->fresh.all);
    free(s->keys->fresh.slots);
    free(s->keys->merging.all);
    free(s->keys);
}
