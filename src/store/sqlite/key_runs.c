#include "store/sqlite/key_runs.h"
#include <endian.h>
#include <stdlib.h>

#define FAN        4u   /* runs of a level that become one of the next */
#define LEVELS_MAX 16u  /* of 49,152 keys and more at the lowest: more than there will be */
#define CHUNK      252u /* entries: what fits a page of 4 KiB, in a row, exactly */

struct chunk {
    int64_t first; /* its lowest hash */
    int64_t id;
};

struct key_run {
    struct key_run *next;
    int64_t id, entries, top; /* the highest row */
    unsigned level;
    struct chunk *chunks;
    size_t n_chunks, room;
    bool merging; /* it is a merge's source */
    bool going;   /* the batch at work removed it */
};

/** What a merge takes from: a run, a chunk of it at a time, or the portion. */
struct source {
    struct key_run *run; /* NULL: the portion */
    size_t next_chunk;
    const struct key_entry *all;
    size_t n, at;
    struct key_entry loaded[CHUNK];
};

struct merge {
    struct key_run *made;
    struct source from[FAN];
    unsigned n_from;
    int64_t floor; /* rows below are gone */
    struct key_entry out[CHUNK];
    size_t n_out;
    bool last_looked; /* the last entry's row is known to be there, or the entry was left out for that */
    int64_t last;     /* its hash */
    bool any;
    bool moved, done; /* by the batch at work */
};

struct key_runs {
    struct key_run *whole; /* newest first */
    struct key_run *spent; /* whose chunks may be written over */
    const struct key_entry *portion;
    size_t n_portion;
    struct merge *merges[LEVELS_MAX]; /* by the level of what they make; NULL none */
    int64_t next_run, next_chunk;
    struct key_entry looked[CHUNK]; /* the chunk that a look read last, since anything was moved */
    int64_t looked_id;              /* 0 none */
    size_t n_looked;
};

static void run_free(struct key_run *run)
{
    if (run)
        free(run->chunks);
    free(run);
}

static void runs_free(struct key_run *list)
{
    while (list) {
        struct key_run *next = list->next;
        run_free(list);
        list = next;
    }
}

/* --- chunks --- */

static int damaged(struct err *err)
{
    return err_set(err, ERR_CORRUPT, 0, "the index of keys (key_chunks) is damaged");
}

static int chunk_read(struct conn *c, int64_t id, struct key_entry *ret, size_t *ret_n, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    size_t size = 0;
    const void *bytes = NULL;
    int rc = q_open(c, &st, err, "SELECT entries FROM key_chunks WHERE chunk = ?1", "i", id);

    if (rc == ERR_OK)
        rc = q_step(c, st, &row, err);
    if (rc != ERR_OK)
        return rc;
    if (row)
        bytes = col_bytes(st, 0, &size);
    if (!bytes || size == 0 || size % sizeof(*ret) || size > CHUNK * sizeof(*ret))
        return damaged(err);
    memcpy(ret, bytes, size);
    *ret_n = size / sizeof(*ret);
    for (size_t i = 0; i < *ret_n; i++)
        ret[i] = (struct key_entry){(int64_t)le64toh((uint64_t)ret[i].hash), (int64_t)le64toh((uint64_t)ret[i].row)};
    return ERR_OK;
}

static int64_t chunk_id(struct key_runs *r)
{
    struct key_run *spent = r->spent;

    if (!spent)
        return r->next_chunk++;
    int64_t id = spent->chunks[--spent->n_chunks].id;
    if (spent->n_chunks == 0) {
        r->spent = spent->next;
        run_free(spent);
    }
    return id;
}

static void run_spend(struct key_runs *r, struct key_run *run)
{
    if (run->n_chunks == 0) {
        run_free(run);
        return;
    }
    run->next = r->spent;
    r->spent = run;
}

static int room_make(struct key_run *run, struct err *err)
{
    size_t room = MAX(2 * run->room, (size_t)64);
    struct chunk *larger = realloc(run->chunks, room * sizeof(*larger));

    if (!larger)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    run->chunks = larger;
    run->room = room;
    return ERR_OK;
}

