#include "store/sqlite/key_rows.h"
#include <string.h>

/* Of each key, in `entries`: how long it is and whether a hash of the request follows, a byte each; the job's id; the content's hash; the
 * request's, which few have; the key. A key that was forgotten keeps its place, with a nil id. */
#define HEAD      2
#define HASH      32
#define ENTRY_MAX (HEAD + sizeof(struct uuid) + 2 * HASH + JOB_KEY_MAX)
#define COLUMNS   "row, n, project, expires_at, entries"

static const uint8_t no_hash[HASH];

/* --- packing --- */

static size_t entry_put(uint8_t *e, const struct packed_key *key)
{
    uint8_t *at = e + HEAD;

    e[0] = (uint8_t)key->n_key;
    e[1] = memcmp(key->request_hash, no_hash, HASH) != 0;
    at = mempcpy(at, key->job_id.b, sizeof(key->job_id.b));
    at = mempcpy(at, key->content_hash, HASH);
    if (e[1])
        at = mempcpy(at, key->request_hash, HASH);
    at = mempcpy(at, key->key, key->n_key);
    return (size_t)(at - e);
}

int key_pack_end(struct conn *c, struct key_pack *p, struct err *err)
{
    int64_t n = (int64_t)p->n;

    p->n = 0;
    if (n == 0)
        return ERR_OK;
    return q_run(c, NULL, err, "INSERT OR FAIL INTO key_rows (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5)", "iitib",
                 p->row, n, p->project, p->expires_at, (const void *)p->entries, p->len);
}

static bool fits(const struct key_pack *p, const struct packed_key *key, size_t size)
{
    return key->row == p->row + (int64_t)p->n && key->expires_at == p->expires_at &&
           p->len + size <= sizeof(p->entries) && strcmp(key->project, p->project) == 0;
}

int key_pack_add(struct conn *c, struct key_pack *p, const struct packed_key *key, struct err *err)
{
    uint8_t entry[ENTRY_MAX];

    if (key->n_key == 0 || key->n_key > JOB_KEY_MAX || strlen(key->project) > JOB_NAME_MAX)
        return err_set(err, ERR_INTERNAL, 0, "a key of %zu bytes", key->n_key);
    size_t size = entry_put(entry, key);
    int rc = p->n && !fits(p, key, size) ? key_pack_end(c, p, err) : ERR_OK;
    if (rc != ERR_OK)
        return rc;
    if (p->n == 0) {
        p->row = key->row;
        p->len = 0;
        p->expires_at = key->expires_at;
        snprintf(p->project, sizeof(p->project), "%s", key->project);
    }
    memcpy(p->entries + p->len, entry, size);
    p->len += size;
    p->n++;
    return ERR_OK;
}

/* --- reading --- */

struct key_row {
    int64_t row, n;
    const char *project; /* borrowed from the statement, as `entries` */
    usec expires_at;
    const uint8_t *entries;
    size_t len;
};

/** Of an entry whose head is there. */
static size_t entry_size(const uint8_t *e)
{
    return HEAD + sizeof(struct uuid) + (e[1] ? 2 * HASH : HASH) + e[0];
}

static bool whole(const struct key_row *r)
{
    size_t at = 0;
    int64_t n = 0;

    for (; r->len - at > HEAD && r->entries[at] > 0 && r->entries[at + 1] <= 1; n++) {
        if (r->len - at < entry_size(r->entries + at))
            return false;
        at += entry_size(r->entries + at);
    }
    return r->row > 0 && n > 0 && n == r->n && at == r->len && r->len <= KEY_ROW_BYTES;
}

/** The row that the statement is at. */
static int packed_read(struct query *st, struct key_row *ret, struct err *err)
{
    *ret = (struct key_row){.row = col_int(st, 0), .n = col_int(st, 1), .expires_at = col_int(st, 3)};
    ret->project = col_borrow(st, 2);
    ret->entries = col_bytes(st, 4, &ret->len);
    if (!ret->project)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    return whole(ret)
               ? ERR_OK
               : err_set(err, ERR_CORRUPT, 0, "the keys in row %lld of key_rows are damaged", (long long)ret->row);
}

/** The row that has that number's place, if there is one: open, then, until the caller closes it. */
static int packed_open(struct conn *c, int64_t number, struct query **st, struct key_row *ret, bool *ret_there,
                       struct err *err)
{
    int rc =
        q_open(c, st, err, "SELECT " COLUMNS " FROM key_rows WHERE row <= ?1 ORDER BY row DESC LIMIT 1", "i", number);

    *ret_there = false;
    if (rc == ERR_OK)
        rc = q_step(c, *st, ret_there, err);
    if (rc == ERR_OK && *ret_there)
        rc = packed_read(*st, ret, err);
    *ret_there = rc == ERR_OK && *ret_there && number - ret->row < ret->n;
    return rc;
}

/** Through the entries of a row that is whole. */
struct walk {
    const struct key_row *r;
    size_t at, next; /* in its bytes */
    struct packed_key key;
};

static struct walk walk_of(const struct key_row *r)
{
    return (struct walk){.r = r,
                         .key = {.row = r->row - 1, .project = r->project, .key = "", .expires_at = r->expires_at}};
}

