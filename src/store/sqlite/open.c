/* Opening, closing, time, and the table of functions. */
#include "store/sqlite/sqlite.h"
#include "base/bug.h"
#include "base/fs.h"
#include "store/sqlite/inserts.h"
#include "store/sqlite/memory.h"
#include "store/sqlite/page_cache.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/vfs.h"
#include <inttypes.h>

static int wal_grew(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_store *s = arg;

    s->wal_pages = pages;
    return SQLITE_OK;
}

static int writer_open(struct sqlite_store *s, struct schema_telling *telling, struct err *err)
{
    int rc = conn_open(&s->w, s->path, true, s->s.clock, err);
    int64_t n;

    /* Debian's build overwrites deleted content with zeros; nothing here asks for that, and it doubles what is written. */
    if (rc == ERR_OK)
        rc = conn_exec(
            &s->w,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF; PRAGMA mmap_size = 0;"
            "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = 0; PRAGMA cache_size = -32768;"
            "PRAGMA journal_size_limit = 67108864",
            err);
    if (rc == ERR_OK)
        rc = schema_migrate(s->w.db, telling, err);
    if (rc == ERR_OK)
        rc = q_int(&s->w.conn, 0, &n, err, "PRAGMA page_size", "");
    if (rc != ERR_OK)
        return rc;
    s->page_size = (int)n;
    sqlite3_wal_hook(s->w.db, wal_grew, s); /* takes the place of SQLite's own checkpoints */
    return ERR_OK;
}

/** What a process that was killed had written but not synced is found in the log, and read as if it were durable: so it must be made so
 * before anybody is told. A checkpoint syncs the log first; what else may fail in it (a full disk) loses nothing. */
static int log_sync(struct sqlite_store *s, struct err *err)
{
    int rc = BUG("trust-the-log") ? SQLITE_OK
                                  : sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    return rc == SQLITE_IOERR_FSYNC ? conn_err(&s->w, rc, err) : ERR_OK;
}

/** The store's time goes on from where it was, whatever the wall clock did meanwhile. */
static int time_set(struct sqlite_store *s, struct err *err)
{
    int64_t last;
    int rc = meta_int(&s->w.conn, "time_us", &last, err);

    s->s.offset = MAX(s->s.clock.wall_us(s->s.clock.self), last) - s->s.clock.boot_us(s->s.clock.self);
    return rc;
}

/** From here on commits are synced by us (durable.c): SQLite syncs the log only before it moves frames of it into the database, and its
 * header. Having moved them all it asks for the database's sync, which is owed until the log begins anew (vfs.h). */
static int own_syncs(struct sqlite_store *s, struct err *err)
{
    int rc = sqlite3_file_control(s->w.db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &s->durable.log);

    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(s->w.db, "main", SQLITE_FCNTL_FILE_POINTER, &s->durable.db);
    if (rc == SQLITE_OK)
        vfs_db_owe(s->durable.db, true);
    return rc == SQLITE_OK ? conn_exec(&s->w, "PRAGMA synchronous = NORMAL", err) : conn_err(&s->w, rc, err);
}

static int sqlite_overlap(struct store *store, bool thread, struct err *err)
{
    struct sqlite_store *s = sqlite_of(store);
    int rc = thread ? durable_start(&s->durable, err) : ERR_OK;

    s->overlaps = rc == ERR_OK;
    return rc;
}

