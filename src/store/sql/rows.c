/* A job's row: loaded, changed by core, saved. Readiness, counters and lane changes follow from the difference, in one place. */
#include "base/json.h"
#include "store/sql/keys.h"
#include <inttypes.h>

int row_read(struct query *st, struct arena *arena, struct row *ret, struct err *err)
{
    struct job *j = &ret->job;
    int i = 0;

    *ret = (struct row){0};
    j->job_id = col_uuid(st, i++);
    j->project = col_text(st, i++, arena);
    j->queue = col_text(st, i++, arena);
    j->task_type = col_text(st, i++, arena);
    j->priority = (int)col_int(st, i++);
    ret->lane_id = col_int(st, i++);
    j->payload = col_text(st, i++, arena);
    bool has_ref = !col_null(st, i);
    j->payload_ref = col_text(st, i++, arena);
    j->labels = col_text(st, i++, arena);
    bool has_key = !col_null(st, i);
    j->dedup_key = col_text(st, i++, arena);
    j->max_attempts = (uint32_t)col_int(st, i++);
    j->timeout_us = col_int(st, i++);
    j->no_progress_us = col_int(st, i++);
    j->created_at = col_int(st, i++);
    j->start_deadline_at = col_int(st, i++);
    j->status = (enum job_status)col_int(st, i++);
    j->run_at = col_int(st, i++);
    j->waiting_on = (uint32_t)col_int(st, i++);
    j->attempt = (uint32_t)col_int(st, i++);
    j->retries = (uint32_t)col_int(st, i++);
    j->interruptions = (uint32_t)col_int(st, i++);
    j->losses = (uint32_t)col_int(st, i++);
    col_exact(st, i++, j->token.secret, sizeof(j->token.secret));
    j->token.attempt = (uint32_t)col_int(st, i++);
    j->owner_id = col_uuid(st, i++);
    j->lease_until = col_int(st, i++);
    j->confirmed = col_int(st, i++) != 0;
    j->cancel_requested_at = col_int(st, i++);
    j->started_at = col_int(st, i++);
    j->finished_at = col_int(st, i++);
    j->last_outcome = (enum outcome)col_int(st, i++);
    bool has_log = !col_null(st, i);
    j->error_log = col_text(st, i++, arena);
    j->progress = col_real(st, i++);
    bool has_message = !col_null(st, i);
    j->progress_message = col_text(st, i++, arena);
    j->progress_at = col_int(st, i++);
    j->version = col_int(st, i++);
    ret->ready_seq = col_int(st, i++);
    j->fingerprint = ret->fingerprint_was = (uint64_t)col_int(st, i++);
    bool has_trace = !col_null(st, i);
    j->traceparent = col_text(st, i++, arena);
    bool has_state = !col_null(st, i);
    j->tracestate = col_text(st, i++, arena);
    ret->was = j->status;
    ret->finished_was = j->finished_at;

    if (!j->project || !j->queue || !j->task_type || !j->payload || !j->labels || (has_ref && !j->payload_ref) ||
        (has_key && !j->dedup_key) || (has_log && !j->error_log) || (has_message && !j->progress_message) ||
        (has_trace && !j->traceparent) || (has_state && !j->tracestate))
        return err_set(err, ERR_NO_MEMORY, 0, "job");
    if ((unsigned)j->status >= JOB_STATUS_COUNT)
        return err_set(err, ERR_CORRUPT, 0, "job with status %d", (int)j->status);
    return ERR_OK;
}

int row_inputs(struct conn *c, struct arena *arena, struct job *job, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    struct job_input inputs[JOB_INPUTS_MAX + 1];
    size_t n = 0;
    bool more;
    int rc = q_open(c, &st, err, "SELECT name, ref FROM inputs WHERE job_id = ?1 ORDER BY i", "u", &job->job_id);

    job->inputs = NULL;
    job->n_inputs = 0;
    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more && n < ARRAY_LEN(inputs)) {
        inputs[n] = (struct job_input){.name = col_text(st, 0, arena), .ref = col_text(st, 1, arena)};
        if (!inputs[n].name || !inputs[n].ref)
            return err_set(err, ERR_NO_MEMORY, 0, "inputs");
        n++;
    }
    if (rc != ERR_OK || n == 0)
        return rc;
    job->inputs = arena_memdup(arena, inputs, n * sizeof(inputs[0]));
    if (!job->inputs)
        return err_set(err, ERR_NO_MEMORY, 0, "inputs");
    job->n_inputs = n;
    return ERR_OK;
}

