#pragma once
/* The keys of submissions: found, added and forgotten by ops. On the thread that applies. */
#include "store/sql/internal.h"

struct known_key {
    bool found;
    struct uuid job_id;
    uint8_t request_hash[32], content_hash[32];
    int64_t hash; /* the driver's, of project and key; found or not: key_add wants it back */
};

/** Of the op's project, and in its window still. Not found is no error. */
static inline int key_find(struct tx *t, const char *key, struct known_key *ret)
{
    return t->s->sql->key_find(t, key, ret);
}
/** One that key_find did not find. `key` is borrowed until the batch ends. */
static inline int key_add(struct tx *t, const char *key, const struct known_key *what, usec expires_at)
{
    return t->s->sql->key_add(t, key, what, expires_at);
}
/** Unless it is another job's by now. */
static inline int key_forget(struct tx *t, const char *project, const char *key, const struct uuid *job_id)
{
    return t->s->sql->key_forget(t, project, key, job_id);
}
/** Up to `limit` (0..OP_CHANGES_MAX) of those whose window is over. *ret_next: when the next one's is, store time; USEC_NEVER not known */
static inline int keys_expire(struct tx *t, int64_t limit, size_t *ret_n, usec *ret_next)
{
    return t->s->sql->keys_expire(t, limit, ret_n, ret_next);
}
