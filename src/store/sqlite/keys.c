/* The keys of submissions, each remembered for its window. Clients choose them, at random mostly: an index kept in their order would have
 * each submission read and write a page of its own, and that cost grows with the number of keys. So rows lie in the order they came, and the
 * index (by hash) takes them in large sorted portions, a little with every batch that brings new ones. What it does not have yet is known in
 * memory: first `fresh`, then, sorted, `merging`. A start reads those rows again.
 *
 * Most keys are new, and to look for a new one in a large index would read a page of it: a filter (a Bloom filter in blocks of a cache
 * line) knows nearly all that are not there. Keys that went stay in it until their share of it is made anew. */
#include "store/sqlite/inserts.h"

#define PORTION  49152u  /* keys that are merged in one go, at least, */
#define MOST     262144u /* and at most */
#define PART     16 /* of those that are indexed: then each page that a portion changes takes some ten of its keys */
#define ROOM     (MOST / 3 * 4) /* a portion is merged twice as fast as keys come, so the next one is never that long */
#define SLOTS    (4 * MOST)     /* a power of two */
#define PACE     2
#define INDEXED  "keys_indexed"
#define SHARES   64u    /* of the filter, by the hash's highest bits: a range of the index each */
#define BLOCKS   2048u  /* of 64 bytes, a share */
#define KEYS_MAX 105000 /* in a share, unless there are more: ten bits a key, and one look of a hundred in vain */
#define DRAWERS  32768u /* of a sorted portion, by the hash's highest bits: a few keys each */

struct key_entry {
    int64_t hash, row;
};

/* In the order they came, with a table of places. */
struct key_set {
    struct key_entry *all;
    uint32_t *slots; /* place in `all` + 1, by hash; linear probing; all are 0 while the set is empty */
    size_t mask;     /* of the slots that are used */
    size_t n;
};

/* Sorted by hash. */
struct portion {
    struct key_entry *all;
    uint32_t drawer[DRAWERS + 1]; /* where each begins in `all`, and the last ends */
    size_t n;
};

struct filter {
    uint64_t bits[SHARES][BLOCKS][8];
    int64_t added[SHARES], most[SHARES]; /* since it was made; when it is made anew */
};

struct keys {
    struct filter *filter; /* of what is indexed */
    struct key_set fresh;
    struct portion merging;
    size_t portion;   /* so many fresh ones are the next */
    size_t committed; /* of fresh */
    size_t merged;    /* of merging, as committed */
    size_t until;     /* of merging, in the batch at work */
    int64_t next_row; /* none is given twice while an entry may name it */
    uint64_t made;    /* shares of the filter that the batch at work made anew, a bit each */
    int64_t gone;     /* the highest row that was forgotten: of those up to here some may not be there */
};

/* --- in memory --- */

static int sets_init(struct keys *k, struct err *err)
{
    k->fresh.all = calloc(ROOM, sizeof(*k->fresh.all));
    k->fresh.slots = calloc(SLOTS, sizeof(*k->fresh.slots));
    k->merging.all = calloc(ROOM, sizeof(*k->merging.all));
    return k->fresh.all && k->fresh.slots && k->merging.all ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "keys");
}

static size_t slot_of(const struct key_set *set, int64_t hash)
{
    return (size_t)hash & set->mask;
}

static void set_add(struct key_set *set, struct key_entry entry)
{
    size_t i = slot_of(set, entry.hash);

    while (set->slots[i])
        i = (i + 1) & set->mask;
    set->all[set->n++] = entry;
    set->slots[i] = (uint32_t)set->n;
}

