#include "store/sqlite/key_runs.h"
#include "store/sqlite/key_merge.h"
#include "store/sqlite/key_rows.h"
#include <endian.h>
#include <stdlib.h>

#define LEVELS_MAX 16u /* of 49,152 keys and more at the lowest: more than there will be */

struct key_runs {
    struct key_run *whole; /* newest first */
    struct key_space space;
    const struct key_entry *portion;
    size_t n_portion;
    struct key_merge *merges[LEVELS_MAX]; /* by the level of what they make; NULL none */
    int64_t next_run;
    struct key_entry looked[KEY_CHUNK]; /* the chunk that a look read last, since anything was moved */
    int64_t looked_id;                  /* 0 none */
    size_t n_looked;
};

/* --- looking --- */

int64_t key_runs_entries(const struct key_runs *r)
{
    int64_t n = 0;

    for (const struct key_run *run = r->whole; run; run = run->next)
        n += run->entries;
    return n;
}

static int chunk_look(struct conn *c, struct key_runs *r, int64_t id, struct err *err)
{
    if (r->looked_id == id)
        return ERR_OK;
    r->looked_id = 0;
    int rc = key_chunk_read(c, id, r->looked, &r->n_looked, err);
    if (rc == ERR_OK)
        r->looked_id = id;
    return rc;
}

/** Of the chunk that was looked at: the first entry that is not below. */
static size_t entry_from(const struct key_runs *r, int64_t hash)
{
    return key_entries_from(r->looked, 0, r->n_looked, hash);
}

/** The run's entry of that hash with so many before it; row 0: it has no such one. */
static int run_find(struct conn *c, struct key_runs *r, const struct key_run *run, int64_t hash, size_t before,
                    int64_t *ret_row, struct err *err)
{
    *ret_row = 0;
    for (size_t i = key_run_chunk(run, hash); i < run->n_chunks && run->chunks[i].hash <= hash; i++) {
        int rc = chunk_look(c, r, run->chunks[i].row, err);
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

int key_runs_each(struct conn *c, struct key_runs *r, int64_t from, int64_t to,
                  void (*each)(void *arg, const struct key_entry *e), void *arg, struct err *err)
{
    int64_t floor = 0;
    int rc = key_rows_floor(c, &floor, err);

    for (const struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        for (size_t i = key_run_chunk(run, from); i < run->n_chunks && run->chunks[i].hash <= to; i++) {
            if ((rc = chunk_look(c, r, run->chunks[i].row, err)) != ERR_OK)
                break;
            for (size_t k = entry_from(r, from); k < r->n_looked && r->looked[k].hash <= to; k++)
                if (r->looked[k].row >= floor)
                    each(arg, &r->looked[k]);
        }
    return rc;
}

/* --- merging --- */

/** Runs of which no row is there are gone with the batch. */
static int gone_remove(struct conn *c, struct key_runs *r, int64_t floor, struct err *err)
{
    int rc = ERR_OK;

    for (struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        if (!run->merging && run->top < floor)
            rc = key_run_remove(c, run, err);
    return rc;
}

static int portion_begin(struct conn *c, struct key_runs *r, struct err *err)
{
    int rc = key_merge_begin(c, r->next_run++, 0, &r->merges[0], err);

    if (rc != ERR_OK)
        return rc;
    key_merge_add_sorted(r->merges[0], r->portion, r->n_portion);
    return gone_remove(c, r, key_merge_floor(r->merges[0]), err);
}

static bool stands(const struct key_run *run, unsigned level)
{
    return run->level == level && !run->merging && !run->going;
}

static bool level_full(const struct key_runs *r, unsigned level)
{
    unsigned n = 0;

    for (const struct key_run *run = r->whole; run; run = run->next)
        n += stands(run, level);
    return n >= KEY_MERGE_MAX && level + 1 < LEVELS_MAX && !r->merges[level + 1];
}

/** Of the oldest that it has. */
static int level_begin(struct conn *c, struct key_runs *r, unsigned level, struct err *err)
{
    struct key_run *oldest[KEY_MERGE_MAX];
    unsigned n = 0;

    for (struct key_run *run = r->whole; run; run = run->next)
        if (stands(run, level))
            oldest[n++ % KEY_MERGE_MAX] = run;
    int rc = key_merge_begin(c, r->next_run++, level + 1, &r->merges[level + 1], err);
    for (unsigned i = 0; rc == ERR_OK && i < KEY_MERGE_MAX; i++)
        key_merge_add_run(r->merges[level + 1], oldest[i]);
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
            rc = key_merge_move(c, &r->space, r->merges[i], entries, err);
    }
    *ret_written = rc == ERR_OK && r->merges[0] && key_merge_done(r->merges[0]);
    return rc;
}

void key_runs_take(struct key_runs *r, const struct key_entry *portion, size_t n)
{
    r->portion = portion;
    r->n_portion = n;
}

size_t key_runs_taken(const struct key_runs *r)
{
    return r->merges[0] ? key_merge_moved(r->merges[0]) : 0;
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
    if (!key_merge_settle(r->merges[level], committed))
        return;
    struct key_run *made = key_merge_free(r->merges[level]);
    r->merges[level] = NULL;
    if (committed && made->n_chunks) {
        made->next = r->whole;
        r->whole = made;
    } else {
        key_run_spend(&r->space, made);
    }
    if (committed && level == 0)
        r->n_portion = 0;
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
            key_run_spend(&r->space, run);
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
            return key_chunks_damaged(err);
        struct key_run *run = calloc(1, sizeof(*run));
        if (!run || !(run->chunks = calloc((size_t)chunks, sizeof(run->chunks[0])))) {
            key_run_free(run);
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
        int64_t id = col_int(st, 0), its = col_int(st, 1), nth = col_int(st, 2);
        struct key_run *run = run_of(r, its);
        if (id <= 0 || (run && (nth < 0 || (size_t)nth >= run->n_chunks || !col_exact(st, 3, &first, sizeof(first)))))
            return key_chunks_damaged(err);
        if (run)
            run->chunks[nth] = (struct key_entry){(int64_t)le64toh(first), id};
        else
            rc = key_space_add(&r->space, id, err);
        r->space.next = id + 1;
        r->next_run = MAX(r->next_run, its + 1);
    }
    for (const struct key_run *run = r->whole; rc == ERR_OK && run; run = run->next)
        for (size_t i = 0; i < run->n_chunks; i++)
            if (run->chunks[i].row == 0)
                return key_chunks_damaged(err);
    return rc;
}

int key_runs_load(struct conn *c, struct key_runs **ret, struct err *err)
{
    struct key_runs *r = *ret = calloc(1, sizeof(*r));

    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    r->next_run = r->space.next = 1;
    int rc = runs_read(c, r, err);
    return rc == ERR_OK ? chunks_read(c, r, err) : rc;
}

void key_runs_free(struct key_runs *r)
{
    for (unsigned i = 0; r && i < LEVELS_MAX; i++)
        key_run_free(key_merge_free(r->merges[i]));
    if (r) {
        key_run_free_all(r->whole);
        key_run_free_all(r->space.spent);
    }
    free(r);
}
