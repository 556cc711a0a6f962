#pragma once
/* What the layer's two kinds of file share: log (wal_file.c) and database (db_file.c). Bytes that lie behind one another wait, and are written as one,
 * before anything else is asked of the file. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>

/* Beyond it little is gained; and of the size of a write SQLite's unix files take the lower 17 bits, so that one of 128 KiB would write nothing. */
#define LAYER_BYTES (124 * 1024)

struct layer {
    sqlite3_file base;
    char *bytes;          /* LAYER_BYTES */
    int waiting;          /* so many are to be written */
    sqlite3_int64 at;     /* from there on */
    pthread_mutex_t lock; /* one sync at a time; guards what follows up to `owed` */
    bool failed;          /* one did: the kernel reports that once only, and may have given the pages up */
    bool owes, owed;      /* of a database: a sync is to be owed; one is */
    bool copies;          /* of a database: a checkpoint writes into it */
    bool unread; /* of a database: nobody reads an older state, as far as the checkpoint that began last has found */
    struct layer *db; /* of a log */
    /* Of a log: frames come in two whole writes each. Where others' bytes may suffer in a sector, SQLite has more and smaller ones. */
    bool whole_frames;
    bool commit; /* of a log: the next page ends one */
    /* the platform's file follows */
};

static inline struct layer *layer_of(sqlite3_file *file)
{
    return (struct layer *)(void *)file; /* which it begins with */
}
/** The platform's file. */
static inline sqlite3_file *layer_below(struct layer *l)
{
    return (sqlite3_file *)(void *)(l + 1);
}

/* All return SQLite's code. */

/** Writes what waits. It is given up if that fails. */
int layer_flush(struct layer *l);
/** Has it wait, behind what waits already or in its place. */
int layer_gather(struct layer *l, const void *p, int n, sqlite3_int64 at);
int layer_write(struct layer *l, const void *p, int n, sqlite3_int64 at);
/** What was written so far: what waits has to be flushed by its own thread before. Any thread. */
int layer_sync(struct layer *l);

extern const sqlite3_io_methods wal_file_methods, db_file_methods;

/** A database's sync that is owed, if one is. Any thread. */
int db_file_settle(struct layer *db);

/* What both pass on: where bytes or size are concerned, once what waits is written. */
int layer_close(sqlite3_file *file);
int layer_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at);
int layer_truncate(sqlite3_file *file, sqlite3_int64 size);
int layer_size(sqlite3_file *file, sqlite3_int64 *ret);
int layer_lock(sqlite3_file *file, int how);
int layer_unlock(sqlite3_file *file, int how);
int layer_locked(sqlite3_file *file, int *ret);
int layer_control(sqlite3_file *file, int op, void *arg);
int layer_sector(sqlite3_file *file);
int layer_traits(sqlite3_file *file);
