#pragma once
/* A run of the index of keys: entries sorted by hash, in chunks, each a row of key_chunks and a page. Where a chunk begins is known in memory.
 * Chunks of runs that went are written over. On the thread that applies. */
#include "store/sql/query.h"
#include "store/sqlite/key_entry.h"

#define KEY_CHUNK 252u /* entries: what fits a page of 4 KiB, in a row, exactly */

struct key_run {
    struct key_run *next;
    int64_t id, entries, top; /* the highest row */
    unsigned level;           /* it was merged so often */
    struct key_entry *chunks; /* of each its lowest hash, and its row of key_chunks */
    size_t n_chunks, room;
    bool merging; /* it is a merge's source */
    bool going;   /* the batch at work removed it */
};

/** Where chunks are to be had. */
struct key_space {
    struct key_run *spent; /* whose chunks may be written over */
    int64_t next;          /* from there on there are none */
};

void key_run_free(struct key_run *run);     /* NULL accepted */
void key_run_free_all(struct key_run *run); /* it, and what follows it */
/** Ends the run; its chunks may be written over. */
void key_run_spend(struct key_space *space, struct key_run *run);
/** A chunk that is no run's may be written over. */
int key_space_add(struct key_space *space, int64_t id, struct err *err);
/** The first chunk that may hold a hash: the last of those that begin below it. */
size_t key_run_chunk(const struct key_run *run, int64_t hash);

/** ERR_CORRUPT, in words. */
int key_chunks_damaged(struct err *err);
/** @param ret  of KEY_CHUNK; *ret_n: 1..KEY_CHUNK */
int key_chunk_read(struct conn *c, int64_t id, struct key_entry *ret, size_t *ret_n, struct err *err);
/** The run's next chunk. @param e  n entries, 1..KEY_CHUNK, none below what it has */
int key_chunk_append(struct conn *c, struct key_space *space, struct key_run *run, const struct key_entry *e, size_t n,
                     struct err *err);
