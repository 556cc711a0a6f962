#pragma once
/* What the driver's files share. */
#include "store/sql/internal.h"
#include "store/sql/keys.h"
#include "store/sql/pool.h"
#include "store/sql/read.h"
#include <sqlite3.h>

#define CHECKPOINT_BYTES (8 * 1024 * 1024)
#define WAL_GATE_BYTES   (64 * 1024 * 1024)
#define STATEMENTS_MAX   512

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

#define SQL_SIZES 6
#define SQL_MANY  (1 << (SQL_SIZES - 1)) /* beyond it little is gained */
/** An INSERT of several rows: opening and closing a statement's cursors, and finding their places, costs as much as a row. */
struct sql_rows {
    const char *of[SQL_SIZES]; /* literals: of 1, 2, 4 ... SQL_MANY rows */
    int (*bind)(struct query *st, size_t i, const void *row, struct err *err);
};
#define SQL_2_OF(row)  row "," row
#define SQL_4_OF(row)  SQL_2_OF(row) "," SQL_2_OF(row)
#define SQL_8_OF(row)  SQL_4_OF(row) "," SQL_4_OF(row)
#define SQL_16_OF(row) SQL_8_OF(row) "," SQL_8_OF(row)
/* The first row may number parameters otherwise than those that follow. */
#define SQL_ROWS_OF(before, first, next, after, bind)                                                                  \
    {                                                                                                                  \
        {before first after,                                                                                           \
         before first "," next after,                                                                                  \
         before first "," next "," SQL_2_OF(next) after,                                                               \
         before first "," next "," SQL_2_OF(next) "," SQL_4_OF(next) after,                                            \
         before first "," next "," SQL_2_OF(next) "," SQL_4_OF(next) "," SQL_8_OF(next) after,                         \
         before first "," next "," SQL_2_OF(next) "," SQL_4_OF(next) "," SQL_8_OF(next) "," SQL_16_OF(next) after},    \
            bind                                                                                                       \
    }
#define SQL_ROWS(into, row, bind) SQL_ROWS_OF(into, row, row, "", bind)
/** @param rows  n pointers, written in that order; each is bound as row i of its statement */
int q_rows(struct conn *c, const struct sql_rows *how, const void *const *rows, size_t n, struct err *err);

/* --- durable.c: commits, numbered from 1, and which of them are on the disk --- */

struct durable {
    pthread_mutex_t lock;          /* guards what follows up to `stop`; the rest is the applying thread's */
    pthread_cond_t changed, asked; /* what is below; there is something for the thread to do */
    uint64_t begun;                /* up to here a reader may see commits, */
    uint64_t written;              /* up to here their frames are in the log, */
    uint64_t wanted;               /* up to here the thread is to sync them, */
    uint64_t synced;               /* and up to here they are durable */
    bool owes;                     /* of the database, too, it is to make a sync that is owed */
    bool syncing, failed, stop;
    sqlite3_file *log, *db;
    pthread_t thread;
    bool threaded;
};
int durable_init(struct durable *d, struct err *err);
void durable_release(struct durable *d);
/** Around each commit, by the one thread that commits; whatever becomes of it. @return its number */
uint64_t durable_begin(struct durable *d);
void durable_written(struct durable *d, bool anything); /* false: it was rolled back */
/** What was not durable by now never will be. */
void durable_fail(struct durable *d);
/** The last commit that a snapshot opened before may hold. Any thread. */
uint64_t durable_seen(struct durable *d);
/** Returns when commit `n` is durable, and syncs it where nobody else is at it. Any thread. ERR_UNAVAILABLE: a sync failed */
int durable_upto(struct durable *d, uint64_t n, struct err *err);
/** Whether durable_upto would return at once. */
bool durable_decided(struct durable *d, uint64_t n);
/** A thread that syncs when asked to. Without it `want` does nothing. */
int durable_start(struct durable *d, struct err *err);
void durable_stop(struct durable *d);
/** All that is written, soon and elsewhere. */
void durable_want(struct durable *d);
/** The database's sync that a checkpoint left owed (vfs.h), likewise. */
void durable_owe(struct durable *d);

/* --- the store --- */

#define SQLITE_BATCHES_MAX 2

/** A batch whose frames are written. */
struct written_batch {
    uint64_t commit;
    struct op **ops;
    size_t n;
    void (*decided)(void *arg);
    void *arg;
};

struct sqlite_store {
    struct store s;
    struct sqlite_conn w; /* the one connection that writes and checkpoints; the applying thread's */
    char path[4096];
    int wal_pages, wal_done, page_size; /* log as it is, and as it was at the last checkpoint */
    bool broken;                        /* a sync failed: nothing is applied any more */
    bool overlaps;                      /* apply leaves the sync to poll, or to a thread */
    struct durable durable;
    struct written_batch flying[SQLITE_BATCHES_MAX]; /* oldest first */
    unsigned n_flying;
    struct keys *keys;       /* keys.c */
    struct inserts *inserts; /* inserts.c */

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
void sqlite_poll(struct store *s, bool wait);
int sqlite_read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err);
void sqlite_read_end(struct reading *r);
void sqlite_sizes(struct store *s, struct store_sizes *ret);
int sqlite_history_head(struct tx *t, int64_t limit, usec until, struct uuid *ret, size_t *ret_n, usec *ret_next);
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
