/* A table is read in the order of a key, some rows at a time, so that it can go on behind any of them. A row is kept as PostgreSQL's COPY has
 * it: the number of columns in two bytes, then of each its length in four (-1: NULL) and its bytes, numbers in eight, all big-endian. */
#include "store/sql/move.h"
#include "base/auto.h"
#include "base/text.h"
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SELECT_ROWS 256 /* at once: a wide row may have a hundred KiB */
#define SQL_MAX     4096

#define JOB_COLUMNS                                                                                                    \
    "job_id:u project:t queue:t task_type:t priority:i lane_id:i payload:b payload_ref:t labels:b dedup_key:t "        \
    "max_attempts:i timeout_us:i created_at:i start_deadline_at:i status:i run_at:i waiting_on:i attempt:i retries:i " \
    "interruptions:i losses:i token:b token_attempt:i owner_id:u lease_until:i confirmed:i cancel_requested_at:i "     \
    "started_at:i finished_at:i last_outcome:i error_log:b progress:d progress_message:t progress_at:i version:i "     \
    "ready_seq:i no_progress_us:i fingerprint:i traceparent:t tracestate:t"

const struct move_table move_tables[] = {
    {"blobs", "blob_id:u project:t size:i sha256:b refs:i created_at:i expires_at:i xxh128:b", "blob_id:u"},
    {"uploads", "upload_id:u project:t size:i sha256:b metadata:t created_at:i expires_at:i", "upload_id:u"},
    {"workers",
     "worker_id:u name:t host:t version:t isolation:t handlers:t slots_total:i slots_busy:i first_seen:i last_seen:i "
     "load:t",
     "worker_id:u"},
    {"lanes", "lane_id:i project:t queue:t task_type:t priority:i", "lane_id:i"},
    {"jobs", JOB_COLUMNS, "job_id:u"},
    {"history", JOB_COLUMNS, "job_id:u"},
    {"inputs", "job_id:u i:i name:t ref:t", "job_id:u i:i"},
    {"attempts",
     "job_id:u attempt:i project:t token:b poll_id:t worker_id:u worker_name:t handler_version:t started_at:i "
     "ended_at:i outcome:i exit_code:i signal:i cpu_us:i peak_memory_bytes:i bytes_in:i bytes_out:i log_bytes:i "
     "error:b decided:i answer_status:i answer_run_at:i charged:i log_cut_from:i log_cut_to:i log_state:i log_blob:u "
     "redone:d series:b",
     "job_id:u attempt:i"},
    {"outputs", "job_id:u attempt:i name:t blob_id:u size:i sha256:b published:i", "job_id:u attempt:i name:t"},
    {"log_chunks", "job_id:u attempt:i at:i bytes:b", "job_id:u attempt:i at:i"},
    {"dedup", "project:t key:t job_id:u request_hash:b content_hash:b expires_at:i", "project:t key:t"},
    {"labels", "project:t key:t value:t job_id:u", "project:t key:t value:t job_id:u"},
    {"checkpoints", "job_id:u attempt:i at:i progress:d files:i bytes:i sequence:i", "job_id:u"},
    {"checkpoint_files", "job_id:u name:t blob_id:u executable:i", "job_id:u name:t"},
    {"dead_letters", "project:t fingerprint:i job_id:u", "project:t fingerprint:i job_id:u"},
    {"dead_groups", "project:t fingerprint:i task_type:t jobs:i first_failed_at:i last_failed_at:i last_job_id:u",
     "project:t fingerprint:i"},
    {"redrives",
     "redrive_id:u project:t action:i dry_run:i fingerprint:i task_type:t queue:t labels:b created_after:i "
     "created_before:i failed_before:i jobs_max:i rate_n:i rate_per_us:i state:i counted:i matched:i done:i behind:u "
     "next_at:i created_at:i ended_at:i request_key:t request_hash:b",
     "redrive_id:u"},
    {"drains", "worker_id:u drained_at:i drained_by:t", "worker_id:u"},
    {"pauses", "project:t queue:t paused_at:i paused_by:t reason:t", "project:t queue:t"},
};
const unsigned move_n_tables = ARRAY_LEN(move_tables);
const unsigned move_blobs_table = 0;

void move_columns_read(const char *spec, struct move_columns *ret)
{
    size_t len = 0;

    *ret = (struct move_columns){.n = 0};
    for (const char *p = spec; *p && ret->n < MOVE_COLUMNS_MAX;) {
        size_t name = strcspn(p, ":");
        len += (size_t)snprintf(ret->list + len, sizeof(ret->list) - len, "%s%.*s", len > 0 ? ", " : "", (int)name, p);
        ret->types[ret->n++] = p[name + 1];
        p += name + 2;
        p += strspn(p, " ");
    }
}

