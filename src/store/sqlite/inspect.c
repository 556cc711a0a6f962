/* A look at the database before anything writes to it: what is cut short or damaged is refused as it lies. */
#include "base/auto.h"
#include "base/fs.h"
#include "store/sqlite/driver.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define HEADER_BYTES 100
/* Nobody is served meanwhile: reading all of a large one would take minutes. What was not read by then is met, and told, when it is. */
#define LOOK_SECONDS 2

static bool has_log(const char *path)
{
    char name[4200];
    snprintf(name, sizeof(name), "%s-wal", path);
    return fs_size(name) > 0;
}

/* The file format's own words (sqlite.org/fileformat2.html, 1.3): page size at 16, size in pages at 28. */
static int check_size(const char *path, int64_t bytes, struct err *err)
{
    unsigned char h[HEADER_BYTES] = {0};
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", path);
    if (read(fd, h, sizeof(h)) != (ssize_t)sizeof(h) || memcmp(h, "SQLite format 3", 16) != 0)
        return err_set(err, ERR_CORRUPT, 0, "haul.db is no database");
    int64_t page = (int64_t)h[16] << 8 | h[17];
    page = page == 1 ? 65536 : page;
    int64_t pages = (int64_t)h[28] << 24 | h[29] << 16 | h[30] << 8 | h[31];
    bool whole = has_log(path) || (bytes >= pages * page && bytes % page == 0);
    if (page < 512 || !whole)
        return err_set(err, ERR_CORRUPT, 0, "haul.db was cut short: %" PRId64 " bytes, its header says %" PRId64, bytes,
                       pages * page);
    return ERR_OK;
}

/* A thread of its own watches the time: SQLite asks its progress handler between two tables only. */
struct watch {
    sqlite3 *db;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t looked; /* on CLOCK_MONOTONIC */
    bool done, ended;      /* by SQLite; by us */
};

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_SECONDS;
    pthread_mutex_lock(&w->lock);
    while (!w->done && !w->ended)
        if (pthread_cond_timedwait(&w->looked, &w->lock, &until) == ETIMEDOUT) {
            w->ended = true;
            sqlite3_interrupt(w->db);
        }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int watch_start(struct watch *w, sqlite3 *db, struct err *err)
{
    pthread_condattr_t attr;

    *w = (struct watch){.db = db};
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->looked, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&w->thread, NULL, watch_main, w);
    if (rc == 0)
        return ERR_OK;
    pthread_cond_destroy(&w->looked);
    pthread_mutex_destroy(&w->lock);
    return err_set(err, ERR_UNAVAILABLE, rc, "start a thread");
}

/** @return whether it ended the look */
static bool watch_stop(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->looked);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->looked);
    pthread_mutex_destroy(&w->lock);
    return w->ended;
}

static int look(struct sqlite_conn *c, struct err *err)
{
    struct watch watch;
    sqlite3_stmt *st = NULL;
    int rc = watch_start(&watch, c->db, err);
    if (rc != ERR_OK)
        return rc;
    int sql = sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (sql == SQLITE_OK)
        sql = sqlite3_step(st);
    bool ended = watch_stop(&watch);
    const char *said = sql == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (!said)
        rc = ended && sql == SQLITE_INTERRUPT ? ERR_OK : conn_err(c, sql, err);
    else if (strcmp(said, "ok") != 0)
        rc = err_set(err, ERR_CORRUPT, 0, "haul.db is damaged: %.100s", said);
    sqlite3_finalize(st);
    return rc;
}

static int check_pages(const char *path, struct clock clock, struct err *err)
{
    struct sqlite_conn c;
    int rc = conn_open(&c, path, true, clock, err);
    if (rc != ERR_OK)
        return rc;
    sqlite3_db_config(c.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    rc = look(&c, err);
    conn_close(&c);
    return rc;
}

int inspect(const char *path, struct clock clock, struct err *err)
{
    int64_t bytes = fs_size(path);
    if (bytes == 0)
        return ERR_OK; /* a new one */
    int rc = check_size(path, bytes, err);
    return rc == ERR_OK ? check_pages(path, clock, err) : rc;
}
