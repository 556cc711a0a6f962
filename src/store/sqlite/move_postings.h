#pragma once
/* What a move makes of rows that SQLite keeps as postings, and postings of. */
#include "store/sql/move.h"
#include "store/sqlite/postings.h"

/** Adds the types of such rows, of jobs or of history. */
int move_types_add(struct conn *c, const struct move_columns *columns, const struct buf *rows, struct err *err);
/** Adds rows of the table `labels`. */
int move_labels_add(struct conn *c, const struct move_columns *columns, const struct buf *rows, struct err *err);
/** Calls `row` for each label of a row of postings: what it has of `labels`, and its place.
 * @param v  project, name, value, last, others */
int move_labels_each(const struct move_value *v, move_row_fn *row, void *arg, struct err *err);
