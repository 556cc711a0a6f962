#pragma once
/* What the driver's files share. */
#include "store/sql/internal.h"
#include "store/sql/keys.h"
#include "store/sql/pool.h"
#include "store/sql/read.h"
#include <sqlite3.h>

#define CHECKPOINT_BYTES (4 * 1024 * 1024)
#define WAL_GATE_BYTES   (64 * 1024 * 1024)
#define STATEMENTS_MAX   128

/* --- conn.c: a connection and its statements --- */

struct sqlite_query {
    struct query q;
    struct sqlite_conn *c;
    const char *sql; /* a literal: found by its address */
    sqlite3_stmt *st;
};
struct sqlite_conn {
    struct conn conn;
    sqlite3 *db;
    struct clock clock;
    usec deadline; /* boot clock; 0 none */
    struct sqlite_query cache[STATEMENTS_MAX];
};

static inline struct sqlite_conn *sqlite_conn_of(struct conn *c)
{
    return (struct sqlite_conn *)c; /* which it begins with */
}
extern const struct sql_ops sqlite_ops;
int conn_open(struct sqlite_conn *c, const char *path, bool writer, struct clock clock, struct err *err);
void conn_close(struct sqlite_conn *c);
int conn_exec(struct sqlite_conn *c, const char *sql, struct err *err);
/** What SQLite said, as our error. */
int conn_err(struct sqlite_conn *c, int rc, struct err *err);

/** Parameters behind the first `before`, in a statement that q_open opened. */
int q_bind(struct query *st, int before, struct err *err, const char *types, ...);

/** An INSERT of several rows: opening and closing a statement's cursors costs as much as a row. */
struct sql_rows {
    const char *one, *full; /* literals: for one row, and for SQL_ROWS (made by SQL_VALUES) of them */
    int (*bind)(struct query *st, size_t i, const void *row, struct err *err);
};
#define SQL_ROWS        8 /* beyond it little is gained */
#define SQL_VALUES(row) row "," row "," row "," row "," row "," row "," row "," row
/** @param rows  n pointers, each bound as row i of its statement. @param n  0..SQL_ROWS */
int q_rows(struct conn *c, const struct sql_rows *how, const void *const *rows, size_t n, struct err *err);

/* --- the store --- */

struct sqlite_store {
    struct store s;
    struct sqlite_conn w; /* the one connection that writes and checkpoints; the applying thread's */
    char path[4096];
    int wal_pages, wal_done, page_size; /* log as it is, and as it was at the last checkpoint */
    bool broken;                        /* a sync failed: nothing is applied any more */
    struct keys *keys;                  /* keys.c */
    struct inserts *inserts;            /* inserts.c */

    struct read_pool pool;
    struct sqlite_conn readers[READERS];
};
static inline struct sqlite_store *sqlite_of(struct store *s)
{
    return (struct sqlite_store *)s; /* which it begins with */
}

/* --- inspect.c --- */
/** Before the first write: ERR_CORRUPT says what is wrong; the file stays as it is. */
int inspect(const char *path, struct clock clock, struct err *err);

/* --- apply.c, reading.c, list.c --- */
void sqlite_apply(struct store *s, struct op **ops, size_t n, void (*decided)(void *arg), void *arg);
int sqlite_read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err);
void sqlite_read_end(struct reading *r);
void sqlite_sizes(struct store *s, struct store_sizes *ret);
int sqlite_jobs_look(struct conn *c, struct job_look *look, struct err *err);
int sqlite_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                    struct err *err);

/* --- keys.c --- */
int sqlite_key_find(struct tx *t, const char *key, struct known_key *ret);
int sqlite_key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at);
int sqlite_key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id);
int sqlite_keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next);
/* As counts_undo, counts_save, counts_settle, counts_load, counts_free. */
size_t keys_mark(const struct sqlite_store *s);
void keys_undo(struct sqlite_store *s, size_t mark);
int keys_save(struct sqlite_store *s, struct err *err);
void keys_settle(struct sqlite_store *s, bool committed);
/** Reads what is not indexed, and first indexes it where that is much: of an earlier version. */
int keys_load(struct sqlite_store *s, struct err *err);
void keys_free(struct sqlite_store *s);

/* --- snapshot.c --- */
extern const struct store_snapshots sqlite_snapshots;

/* --- examine.c, move.c --- */
void sqlite_examine(const struct store_config *config, struct findings *f, char ret_folder[UUID_STR_MAX]);
extern const struct store_moves sqlite_moves;