static int chunk_write(struct conn *c, struct key_runs *r, struct merge *m, struct err *err)
{
    struct key_run *run = m->made;
    struct key_entry le[CHUNK];

    if (m->n_out == 0)
        return ERR_OK;
    if (run->n_chunks == run->room && room_make(run, err) != ERR_OK)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < m->n_out; i++) {
        le[i] =
            (struct key_entry){(int64_t)htole64((uint64_t)m->out[i].hash), (int64_t)htole64((uint64_t)m->out[i].row)};
        run->top = MAX(run->top, m->out[i].row);
    }
    const struct chunk chunk = {m->out[0].hash, chunk_id(r)};
    int64_t nth = (int64_t)run->n_chunks;
    run->chunks[run->n_chunks++] = chunk;
    run->entries += (int64_t)m->n_out;
    int rc = q_run(c, NULL, err, "INSERT OR REPLACE INTO key_chunks (chunk, run, nth, entries) VALUES (?1, ?2, ?3, ?4)",
                   "iiib", chunk.id, run->id, nth, (const void *)le, m->n_out * sizeof(le[0]));
    m->n_out = 0;
    return rc;
}

/* --- looking --- */

int64_t key_runs_entries(const struct key_runs *r)
{
    int64_t n = 0;

    for (const struct key_run *run = r->whole; run; run = run->next)
        n += run->entries;
    return n;
}