/** It checkpoints, and removes the log: not one that has what the database may have lost. */
static void writer_close(struct sqlite_store *s)
{
    if (s->durable.db) {
        vfs_db_owe(s->durable.db, false);
        if (vfs_db_settle(s->durable.db) != SQLITE_OK)
            sqlite3_db_config(s->w.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    conn_close(&s->w);
}

static void store_close(struct store *store)
{
    if (!store)
        return;
    struct sqlite_store *s = sqlite_of(store);
    durable_release(&s->durable);
    for (size_t i = 0; i < READERS; i++)
        conn_close(&s->readers[i]);
    writer_close(s); /* last, so that it checkpoints */
    keys_free(s);
    inserts_free(s);
    read_pool_release(&s->pool);
    sql_store_release(store);
    free(s);
}

/* What to do is said with what is wrong. */
static int open_failed(int rc, const char *dir, struct err *err)
{
    struct err what = *err;

    if (rc == ERR_CORRUPT)
        err_set(err, ERR_CORRUPT, 0, "%.90s; keep a copy of the folder, then restore a backup (haul restore)",
                what.msg);
    return err_wrap(err, rc, "store in '%.120s'", dir);
}

/* Before SQLite's first use: counting what it holds costs a lock each time it takes or gives memory, and nobody asks. */
static void sqlite_set_up(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite_memory_set_up();
    sqlite_page_cache_set_up();
}

static const struct sql_own own = {
    /* CROSS JOIN: in that order, not from every running job. */
    .given_before = "SELECT a.job_id FROM attempts a CROSS JOIN jobs j ON j.job_id = a.job_id WHERE a.worker_id = ?1"
                    " AND a.poll_id = ?2 AND a.ended_at = 0 AND j.project = ?3 AND j.status = 1"
                    " AND j.attempt = a.attempt ORDER BY a.started_at, a.job_id",
    .chunk_join = "UPDATE log_chunks SET bytes = CAST(bytes || ?3 AS BLOB) WHERE job_id = ?1 AND attempt = ?2 AND at ="
                  " (SELECT max(at) FROM log_chunks WHERE job_id = ?1 AND attempt = ?2) AND at + length(bytes) = ?4"
                  " AND length(bytes) + length(?3) <= ?5",
    .chunks_some = "DELETE FROM log_chunks WHERE rowid IN (SELECT rowid FROM log_chunks WHERE job_id = ?1 LIMIT ?2)",
    .attempts_delete = "DELETE FROM attempts WHERE job_id = ?1 AND ?2 >= 0",
    .attempt_decide = ATTEMPT_DECIDE("", ""),
    .logs_release = LOGS_RELEASE("?2 >= 0"),
    .lanes_ready = "SELECT l.lane_id, l.project, l.queue, l.task_type, l.priority, k.n,"
                   " (SELECT run_at FROM jobs j WHERE j.lane_id = l.lane_id AND j.ready_seq = k.first),"
                   " (SELECT count(*) FROM pauses p WHERE p.project = l.project AND p.queue = l.queue)"
                   " FROM (SELECT lane_id, count(*) AS n, min(ready_seq) AS first FROM jobs WHERE ready_seq IS NOT NULL"
                   " GROUP BY lane_id) k JOIN lanes l ON l.lane_id = k.lane_id ORDER BY l.lane_id",
    .dead_next = "SELECT project, status, job_id, fingerprint FROM jobs INDEXED BY jobs_status WHERE status <> 0"
                 " AND (project, status, job_id) > (?1, ?2, ?3) ORDER BY project, status, job_id LIMIT ?4",
    .heads = claim_heads,
    .history_head = sqlite_history_head,
    .insert_job = sqlite_insert_job,
    .insert_label = sqlite_insert_label,
    .remove_postings = sqlite_remove_postings,
    .key_find = sqlite_key_find,
    .key_add = sqlite_key_add,
    .key_forget = sqlite_key_forget,
    .keys_expire = sqlite_keys_expire,
    .jobs_look = sqlite_jobs_look,
    .read_begin = sqlite_read_begin,
    .read_end = sqlite_read_end,
};

static int file_open(struct sqlite_store *s, const char *dir, struct schema_telling *telling, struct err *err)
{
    int rc = fs_mkdirs(dir, 0700, err);

    if (rc == ERR_OK)
        rc = fs_join(s->path, sizeof(s->path), dir, "haul.db", err);
    if (rc == ERR_OK)
        rc = inspect(s->path, s->s.clock, err);
    if (rc == ERR_OK)
        rc = writer_open(s, telling, err);
    if (rc == ERR_OK)
        rc = log_sync(s, err);
    return rc == ERR_OK ? fs_sync_dir(dir, err) : rc;
}

static int load(struct sqlite_store *s, const struct store_config *config, struct err *err)
{
    struct schema_telling telling = {.upgrading = config->upgrading, .clock = config->clock};
    int rc = file_open(s, config->dir, &telling, err);

    if (rc == ERR_OK)
        rc = time_set(s, err);
    if (rc == ERR_OK)
        rc = sql_store_load(&s->s, err);
    if (rc == ERR_OK)
        rc = keys_load(s, err);
    if (s->w.db)
        schema_told(s->w.db);
    if (rc == ERR_OK)
        rc = inserts_init(s, err);
    /* Batches are bounded, and a commit's pages are written together (vfs.h); what came before was not. */
    if (rc == ERR_OK)
        rc = conn_exec(&s->w, "PRAGMA cache_spill = 0", err);
    if (rc == ERR_OK)
        rc = own_syncs(s, err);
    for (size_t i = 0; rc == ERR_OK && i < READERS; i++)
        rc = conn_open(&s->readers[i], s->path, false, s->s.clock, err);
    return rc;
}

static int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct sqlite_store *s = calloc(1, sizeof(*s));
    int rc;

    pthread_once(&once, sqlite_set_up);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "store");
    s->s.sql = &own;
    s->s.w = &s->w.conn;
    if ((rc = read_pool_init(&s->pool, err)) != ERR_OK) {
        free(s);
        return rc;
    }
    if ((rc = durable_init(&s->durable, err)) != ERR_OK) {
        read_pool_release(&s->pool);
        free(s);
        return rc;
    }
    rc = sql_store_init(&s->s, config, err);
    if (rc == ERR_OK)
        rc = load(s, config, err);
    if (rc != ERR_OK) {
        store_close(&s->s);
        return open_failed(rc, config->dir, err);
    }
    *ret = &s->s;
    return ERR_OK;
}

static int meta_set(struct store *s, const char *key, const char *value, struct err *err)
{
    struct durable *d = &sqlite_of(s)->durable;
    uint64_t n = durable_begin(d);
    int rc = meta_put(s->w, key, value, err);

    durable_written(d, rc == ERR_OK);
    return rc == ERR_OK ? durable_upto(d, n, err) : rc;
}

const struct store_driver *store_sqlite(void)
{
    static const struct store_driver driver = {
        .name = "sqlite",
        .batches_max = SQLITE_BATCHES_MAX,
        .open = store_open,
        .close = store_close,
        .now = store_now,
        .apply = sqlite_apply,
        .overlap = sqlite_overlap,
        .poll = sqlite_poll,
        .job_get = read_job_get,
        .job_list = sqlite_job_list,
        .dead_groups = read_dead_groups,
        .redrive_get = read_redrive_get,
        .redrives = read_redrives,
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
        .sizes = sqlite_sizes,
        .lanes = read_lanes,
        .meta_get = read_meta,
        .meta_set = meta_set,
        .moves = &sqlite_moves,
        .examine = sqlite_examine,
        .snapshots = &sqlite_snapshots,
    };

    return &driver;
}
