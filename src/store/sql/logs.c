/* Logs. While an attempt runs its log is rows of at most a chunk; trimmed in the middle as it grows, so that no job holds more than head,
 * tail and a chunk. Offsets count what the handler wrote. There is one cut at most: a second one swallows what was kept between. */
#include "store/sql/read.h"
#include <inttypes.h>

enum log_state { LOG_OPEN, LOG_TO_PACK, LOG_CLOSED };

struct log_row {
    int64_t bytes, cut_from, cut_to;
    enum log_state state;
    struct uuid blob_id;
};

#define LOG_OF                                                                                                         \
    "SELECT log_bytes, log_cut_from, log_cut_to, log_state, log_blob FROM attempts WHERE job_id = ?1 AND attempt = ?2"

/** @param sql  LOG_OF, or LOG_OF LIVE */
static int log_load(struct conn *c, const char *sql, const struct uuid *job_id, uint32_t attempt, struct log_row *ret,
                    struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(c, &st, err, sql, "ui", job_id, (int64_t)attempt);

    if (rc == ERR_OK)
        rc = q_step(c, st, &found, err);
    if (rc == ERR_OK && !found)
        rc = err_set(err, ERR_NOT_FOUND, 0, "there is no attempt %" PRIu32, attempt);
    if (rc == ERR_OK)
        *ret = (struct log_row){.bytes = col_int(st, 0),
                                .cut_from = col_int(st, 1),
                                .cut_to = col_int(st, 2),
                                .state = (enum log_state)col_int(st, 3),
                                .blob_id = col_uuid(st, 4)};
    return rc;
}

static int chunk_insert(struct tx *t, const struct uuid *job_id, uint32_t attempt, int64_t at, const char *p, size_t n)
{
    return q_run(t->c, NULL, t->err, "INSERT INTO log_chunks (job_id, attempt, at, bytes) VALUES (?1, ?2, ?3, ?4)",
                 "uiib", job_id, (int64_t)attempt, at, (const void *)p, n);
}

/** The sender owns up to a gap before its piece. */
static int cut(struct tx *t, const struct op_log *op, struct log_row *log)
{
    if (log->cut_to == log->cut_from)
        log->cut_from = log->bytes;
    log->bytes = log->cut_to = op->offset;
    return q_run(t->c, NULL, t->err, "DELETE FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at >= ?3", "uii",
                 &op->job_id, (int64_t)op->token.attempt, log->cut_from);
}

/** A handler that says a word now and then: it joins the last chunk as long as that stays within one page of the database, which is
 * written either way. A day of such words is thousands of rows then, not hundreds of thousands. */
#define JOINED_MAX 3500

static int chunk_join(struct tx *t, const struct op_log *op, int64_t at, const char *p, size_t n, bool *ret_joined)
{
    int64_t changed = 0;
    int rc = ERR_OK;

    if (n < JOINED_MAX && at != JOB_LOG_HEAD_MAX)
        rc = q_run(t->c, &changed, t->err, t->s->sql->chunk_join, "uibii", &op->job_id, (int64_t)op->token.attempt,
                   (const void *)p, n, at, (int64_t)JOINED_MAX);
    *ret_joined = changed > 0;
    return rc;
}

/** No chunk lies across the head's end, so that the head is kept to the byte. */
static int append(struct tx *t, const struct op_log *op, struct log_row *log)
{
    const char *p = (const char *)op->bytes + (log->bytes - op->offset);
    size_t n = op->n - (size_t)(log->bytes - op->offset);
    int rc = ERR_OK;

    while (rc == ERR_OK && n > 0) {
        size_t now = log->bytes < JOB_LOG_HEAD_MAX ? MIN(n, (size_t)(JOB_LOG_HEAD_MAX - log->bytes)) : n;
        bool joined;
        rc = chunk_join(t, op, log->bytes, p, now, &joined);
        if (rc == ERR_OK && !joined)
            rc = chunk_insert(t, &op->job_id, op->token.attempt, log->bytes, p, now);
        log->bytes += (int64_t)now;
        p += now;
        n -= now;
    }
    return rc;
}

/** What was kept behind the head and before a cut goes at once, when its turn comes: a second cut would not be one. */
static int trim_before_cut(struct tx *t, const struct op_log *op, struct log_row *log)
{
    int64_t from = log->cut_from;

    log->cut_from = JOB_LOG_HEAD_MAX;
    return q_run(t->c, NULL, t->err,
                 "DELETE FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at >= ?3 AND at < ?4", "uiii",
                 &op->job_id, (int64_t)op->token.attempt, log->cut_from, from);
}

