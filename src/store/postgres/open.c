/* Opening, closing, and the table of functions. */
#include "store/postgres/postgres.h"
#include "store/postgres/ahead.h"
#include "store/postgres/replicas.h"
#include <stdlib.h>

/* Lane after lane along the index of those that are ready; its head tells what the lane is. */
static const char lanes_ready[] =
    "WITH RECURSIVE l (lane_id) AS (SELECT min(lane_id) FROM jobs WHERE ready_seq IS NOT NULL UNION ALL SELECT"
    " (SELECT min(j.lane_id) FROM jobs j WHERE j.ready_seq IS NOT NULL AND j.lane_id > l.lane_id) FROM l"
    " WHERE l.lane_id IS NOT NULL)"
    " SELECT l.lane_id, h.project, h.queue, h.task_type, CAST(h.priority AS bigint), (SELECT count(*) FROM (SELECT 1 "
    "FROM jobs k"
    " WHERE k.lane_id = l.lane_id AND k.ready_seq IS NOT NULL LIMIT 20000) c), h.run_at,"
    " (SELECT count(*) FROM pauses p WHERE p.project = h.project AND p.queue = h.queue) FROM l"
    " CROSS JOIN LATERAL (SELECT project, queue, task_type, priority, run_at FROM jobs j WHERE j.lane_id = l.lane_id"
    " AND j.ready_seq IS NOT NULL ORDER BY j.ready_seq LIMIT 1) h WHERE l.lane_id IS NOT NULL ORDER BY l.lane_id";
_Static_assert(LANE_SEEN_MAX == 20000, "as the statement says");

_Static_assert(JOB_SUCCESS == 2 && JOB_CANCELLED == 4, "as attempt_decide says");
static const struct sql_own own = {
    .shared = true,
    .lanes_ready = lanes_ready,
    .given_before =
        "SELECT a.job_id FROM attempts a JOIN jobs j ON j.job_id = a.job_id WHERE a.worker_id = ?1 AND a.poll_id = ?2"
        " AND a.ended_at = 0 AND a.finished_at = 0 AND j.project = ?3 AND j.status = 1 AND j.attempt = a.attempt"
        " ORDER BY a.started_at, a.job_id /*of all*/",
    .chunk_join = "UPDATE log_chunks SET bytes = bytes || ?3 WHERE job_id = ?1 AND attempt = ?2 AND at ="
                  " (SELECT max(at) FROM log_chunks WHERE job_id = ?1 AND attempt = ?2) AND at + length(bytes) = ?4"
                  " AND length(bytes) + length(?3) <= ?5",
    .chunks_some =
        "DELETE FROM log_chunks WHERE ctid = ANY (ARRAY (SELECT ctid FROM log_chunks WHERE job_id = ?1 LIMIT ?2))",
    .attempts_move = "UPDATE attempts SET finished_at = ?2 WHERE job_id = ?1 AND finished_at = ?3",
    .attempts_delete = "DELETE FROM attempts WHERE job_id = ?1 AND finished_at = ?2",
    .attempt_decide = ATTEMPT_DECIDE(", finished_at = CASE WHEN ?12 IN (2, 4) THEN ?3 ELSE 0 END", LIVE),
    .logs_release = LOGS_RELEASE("finished_at = ?2"),
    .history_head = pg_history_head,
    .heads = pg_heads,
    .insert_job = pg_insert_job,
    .insert_label = pg_insert_label,
    .remove_postings = pg_remove_labels,
    .key_find = pg_key_find,
    .key_add = pg_key_add,
    .key_forget = pg_key_forget,
    .keys_expire = pg_keys_expire,
    .sweep_begin = pg_sweep_begin,
    .house = pg_house,
    .jobs_look = pg_jobs_look,
    .read_begin = pg_read_begin,
    .read_end = pg_read_end,
};

static int writer_init(struct pg_writer *w, struct pg_store *of, const struct store_config *config, struct err *err)
{
    w->of = of;
    w->s.sql = &own;
    w->s.w = &w->w.conn;
    w->s.checkpoints = true; /* another server may make one at any time */
    w->w.conn.ops = &pg_ops;
    w->w.ahead = ahead_new();
    w->w.named = named_new();
    w->heads = heads_new();
    w->guessed = arena_new(TX_SCRATCH_MAX);
    if (!w->w.ahead || !w->w.named || !w->heads || !w->guessed)
        return err_set(err, ERR_NO_MEMORY, 0, "store");
    return sql_store_init(&w->s, config, err);
}

static void writer_release(struct pg_writer *w)
{
    pg_conn_close(&w->w);
    sql_store_release(&w->s);
    ahead_free(w->w.ahead);
    named_free(w->w.named);
    heads_free(w->heads);
    arena_free(w->guessed);
}

