/* Opening, closing, time, and the table of functions. */
#include "store/sqlite/sqlite.h"
#include "base/bug.h"
#include "base/fs.h"
#include "store/sqlite/inserts.h"
#include "store/sqlite/schema.h"
#include <inttypes.h>

usec store_now(struct store *s)
{
    return s->clock.boot_us(s->clock.self) + s->offset;
}

int meta_put(struct conn *c, const char *key, const char *value, struct err *err)
{
    return q_run(c, NULL, err,
                 "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value", "tt",
                 key, value);
}

int meta_int(struct conn *c, const char *key, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1", "t", key);
}

int totals_load(struct store *s, struct err *err)
{
    int64_t known, blobs = 0, bytes = 0;
    int rc = q_int(&s->w, 0, &known, err, "SELECT count(*) FROM meta WHERE key IN ('blobs', 'blob_bytes')", "");

    if (rc == ERR_OK && known == 2)
        rc = meta_int(&s->w, "blobs", &blobs, err);
    else if (rc == ERR_OK)
        rc = q_int(&s->w, 0, &blobs, err, "SELECT count(*) FROM blobs", "");
    if (rc == ERR_OK && known == 2)
        rc = meta_int(&s->w, "blob_bytes", &bytes, err);
    else if (rc == ERR_OK)
        rc = q_int(&s->w, 0, &bytes, err, "SELECT sum(size) FROM blobs", "");
    s->blobs = blobs;
    s->blob_bytes = bytes;
    return rc;
}

int totals_save(struct store *s, struct err *err)
{
    char text[32];

    if (s->batch_blobs == 0 && s->batch_bytes == 0)
        return ERR_OK;
    snprintf(text, sizeof(text), "%lld", (long long)(s->blobs + s->batch_blobs));
    int rc = meta_put(&s->w, "blobs", text, err);
    snprintf(text, sizeof(text), "%lld", (long long)(s->blob_bytes + s->batch_bytes));
    return rc == ERR_OK ? meta_put(&s->w, "blob_bytes", text, err) : rc;
}

static int wal_grew(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct store *s = arg;

    s->wal_pages = pages;
    return SQLITE_OK;
}

static int writer_open(struct store *s, struct err *err)
{
    int rc = conn_open(&s->w, s->path, true, s->clock, err);
    int64_t n;

    /* Debian's build overwrites deleted content with zeros; nothing here asks for that, and it doubles what is written. */
    if (rc == ERR_OK)
        rc = conn_exec(
            &s->w,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF; PRAGMA mmap_size = 0;"
            "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = 0; PRAGMA cache_size = -32768;"
            "PRAGMA journal_size_limit = 67108864",
            err);
    if (rc == ERR_OK && BUG("no-sync"))
        rc = conn_exec(&s->w, "PRAGMA synchronous = NORMAL", err);
    if (rc == ERR_OK)
        rc = schema_migrate(s->w.db, err);
    if (rc == ERR_OK)
        rc = q_int(&s->w, 0, &n, err, "PRAGMA page_size", "");
    if (rc != ERR_OK)
        return rc;
    s->page_size = (int)n;
    sqlite3_wal_hook(s->w.db, wal_grew, s); /* takes the place of SQLite's own checkpoints */
    return ERR_OK;
}

/** What a process that was killed had written but not synced is found in the log, and read as if it were durable: so it must be made so
 * before anybody is told. A checkpoint syncs the log first; what else may fail in it (a full disk) loses nothing. */