/** Chunks that lie between head and tail with their last byte go. */
static int trim(struct tx *t, const struct op_log *op, struct log_row *log)
{
    bool is_cut = log->cut_to > log->cut_from;
    int64_t tail = log->bytes - JOB_LOG_TAIL_MAX, first = is_cut ? log->cut_to : JOB_LOG_HEAD_MAX, gone = 0;
    int rc = ERR_OK;

    if (is_cut && log->cut_from > JOB_LOG_HEAD_MAX && tail > JOB_LOG_HEAD_MAX)
        rc = trim_before_cut(t, op, log);
    if (rc == ERR_OK && tail > first)
        rc = q_run(t->c, &gone, t->err,
                   "DELETE FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at >= ?3 AND at < ?4"
                   " AND at + length(bytes) <= ?4",
                   "uiii", &op->job_id, (int64_t)op->token.attempt, first, tail);
    if (rc != ERR_OK || gone == 0)
        return rc;
    if (!is_cut)
        log->cut_from = JOB_LOG_HEAD_MAX;
    return q_int(t->c, log->bytes, &log->cut_to, t->err,
                 "SELECT min(at) FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at >= ?3", "uii", &op->job_id,
                 (int64_t)op->token.attempt, first);
}

static int check(const struct op_log *op, struct err *err)
{
    if (op->offset < 0 || op->offset > INT64_MAX - JOB_LOG_CHUNK_MAX)
        return err_field(err, "offset", "must not be negative, nor near 2^63");
    if (op->skipped < 0 || op->skipped > op->offset)
        return err_field(err, "skipped", "must be 0 to `offset`: the bytes left out just before it");
    if (op->n > JOB_LOG_CHUNK_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "a piece of log is %d bytes at most", JOB_LOG_CHUNK_MAX);
    return ERR_OK;
}

int op_log(struct tx *t)
{
    struct op_log *op = &t->op->u.log;
    struct row row;
    struct log_row log;
    int rc = check(op, t->err);

    if (rc == ERR_OK)
        rc = running_load(t, &op->job_id, &op->token, &row);
    if (rc == ERR_OK)
        rc = log_load(t->c, LOG_OF LIVE, &op->job_id, op->token.attempt, &log, t->err);
    if (rc != ERR_OK)
        return rc;
    if (log.state != LOG_OPEN)
        return err_set(t->err, ERR_STALE_TOKEN, 0, "the log of attempt %" PRIu32 " is closed", op->token.attempt);
    op->next_offset = log.bytes;
    if (op->offset - op->skipped > log.bytes)
        return err_set(t->err, ERR_CONFLICT, 0,
                       "the log has %" PRId64 " bytes: a piece from %" PRId64 " leaves a gap. Send what is between, or "
                       "say with `skipped` that it will not come",
                       log.bytes, op->offset);
    /* Less than `skipped` says may be missing: an answer was lost, and the sender had to leave out more since. */
    if (op->offset + (int64_t)op->n <= log.bytes)
        return ERR_OK; /* said before */
    if (op->offset > log.bytes)
        rc = cut(t, op, &log);
    if (rc == ERR_OK)
        rc = append(t, op, &log);
    if (rc == ERR_OK)
        rc = trim(t, op, &log);
    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err,
                   "UPDATE attempts SET log_bytes = ?3, log_cut_from = ?4, log_cut_to = ?5 WHERE job_id = ?1 AND "
                   "attempt = ?2" LIVE,
                   "uiiii", &op->job_id, (int64_t)op->token.attempt, log.bytes, log.cut_from, log.cut_to);
    if (rc == ERR_OK)
        op->next_offset = log.bytes;
    return rc;
}

/* --- the end --- */

/** A small log in many rows becomes one. */
static int merge(struct tx *t, const struct uuid *job_id, uint32_t attempt)
{
    AUTO_QUERY struct query *st = NULL;
    char *text = arena_alloc(t->scratch, JOB_LOG_CHUNK_MAX);
    size_t n = 0, rows = 0;
    bool more;
    int rc =
        text ? q_open(t->c, &st, t->err, "SELECT bytes FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 ORDER BY at",
                      "ui", job_id, (int64_t)attempt)
             : err_set(t->err, ERR_NO_MEMORY, 0, "log");

    for (; rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more; rows++) {
        size_t piece;
        const void *bytes = col_bytes(st, 0, &piece);
        if (n + piece > JOB_LOG_CHUNK_MAX)
            return err_set(t->err, ERR_CORRUPT, 0, "the log is longer than its attempt says");
        if (piece > 0)
            memcpy(text + n, bytes, piece);
        n += piece;
    }
    if (rc != ERR_OK || rows < 2)
        return rc;
    q_close(st);
    st = NULL;
    rc = q_run(t->c, NULL, t->err, "DELETE FROM log_chunks WHERE job_id = ?1 AND attempt = ?2", "ui", job_id,
               (int64_t)attempt);
    return rc == ERR_OK ? chunk_insert(t, job_id, attempt, 0, text, n) : rc;
}