/* --- rows as bytes --- */

static void put_value(struct buf *b, char type, const struct move_value *v)
{
    uint64_t bits = 0;
    bool number = type == 'i' || type == 'd';
    uint32_t n = htobe32(v->null ? UINT32_MAX : number ? 8 : (uint32_t)v->n);

    buf_add(b, &n, sizeof(n));
    if (v->null)
        return;
    if (type == 'd')
        memcpy(&bits, &v->d, sizeof(bits));
    else
        bits = (uint64_t)v->i;
    bits = htobe64(bits);
    if (number)
        buf_add(b, &bits, sizeof(bits));
    else
        buf_add(b, v->p, v->n);
}

static void put_row(struct buf *b, const char *types, size_t n, const struct move_value *v)
{
    uint16_t columns = htobe16((uint16_t)n);

    buf_add(b, &columns, sizeof(columns));
    for (size_t i = 0; i < n; i++)
        put_value(b, types[i], &v[i]);
}

static bool get_value(const struct buf *b, size_t *at, char type, struct move_value *ret)
{
    uint32_t n;
    uint64_t bits;

    if (b->len - *at < sizeof(n))
        return false;
    memcpy(&n, b->data + *at, sizeof(n));
    n = be32toh(n);
    *at += sizeof(n);
    *ret = (struct move_value){.null = n == UINT32_MAX};
    if (ret->null)
        return true;
    if (b->len - *at < n || ((type == 'i' || type == 'd') && n != sizeof(bits)))
        return false;
    if (type == 'i' || type == 'd') {
        memcpy(&bits, b->data + *at, sizeof(bits));
        bits = be64toh(bits);
        ret->i = (int64_t)bits;
        memcpy(&ret->d, &bits, sizeof(ret->d));
    } else {
        ret->p = b->data + *at;
        ret->n = n;
    }
    *at += n;
    return true;
}

bool move_row_next(const struct buf *rows, size_t *at, const char *types, struct move_value *ret)
{
    size_t n = strlen(types);

    if (rows->len < *at + 2)
        return false;
    *at += 2;
    for (size_t i = 0; i < n; i++)
        if (!get_value(rows, at, types[i], &ret[i]))
            return false;
    return true;
}

/* --- reading --- */

struct portion {
    struct buf *rows, *cursor;
    const struct move_columns *columns, *key;
    size_t n;
};

static int take_row(void *arg, const struct move_value *v, struct err *err)
{
    struct portion *p = arg;

    put_row(p->rows, p->columns->types, p->columns->n, v);
    buf_reset(p->cursor);
    put_row(p->cursor, p->key->types, p->key->n, v + p->columns->n);
    p->n++;
    if (p->rows->failed || p->cursor->failed)
        return err_set(err, ERR_NO_MEMORY, 0, "a portion of rows");
    return ERR_OK;
}

/** "?1, ?2" */
static void marks(char ret[64], size_t n)
{
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(ret + len, 64 - len, "%s?%zu", i ? ", " : "", i + 1);
}

static const struct side_packed *packed(const struct store_side *s, unsigned table)
{
    return s->ops->packed ? s->ops->packed(move_tables[table].name) : NULL;
}

/** Rows that lie as such, behind a place when `behind`. */
static int rows_select(struct store_side *s, unsigned table, bool behind, const struct move_value *after,
                       struct portion *p, struct err *err)
{
    const struct move_columns *columns = p->columns, *key = p->key;
    char sql[SQL_MAX], types[2 * MOVE_COLUMNS_MAX + 1], params[64];

    marks(params, key->n);
    snprintf(types, sizeof(types), "%.*s%.*s", MOVE_COLUMNS_MAX, columns->types, MOVE_COLUMNS_MAX, key->types);
    int n = snprintf(sql, sizeof(sql), "SELECT %s, %s FROM %s %s%s%s%s%s ORDER BY %s LIMIT %d", columns->list,
                     key->list, move_tables[table].name, behind ? "WHERE (" : "", behind ? key->list : "",
                     behind ? ") > (" : "", behind ? params : "", behind ? ")" : "", key->list, SELECT_ROWS);
    if (n < 0 || (size_t)n >= sizeof(sql))
        return err_set(err, ERR_INTERNAL, 0, "a statement that is too long");
    return s->ops->select(s, sql, behind ? key->types : "", after, types, take_row, p, err);
}

