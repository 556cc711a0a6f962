#pragma once
/* The index of keys: runs of entries, each sorted by hash and written once (a log-structured merge tree). A portion of new keys becomes a run
 * of level 0; four runs of a level are merged into one of the next. So a key costs some moves within memory and a two-hundredth of a page
 * each, however many keys there are. All of it goes on a little with each batch that brings new keys, and twice as fast as it must: a level
 * has six runs at most. What names rows below the table's lowest is left out of a merge, and a run with nothing else goes as a whole: a key that
 * expires costs nothing here.
 *
 * A chunk of a run is a row of key_chunks, and a page. Those of runs that went are written over. On the thread that applies. */
#include "store/sql/query.h"
#include "store/sqlite/key_entry.h"

struct key_runs;

/** The whole runs. Chunks of others will be written over. ERR_CORRUPT: one of them is not all there */
int key_runs_load(struct conn *c, struct key_runs **ret, struct err *err);
void key_runs_free(struct key_runs *r); /* NULL accepted */
/** Entries of whole runs, also such as name rows that are gone. */
int64_t key_runs_entries(const struct key_runs *r);

/** Where a walk over what the runs have of a hash stands; begins as all zeros. */
struct key_walk {
    const struct key_run *run;
    size_t seen; /* in that run */
    bool begun;
};
/** The next row, 0: no more. Nothing may be written to the index meanwhile. */
int key_runs_next(struct conn *c, struct key_runs *r, int64_t hash, struct key_walk *walk, int64_t *ret_row,
                  struct err *err);
/** Each entry of hashes from..to (inclusive), in no order, but for rows that are surely gone. */
int key_runs_each(struct conn *c, struct key_runs *r, int64_t from, int64_t to,
                  void (*each)(void *arg, const struct key_entry *e), void *arg, struct err *err);

/** A portion to be written, sorted by hash; borrowed until it is. The one before it was. */
void key_runs_take(struct key_runs *r, const struct key_entry *portion, size_t n);
/** Within a batch's transaction, once what it changed is written: moves up to so many entries, of the portion, and of each merge that is due.
 * *ret_written: the portion is a run once the batch is committed. */
int key_runs_advance(struct conn *c, struct key_runs *r, size_t entries, bool *ret_written, struct err *err);
/** So many entries of the portion are in its run to be. */
size_t key_runs_taken(const struct key_runs *r);
/** What became of the batch. After a rollback all that was on its way begins anew. */
void key_runs_settle(struct key_runs *r, bool committed);
/** Is something to be moved? */
bool key_runs_busy(const struct key_runs *r);