static const char jobs_lean[] =
    "SELECT " ROW_COLUMNS("'{}'") " FROM jobs WHERE job_id = ?1 AND project = coalesce(?2, project)" SQL_LOCK;
static const char jobs_full[] =
    "SELECT " ROW_COLUMNS("payload") " FROM jobs WHERE job_id = ?1 AND project = coalesce(?2, project)" SQL_LOCK;
#define HISTORY_BY_ID " FROM history WHERE job_id = ?1 AND project = coalesce(?2, project)"
static const char history_lean[] = "SELECT " ROW_COLUMNS("'{}'") HISTORY_BY_ID " /*later*/" SQL_LOCK;
static const char history_full[] = "SELECT " ROW_COLUMNS("payload") HISTORY_BY_ID " /*later*/" SQL_LOCK;

/* Most jobs finish within a day of their submission, which their id tells: the days to look at first. The clocks that made id and time
 * are two. */
#define NEAR_BEFORE_US (INT64_C(3600) * USEC_PER_SEC)
#define NEAR_BEHIND_US (INT64_C(24) * 3600 * USEC_PER_SEC)
#define HISTORY_NEAR   HISTORY_BY_ID " AND finished_at >= ?3 AND finished_at < ?4 /*later*/" SQL_LOCK
static const char near_lean[] = "SELECT " ROW_COLUMNS("'{}'") HISTORY_NEAR;
static const char near_full[] = "SELECT " ROW_COLUMNS("payload") HISTORY_NEAR;

/* It may just have come back from there, by another server: so this is not read ahead with the other two. */
#define JOBS_AGAIN " FROM jobs WHERE job_id = ?1 AND project = coalesce(?2, project) /*alone*/" SQL_LOCK
static const char again_lean[] = "SELECT " ROW_COLUMNS("'{}'") JOBS_AGAIN;
static const char again_full[] = "SELECT " ROW_COLUMNS("payload") JOBS_AGAIN;

/** One look. sql NULL: none. */
static int load_by(struct conn *c, const char *sql, const char *project, const struct uuid *id, enum load what,
                   struct arena *arena, struct row *ret, bool *ret_found, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    const usec made = uuid_v7_us(id);
    int rc = ERR_OK;

    *ret_found = false;
    if (sql == near_lean || sql == near_full)
        rc = q_open(c, &st, err, sql, "utii", id, project, made - NEAR_BEFORE_US, made + NEAR_BEHIND_US);
    else if (sql)
        rc = q_open(c, &st, err, sql, "ut", id, project);
    if (rc == ERR_OK && st)
        rc = q_step(c, st, ret_found, err);
    if (rc == ERR_OK && *ret_found)
        rc = row_read(st, arena, ret, err);
    if (rc == ERR_OK && *ret_found && what == LOAD_FULL)
        rc = row_inputs(c, arena, &ret->job, err);
    return rc;
}

int row_load(struct conn *c, const char *project, const struct uuid *id, enum load what, struct arena *arena,
             struct row *ret, struct err *err)
{
    const bool full = what == LOAD_FULL;
    const char *const sql[] = {full ? jobs_full : jobs_lean,
                               !c->ops->by_day ? NULL
                               : full          ? near_full
                                               : near_lean,
                               full ? history_full : history_lean, full ? again_full : again_lean};
    char text[UUID_STR_MAX];

    for (size_t i = 0; i < ARRAY_LEN(sql); i++) {
        bool found;
        int rc = load_by(c, sql[i], project, id, what, arena, ret, &found, err);

        if (rc != ERR_OK || found)
            return rc;
    }
    uuid_format(id, text);
    return err_set(err, ERR_NOT_FOUND, 0, "there is no job %s", text);
}

/* --- lane changes --- */

bool changes_room(const struct tx *t, int64_t lane_id)
{
    for (size_t i = 0; i < t->op->n_changes; i++)
        if (t->op->changes[i].lane.lane_id == lane_id)
            return true;
    return t->op->n_changes < OP_CHANGES_MAX;
}

/** One for most ops, and room for all that there may be for the rest. */
static struct lane_change *change_new(struct tx *t, const struct row *row)
{
    struct op *op = t->op;

