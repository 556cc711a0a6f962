/* Reads: on a bounded set of read-only connections, each in one snapshot and under a deadline. */
#include "store/sql/read.h"

#define START_DEADLINE_US (60 * USEC_PER_SEC) /* counting lanes, once, before anybody waits */

void *list_add(struct list *l)
{
    if (l->n == 0 || (l->n & (l->n - 1)) == 0) {
        void *bigger = arena_array(l->arena, l->n ? l->n * 2 : 1, l->item_size);
        if (!bigger)
            return NULL;
        if (l->n)
            memcpy(bigger, l->items, l->n * l->item_size);
        l->items = bigger;
    }
    return (char *)l->items + l->item_size * l->n++;
}

int read_no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, 0, "answer");
}

int read_list(struct store *s, usec deadline_us, struct list *l, bool (*row)(struct list *l, struct query *st),
              struct err *err, const char *sql, const char *types, ...)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    bool more;
    va_list ap;
    int rc = read_begin(s, deadline_us, &r, err);

    if (rc != ERR_OK)
        return rc;
    va_start(ap, types);
    rc = q_vopen(r.c, &st, err, sql, types, ap);
    va_end(ap);
    while (rc == ERR_OK && (rc = q_step(r.c, st, &more, err)) == ERR_OK && more)
        if (!row(l, st))
            return read_no_memory(err);
    return rc;
}

/* --- about one job --- */

int read_job_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena, struct job *ret,
                 struct err *err)
{
    AUTO_READING struct reading r = {0};
    struct row row;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = row_load(r.c, project, id, LOAD_FULL, arena, &row, err);
    if (rc == ERR_OK)
        *ret = row.job;
    return rc;
}

int read_position(struct store *s, const struct uuid *job_id, unsigned max, int64_t *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    int64_t lane_id = 0, seq = -1;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    *ret = -1;
    if (rc == ERR_OK)
        rc = q_int(r.c, 0, &lane_id, err, "SELECT lane_id FROM jobs WHERE job_id = ?1", "u", job_id);
    if (rc == ERR_OK)
        rc = q_int(r.c, -1, &seq, err, "SELECT ready_seq FROM jobs WHERE job_id = ?1", "u", job_id);
    if (rc != ERR_OK || seq < 0)
        return rc;
    return q_int(
        r.c, 0, ret, err,
        "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE lane_id = ?1 AND ready_seq IS NOT NULL AND ready_seq < ?2 "
        "LIMIT ?3) before",
        "iii", lane_id, seq, (int64_t)max);
}

static bool attempt_row(struct list *l, struct query *st)
{
    struct attempt *a = list_add(l);

    if (!a)
        return false;
    *a = (struct attempt){
        .job_id = *(const struct uuid *)l->about,
        .attempt = (uint32_t)col_int(st, 0),
        .worker_id = col_uuid(st, 1),
        .worker_name = col_text(st, 2, l->arena),
        .handler_version = col_text(st, 3, l->arena),
        .started_at = col_int(st, 4),
        .ended_at = col_int(st, 5),
        .outcome = (enum outcome)col_int(st, 6),
        .usage = {.exit_code = (int)col_int(st, 7),
                  .signal = (int)col_int(st, 8),
                  .cpu_us = col_int(st, 9),
                  .peak_memory_bytes = col_int(st, 10),
                  .bytes_in = col_int(st, 11),
                  .bytes_out = col_int(st, 12)},
        .log_bytes = col_int(st, 13),
        .error = col_text(st, 14, l->arena),
        .redone = col_real(st, 15),
    };
    return true;
}

int read_attempts(struct store *s, const struct uuid *job_id, struct arena *arena, struct attempt **ret, size_t *ret_n,
                  struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret), .about = job_id};
    int rc =
        read_list(s, READ_DEADLINE_US, &l, attempt_row, err,
                  "SELECT attempt, worker_id, worker_name, handler_version, started_at, ended_at, outcome, "
                  "exit_code, signal, cpu_us,"
                  " peak_memory_bytes, bytes_in, bytes_out, log_bytes, error, redone FROM attempts WHERE job_id = ?1 "
                  "ORDER BY attempt",
                  "u", job_id);

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}

static bool output_row(struct list *l, struct query *st)
{
    struct output *o = list_add(l);

    if (!o)
        return false;
    *o = (struct output){.name = col_text(st, 0, l->arena), .blob_id = col_uuid(st, 1), .size = col_int(st, 2)};
    col_hash(st, 3, o->sha256);
    return o->name;
}

int read_outputs(struct store *s, const struct uuid *job_id, struct arena *arena, struct output **ret, size_t *ret_n,
                 struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc =
        read_list(s, READ_DEADLINE_US, &l, output_row, err,
                  "SELECT name, blob_id, size, sha256 FROM outputs WHERE job_id = ?1 AND published = 1 ORDER BY name",
                  "u", job_id);

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}

/* --- the rest --- */

