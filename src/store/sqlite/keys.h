#pragma once
/* The keys of submissions: found, added and forgotten by ops; kept and merged with batches. On the thread that applies. */
#include "store/sqlite/internal.h"

struct known_key {
    bool found;
    int64_t hash; /* of project and key */
    struct uuid job_id;
    uint8_t request_hash[32], content_hash[32];
};

/** Of the op's project, and in its window still. Not found is no error: then only the hash is set. */
int key_find(struct tx *t, const char *key, struct known_key *ret);
/** One that key_find did not find; `what` has the hash from there. */
int key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at);
/** Unless it is another job's by now. */
int key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id);
/** Up to `limit` (0..OP_CHANGES_MAX) of those whose window is over. *ret_next: when the next one's is, store time; USEC_NEVER not known */
int keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next);

/* As counts_undo, counts_save, counts_settle, counts_load, counts_free. */
size_t keys_mark(const struct store *s);
void keys_undo(struct store *s, size_t mark);
int keys_save(struct store *s, struct err *err);
void keys_settle(struct store *s, bool committed);
/** Reads what is not indexed, and first indexes it where that is much: of an earlier version. */
int keys_load(struct store *s, struct err *err);
void keys_free(struct store *s);