    if (op->n_changes <= 1) {
        struct lane_change *all = arena_array(op->arena, op->n_changes ? OP_CHANGES_MAX : 1, sizeof(*all));
        if (!all)
            return NULL;
        if (op->n_changes)
            all[0] = op->changes[0];
        op->changes = all;
    }
    struct lane_change *ch = &op->changes[op->n_changes];
    *ch = (struct lane_change){0};
    ch->lane = (struct lane){.lane_id = row->lane_id,
                             .project = arena_strdup(op->arena, row->job.project),
                             .queue = arena_strdup(op->arena, row->job.queue),
                             .task_type = arena_strdup(op->arena, row->job.task_type),
                             .priority = row->job.priority};
    if (!ch->lane.project || !ch->lane.queue || !ch->lane.task_type)
        return NULL;
    op->n_changes++;
    return ch;
}

static int change_name(struct tx *t, struct lane_change *ch, const struct job *job)
{
    ch->job_id = job->job_id;
    ch->retries = job->retries;
    ch->payload_ref = arena_strdup(t->op->arena, job->payload_ref);
    return job->payload_ref && !ch->payload_ref ? err_set(t->err, ERR_NO_MEMORY, 0, "lane") : ERR_OK;
}

static int change_add(struct tx *t, const struct row *row, int delta)
{
    struct op *op = t->op;
    struct lane_change *ch = NULL;

    for (size_t i = 0; i < op->n_changes && !ch; i++)
        if (op->changes[i].lane.lane_id == row->lane_id)
            ch = &op->changes[i];
    if (!ch && op->n_changes == OP_CHANGES_MAX)
        return err_set(t->err, ERR_INTERNAL, 0, "an op changed more than %d lanes", OP_CHANGES_MAX);
    if (!ch && !(ch = change_new(t, row)))
        return err_set(t->err, ERR_NO_MEMORY, 0, "lane");
    ch->delta += delta;
    return delta > 0 ? change_name(t, ch, &row->job) : ERR_OK;
}

void changes_finish(struct op *op)
{
    size_t kept = 0;

    for (size_t i = 0; i < op->n_changes; i++) {
        struct lane_change *ch = &op->changes[i];

        if (ch->delta == 0)
            continue;
        ch->lane.ready = ch->delta > 0 ? (uint64_t)ch->delta : 0;
        op->changes[kept++] = *ch;
    }
    op->n_changes = kept;
}

#define HEADS 64 /* lanes whose age is remembered while a batch ends */

static int head_age(struct store *s, int64_t lane_id, usec *ret, struct err *err)
{
    return q_int(s->w, 0, ret, err,
                 "SELECT run_at FROM jobs WHERE lane_id = ?1 AND ready_seq > ?2 ORDER BY ready_seq LIMIT 1", "ii",
                 lane_id, lane_mark(s, lane_id));
}

int changes_age(struct store *s, struct op **ops, size_t n, struct err *err)
{
    struct {
        int64_t lane_id;
        usec at;
    } heads[HEADS] = {0};

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ops[i]->n_changes; k++) {
            struct lane *lane = &ops[i]->changes[k].lane;
            size_t h = (uint64_t)lane->lane_id % HEADS;

            if (heads[h].lane_id != lane->lane_id) {
                int rc = head_age(s, lane->lane_id, &heads[h].at, err);
                if (rc != ERR_OK)
                    return rc;
                heads[h].lane_id = lane->lane_id;
            }
            lane->oldest_at = heads[h].at;
        }
    return ERR_OK;
}

/* --- saving --- */

/** Where several servers give them out, they are of the time, so that all have one order, as far as clocks do. */
static int64_t ready_next(struct tx *t)
{
    if (t->s->sql->shared)
        t->s->ready_next = MAX(t->s->ready_next, t->now);
    return t->s->ready_next++;
}

/** Sets ready_seq from what the job has become, and the lane it stands in: the one it stood in last may be gone by now. */
static int readiness(struct tx *t, struct row *row)
{
    bool ready = job_ready(&row->job, t->now);
    int rc = ERR_OK;

    if (ready == (row->ready_seq != 0))
        return ERR_OK;
    if (ready)
        rc = lane_of(t, &row->job, &row->lane_id);
    row->ready_seq = ready ? ready_next(t) : 0;
    return rc == ERR_OK ? change_add(t, row, ready ? 1 : -1) : rc;
}