int side_read(struct store_side *s, unsigned table, struct buf *cursor, struct buf *rows, size_t *ret_n,
              struct err *err)
{
    const struct move_table *t = &move_tables[table];
    const struct side_packed *how = packed(s, table);
    const char *order = how ? how->place : s->ops->order ? s->ops->order(t->name) : NULL;
    struct move_columns columns, key;
    struct move_value after[MOVE_COLUMNS_MAX];
    AUTO_FREE char *held = NULL; /* take_row changes the cursor, and the parameters lie in it */
    bool behind = cursor->len > 0;
    size_t at = 0;
    int rc;

    *ret_n = 0;
    if (s->empty)
        return ERR_OK;
    move_columns_read(t->columns, &columns);
    move_columns_read(order ? order : t->key, &key);
    if (behind && !(held = malloc(cursor->len)))
        return err_set(err, ERR_NO_MEMORY, 0, "a portion of rows");
    if (behind)
        memcpy(held, cursor->data, cursor->len);
    if (behind && !move_row_next(&(struct buf){.data = held, .len = cursor->len}, &at, key.types, after))
        return err_set(err, ERR_CORRUPT, 0, "where the move stopped in %s cannot be read", t->name);
    struct portion p = {rows, cursor, &columns, &key, 0};
    if (how)
        rc = how->select(s, behind ? after : NULL, SELECT_ROWS, take_row, &p, err);
    else
        rc = rows_select(s, table, behind, after, &p, err);
    *ret_n = p.n;
    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, "read %s", t->name);
}

static int take_int(void *arg, const struct move_value *v, struct err *err)
{
    *(int64_t *)arg = v[0].null ? 0 : v[0].i;
    return ERR_OK;
}

int side_count(struct store_side *s, unsigned table, int64_t *ret, struct err *err)
{
    const struct side_packed *how = packed(s, table);
    char sql[96];
    int rc;

    *ret = 0;
    if (s->empty)
        return ERR_OK;
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", move_tables[table].name);
    if (how)
        rc = how->count(s, ret, err);
    else
        rc = s->ops->select(s, sql, "", NULL, "i", take_int, ret, err);
    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, "count %s", move_tables[table].name);
}

struct text {
    char *ret;
    size_t size;
};

static int take_text(void *arg, const struct move_value *v, struct err *err)
{
    const struct text *t = arg;

    if (v[0].null)
        return ERR_OK;
    if (v[0].n >= t->size)
        return err_set(err, ERR_CORRUPT, 0, "a value of the database is too long");
    memcpy(t->ret, v[0].p, v[0].n);
    t->ret[v[0].n] = '\0';
    return ERR_OK;
}

int side_text(struct store_side *s, const char *sql, const char *param_types, const struct move_value *params,
              char *ret, size_t size, struct err *err)
{
    struct text text = {ret, size};

    ret[0] = '\0';
    return s->ops->select(s, sql, param_types, params, "t", take_text, &text, err);
}

static struct move_value text_value(const char *s)
{
    return (struct move_value){.p = s, .n = strlen(s)};
}

int side_meta(struct store_side *s, const char *key, char *ret, size_t size, struct err *err)
{
    const struct move_value param = text_value(key);

    ret[0] = '\0';
    return s->empty ? ERR_OK : side_text(s, "SELECT value FROM meta WHERE key = ?1", "t", &param, ret, size, err);
}