static void store_close(struct store *store)
{
    if (!store)
        return;
    struct pg_store *s = pg_of(store);
    flights_end(s);
    replicas_free(s->replicas);
    server_leave(s);
    for (size_t i = 0; i < READERS; i++)
        pg_conn_close(&s->readers[i]);
    for (size_t i = 0; i < PG_WRITERS; i++)
        writer_release(&s->writers[i]);
    read_pool_release(&s->pool);
    sql_store_release(store);
    pthread_cond_destroy(&s->flown);
    pthread_cond_destroy(&s->stop_cond);
    pthread_mutex_destroy(&s->mu);
    free(s->url);
    free(s);
}

static int sync_init(struct pg_store *s, struct err *err)
{
    pthread_condattr_t attr;

    if (pthread_condattr_init(&attr) != 0)
        return err_set(err, ERR_NO_MEMORY, 0, "condition");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->stop_cond, &attr);
    pthread_cond_init(&s->flown, NULL);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->mu, NULL);
    return read_pool_init(&s->pool, err);
}

static int load(struct pg_store *s, struct err *err)
{
    int rc = pg_schema(s->url, err);

    if (rc == ERR_OK)
        rc = writer_open(&s->writers[0], err);
    if (rc == ERR_OK)
        rc = server_join(s, err);
    if (rc == ERR_OK)
        rc = server_prepare(s, err);
    if (rc == ERR_OK)
        rc = pg_days_keep(s, err);
    if (rc == ERR_OK)
        rc = sql_store_load(&s->s, err);
    for (size_t i = 0; i < PG_WRITERS; i++)
        s->writers[i].s.grace_until = s->s.grace_until;
    if (rc == ERR_OK)
        rc = server_stay(s, err);
    if (rc == ERR_OK && s->replicas)
        rc = replicas_start(s->replicas, err);
    pg_forget(&s->writers[0].w);
    return rc;
}

static int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
    struct pg_store *s = calloc(1, sizeof(*s));

    if (!s || !(s->url = strdup(config->url ? config->url : ""))) {
        free(s);
        return err_set(err, ERR_NO_MEMORY, 0, "store");
    }
    s->s.sql = &own;
    s->s.w = &s->writers[0].w.conn;
    int rc = sync_init(s, err);
    if (rc == ERR_OK)
        rc = sql_store_init(&s->s, config, err);
    for (size_t i = 0; i < PG_WRITERS && rc == ERR_OK; i++)
        rc = writer_init(&s->writers[i], s, config, err);
    if (rc == ERR_OK)
        rc = replicas_new(s, config->read_url, &s->replicas, err);
    if (rc == ERR_OK)
        rc = load(s, err);
    if (rc != ERR_OK) {
        store_close(&s->s);
        return err_wrap(err, rc, "store");
    }
    *ret = &s->s;
    return ERR_OK;
}

static int meta_set(struct store *s, const char *key, const char *value, struct err *err)
{
    int rc = q_run(s->w, NULL, err, PG_READ_COMMITTED, "");

    if (rc == ERR_OK)
        rc = q_run(s->w, NULL, err, "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING", "tt", key,
                   value);
    if (rc == ERR_OK)
        rc = q_run(s->w, NULL, err, "COMMIT", "");
    if (rc == ERR_OK)
        rc = pg_settle(&pg_of(s)->writers[0].w, err);
    pg_forget(&pg_of(s)->writers[0].w);
    return rc;
}

const struct store_driver *store_postgres(void)
{
    static const struct store_driver driver = {
        .name = "postgres",
        .batches_max = PG_WRITERS,
        .parallel = true,
        .shared = true,
        .open = store_open,
        .close = store_close,
        .now = store_now,
        .apply = pg_apply,
        .overlap = pg_overlap,
        .poll = pg_poll,
        .wakes = pg_wakes,
        .job_get = read_job_get,
        .job_list = replicas_job_list,
        .dead_groups = replicas_dead_groups,
        .redrive_get = read_redrive_get,
        .redrives = replicas_redrives,
        .pauses = read_pauses,
        .attempts = read_attempts,
        .outputs = read_outputs,
        .checkpoint = read_checkpoint,
        .position = read_position,
        .series = read_series,
        .log_read = read_log,
        .blob_get = read_blob_get,
        .upload_get = read_upload_get,
        .workers = read_workers,
        .stats = read_stats,
        .servers = pg_servers,
        .elsewhere = pg_elsewhere,
        .replicas = pg_replicas,
        .sizes = pg_sizes,
        .lanes = read_lanes,
        .meta_get = read_meta,
        .meta_set = meta_set,
        .moves = &postgres_moves,
        .examine = pg_examine,
    };

    return &driver;
}