/** Does anybody hold a token that may still write for the latest attempt? */
static bool token_held(const struct job *job)
{
    static const uint8_t no_secret[sizeof(job->token.secret)];

    return memcmp(job->token.secret, no_secret, sizeof(no_secret)) != 0;
}

/* What changes in a job's life. The parameters of row_bind, in order. */
#define LIFE_SQL                                                                                                       \
    " SET status = ?2, run_at = ?3, waiting_on = ?4, attempt = ?5, retries = ?6, interruptions = ?7, losses = ?8,"     \
    " start_deadline_at = ?9, token = ?10, token_attempt = ?11, owner_id = ?12, lease_until = ?13, confirmed = ?14,"   \
    " cancel_requested_at = ?15, started_at = ?16, finished_at = ?17, last_outcome = ?18, error_log = ?19, progress "  \
    "= ?20,"                                                                                                           \
    " progress_message = ?21, progress_at = ?22, version = ?23, lane_id = ?24, ready_seq = ?25, fingerprint = ?26"     \
    " WHERE job_id = ?1"
/* Of a row of history: where it lies. */
#define FINISHED_SQL " AND finished_at = ?27"
static const char update_jobs[] = "UPDATE jobs" LIFE_SQL;
static const char update_history[] = "UPDATE history" LIFE_SQL FINISHED_SQL;

/* In the table's order, as in the driver's inserts. */
#define MOVE_SQL(from, to)                                                                                             \
    "INSERT INTO " to " (job_id, project, queue, task_type, priority, lane_id, payload, payload_ref, labels,"          \
    " dedup_key, max_attempts, timeout_us, created_at, start_deadline_at, status, run_at, waiting_on, attempt,"        \
    " retries, interruptions, losses, token, token_attempt, owner_id, lease_until, confirmed, cancel_requested_at,"    \
    " started_at, finished_at, last_outcome, error_log, progress, progress_message, progress_at, version, ready_seq,"  \
    " no_progress_us, fingerprint, traceparent, tracestate)"                                                           \
    " SELECT job_id, project, queue, task_type, priority, ?24, payload, payload_ref, labels, dedup_key, max_attempts," \
    " timeout_us, created_at, ?9, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,"  \
    " ?21, ?22, ?23, ?25, no_progress_us, ?26, traceparent, tracestate FROM " from " WHERE job_id = ?1"
static const char move_to_history[] = MOVE_SQL("jobs", "history") " /*or fail*/";
static const char move_to_jobs[] = MOVE_SQL("history", "jobs") FINISHED_SQL " /*or fail*/";

#define LIFE_TYPES "uiiiiiiiibiuiiiiiixdtiiizi"
#define LIFE_VALUES(j, secret)                                                                                         \
    &(j)->job_id, (int64_t)(j)->status, (j)->run_at, (int64_t)(j)->waiting_on, (int64_t)(j)->attempt,                  \
        (int64_t)(j)->retries, (int64_t)(j)->interruptions, (int64_t)(j)->losses, (j)->start_deadline_at, secret,      \
        sizeof((j)->token.secret), (int64_t)(j)->token.attempt, &(j)->owner_id, (j)->lease_until,                      \
        (int64_t)(j)->confirmed, (j)->cancel_requested_at, (j)->started_at, (j)->finished_at,                          \
        (int64_t)(j)->last_outcome, (j)->error_log, (j)->progress, (j)->progress_message, (j)->progress_at,            \
        (j)->version, row->lane_id, row->ready_seq, (int64_t)(j)->fingerprint

/** Of a row of jobs, or of one of history. */
static int row_write(struct tx *t, const struct row *row, const char *sql)
{
    const struct job *j = &row->job;
    const void *secret = token_held(j) ? j->token.secret : NULL;

    return job_finished(row->was)
               ? q_run(t->c, NULL, t->err, sql, LIFE_TYPES "i", LIFE_VALUES(j, secret), row->finished_was)
               : q_run(t->c, NULL, t->err, sql, LIFE_TYPES, LIFE_VALUES(j, secret));
}

/** Where it was when it was loaded. */
static int row_delete(struct tx *t, const struct row *row)
{
    const struct uuid *id = &row->job.job_id;

    return job_finished(row->was)
               ? q_run(t->c, NULL, t->err, "DELETE FROM history WHERE job_id = ?1 AND finished_at = ?2", "ui", id,
                       row->finished_was)
               : q_run(t->c, NULL, t->err, "DELETE FROM jobs WHERE job_id = ?1", "u", id);
}

