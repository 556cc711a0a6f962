#pragma once
/* Rows that the submissions of a batch insert, several a statement: opening and closing a statement's cursors costs as much as a row. They
 * wait until there are enough of them, until another kind of op comes, or until the batch ends; so do types and labels of jobs that are removed. On the
 * thread that applies. */
#include "store/sqlite/driver.h"

/** A new job's row. Its strings are borrowed until the batch ends. */
int sqlite_insert_job(struct tx *t, const struct row *row);
/** The key of the job that came last. `key` and the op's project are borrowed likewise. */
int insert_key(struct tx *t, int64_t row, const char *key, const struct known_key *what, usec expires_at);
/** A label of it. Both texts are borrowed likewise. */
int sqlite_insert_label(struct tx *t, const struct job *job, const char *key, const char *value);
/** A job that is removed is of no type any more, and carries no label. */
int sqlite_remove_postings(struct tx *t, const struct job *job);
/** Does the key of that row wait here? */
bool inserts_hold_key(const struct sqlite_store *s, int64_t row);
/** Writes what waits. When it fails nothing waits any more: the batch, or the op's savepoint, is to be rolled back. */
int inserts_flush(struct sqlite_store *s, struct err *err);

struct inserts_mark {
    size_t jobs, labels, old_labels, old_types;
};
/** How many wait; and back to that, in an op that failed before it wrote. */
struct inserts_mark inserts_mark(const struct sqlite_store *s);
void inserts_undo(struct sqlite_store *s, struct inserts_mark mark);
/** Was something written since, or given up? */
bool inserts_flushed(const struct sqlite_store *s, struct inserts_mark mark);
int inserts_init(struct sqlite_store *s, struct err *err);
void inserts_free(struct sqlite_store *s);
