#pragma once
/* Entries of several runs, or of a portion, on their way into one new run. On the thread that applies. */
#include "store/sqlite/key_chunks.h"

#define KEY_MERGE_MAX 4u /* runs */

struct key_merge;

/** Within the batch's transaction.
 * @param run  the number of the run to be */
int key_merge_begin(struct conn *c, int64_t run, unsigned level, struct key_merge **ret, struct err *err);
/** What it takes from, before it moves: a run, which is marked as being merged, or entries sorted by hash, borrowed while it lasts. */
void key_merge_add_run(struct key_merge *m, struct key_run *run);
void key_merge_add_sorted(struct key_merge *m, const struct key_entry *all, size_t n);
/** Moves up to so many entries. At the end of all it puts the new run's row in place of its sources'. */
int key_merge_move(struct conn *c, struct key_space *space, struct key_merge *m, size_t entries, struct err *err);
/** So many entries of its first source were moved. */
size_t key_merge_moved(const struct key_merge *m);
bool key_merge_done(const struct key_merge *m);
/** Rows below are gone. */
int64_t key_merge_floor(const struct key_merge *m);
/** What became of the batch. @return whether it is over, and to be freed. */
bool key_merge_settle(struct key_merge *m, bool committed);
/** The run that it made, or was making, is the caller's; NULL accepted, and NULL then. */
struct key_run *key_merge_free(struct key_merge *m);

/** Removes a run's row, with the batch. */
int key_run_remove(struct conn *c, struct key_run *run, struct err *err);