static bool has_labels(const struct job *j)
{
    return strcmp(j->labels, "{}") != 0;
}

/** A search by time is bounded by ids (list_query.c): so it must be known how far the two clocks were ever apart. Doubled on growing,
 * so that it is written a few times in a store's life. */
static int skew_note(struct tx *t, const struct job *j)
{
    usec id_us = uuid_v7_us(&j->job_id);
    usec apart = id_us > j->created_at ? id_us - j->created_at : j->created_at - id_us, skew = USEC_PER_SEC;
    char text[32];

    if (apart <= t->s->id_skew_us)
        return ERR_OK;
    while (skew < apart)
        skew = skew > USEC_NEVER / 2 ? USEC_NEVER : skew * 2;
    t->s->id_skew_us = skew;
    snprintf(text, sizeof(text), "%" PRId64, skew);
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO meta (key, value) VALUES ('id_skew_us', ?1)"
                 " ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE CAST(meta.value AS BIGINT) < ?2",
                 "ti", text, skew);
}

static int label_give(struct tx *t, const struct job *j, label_fn *each, const char *key, const char *value)
{
    return key && value ? each(t, j, key, value) : err_set(t->err, ERR_NO_MEMORY, 0, "labels");
}

/** Not all are plain: what comes behind the first `done`, by the parser. */
static int labels_parse(struct tx *t, const struct job *j, label_fn *each, size_t done)
{
    json_t *labels = NULL, *value;
    const char *key;
    int rc = json_parse(j->labels, strlen(j->labels), &labels, t->err);

    json_object_foreach (labels, key, value) {
        if (rc == ERR_OK && done > 0)
            done--; /* members come in the order of the text */
        else if (rc == ERR_OK)
            rc = label_give(t, j, each, arena_strdup(t->op->arena, key),
                            arena_strdup(t->op->arena, json_string_value(value)));
    }
    json_decref(labels);
    return rc;
}

int labels_each(struct tx *t, const struct job *j, label_fn *each)
{
    const char *key, *value;
    size_t pos = 0, n_key, n_value, n = 0;
    int rc = ERR_OK, more = 1;

    while (rc == ERR_OK && (more = json_plain_member(j->labels, &pos, &key, &n_key, &value, &n_value)) == 1) {
        rc = label_give(t, j, each, arena_strndup(t->op->arena, key, n_key),
                        arena_strndup(t->op->arena, value, n_value));
        n++;
    }
    return rc == ERR_OK && more < 0 ? labels_parse(t, j, each, n) : rc;
}

int row_insert(struct tx *t, struct row *row)
{
    struct job *j = &row->job;

    row->lane_id = row->ready_seq = 0;
    row->was = j->status;
    int rc = count_room(t, j);
    if (rc == ERR_OK)
        rc = readiness(t, row);
    if (rc != ERR_OK)
        return rc;
    rc = t->s->sql->insert_job(t, row);
    for (size_t i = 0; rc == ERR_OK && i < j->n_inputs; i++)
        rc = q_run(t->c, NULL, t->err, "INSERT INTO inputs (job_id, i, name, ref) VALUES (?1, ?2, ?3, ?4)", "uitt",
                   &j->job_id, (int64_t)i, j->inputs[i].name, j->inputs[i].ref);
    if (rc == ERR_OK && has_labels(j))
        rc = labels_each(t, j, t->s->sql->insert_label);
    if (rc == ERR_OK)
        rc = skew_note(t, j);
    return rc == ERR_OK ? count(t, j, j->status, 1) : rc;
}

/* What stands in no index but that of the leases: an UPDATE writes anew every index of the columns that it names. */
int row_save_running(struct tx *t, const struct row *row)
{
    const struct job *j = &row->job;

    return q_run(t->c, NULL, t->err,
                 "UPDATE jobs SET lease_until = ?2, confirmed = ?3, cancel_requested_at = ?4, progress = ?5,"
                 " progress_message = ?6, progress_at = ?7, version = ?8 WHERE job_id = ?1",
                 "uiiidtii", &j->job_id, j->lease_until, (int64_t)j->confirmed, j->cancel_requested_at, j->progress,
                 j->progress_message, j->progress_at, j->version);
}