void side_place(char ret[MOVE_PLACE_MAX], const char *fmt, ...)
{
    char whole[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(whole, sizeof(whole), fmt, ap);
    va_end(ap);
    utf8_mend(whole, strlen(whole));
    snprintf(ret, MOVE_PLACE_MAX, "%.*s", (int)utf8_cut(whole, MIN(strlen(whole), MOVE_PLACE_MAX - 1)), whole);
}

int side_check_schema(unsigned has, unsigned known, struct err *err)
{
    if (has == known)
        return ERR_OK;
    return err_set(
        err, ERR_UNSUPPORTED, 0,
        "the source has schema %u, this program's is %u: start this haul's server on it once, which brings it "
        "up to date, stop it, and move then",
        has, known);
}

/* --- writing --- */

static int run(struct store_side *s, const char *sql, struct err *err)
{
    return s->ops->run(s, sql, "", NULL, NULL, err);
}

static int end(struct store_side *s, int rc, struct err *err)
{
    if (rc == ERR_OK)
        rc = run(s, "COMMIT", err);
    if (rc != ERR_OK)
        run(s, "ROLLBACK", NULL);
    return rc;
}

static int meta_put(struct store_side *s, const char *key, const char *value, struct err *err)
{
    const struct move_value params[] = {text_value(key), text_value(value)};

    return s->ops->run(
        s, "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", "tt",
        params, NULL, err);
}

static int mark_move(struct store_side *s, const char *was, const char *mark, struct err *err)
{
    const struct move_value params[] = {text_value(STORE_META_MOVE), text_value(was), text_value(mark)};
    int64_t changed = 0;
    int rc = s->ops->run(s, "UPDATE meta SET value = ?3 WHERE key = ?1 AND value = ?2", "ttt", params, &changed, err);

    if (rc == ERR_OK && changed != 1)
        rc = err_set(err, ERR_LOCKED, 0, "another haul migrate moves into the target");
    return rc;
}

static int moved_take(struct store_side *s, struct err *err)
{
    const struct move_value param = text_value(STORE_META_MOVED);
    int64_t changed = 0;
    int rc = s->ops->run(s, "DELETE FROM meta WHERE key = ?1", "t", &param, &changed, err);

    if (rc == ERR_OK && changed == 0)
        rc = err_set(err, ERR_NOT_FOUND, 0, "nothing says that it was moved");
    return rc;
}

int side_moved(struct store_side *s, const char *word, struct err *err)
{
    int rc = run(s, s->ops->begin, err);

    if (rc == ERR_OK)
        rc = word ? meta_put(s, STORE_META_MOVED, word, err) : moved_take(s, err);
    return end(s, rc, err);
}

static int check_empty(struct store_side *s, struct err *err)
{
    int64_t n = 0;
    int rc = ERR_OK;

    for (unsigned i = 0; rc == ERR_OK && n == 0 && i < move_n_tables; i++) {
        rc = side_count(s, i, &n, err);
        if (rc == ERR_OK && n > 0)
            rc = err_set(err, ERR_CONFLICT, 0,
                         "the target is not empty, it holds %lld rows of %s: move into a new database or data folder",
                         (long long)n, move_tables[i].name);
    }
    return rc;
}

int side_begin(struct store_side *s, const char *mark, struct err *err)
{
    int rc = mark ? run(s, s->ops->begin, err) : ERR_OK;

    if (rc == ERR_OK && s->ops->check_unused && !s->empty)
        rc = s->ops->check_unused(s, err);
    if (rc == ERR_OK)
        rc = check_empty(s, err);
    if (rc == ERR_OK && mark)
        rc = meta_put(s, STORE_META_MOVE, mark, err);
    return mark ? end(s, rc, err) : rc;
}

int side_write(struct store_side *s, unsigned table, const struct buf *rows, const char *was, const char *mark,
               struct err *err)
{
    const struct side_packed *how = rows ? packed(s, table) : NULL;
    struct move_columns columns;
    int rc = run(s, s->ops->begin, err);

    if (rc == ERR_OK)
        rc = mark_move(s, was, mark, err);
    if (rc == ERR_OK && rows) {
        move_columns_read(move_tables[table].columns, &columns);
        if (how)
            rc = how->insert(s, &columns, rows, err);
        else
            rc = s->ops->insert(s, move_tables[table].name, &columns, rows, err);
        if (rc != ERR_OK)
            err_wrap(err, rc, "write %s", move_tables[table].name);
    }
    return end(s, rc, err);
}

/* What a server keeps by adding to it, counted. The totals of blobs are left out: a start makes them. */
static const char *const derive[] = {
    "DELETE FROM counters",
    "INSERT INTO counters (server_id, project, queue, task_type, status, n) SELECT 1, project, queue, task_type, "
    "status, count(*)"
    " FROM (SELECT project, queue, task_type, status FROM jobs UNION ALL SELECT project, queue, task_type, status FROM "
    "history) j"
    " GROUP BY project, queue, task_type, status",
    "DELETE FROM meta WHERE key IN ('blobs', 'blob_bytes', '" STORE_META_MOVE "', '" STORE_META_MOVED "')",
};

int side_finish(struct store_side *s, const char *was, const char *const *pairs, size_t n, struct err *err)
{
    int rc = run(s, s->ops->begin, err);

    if (rc == ERR_OK)
        rc = mark_move(s, was, was, err);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(derive); i++)
        rc = run(s, derive[i], err);
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = meta_put(s, pairs[2 * i], pairs[2 * i + 1], err);
    return end(s, rc, err);
}