/** Takes the latest away: no other was placed behind one of them since. */
static void set_cut(struct key_set *set, size_t n)
{
    while (set->n > n) {
        size_t i = slot_of(set, set->all[set->n - 1].hash);
        while (set->slots[i] != set->n)
            i = (i + 1) & set->mask;
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
    for (size_t i = slot_of(set, hash) + *at; set->slots[i & set->mask]; i++) {
        const struct key_entry *e = &set->all[set->slots[i & set->mask] - 1];
        ++*at;
        if (e->hash == hash)
            return e;
    }
    return NULL;
}

/** In the order of hashes, as numbers with a sign. */
static size_t drawer_of(int64_t hash)
{
    return (size_t)(((uint64_t)hash ^ UINT64_C(1) << 63) >> 49);
}

/** The first that is not below. */
static size_t portion_from(const struct portion *p, int64_t hash)
{
    size_t low = p->drawer[drawer_of(hash)], high = p->drawer[drawer_of(hash) + 1];

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->all[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/** Hashes are even: what is put into drawers is nearly sorted. */
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
}

/** How long the next portion is, and how many slots its keys have: twice as many as may come until it is taken. */
static void fresh_begin(struct keys *k)
{
    int64_t indexed = 0;

    for (unsigned i = 0; i < SHARES; i++)
        indexed += k->filter->added[i];
    k->portion = (size_t)MIN(MAX(indexed / PART, (int64_t)PORTION), (int64_t)MOST);
    for (k->fresh.mask = 1; k->fresh.mask < 2 * MAX(k->portion, k->merging.n);)
        k->fresh.mask *= 2;
    k->fresh.mask--;
}

/** The keys that came are the next portion. */
static void portion_take(struct keys *k)
{
    portion_fill(&k->merging, k->fresh.all, k->fresh.n);
    memset(k->fresh.slots, 0, (k->fresh.mask + 1) * sizeof(k->fresh.slots[0]));
    k->fresh.n = 0;
    k->committed = k->merged = k->until = 0;
    fresh_begin(k);
}

/* --- the filter --- */

static unsigned share_of(int64_t hash)
{
    return (unsigned)((uint64_t)hash >> 58);
}

/** Looks at four bits of the hash's block, or sets them. @return whether all of them were set */
static bool filter_bits(struct filter *f, int64_t hash, bool set)
{
    uint64_t h = (uint64_t)hash, *block = f->bits[share_of(hash)][(h >> 40) % BLOCKS];
    bool all = true;

    for (int i = 0; i < 4; i++, h >>= 9) {
        uint64_t bit = UINT64_C(1) << (h & 63);
        all = all && (block[(h >> 6) & 7] & bit);
        if (set)
            block[(h >> 6) & 7] |= bit;
    }
    return all;
}

static void filter_add(struct filter *f, int64_t hash)
{
    filter_bits(f, hash, true);
    f->added[share_of(hash)]++;
}

/** Makes a share anew, from the index as the batch at work sees it. */
static int share_make(struct sqlite_store *s, unsigned share, struct err *err)
{
    struct filter *f = s->keys->filter;
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int64_t from = (int64_t)((uint64_t)share << 58);
    int rc = q_open(&s->w.conn, &st, err, "SELECT hash FROM dedup_index WHERE hash BETWEEN ?1 AND ?2", "ii", from,
                    from + ((INT64_C(1) << 58) - 1));

    if (f->most[share]) /* else it is empty, and its memory was not touched */
        memset(f->bits[share], 0, sizeof(f->bits[share]));
    f->added[share] = 0;
    while (rc == ERR_OK && (rc = q_step(&s->w.conn, st, &more, err)) == ERR_OK && more)
        filter_add(f, col_int(st, 0));
    f->most[share] = MAX((int64_t)KEYS_MAX, 2 * f->added[share]);
    s->keys->made |= UINT64_C(1) << share;
    return rc;
}

/** After a rollback the index has again what those shares do not know: all may be there. */
static void shares_doubt(struct keys *k)
{
    for (unsigned i = 0; i < SHARES; i++)
        if (k->made >> i & 1)
            memset(k->filter->bits[i], 0xff, sizeof(k->filter->bits[i]));
}

/* --- finding and adding --- */

static int row_forget(struct tx *t, int64_t hash, int64_t row)
{
    sqlite_of(t->s)->keys->gone =
        MAX(sqlite_of(t->s)->keys->gone, row); /* also when it is taken back: a look too many */
    int rc = q_run(t->c, NULL, t->err, "DELETE FROM dedup WHERE rowid = ?1", "i", row);

    return rc == ERR_OK
               ? q_run(t->c, NULL, t->err, "DELETE FROM dedup_index WHERE hash = ?1 AND row = ?2", "ii", hash, row)
               : rc;
}

/** Is that row the key's? One whose window is over gives way. */
static int row_look(struct tx *t, int64_t hash, int64_t row, const char *key, struct known_key *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool its = false;
    int rc = inserts_hold_key(sqlite_of(t->s), row) ? inserts_flush(sqlite_of(t->s), t->err) : ERR_OK;

    if (rc == ERR_OK)
        rc = q_open(t->c, &st, t->err,
                    "SELECT job_id, request_hash, content_hash, expires_at FROM dedup"
                    " WHERE rowid = ?1 AND key = ?2 AND project = ?3",
                    "itt", row, key, t->op->project);

    if (rc == ERR_OK)
        rc = q_step(t->c, st, &its, t->err);
    if (rc != ERR_OK || !its)
        return rc;
    if (col_int(st, 3) <= t->now) {
        q_close(st);
        st = NULL;
        return row_forget(t, hash, row);
    }
    ret->found = true;
    ret->job_id = col_uuid(st, 0);
    col_hash(st, 1, ret->request_hash);
    col_hash(st, 2, ret->content_hash);
    return ERR_OK;
}

/** The next row that the index names for a hash, above `after`; 0 none. */
static int indexed_next(struct tx *t, int64_t hash, int64_t after, int64_t *ret)
{
    return q_int(t->c, 0, ret, t->err, "SELECT row FROM dedup_index WHERE hash = ?1 AND row > ?2 ORDER BY row LIMIT 1",
                 "ii", hash, after);
}

int sqlite_key_find(struct tx *t, const char *key, struct known_key *ret)
{
    const struct keys *k = sqlite_of(t->s)->keys;
    const struct key_entry *e;
    const struct submit_hashes *made = &t->op->u.submit.hashes;
    int64_t hash = made->made ? made->key : key_hash(t->op->project, key), row = 0;
    size_t at = 0;
    int rc = ERR_OK;

    *ret = (struct known_key){.hash = hash};
    while (rc == ERR_OK && !ret->found && (e = fresh_next(&k->fresh, hash, &at)))
        rc = row_look(t, hash, e->row, key, ret);
    for (size_t i = portion_from(&k->merging, hash);
         rc == ERR_OK && !ret->found && i < k->merging.n && k->merging.all[i].hash == hash; i++)
        rc = row_look(t, hash, k->merging.all[i].row, key, ret);
    if (!filter_bits(k->filter, hash, false))
        return rc;
    while (rc == ERR_OK && !ret->found && (rc = indexed_next(t, hash, row, &row)) == ERR_OK && row)
        rc = row_look(t, hash, row, key, ret);
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

/* --- forgetting. What is only in memory yet is left there: a row that is gone is not merged --- */

static int forget_if(struct tx *t, int64_t hash, int64_t row, const struct uuid *job_id)
{
    int64_t its = 0;
    int rc = q_int(t->c, 0, &its, t->err, "SELECT 1 FROM dedup WHERE rowid = ?1 AND job_id = ?2", "iu", row, job_id);

    return rc == ERR_OK && its ? row_forget(t, hash, row) : rc;
}

int sqlite_key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id)
{
    const struct keys *k = sqlite_of(t->s)->keys;
    const struct key_entry *e;
    int64_t hash = key_hash(project, key), row = 0;
    size_t at = 0;
    int rc = ERR_OK;

    while (rc == ERR_OK && (e = fresh_next(&k->fresh, hash, &at)))
        rc = forget_if(t, hash, e->row, job_id);
    for (size_t i = portion_from(&k->merging, hash); rc == ERR_OK && i < k->merging.n && k->merging.all[i].hash == hash;
         i++)
        rc = forget_if(t, hash, k->merging.all[i].row, job_id);
    while (rc == ERR_OK && (rc = indexed_next(t, hash, row, &row)) == ERR_OK && row)
        rc = forget_if(t, hash, row, job_id);
    return rc;
}

/** From the head: rows lie in the order they came, which is that of their windows' ends. (Where the window was made shorter, those that came
 * after wait for those before; row_look takes none of them for known.) */
int sqlite_keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next)
{
    struct key_entry gone[OP_CHANGES_MAX];
    size_t n = 0;
    bool more;
    struct query *st = NULL;
    int rc = q_open(t->c, &st, t->err, "SELECT rowid, project, key, expires_at FROM dedup ORDER BY rowid LIMIT ?1", "i",
                    limit + 1);

    *ret_next = USEC_NEVER;
    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more) {
        const char *project = col_borrow(st, 1), *key = col_borrow(st, 2);
        if (!project || !key) {
            rc = err_set(t->err, ERR_NO_MEMORY, 0, "keys");
            break;
        }
        *ret_next = col_int(st, 3);
        if (*ret_next > t->now || n == (size_t)limit)
            break;
        *ret_next = USEC_NEVER;
        gone[n++] = (struct key_entry){key_hash(project, key), col_int(st, 0)};
    }
    q_close(st); /* before its table changes */
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = row_forget(t, gone[i].hash, gone[i].row);
    *ret_n = n;
    return rc;
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

/* OR IGNORE: a portion that a stop cut short is merged again. */
#define INDEX_ROW    "(?,?)"
#define INDEX_INTO   "INSERT OR IGNORE INTO dedup_index (hash, row) VALUES "
#define THERE_BEFORE "INSERT OR IGNORE INTO dedup_index (hash, row) SELECT column1, column2 FROM (VALUES "
#define THERE_AFTER  ") WHERE EXISTS (SELECT 1 FROM dedup WHERE rowid = column2)"

static int index_bind(struct query *st, size_t i, const void *row, struct err *err)
{
    const struct key_entry *e = row;

    return q_bind(st, (int)(2 * i), err, "ii", e->hash, e->row);
}

/** @param n  0..SQL_MANY */
static int index_add(struct sqlite_store *s, const struct key_entry *e, size_t n, struct err *err)
{
    static const struct sql_rows all = SQL_ROWS(INDEX_INTO, INDEX_ROW, index_bind),
                                 there = SQL_ROWS_OF(THERE_BEFORE, INDEX_ROW, INDEX_ROW, THERE_AFTER, index_bind);
    struct filter *f = s->keys->filter;
    const void *rows[SQL_MANY];
    bool look = false; /* a row of the table for each: a page's read, as a rule in vain */

    for (size_t i = 0; i < n; i++) {
        rows[i] = &e[i];
        look = look || e[i].row <= s->keys->gone;
    }
    int rc = q_rows(&s->w.conn, look ? &there : &all, rows, n, err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        unsigned share = share_of(e[i].hash);

        filter_add(f, e[i].hash); /* should the batch roll back, one key too many is in it */
        if (f->added[share] > f->most[share])
            rc = share_make(s, share, err);
    }
    return rc;
}

/** Merges on, up to `until`; at the end of a portion it is noted how far the rows are indexed. */
static int merge(struct sqlite_store *s, size_t until, struct err *err)
{
    struct keys *k = s->keys;
    const struct portion *m = &k->merging;
    int64_t last = 0;
    char text[32];
    int rc = ERR_OK;

    for (size_t n, i = k->merged; rc == ERR_OK && i < until; i += n) {
        n = MIN(until - i, SQL_MANY);
        rc = index_add(s, &m->all[i], n, err);
    }
    k->until = rc == ERR_OK ? until : k->merged;
    if (rc != ERR_OK || k->until < m->n || m->n == 0)
        return rc;
    for (size_t i = 0; i < m->n; i++)
        last = MAX(last, m->all[i].row);
    snprintf(text, sizeof(text), "%lld", (long long)last);
    return meta_put(&s->w.conn, INDEXED, text, err);
}

int keys_save(struct sqlite_store *s, struct err *err)
{
    const struct keys *k = s->keys;
    size_t came = k->fresh.n - k->committed;

    if (came == 0 || k->merging.n == 0)
        return ERR_OK;
    return merge(s, MIN(k->merging.n, k->merged + PACE * came), err);
}

void keys_settle(struct sqlite_store *s, bool committed)
{
    struct keys *k = s->keys;

    if (!committed)
        shares_doubt(k);
    k->made = 0;
    if (!committed) {
        set_cut(&k->fresh, k->committed);
        k->until = k->merged;
        return;
    }
    k->committed = k->fresh.n;
    k->merged = k->until;
    if (k->merged == k->merging.n)
        k->merging.n = k->merged = k->until = 0;
    if (k->merging.n == 0 && k->fresh.n >= k->portion)
        portion_take(k);
}

/* --- at the start --- */

static int rows_read(struct sqlite_store *s, int64_t after, int64_t *ret_last, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc =
        q_open(&s->w.conn, &st, err, "SELECT rowid, project, key FROM dedup WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
               "ii", after, (int64_t)s->keys->portion);

    while (rc == ERR_OK && (rc = q_step(&s->w.conn, st, &more, err)) == ERR_OK && more) {
        const char *project = col_borrow(st, 1), *key = col_borrow(st, 2);
        if (!project || !key)
            return err_set(err, ERR_NO_MEMORY, 0, "keys");
        *ret_last = col_int(st, 0);
        set_add(&s->keys->fresh, (struct key_entry){key_hash(project, key), *ret_last});
    }
    return rc;
}

/** A whole portion in a transaction of its own. */
static int portion_merge(struct sqlite_store *s, struct err *err)
{
    int rc = conn_exec(&s->w, "BEGIN IMMEDIATE", err);

    portion_take(s->keys);
    if (rc == ERR_OK)
        rc = merge(s, s->keys->merging.n, err);
    if (rc == ERR_OK)
        rc = conn_exec(&s->w, "COMMIT", err);
    keys_settle(s, true); /* should it have failed there is no store */
    if (rc == ERR_OK)     /* many portions must not make a long log */
        sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return rc;
}

int keys_load(struct sqlite_store *s, struct err *err)
{
    int64_t last = 0, top = 0;
    int rc;

    if (!(s->keys = calloc(1, sizeof(*s->keys))))
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    rc = sets_init(s->keys, err);
    if (rc == ERR_OK && !(s->keys->filter = calloc(1, sizeof(*s->keys->filter))))
        rc = err_set(err, ERR_NO_MEMORY, 0, "keys");
    for (unsigned i = 0; rc == ERR_OK && i < SHARES; i++)
        rc = share_make(s, i, err);
    if (rc == ERR_OK) {
        fresh_begin(s->keys);
        rc = meta_int(&s->w.conn, INDEXED, &last, err);
    }
    while (rc == ERR_OK && (rc = rows_read(s, last, &last, err)) == ERR_OK && s->keys->fresh.n == s->keys->portion)
        rc = portion_merge(s, err);
    if (rc == ERR_OK)
        rc = q_int(&s->w.conn, 0, &top, err, "SELECT max(rowid) FROM dedup", "");
    s->keys->next_row = MAX(top, last) + 1;
    s->keys->committed = s->keys->fresh.n;
    return rc;
}

void keys_free(struct sqlite_store *s)
{
    if (!s->keys)
        return;
    free(s->keys->filter);
    free(s->keys->fresh.all);
    free(s->keys->fresh.slots);
    free(s->keys->merging.all);
    free(s->keys);
}