int read_blob_get(struct store *s, const char *project, const struct uuid *id, struct arena *arena,
                  struct blob_row *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err,
                    "SELECT size, sha256, refs, created_at, expires_at, project, xxh128 FROM blobs"
                    " WHERE blob_id = ?1 AND project = ?2",
                    "ut", id, project);
    if (rc == ERR_OK)
        rc = q_step(r.c, st, &found, err);
    if (rc == ERR_OK && !found)
        rc = err_set(err, ERR_NOT_FOUND, 0, "there is no such blob");
    if (rc != ERR_OK)
        return rc;
    *ret = (struct blob_row){.blob_id = *id,
                             .project = col_text(st, 5, arena),
                             .size = col_int(st, 0),
                             .refs = col_int(st, 2),
                             .created_at = col_int(st, 3),
                             .expires_at = col_int(st, 4)};
    col_hash(st, 1, ret->sha256);
    ret->summed = col_exact(st, 6, ret->xxh128, sizeof(ret->xxh128));
    return ret->project ? ERR_OK : read_no_memory(err);
}

int read_upload_get(struct store *s, const char *project, const struct uuid *id, bool expired, struct arena *arena,
                    struct upload_row *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    return rc == ERR_OK ? read_upload_row(r.c, project, id, expired ? INT64_MIN : store_now(s), arena, ret, err) : rc;
}

static bool worker_row(struct list *l, struct query *st)
{
    struct worker_row *w = list_add(l);

    if (!w)
        return false;
    *w = (struct worker_row){
        .worker_id = col_uuid(st, 0),
        .name = col_text(st, 1, l->arena),
        .host = col_text(st, 2, l->arena),
        .version = col_text(st, 3, l->arena),
        .isolation = col_text(st, 4, l->arena),
        .handlers = col_text(st, 5, l->arena),
        .slots_total = (unsigned)col_int(st, 6),
        .slots_busy = (unsigned)col_int(st, 7),
        .first_seen = col_int(st, 8),
        .last_seen = col_int(st, 9),
        .load = col_text(st, 10, l->arena),
        .drained_at = col_int(st, 11), /* no row: 0 */
        .drained_by = col_text(st, 12, l->arena),
    };
    return true;
}

int read_workers(struct store *s, struct arena *arena, struct worker_row **ret, size_t *ret_n, struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc = read_list(
        s, READ_DEADLINE_US, &l, worker_row, err,
        "SELECT w.worker_id, w.name, w.host, w.version, w.isolation, w.handlers, w.slots_total, w.slots_busy, "
        "w.first_seen, w.last_seen, w.load, d.drained_at, d.drained_by FROM workers w LEFT JOIN drains d ON "
        "d.worker_id = w.worker_id ORDER BY w.last_seen DESC LIMIT 10000",
        "");

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}

static bool same(const struct stat_row *row, const char *project, const char *queue, const char *task_type)
{
    return strcmp(row->project, project) == 0 && strcmp(row->queue, queue) == 0 &&
           strcmp(row->task_type, task_type) == 0;
}

/** Rows of one task type follow each other, one a status: they become one. */
static bool stat_row(struct list *l, struct query *st)
{
    const char *project = col_borrow(st, 0), *queue = col_borrow(st, 1), *type = col_borrow(st, 2);
    struct stat_row *row = l->n ? (struct stat_row *)l->items + l->n - 1 : NULL;
    int status = (int)col_int(st, 3);

    if (!project || !queue || !type)
        return false;
    if (!row || !same(row, project, queue, type)) {
        row = list_add(l);
        if (!row)
            return false;
        *row = (struct stat_row){
            arena_strdup(l->arena, project), arena_strdup(l->arena, queue), arena_strdup(l->arena, type), {0}};
        if (!row->project || !row->queue || !row->task_type)
            return false;
    }
    if (status >= 0 && status < JOB_STATUS_COUNT)
        row->by_status[status] = col_int(st, 4);
    return true;
}

int read_stats(struct store *s, struct arena *arena, struct stat_row **ret, size_t *ret_n, struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc =
        read_list(s, READ_DEADLINE_US, &l, stat_row, err,
                  "SELECT project, queue, task_type, status, CAST(sum(n) AS BIGINT) FROM counters GROUP BY project, "
                  "queue, task_type, status HAVING sum(n) <> 0 ORDER BY project, queue, task_type",
                  "");

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}

static bool lane_row(struct list *l, struct query *st)
{
    struct lane *lane = list_add(l);

    if (!lane)
        return false;
    *lane = (struct lane){.lane_id = col_int(st, 0),
                          .project = col_text(st, 1, l->arena),
                          .queue = col_text(st, 2, l->arena),
                          .task_type = col_text(st, 3, l->arena),
                          .priority = (int)col_int(st, 4),
                          .ready = (uint64_t)col_int(st, 5),
                          .oldest_at = col_int(st, 6),
                          .paused = col_int(st, 7) != 0};
    return lane->project && lane->queue && lane->task_type;
}

int read_lanes(struct store *s, struct arena *arena, struct lane **ret, size_t *ret_n, struct err *err)
{
    struct list l = {.arena = arena, .item_size = sizeof(**ret)};
    int rc = read_list(s, START_DEADLINE_US, &l, lane_row, err, s->sql->lanes_ready, "");

    *ret = l.items;
    *ret_n = l.n;
    return rc;
}

int read_meta(struct store *s, const char *key, struct arena *arena, const char **ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    *ret = NULL;
    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err, "SELECT value FROM meta WHERE key = ?1", "t", key);
    if (rc == ERR_OK)
        rc = q_step(r.c, st, &found, err);
    if (rc == ERR_OK && found && !(*ret = col_text(st, 0, arena)))
        rc = read_no_memory(err);
    return rc;
}