int log_end_look(struct tx *t, const struct uuid *job_id, uint32_t attempt, struct log_end *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT log_state, log_bytes, log_cut_from, log_cut_to FROM attempts WHERE job_id = ?1 AND attempt "
                    "= ?2" LIVE,
                    "ui", job_id, (int64_t)attempt);

    *ret = (struct log_end){.state = LOG_CLOSED};
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    if (rc != ERR_OK || !found)
        return rc;
    ret->open = col_int(st, 0) == LOG_OPEN;
    ret->state = col_int(st, 0);
    if (!ret->open)
        return ERR_OK;
    int64_t bytes = col_int(st, 1), from = col_int(st, 2), to = col_int(st, 3);
    ret->state = bytes - (to - from) > JOB_LOG_CHUNK_MAX ? LOG_TO_PACK : LOG_CLOSED;
    ret->one_piece = ret->state == LOG_CLOSED && bytes > 0 && to == 0;
    return ERR_OK;
}

int log_end_done(struct tx *t, const struct uuid *job_id, uint32_t attempt, const struct log_end *end)
{
    if (end->open && end->state == LOG_TO_PACK)
        t->op->log_to_pack = true;
    return end->one_piece ? merge(t, job_id, attempt) : ERR_OK;
}

int log_close(struct tx *t, const struct uuid *job_id, uint32_t attempt)
{
    struct log_end end;
    int rc = log_end_look(t, job_id, attempt, &end);

    if (rc != ERR_OK || !end.open)
        return rc;
    rc = q_run(t->c, NULL, t->err, "UPDATE attempts SET log_state = ?3 WHERE job_id = ?1 AND attempt = ?2" LIVE, "uii",
               job_id, (int64_t)attempt, end.state);
    return rc == ERR_OK ? log_end_done(t, job_id, attempt, &end) : rc;
}

/** A packed log's rows go a bounded number at a time: others wait for the writer. It waits on, with its blob named, until all are gone.
 * Then, or when it cannot be packed, it waits no longer. */
#define DROPPED_MAX 500

static int chunks_drop(struct tx *t, const struct uuid *job_id, uint32_t attempt, bool packed, bool *ret_more)
{
    int64_t dropped = 0;
    int rc = ERR_OK;

    if (packed)
        rc =
            q_run(t->c, &dropped, t->err,
                  "DELETE FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at IN (SELECT at FROM log_chunks WHERE"
                  " job_id = ?1 AND attempt = ?2 ORDER BY at LIMIT ?3)",
                  "uii", job_id, (int64_t)attempt, (int64_t)DROPPED_MAX);
    *ret_more = dropped == DROPPED_MAX;
    if (rc == ERR_OK && !*ret_more)
        rc = q_run(t->c, NULL, t->err, "UPDATE attempts SET log_state = 2 WHERE job_id = ?1 AND attempt = ?2", "ui",
                   job_id, (int64_t)attempt);
    return rc;
}

static int unpacked_find(struct tx *t, struct op_sweep *op, size_t max, struct log_name *ret_dropping)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc = q_open(t->c, &st, t->err,
                    "SELECT project, job_id, attempt, log_blob FROM attempts WHERE log_state = 1 ORDER BY ended_at"
                    " LIMIT ?1",
                    "i", (int64_t)max);

    while (rc == ERR_OK && (rc = q_step(t->c, st, &more, t->err)) == ERR_OK && more) {
        struct log_name log = {
            .project = col_text(st, 0, t->op->arena), .job_id = col_uuid(st, 1), .attempt = (uint32_t)col_int(st, 2)};
        if (!log.project)
            return err_set(t->err, ERR_NO_MEMORY, 0, "logs");
        if (col_null(st, 3))
            op->logs[op->n_logs++] = log;
        else
            *ret_dropping = log;
        op->touched++;
    }
    op->more = op->touched == max;
    return rc;
}

