#pragma once
/* Keys as they lie in the database: those that came one after the other, of one project and with one end of their window, are packed into a
 * row of key_rows. Each has a row's number of its own all the same, which the index knows it by: the first has the row's, the others those
 * that follow. On the thread that applies. */
#include "store/sql/keys.h"

#define KEY_ROW_BYTES 1900 /* of keys in one row: two fill a page, none spills over. One with more is damaged */

struct packed_key {
    int64_t row; /* its number, from 1 */
    const char *project, *key;
    size_t n_key; /* 1..JOB_KEY_MAX */
    struct uuid job_id;
    const uint8_t *request_hash, *content_hash; /* 32 bytes each */
    usec expires_at;
};

/** Keys on their way into a row. Begins as {.n = 0}. */
struct key_pack {
    int64_t row;
    size_t n, len;
    usec expires_at;
    char project[JOB_NAME_MAX + 1];
    uint8_t entries[KEY_ROW_BYTES];
};
/** Adds one, and first writes those before it when it cannot lie with them. */
int key_pack_add(struct conn *c, struct key_pack *p, const struct packed_key *key, struct err *err);
/** Writes what was not written yet. */
int key_pack_end(struct conn *c, struct key_pack *p, struct err *err);

/* ERR_CORRUPT: a row that is looked at is damaged. */

/** Is that row a key's that was not forgotten?
 * @param project, key  only theirs; NULL: anybody's
 * @param ret  all but its hash; found false: it is not */
int key_row_find(struct conn *c, int64_t row, const char *project, const char *key, struct known_key *ret,
                 usec *ret_expires_at, struct err *err);
/** @param job_id  only the key of that job; NULL: of any. Nothing is forgotten twice. */
int key_row_forget(struct conn *c, int64_t row, const struct uuid *job_id, struct err *err);
/** From the head, as keys_expire: whole rows, so that the last may bring more than `limit`. */
int key_rows_expire(struct conn *c, usec now, int64_t limit, size_t *ret_n, usec *ret_next, struct err *err);
/** Calls `each` for up to `limit` keys with rows above `after`, in their order. What it gets is good for the call. */
int key_rows_each(struct conn *c, int64_t after, int64_t limit,
                  int (*each)(void *arg, const struct packed_key *key, struct err *err), void *arg, struct err *err);
/** The lowest row, or lower: those below are gone. When there is none: all. */
int key_rows_floor(struct conn *c, int64_t *ret, struct err *err);
/** The highest row, 0 without one. */
int key_rows_top(struct conn *c, int64_t *ret, struct err *err);