/** The row, where its status says it belongs. */
static int row_place(struct tx *t, const struct row *row)
{
    bool was_history = job_finished(row->was), to_history = job_finished(row->job.status);

    if (was_history == to_history)
        return row_write(t, row, to_history ? update_history : update_jobs);
    int rc = row_write(t, row, to_history ? move_to_history : move_to_jobs);
    return rc == ERR_OK ? row_delete(t, row) : rc;
}

/** Where a job's attempts lie (struct sql_own). */
static usec attempts_at(enum job_status status, usec finished_at)
{
    return job_finished(status) ? finished_at : 0;
}

/** They go where the job went. The latest one's report took it along. */
static int attempts_follow(struct tx *t, const struct row *row)
{
    const usec from = attempts_at(row->was, row->finished_was), to = attempts_at(row->job.status, row->job.finished_at);
    const bool all_there = row->log_closed && row->job.attempt == 1;

    if (!t->s->sql->attempts_move || from == to || row->job.attempt == 0 || all_there)
        return ERR_OK;
    return q_run(t->c, NULL, t->err, t->s->sql->attempts_move, "uii", &row->job.job_id, to, from);
}

int row_save(struct tx *t, struct row *row)
{
    int rc = readiness(t, row);

    if (rc == ERR_OK)
        rc = row_place(t, row);
    if (rc == ERR_OK)
        rc = dead_save(t, row);
    if (rc == ERR_OK && row->was != row->job.status) {
        rc = count(t, &row->job, row->was, -1);
        if (rc == ERR_OK)
            rc = count(t, &row->job, row->job.status, 1);
    }
    if (rc == ERR_OK && row->job.attempt > 0 && !token_held(&row->job) && !row->log_closed)
        rc = log_close(t, &row->job.job_id, row->job.attempt);
    if (rc == ERR_OK && row->job.attempt > 0 && job_finished(row->job.status) && !job_finished(row->was))
        rc = checkpoint_release(t, &row->job.job_id);
    if (rc == ERR_OK)
        rc = attempts_follow(t, row);
    row->was = row->job.status;
    row->finished_was = row->job.finished_at;
    return rc;
}

/** Every reference the job holds is given back. */
static int refs_drop(struct tx *t, const struct job *job, usec attempts_lie_at)
{
    struct job inputs = {.job_id = job->job_id};
    struct uuid id;
    int rc = row_inputs(t->c, t->scratch, &inputs, t->err);

    if (rc == ERR_OK && job->payload_ref && uuid_parse(job->payload_ref + strlen("blob:"), &id))
        rc = blob_ref(t, &id, -1);
    for (size_t i = 0; rc == ERR_OK && i < inputs.n_inputs; i++)
        if (uuid_parse(inputs.inputs[i].ref + strlen("blob:"), &id))
            rc = blob_ref(t, &id, -1);
    if (rc == ERR_OK)
        rc = checkpoint_release(t, &job->job_id);
    return rc == ERR_OK ? logs_release(t, &job->job_id, attempts_lie_at) : rc;
}

int row_remove(struct tx *t, struct row *row)
{
    static const char *const deletes[] = {
        "DELETE FROM inputs WHERE job_id = ?1",
        "DELETE FROM log_chunks WHERE job_id = ?1",
    };
    const struct uuid *id = &row->job.job_id;
    const usec attempts_lie_at = attempts_at(row->was, row->finished_was);
    int rc = refs_drop(t, &row->job, attempts_lie_at);

    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err, "UPDATE outputs SET published = 0 WHERE job_id = ?1", "u", id);
    if (rc == ERR_OK)
        rc = outputs_release(t, id);
    if (rc == ERR_OK)
        rc = t->s->sql->remove_postings(t, &row->job);
    if (rc == ERR_OK && row->job.dedup_key)
        rc = key_forget(t, row->job.project, row->job.dedup_key, id);
    if (rc == ERR_OK)
        rc = row_delete(t, row);
    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(deletes); i++)
        rc = q_run(t->c, NULL, t->err, deletes[i], "u", id);
    if (rc == ERR_OK)
        rc = q_run(t->c, NULL, t->err, t->s->sql->attempts_delete, "ui", id, attempts_lie_at);
    if (rc == ERR_OK)
        rc = dead_remove(t, row);
    if (rc == ERR_OK && row->ready_seq)
        rc = change_add(t, row, -1);
    if (rc == ERR_OK)
        rc = count(t, &row->job, row->was, -1);
    return rc;
}
