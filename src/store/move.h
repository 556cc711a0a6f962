#pragma once
/* Moving all of a store into another one, whatever their drivers, while no server uses either: rows of the tables below, in portions that a
 * target writes together with the mark that says how far it is. Optional (store_driver.moves). */
#include "base/buf.h"
#include "store/store.h"

#define MOVE_COLUMNS_MAX 40
#define MOVE_MARK_MAX    4096
#define MOVE_ID_MAX      256
#define MOVE_PLACE_MAX   256
#define MOVE_MOVED_MAX   320
#define MOVE_PORTION_MAX ((size_t)64 << 20) /* bytes of a portion, at the very most */

/** A table that is moved. Columns are "name:type", the type one of i integer, d double, t text, b bytes, u uuid; each may be NULL.
 * What is in no such table (counters, indexes) follows from these rows, and a target makes it anew. */
struct move_table {
    const char *name;
    const char *columns;
    const char *key; /* likewise: rows are read in its order, unless a driver has a better one */
};
extern const struct move_table move_tables[];
extern const unsigned move_n_tables;
/** The table of the blobs' rows, of which the bytes lie elsewhere: its columns begin blob_id, project, size, sha256. */
extern const unsigned move_blobs_table;

struct move_value {
    bool null;
    int64_t i;
    double d;
    const void *p; /* borrowed */
    size_t n;
};
/** The next row of a portion. *at begins at 0. false: there is none. @param n  columns */
bool move_row_next(const struct buf *rows, size_t *at, const char *types, struct move_value *ret);

enum move_role {
    MOVE_SOURCE, /* only read. ERR_UNSUPPORTED: not of this program's schema */
    MOVE_LOOK,   /* a target that is looked at, and left as it is: it may have no tables yet */
    MOVE_TARGET, /* its tables are brought up to date */
    MOVE_NOTE    /* only for `meta` and `moved`: beside a source of one's own, too */
};
struct store_side; /* opaque */

struct store_moves {
    /** ERR_LOCKED: a server uses it (of a driver of files the caller knows, who holds the data folder's lock). */
    int (*open)(const struct store_config *config, enum move_role role, struct store_side **ret, struct err *err);
    void (*close)(struct store_side *s); /* NULL accepted */
    /** What tells this database from any other; equal: it is the same. */
    int (*identity)(struct store_side *s, char ret[MOVE_ID_MAX], struct err *err);
    /** Where it lies, for people: "the database haul on db.example:5432". No password. UTF-8, cut where it is long. */
    void (*place)(struct store_side *s, char ret[MOVE_PLACE_MAX]);
    int (*count)(struct store_side *s, unsigned table, int64_t *ret, struct err *err);
    /** @param ret  "" when absent */
    int (*meta)(struct store_side *s, const char *key, char *ret, size_t size, struct err *err);
    /** Some rows behind `cursor` (empty: from the first on), added to `rows`; moves `cursor` on. *ret_n 0: there are no more. */
    int (*read)(struct store_side *s, unsigned table, struct buf *cursor, struct buf *rows, size_t *ret_n,
                struct err *err);

    /** Notes that what it holds was moved: no server starts on it from then on. One transaction, durable when it returned ERR_OK.
     * @param word  "to <place> at <time>", less than MOVE_MOVED_MAX bytes; NULL: takes the note away, ERR_NOT_FOUND when there is none */
    int (*moved)(struct store_side *s, const char *word, struct err *err);

    /* A target. Each is one transaction, durable when it returned ERR_OK; `was` is the mark that stands there: ERR_LOCKED when it is another one,
     * since then somebody else moves into it. While there is a mark, no server starts on it. */
    /** Sets the first mark; NULL: only looks whether it could. ERR_CONFLICT: it holds rows already. */
    int (*begin)(struct store_side *s, const char *mark, struct err *err);
    /** Adds rows. NULL: only the mark. */
    int (*write)(struct store_side *s, unsigned table, const struct buf *rows, const char *was, const char *mark,
                 struct err *err);
    /** Makes what follows from the rows, sets these values of meta (n pairs of key and value), and takes the mark away, and a
     * note that something was moved out of it earlier. */
    int (*finish)(struct store_side *s, const char *was, const char *const *pairs, size_t n, struct err *err);
};

#define STORE_META_MOVE  "move"  /* the mark */
#define STORE_META_MOVED "moved" /* the note */
/** What to do about a note. */
#define MOVED_REMEDY "start the server there; to use this one again: haul migrate --unmark CONFIG"
