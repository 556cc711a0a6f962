#pragma once
/* Moving, for drivers that speak SQL: a driver opens a side, selects, runs and inserts; sql/move.c makes store/move.h of it. */
#include "store/move.h"

struct move_columns {
    char list[1024];                  /* "a, b" */
    char types[MOVE_COLUMNS_MAX + 1]; /* a letter each */
    size_t n;
};
void move_columns_read(const char *spec, struct move_columns *ret);

typedef int move_row_fn(void *arg, const struct move_value *row, struct err *err);

/** A table that a driver does not keep row by row. */
struct side_packed {
    const char *place; /* of a row, in whose order they are read: "name:type ..." */
    /** Calls `row` for some `limit` rows behind a place; NULL: from the first on. Behind its columns each has its own place, and of one place it
     * is all rows. */
    int (*select)(struct store_side *s, const struct move_value *after, size_t limit, move_row_fn *row, void *arg,
                  struct err *err);
    int (*count)(struct store_side *s, int64_t *ret, struct err *err);
    /** As the op. */
    int (*insert)(struct store_side *s, const struct move_columns *columns, const struct buf *rows, struct err *err);
};

struct side_ops {
    /** Calls `row` for each row; parameters are ?1, ?2 ... */
    int (*select)(struct store_side *s, const char *sql, const char *param_types, const struct move_value *params,
                  const char *types, move_row_fn *row, void *arg, struct err *err);
    /** @param ret_changed  rows; may be NULL */
    int (*run)(struct store_side *s, const char *sql, const char *param_types, const struct move_value *params,
               int64_t *ret_changed, struct err *err);
    int (*insert)(struct store_side *s, const char *table, const struct move_columns *columns, const struct buf *rows,
                  struct err *err);
    const char *begin; /* a transaction that writes */
    /** A better order of a table, or NULL: "name:type ..." of columns it has. */
    const char *(*order)(const char *table);
    /** How it keeps a table, NULL: row by row. May be NULL: all are. */
    const struct side_packed *(*packed)(const char *table);
    /** ERR_LOCKED: a server uses it. In the transaction that begins a move. May be NULL. */
    int (*check_unused)(struct store_side *s, struct err *err);
};
/** A driver's own begins with it. */
struct store_side {
    const struct side_ops *ops;
    bool empty; /* it has no tables */
};

int side_count(struct store_side *s, unsigned table, int64_t *ret, struct err *err);
int side_meta(struct store_side *s, const char *key, char *ret, size_t size, struct err *err);
int side_read(struct store_side *s, unsigned table, struct buf *cursor, struct buf *rows, size_t *ret_n,
              struct err *err);
int side_moved(struct store_side *s, const char *word, struct err *err);
int side_begin(struct store_side *s, const char *mark, struct err *err);
int side_write(struct store_side *s, unsigned table, const struct buf *rows, const char *was, const char *mark,
               struct err *err);
int side_finish(struct store_side *s, const char *was, const char *const *pairs, size_t n, struct err *err);
/** One text: the first column of the first row, "" without one. */
int side_text(struct store_side *s, const char *sql, const char *param_types, const struct move_value *params,
              char *ret, size_t size, struct err *err);
/** Keeps what is UTF-8 of a name and fits. */
void side_place(char ret[MOVE_PLACE_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** ERR_UNSUPPORTED says what to do about a source of an earlier schema. */
int side_check_schema(unsigned has, unsigned known, struct err *err);