static bool walk_next(struct walk *w)
{
    const uint8_t *e = w->r->entries + w->next;
    struct packed_key *key = &w->key;

    if (w->next == w->r->len)
        return false;
    w->at = w->next;
    w->next += entry_size(e);
    key->row++;
    memcpy(key->job_id.b, e + HEAD, sizeof(key->job_id.b));
    key->content_hash = e + HEAD + sizeof(key->job_id.b);
    key->request_hash = e[1] ? key->content_hash + HASH : no_hash;
    key->n_key = e[0];
    key->key = (const char *)w->r->entries + w->next - key->n_key;
    return true;
}

static struct walk walk_to(const struct key_row *r, int64_t number)
{
    struct walk w = walk_of(r);

    while (w.key.row < number && walk_next(&w))
        ;
    return w;
}

static size_t remembered(const struct key_row *r)
{
    struct walk w = walk_of(r);
    size_t n = 0;

    while (walk_next(&w))
        n += !uuid_is_nil(&w.key.job_id);
    return n;
}

int key_row_find(struct conn *c, int64_t row, const char *project, const char *key, struct known_key *ret,
                 usec *ret_expires_at, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    struct key_row r;
    bool there;
    int rc = packed_open(c, row, &st, &r, &there, err);

    *ret = (struct known_key){.found = false};
    if (rc != ERR_OK || !there)
        return rc;
    const struct packed_key its = walk_to(&r, row).key;
    if (uuid_is_nil(&its.job_id) || (project && strcmp(project, its.project) != 0) ||
        (key && (strlen(key) != its.n_key || memcmp(key, its.key, its.n_key) != 0)))
        return ERR_OK;
    ret->found = true;
    ret->job_id = its.job_id;
    memcpy(ret->request_hash, its.request_hash, HASH);
    memcpy(ret->content_hash, its.content_hash, HASH);
    *ret_expires_at = its.expires_at;
    return ERR_OK;
}

int key_rows_each(struct conn *c, int64_t after, int64_t limit,
                  int (*each)(void *arg, const struct packed_key *key, struct err *err), void *arg, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    struct key_row r;
    bool more;
    int rc = q_open(c, &st, err,
                    "SELECT " COLUMNS " FROM key_rows"
                    " WHERE row >= coalesce((SELECT max(row) FROM key_rows WHERE row <= ?1), 0) ORDER BY row",
                    "i", after);

    while (rc == ERR_OK && limit > 0 && (rc = q_step(c, st, &more, err)) == ERR_OK && more &&
           (rc = packed_read(st, &r, err)) == ERR_OK) {
        struct walk w = walk_to(&r, after);
        while (rc == ERR_OK && limit > 0 && walk_next(&w)) {
            if (uuid_is_nil(&w.key.job_id))
                continue;
            rc = each(arg, &w.key, err);
            limit--;
        }
    }
    return rc;
}

int key_rows_floor(struct conn *c, int64_t *ret, struct err *err)
{
    return q_int(c, INT64_MAX, ret, err, "SELECT min(row) FROM key_rows", "");
}

int key_rows_top(struct conn *c, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, "SELECT row + n - 1 FROM key_rows ORDER BY row DESC LIMIT 1", "");
}

/* --- forgetting --- */

int key_row_forget(struct conn *c, int64_t row, const struct uuid *job_id, struct err *err)
{
    struct query *st = NULL;
    struct key_row r;
    uint8_t entries[KEY_ROW_BYTES];
    bool there;
    int rc = packed_open(c, row, &st, &r, &there, err);

    if (rc == ERR_OK && there) {
        struct walk w = walk_to(&r, row);
        there = !uuid_is_nil(&w.key.job_id) && (!job_id || uuid_equal(&w.key.job_id, job_id));
        memcpy(entries, r.entries, r.len);
        memset(entries + w.at + HEAD, 0, sizeof(struct uuid));
    }
    bool last = there && remembered(&r) == 1;
    q_close(st); /* before its table changes */
    if (rc != ERR_OK || !there)
        return rc;
    return last ? q_run(c, NULL, err, "DELETE FROM key_rows WHERE row = ?1", "i", r.row)
                : q_run(c, NULL, err, "UPDATE key_rows SET entries = ?2 WHERE row = ?1", "ib", r.row,
                        (const void *)entries, r.len);
}

int key_rows_expire(struct conn *c, usec now, int64_t limit, size_t *ret_n, usec *ret_next, struct err *err)
{
    struct query *st = NULL;
    struct key_row r;
    int64_t last = 0;
    bool more;
    int rc = q_open(c, &st, err, "SELECT " COLUMNS " FROM key_rows ORDER BY row", "");

    *ret_n = 0;
    *ret_next = USEC_NEVER;
    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more &&
           (rc = packed_read(st, &r, err)) == ERR_OK) {
        if (r.expires_at > now || *ret_n >= (size_t)limit) {
            *ret_next = r.expires_at;
            break;
        }
        last = r.row;
        *ret_n += remembered(&r);
    }
    q_close(st);
    return rc == ERR_OK && last ? q_run(c, NULL, err, "DELETE FROM key_rows WHERE row <= ?1", "i", last) : rc;
}