int op_sweep_logs(struct tx *t)
{
    struct op_sweep *op = &t->op->u.sweep;
    struct log_name dropping = {0};
    size_t max = op->limit ? op->limit : 1;
    bool more = false;

    op->touched = op->n_removed = op->n_logs = 0;
    op->next_at = USEC_NEVER;
    op->logs = arena_array(t->op->arena, max, sizeof(*op->logs));
    if (!op->logs)
        return err_set(t->err, ERR_NO_MEMORY, 0, "logs");
    int rc = unpacked_find(t, op, max, &dropping);
    if (rc == ERR_OK && dropping.project)
        rc = chunks_drop(t, &dropping.job_id, dropping.attempt, true, &more);
    op->more = op->more || more || op->touched > op->n_logs + 1;
    return rc;
}

static int blob_take(struct tx *t, const struct op_log_packed *op)
{
    int64_t is_new;
    int rc = blob_insert(t, &op->blob_id, op->size, op->sha256, NULL, &is_new);

    if (rc == ERR_OK && !is_new)
        rc = err_set(t->err, ERR_CONFLICT, 0, "the log's blob is another's");
    return rc == ERR_OK ? blob_ref(t, &op->blob_id, 1) : rc;
}

int op_log_packed(struct tx *t)
{
    const struct op_log_packed *op = &t->op->u.log_packed;
    bool packed = !uuid_is_nil(&op->blob_id);
    struct log_row log;
    int rc = log_load(t->c, LOG_OF, &op->job_id, op->attempt, &log, t->err);

    if (rc == ERR_OK && (log.state != LOG_TO_PACK || !uuid_is_nil(&log.blob_id)))
        rc = err_set(t->err, ERR_CONFLICT, 0, "the log of attempt %" PRIu32 " does not wait to be packed", op->attempt);
    if (rc == ERR_OK && packed)
        rc = blob_take(t, op);
    if (rc == ERR_OK && packed)
        rc = q_run(t->c, NULL, t->err, "UPDATE attempts SET log_blob = ?3 WHERE job_id = ?1 AND attempt = ?2", "uiu",
                   &op->job_id, (int64_t)op->attempt, &op->blob_id);
    if (rc == ERR_OK)
        rc = chunks_drop(t, &op->job_id, op->attempt, packed, &t->op->log_to_pack);
    return rc;
}

int logs_release(struct tx *t, const struct uuid *job_id, usec lie_at)
{
    return q_run(t->c, NULL, t->err, t->s->sql->logs_release, "uii", job_id, lie_at, t->now);
}

/* --- reading --- */

static int chunks_read(struct conn *c, const struct uuid *job_id, uint32_t attempt, char *buf, size_t max,
                       struct log_part *part, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    /* The chunk that holds the first byte begins less than a chunk's size before it. */
    int rc = q_open(
        c, &st, err,
        "SELECT at, bytes FROM log_chunks WHERE job_id = ?1 AND attempt = ?2 AND at > ?3 AND at < ?4 ORDER BY at",
        "uiii", job_id, (int64_t)attempt, part->at - JOB_LOG_CHUNK_MAX, part->at + (int64_t)max);

    while (rc == ERR_OK && part->n < max && (rc = q_step(c, st, &more, err)) == ERR_OK && more) {
        int64_t at = col_int(st, 0), want = part->at + (int64_t)part->n;
        size_t size;
        const char *bytes = col_bytes(st, 1, &size);
        int64_t n = (int64_t)size;

        if (at + n <= want)
            continue;
        if (at > want)
            return err_set(err, ERR_CORRUPT, 0, "the log has a gap at %" PRId64, want);
        size_t take = MIN((size_t)(at + n - want), max - part->n);
        memcpy(buf + part->n, bytes + (want - at), take);
        part->n += take;
    }
    if (rc == ERR_OK && part->n == 0)
        rc = err_set(err, ERR_CORRUPT, 0, "the log has a gap at %" PRId64, part->at);
    return rc;
}

int read_log(struct store *s, const struct uuid *job_id, uint32_t attempt, int64_t offset, void *buf, size_t max,
             struct log_part *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    struct log_row log;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    if (rc == ERR_OK)
        rc = log_load(r.c, LOG_OF, job_id, attempt, &log, err);
    if (rc != ERR_OK)
        return rc;
    bool in_cut = offset >= log.cut_from && offset < log.cut_to;
    *ret = (struct log_part){.at = in_cut ? log.cut_to : offset,
                             .total = log.bytes,
                             .cut_from = log.cut_from,
                             .cut_to = log.cut_to,
                             .ended = log.state != LOG_OPEN,
                             .blob_id = log.blob_id};
    int64_t end = ret->at < log.cut_from ? log.cut_from : log.bytes;
    if (offset < 0 || ret->at >= end || max == 0 || !uuid_is_nil(&log.blob_id))
        return ERR_OK;
    return chunks_read(r.c, job_id, attempt, buf, MIN(max, (size_t)(end - ret->at)), ret, err);
}
