#pragma once
/* What the files of `haul migrate` share. */
#include "app/migrate.h"
#include "blob/blob.h"
#include <limits.h>

#define CURSOR_MAX    1200
#define MIGRATE_PIECE ((size_t)256 << 10)

struct side {
    const struct server_options *options;
    const struct store_moves *moves;
    struct store_side *store;
    const struct blob_driver *blob_driver;
    struct blobs *blobs;
    char folder_id[UUID_STR_MAX], folder[PATH_MAX];
    int lock_fd;
};

/** What a table's rows amount to, in whatever order they come. */
struct digest {
    int64_t rows;
    uint64_t sum[2];
};

struct work {
    bool same_data; /* both sides name one data folder */
    struct migrate *m;
    struct side from, to;
    unsigned table;    /* being copied; move_n_tables: the blobs' bytes */
    struct buf cursor; /* how far in it */
    int64_t moved;     /* rows, of all tables; before this run, too */
    int64_t bytes;     /* of blobs, likewise */
    int64_t before, bytes_before;
    char mark[MOVE_MARK_MAX];
    struct digest *read; /* of the tables that this run copied whole: rows -1 for others */
    struct buf rows;
    char *piece;
};

/* --- migrate_copy.c --- */
void types_of(unsigned table, char ret[MOVE_COLUMNS_MAX + 1]);
/** As much of a table behind the cursor as a portion may hold, in w->rows. */
int portion(struct work *w, const struct side *s, unsigned table, struct buf *cursor, size_t *ret_n, struct err *err);
int mark_make(const struct work *w, char ret[MOVE_MARK_MAX], struct err *err);
/** Goes on where w->mark says. */
int mark_take(struct work *w, struct err *err);
int copy_rows(struct work *w, struct err *err);
int copy_blobs(struct work *w, struct err *err);
/** Reads the target, and of the source what this run did not read whole: they must be the same rows. */
int check_rows(struct work *w, struct err *err);