static int log_sync(struct store *s, struct err *err)
{
    int rc = BUG("trust-the-log") ? SQLITE_OK
                                  : sqlite3_wal_checkpoint_v2(s->w.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    return rc == SQLITE_IOERR_FSYNC ? conn_err(&s->w, rc, err) : ERR_OK;
}

/** The store's time goes on from where it was, whatever the wall clock did meanwhile. */
static int time_set(struct store *s, struct err *err)
{
    int64_t last;
    int rc = meta_int(&s->w, "time_us", &last, err);

    s->offset = MAX(s->clock.wall_us(s->clock.self), last) - s->clock.boot_us(s->clock.self);
    return rc;
}

static void store_close(struct store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < READERS; i++)
        conn_close(&s->readers[i]);
    conn_close(&s->w); /* last, so that it checkpoints */
    counts_free(s);
    keys_free(s);
    inserts_free(s);
    arena_free(s->scratch);
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

static int sync_init(struct store *s, struct err *err)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc != 0)
        return err_set(err, ERR_NO_MEMORY, rc, "condition");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&s->cond, &attr);
    pthread_condattr_destroy(&attr);
    if (rc != 0)
        return err_set(err, ERR_NO_MEMORY, rc, "condition");
    pthread_mutex_init(&s->mu, NULL);
    return ERR_OK;
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
}

static int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct store *s = calloc(1, sizeof(*s));
    int rc;

    pthread_once(&once, sqlite_set_up);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "store");
    s->clock = config->clock;
    s->policy = config->policy;
    if ((rc = sync_init(s, err)) != ERR_OK) {
        free(s);
        return rc;
    }
    s->lanes_era = 1;
    s->scratch = arena_new(TX_SCRATCH_MAX);
    rc = s->scratch ? fs_mkdirs(config->dir, 0700, err) : err_set(err, ERR_NO_MEMORY, 0, "scratch");
    if (rc == ERR_OK)
        rc = fs_join(s->path, sizeof(s->path), config->dir, "haul.db", err);
    if (rc == ERR_OK)
        rc = inspect(s->path, s->clock, err);
    if (rc == ERR_OK)
        rc = writer_open(s, err);
    if (rc == ERR_OK)
        rc = log_sync(s, err);
    if (rc == ERR_OK)
        rc = fs_sync_dir(config->dir, err);
    if (rc == ERR_OK)
        rc = time_set(s, err);
    if (rc == ERR_OK)
        rc = totals_load(s, err);
    if (rc == ERR_OK)
        rc = meta_int(&s->w, "grace_until", &s->grace_until, err);
    if (rc == ERR_OK)
        rc = q_int(&s->w, 0, &s->ready_next, err, "SELECT max(ready_seq) FROM jobs WHERE ready_seq IS NOT NULL", "");
    s->ready_next++;
    if (rc == ERR_OK)
        rc = q_int(&s->w, 0, &s->lane_next, err, "SELECT max(lane_id) FROM lanes", "");
    s->lane_next++;
    if (rc == ERR_OK)
        rc = counts_load(s, err);
    if (rc == ERR_OK)
        rc = keys_load(s, err);
    if (rc == ERR_OK)
        rc = inserts_init(s, err);
    if (rc == ERR_OK)
        rc = checkpoints_load(s, err);
    if (rc ==
        ERR_OK) /* batches are bounded, and a commit's pages are written together (wal_file.c); what came before was not */
        rc = conn_exec(&s->w, "PRAGMA cache_spill = 0", err);
    for (size_t i = 0; rc == ERR_OK && i < READERS; i++)
        rc = conn_open(&s->readers[i], s->path, false, s->clock, err);
    if (rc != ERR_OK) {
        store_close(s);
        return open_failed(rc, config->dir, err);
    }
    *ret = s;
    return ERR_OK;
}

static int meta_set(struct store *s, const char *key, const char *value, struct err *err)
{
    return meta_put(&s->w, key, value, err);
}

const struct store_driver *store_sqlite(void)
{
    static const struct store_driver driver = {
        .name = "sqlite",
        .batches_max = 1,
        .open = store_open,
        .close = store_close,
        .now = store_now,
        .apply = sqlite_apply,
        .job_get = read_job_get,
        .job_list = read_job_list,
        .attempts = read_attempts,
        .outputs = read_outputs,
        .checkpoint = read_checkpoint,
        .log_read = read_log,
        .blob_get = read_blob_get,
        .upload_get = read_upload_get,
        .workers = read_workers,
        .stats = read_stats,
        .sizes = read_sizes,
        .lanes = read_lanes,
        .meta_get = read_meta,
        .meta_set = meta_set,
        .snapshots = &sqlite_snapshots,
    };

    return &driver;
}