/** The first chunk that may hold a hash: the last of those that begin below it. */
static size_t chunk_from(const struct key_run *run, int64_t hash)
{
    size_t low = 0, high = run->n_chunks;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (run->chunks[mid].first < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? low - 1 : 0;
}

static int chunk_look(struct conn *c, struct key_runs *r, int64_t id, struct err *err)
{
    if (r->looked_id == id)
        return ERR_OK;
    r->looked_id = 0;
    int rc = chunk_read(c, id, r->looked, &r->n_looked, err);
    if (rc == ERR_OK)
        r->looked_id = id;
    return rc;
}

/** Of the chunk that was looked at: the first entry that is not below. */
static size_t entry_from(const struct key_runs *r, int64_t hash)
{
    size_t low = 0, high = r->n_looked;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->looked[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/** The run's entry of that hash with so many before it; row 0: it has no such one. */
static int run_find(struct conn *c, struct key_runs *r, const struct key_run *run, int64_t hash, size_t before,
                    int64_t *ret_row, struct err *err)
{
    *ret_row = 0;
    for (size_t i = chunk_from(run, hash); i < run->n_chunks && run->chunks[i].first <= hash; i++) {
        int rc = chunk_look(c, r, run->chunks[i].id, err);
        if (rc != ERR_OK)
            return rc;
        for (size_t k = entry_from(r, hash); k < r->n_looked && r->looked[k].hash == hash; k++)
            if (before-- == 0) {
                *ret_row = r->looked[k].row;
                return ERR_OK;
            }
    }
    return ERR_OK;
}

int key_runs_next(struct conn *c, struct key_runs *r, int64_t hash, struct key_walk *walk, int64_t *ret_row,
                  struct err *err)
{
    int rc = ERR_OK;

    if (!walk->begun)
        *walk = (struct key_walk){.run = r->whole, .begun = true};
    *ret_row = 0;
    while (walk->run && (rc = run_find(c, r, walk->run, hash, walk->seen, ret_row, err)) == ERR_OK && !*ret_row)
        *walk = (struct key_walk){.run = walk->run->next, .begun = true};
    walk->seen++;
    return rc;
}

/** Rows below are gone. Of an empty table: all. */
static int floor_ask(struct conn *c, int64_t *ret, struct err *err)
{
    return q_int(c, INT64_MAX, ret, err, "SELECT min(rowid) FROM dedup", "");
}

int key_runs_each(struct conn *c, struct key_runs *r, int64_t from, int64_t to,
                  void (*each)(void *arg, const struct key_entry *e), void *arg, struct err *err)
{
    int64_t floor = 0;
    int rc = floor_ask(c, &floor, err);

    for (const struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        for (size_t i = chunk_from(run, from); i < run->n_chunks && run->chunks[i].first <= to; i++) {
            if ((rc = chunk_look(c, r, run->chunks[i].id, err)) != ERR_OK)
                break;
            for (size_t k = entry_from(r, from); k < r->n_looked && r->looked[k].hash <= to; k++)
                if (r->looked[k].row >= floor)
                    each(arg, &r->looked[k]);
        }
    return rc;
}

/* --- merging --- */

static int row_there(struct conn *c, int64_t row, bool *ret, struct err *err)
{
    int64_t its = 0;
    int rc = q_int(c, 0, &its, err, "SELECT 1 FROM dedup WHERE rowid = ?1", "i", row);

    *ret = its;
    return rc;
}

/** Keeps an entry. Of those with one hash, which are as a rule one key that was forgotten and came again, only what is there: however often
 * it came, a run has it once. */
static int keep(struct conn *c, struct key_runs *r, struct merge *m, const struct key_entry *e, struct err *err)
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
    if (rc == ERR_OK && there && m->n_out == CHUNK)
        rc = chunk_write(c, r, m, err);
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
        int rc = chunk_read(c, s->run->chunks[s->next_chunk].id, s->loaded, &s->n, err);
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
static int lowest(struct conn *c, struct merge *m, struct source **ret, struct err *err)
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

static int run_remove(struct conn *c, struct key_run *run, struct err *err)
{
    run->going = true;
    return q_run(c, NULL, err, "DELETE FROM key_runs WHERE run = ?1", "i", run->id);
}

/** The merged run takes its sources' place. */
static int merge_end(struct conn *c, struct key_runs *r, struct merge *m, struct err *err)
{
    const struct key_run *made = m->made;
    int rc = chunk_write(c, r, m, err);

    if (rc == ERR_OK && made->n_chunks)
        rc = q_run(c, NULL, err, "INSERT INTO key_runs (run, level, chunks, entries, top) VALUES (?1, ?2, ?3, ?4, ?5)",
                   "iiiii", made->id, (int64_t)made->level, (int64_t)made->n_chunks, made->entries, made->top);
    for (unsigned i = 0; rc == ERR_OK && i < m->n_from; i++)
        if (m->from[i].run)
            rc = run_remove(c, m->from[i].run, err);
    m->done = true;
    return rc;
}

static int merge_move(struct conn *c, struct key_runs *r, struct merge *m, size_t entries, struct err *err)
{
    struct source *s;
    int rc = ERR_OK;

    if (entries)
        m->moved = true;
    for (; rc == ERR_OK && !m->done && entries > 0; entries--) {
        if ((rc = lowest(c, m, &s, err)) != ERR_OK)
            break;
        if (!s)
            return merge_end(c, r, m, err);
        const struct key_entry *e = &s->all[s->at++];
        if (e->row >= m->floor)
            rc = keep(c, r, m, e, err);
    }
    return rc;
}

static int merge_begin(struct conn *c, struct key_runs *r, unsigned level, struct merge **ret, struct err *err)
{
    struct merge *m = calloc(1, sizeof(*m));

    if (m)
        m->made = calloc(1, sizeof(*m->made));
    if (!m || !m->made) {
        free(m);
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    }
    m->made->id = r->next_run++;
    m->made->level = level;
    m->moved = true; /* what is below its floor may be there again after a rollback */
    r->merges[level] = *ret = m;
    return floor_ask(c, &m->floor, err);
}

/** Runs of which no row is there are gone with the batch. */
static int dead_remove(struct conn *c, struct key_runs *r, int64_t floor, struct err *err)
{
    int rc = ERR_OK;

    for (struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        if (!run->merging && run->top < floor)
            rc = run_remove(c, run, err);
    return rc;
}

static int portion_begin(struct conn *c, struct key_runs *r, struct err *err)
{
    struct merge *m;
    int rc = merge_begin(c, r, 0, &m, err);

    if (rc != ERR_OK)
        return rc;
    m->n_from = 1;
    m->from[0].all = r->portion;
    m->from[0].n = r->n_portion;
    return dead_remove(c, r, m->floor, err);
}

static bool level_full(const struct key_runs *r, unsigned level)
{
    unsigned n = 0;

    for (const struct key_run *run = r->whole; run; run = run->next)
        n += run->level == level && !run->merging && !run->going;
    return n >= FAN && level + 1 < LEVELS_MAX && !r->merges[level + 1];
}

/** Of the oldest that it has. */
static int level_begin(struct conn *c, struct key_runs *r, unsigned level, struct err *err)
{
    struct merge *m;
    int rc = merge_begin(c, r, level + 1, &m, err);

    for (struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next) {
        if (run->level != level || run->merging || run->going)
            continue;
        if (m->n_from == FAN) {
            m->from[0].run->merging = false;
            memmove(m->from, m->from + 1, (FAN - 1) * sizeof(m->from[0]));
            m->n_from--;
        }
        run->merging = true;
        m->from[m->n_from++] = (struct source){.run = run};
    }
    return rc;
}

int key_runs_advance(struct conn *c, struct key_runs *r, size_t entries, bool *ret_written, struct err *err)
{
    int rc = r->n_portion && !r->merges[0] ? portion_begin(c, r, err) : ERR_OK;

    r->looked_id = 0; /* any may be written over */
    for (unsigned i = 0; rc == ERR_OK && i < LEVELS_MAX; i++) {
        if (i > 0 && level_full(r, i - 1))
            rc = level_begin(c, r, i - 1, err);
        if (rc == ERR_OK && r->merges[i])
            rc = merge_move(c, r, r->merges[i], entries, err);
    }
    *ret_written = rc == ERR_OK && r->merges[0] && r->merges[0]->done;
    return rc;
}

void key_runs_take(struct key_runs *r, const struct key_entry *portion, size_t n)
{
    r->portion = portion;
    r->n_portion = n;
}

size_t key_runs_taken(const struct key_runs *r)
{
    return r->merges[0] ? r->merges[0]->from[0].at : 0;
}

bool key_runs_busy(const struct key_runs *r)
{
    bool busy = r->n_portion > 0;

    for (unsigned i = 0; i < LEVELS_MAX; i++)
        busy = busy || r->merges[i] || level_full(r, i);
    return busy;
}

/* --- with a batch --- */

static void merge_settle(struct key_runs *r, unsigned level, bool committed)
{
    struct merge *m = r->merges[level];

    if (!m->moved)
        return;
    m->moved = false;
    if (committed && !m->done)
        return;
    for (unsigned i = 0; i < m->n_from; i++)
        if (m->from[i].run)
            m->from[i].run->merging = false;
    if (committed && m->made->n_chunks) {
        m->made->next = r->whole;
        r->whole = m->made;
    } else {
        run_spend(r, m->made);
    }
    if (committed && level == 0)
        r->n_portion = 0;
    r->merges[level] = NULL;
    free(m);
}

void key_runs_settle(struct key_runs *r, bool committed)
{
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        if (r->merges[i])
            merge_settle(r, i, committed);
    for (struct key_run **at = &r->whole; *at;) {
        struct key_run *run = *at;
        if (committed && run->going) {
            *at = run->next;
            run_spend(r, run);
            continue;
        }
        run->going = false;
        at = &run->next;
    }
}

/* --- at the start --- */

static struct key_run *run_of(const struct key_runs *r, int64_t id)
{
    struct key_run *run = r->whole;

    while (run && run->id != id)
        run = run->next;
    return run;
}

static int runs_read(struct conn *c, struct key_runs *r, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(c, &st, err, "SELECT run, level, chunks, entries, top FROM key_runs ORDER BY run", "");

    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        int64_t level = col_int(st, 1), chunks = col_int(st, 2);
        if (level < 0 || level >= LEVELS_MAX || chunks <= 0 || chunks > INT32_MAX)
            return damaged(err);
        struct key_run *run = calloc(1, sizeof(*run));
        if (!run || !(run->chunks = calloc((size_t)chunks, sizeof(run->chunks[0])))) {
            run_free(run);
            return err_set(err, ERR_NO_MEMORY, 0, "keys");
        }
        run->id = col_int(st, 0);
        run->level = (unsigned)level;
        run->n_chunks = run->room = (size_t)chunks;
        run->entries = col_int(st, 3);
        run->top = col_int(st, 4);
        run->next = r->whole;
        r->whole = run;
        r->next_run = run->id + 1;
    }
    return rc;
}

static int chunks_read(struct conn *c, struct key_runs *r, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    uint64_t first;
    int rc = q_open(c, &st, err, "SELECT chunk, run, nth, substr(entries, 1, 8) FROM key_chunks ORDER BY chunk", "");

    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        int64_t id = col_int(st, 0), nth = col_int(st, 2);
        struct key_run *run = run_of(r, col_int(st, 1));
        if (!run || nth < 0 || (size_t)nth >= run->n_chunks || id <= 0 || !col_exact(st, 3, &first, sizeof(first)))
            return damaged(err);
        run->chunks[nth] = (struct chunk){(int64_t)le64toh(first), id};
        r->next_chunk = id + 1;
    }
    for (const struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        for (size_t i = 0; i < run->n_chunks; i++)
            if (run->chunks[i].id == 0)
                return damaged(err);
    return rc;
}

int key_runs_load(struct conn *c, struct key_runs **ret, struct err *err)
{
    struct key_runs *r = *ret = calloc(1, sizeof(*r));

    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    r->next_run = r->next_chunk = 1;
    int rc = q_run(c, NULL, err, "DELETE FROM key_chunks WHERE run NOT IN (SELECT run FROM key_runs)", "");
    if (rc == ERR_OK)
        rc = runs_read(c, r, err);
    return rc == ERR_OK ? chunks_read(c, r, err) : rc;
}

void key_runs_free(struct key_runs *r)
{
    for (unsigned i = 0; r && i < LEVELS_MAX; i++)
        if (r->merges[i]) {
            run_free(r->merges[i]->made);
            free(r->merges[i]);
        }
    if (r) {
        runs_free(r->whole);
        runs_free(r->spent);
    }
    free(r);
}
