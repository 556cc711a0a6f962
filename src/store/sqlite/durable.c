/* Which commits are durable. A commit writes its frames and is seen by readers at once; it is synced by whoever needs that first: the thread
 * that commits, a reader who saw it, or a thread of ours while the next batch is applied. One sync makes all durable that was written when it
 * began. A sync that failed has no second try (the kernel may have given the pages up): nothing above it ever counts as durable. */
#include "base/bug.h"
#include "base/fault.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/vfs.h"

int durable_init(struct durable *d, struct err *err)
{
    int rc = pthread_cond_init(&d->changed, NULL);

    if (rc == 0 && (rc = pthread_cond_init(&d->asked, NULL)) != 0)
        pthread_cond_destroy(&d->changed);
    if (rc != 0)
        return err_set(err, ERR_NO_MEMORY, rc, "condition");
    pthread_mutex_init(&d->lock, NULL);
    return ERR_OK;
}

void durable_release(struct durable *d)
{
    durable_stop(d);
    pthread_cond_destroy(&d->asked);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
}

uint64_t durable_begin(struct durable *d)
{
    pthread_mutex_lock(&d->lock);
    uint64_t n = ++d->begun;
    pthread_mutex_unlock(&d->lock);
    return n;
}

void durable_written(struct durable *d, bool anything)
{
    pthread_mutex_lock(&d->lock);
    if (!anything && d->synced == d->written)
        d->synced = d->begun; /* there is nothing to sync */
    d->written = d->begun;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void durable_fail(struct durable *d)
{
    pthread_mutex_lock(&d->lock);
    d->failed = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

uint64_t durable_seen(struct durable *d)
{
    pthread_mutex_lock(&d->lock);
    uint64_t n = d->begun;
    pthread_mutex_unlock(&d->lock);
    return n;
}

static int log_sync(struct durable *d)
{
    if (BUG("no-sync"))
        return SQLITE_OK;
    return FAULT("sqlite.sync") ? SQLITE_IOERR_FSYNC : vfs_log_sync(d->log);
}

/** With the lock held, which it lets go meanwhile. */
static void sync_once(struct durable *d)
{
    uint64_t n = d->written;

    d->syncing = true;
    pthread_mutex_unlock(&d->lock);
    int rc = log_sync(d);
    pthread_mutex_lock(&d->lock);
    d->syncing = false;
    if (rc != SQLITE_OK)
        d->failed = true;
    else if (!d->failed)
        d->synced = MAX(d->synced, n);
    pthread_cond_broadcast(&d->changed);
}

/** With the lock held. @return whether it is durable; else it never will be */
static bool upto(struct durable *d, uint64_t n)
{
    while (d->synced < n && !d->failed)
        if (d->syncing || d->written == d->synced)
            pthread_cond_wait(&d->changed, &d->lock);
        else
            sync_once(d);
    return d->synced >= n;
}

int durable_upto(struct durable *d, uint64_t n, struct err *err)
{
    pthread_mutex_lock(&d->lock);
    bool is = upto(d, n);
    pthread_mutex_unlock(&d->lock);
    return is ? ERR_OK : err_set(err, ERR_UNAVAILABLE, 0, "a sync of the database failed; restart the server");
}

bool durable_decided(struct durable *d, uint64_t n)
{
    pthread_mutex_lock(&d->lock);
    bool is = d->synced >= n || d->failed;
    pthread_mutex_unlock(&d->lock);
    return is;
}

/** With the lock held, which it lets go meanwhile. If it fails, whoever begins the log anew is told. */
static void db_settle(struct durable *d)
{
    d->owes = false;
    pthread_mutex_unlock(&d->lock);
    vfs_db_settle(d->db);
    pthread_mutex_lock(&d->lock);
}

/** Sleeps while nobody asked for a sync that is not there: others' commits and syncs do not wake it. */
static void *thread_main(void *arg)
{
    struct durable *d = arg;

    pthread_mutex_lock(&d->lock);
    while (!d->stop)
        if (d->wanted > d->synced && !d->failed)
            upto(d, d->wanted);
        else if (d->owes)
            db_settle(d);
        else
            pthread_cond_wait(&d->asked, &d->lock);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

int durable_start(struct durable *d, struct err *err)
{
    int rc = pthread_create(&d->thread, NULL, thread_main, d);

    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, rc, "start the store's thread");
    d->threaded = true;
    return ERR_OK;
}

void durable_stop(struct durable *d)
{
    if (!d->threaded)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->asked);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    d->threaded = false;
}

void durable_want(struct durable *d)
{
    if (!d->threaded)
        return;
    pthread_mutex_lock(&d->lock);
    d->wanted = d->written;
    if (d->wanted > d->synced)
        pthread_cond_signal(&d->asked);
    pthread_mutex_unlock(&d->lock);
}

void durable_owe(struct durable *d)
{
    if (!d->threaded)
        return;
    pthread_mutex_lock(&d->lock);
    d->owes = true;
    pthread_cond_signal(&d->asked);
    pthread_mutex_unlock(&d->lock);
}
