#include "disk.h"
#include "base/auto.h"
#include <sqlite3.h>
#include <string.h>

#define FILES_MAX   8
#define REGIONS_MAX 8
#define SECTOR      512

struct bytes {
    char *p;
    size_t n, cap;
};

struct change {         /* written, and not synced yet */
    size_t at, n, from; /* from: where its bytes are in `unsynced` */
};

struct shm {
    int refs;
    void *regions[REGIONS_MAX];
    int shared[SQLITE_SHM_NLOCK], exclusive[SQLITE_SHM_NLOCK];
};

struct file {
    char name[256];
    bool used;
    struct bytes now, durable, kept, unsynced;
    struct change *changes;
    size_t n_changes, changes_cap;
    struct shm *shm;
};

static struct disk {
    struct file files[FILES_MAX];
    bool kept;
    unsigned cuts, after;
    enum disk_fault fault;
    bool full;
    usec slow_us;
    struct rng dice;
    void (*slept)(usec us);
} disk;

struct handle {
    sqlite3_file base;
    struct file *file;
    struct bytes own; /* of a temporary file, which has no name */
    unsigned cuts;    /* when it was opened */
    struct shm *shm;
    int shared, exclusive; /* bits */
};

static void room(struct bytes *b, size_t n)
{
    if (n <= b->cap)
        return;
    size_t cap = MAX(n, b->cap ? 2 * b->cap : 8192);
    b->p = realloc(b->p, cap);
    if (!b->p)
        abort();
    b->cap = cap;
}

static void put(struct bytes *b, size_t at, const void *p, size_t n)
{
    room(b, at + n);
    if (at > b->n)
        memset(b->p + b->n, 0, at - b->n);
    memcpy(b->p + at, p, n);
    b->n = MAX(b->n, at + n);
}

static void copy(struct bytes *to, const struct bytes *from)
{
    to->n = 0;
    if (from->n)
        put(to, 0, from->p, from->n);
}

static void drop(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){0};
}

static void forget(struct file *f)
{
    f->n_changes = f->unsynced.n = 0;
}

static void sync_all(struct file *f)
{
    for (size_t i = 0; i < f->n_changes; i++)
        put(&f->durable, f->changes[i].at, f->unsynced.p + f->changes[i].from, f->changes[i].n);
    forget(f);
}

/* How much of what was not synced is there after a cut: none, all up to some write, or any of them, the last ones torn. */
static void lose(struct file *f)
{
    uint64_t how = rng_u64(disk.dice) % 3, upto = rng_u64(disk.dice) % (f->n_changes + 1);

    for (size_t i = 0; i < f->n_changes; i++) {
        const struct change *c = &f->changes[i];
        size_t n = c->n;
        if (how == 0 || (how == 1 && i > upto) || (how == 2 && rng_u64(disk.dice) % 2))
            continue;
        if ((how == 1 && i == upto) || (how == 2 && rng_u64(disk.dice) % 4 == 0))
            n = n / SECTOR ? rng_u64(disk.dice) % (n / SECTOR + 1) * SECTOR : 0;
        if (n)
            put(&f->durable, c->at, f->unsynced.p + c->from, MIN(n, c->n));
    }
    copy(&f->now, &f->durable);
    forget(f);
}

void disk_cut(bool power)
{
    disk.cuts++;
    disk.after = 0;
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct file *f = &disk.files[i];
        if (power)
            lose(f);
        f->shm = NULL; /* those who have it keep it until they close */
    }
}

unsigned disk_cuts(void)
{
    return disk.cuts;
}

void disk_plan(enum disk_fault fault, unsigned after)
{
    disk.fault = fault;
    disk.after = after;
}

void disk_full(bool full)
{
    disk.full = full;
}

void disk_slow(usec us)
{
    disk.slow_us = us;
}

void disk_reset(struct rng dice)
{
    disk.dice = dice;
    sqlite3_randomness(0, NULL); /* SQLite's own dice begin anew, too */
    disk.after = 0;
    disk.full = false;
    disk.slow_us = 0;
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct file *f = &disk.files[i];
        forget(f);
        f->shm = NULL;
        copy(&f->now, &f->kept);
        copy(&f->durable, &f->kept);
        f->used = f->kept.n > 0;
    }
}

void disk_keep(void)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (disk.files[i].used)
            copy(&disk.files[i].kept, &disk.files[i].now);
}

void disk_end(void)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct file *f = &disk.files[i];
        drop(&f->now);
        drop(&f->durable);
        drop(&f->kept);
        drop(&f->unsynced);
        free(f->changes);
        *f = (struct file){0};
    }
}

const char *disk_dir(void)
{
    return access("/dev/shm", R_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* --- a file --- */

static bool gone(const struct handle *h)
{
    return h->cuts != disk.cuts;
}

/* @return what the call that comes now must answer, or SQLITE_OK */
static int fate(const struct handle *h, bool is_sync)
{
    if (gone(h))
        return SQLITE_IOERR;
    if (!is_sync && disk.full)
        return SQLITE_FULL;
    if (!disk.after || --disk.after)
        return SQLITE_OK;
    switch (disk.fault) {
    case DISK_CUT:
    case DISK_KILL:
        disk_cut(disk.fault == DISK_CUT);
        return SQLITE_IOERR;
    case DISK_SYNC:
        if (is_sync)
            return SQLITE_IOERR_FSYNC;
        disk.after = 1; /* the next one */
        return SQLITE_OK;
    default:
        return is_sync ? SQLITE_OK : SQLITE_IOERR_WRITE;
    }
}

static struct bytes *content(struct handle *h)
{
    return h->file ? &h->file->now : &h->own;
}

static void shm_leave(struct handle *h)
{
    struct shm *s = h->shm;

    if (!s)
        return;
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++) {
        s->shared[i] -= (h->shared >> i) & 1;
        s->exclusive[i] -= (h->exclusive >> i) & 1;
    }
    h->shared = h->exclusive = 0;
    h->shm = NULL;
    if (--s->refs)
        return;
    for (int i = 0; i < REGIONS_MAX; i++)
        free(s->regions[i]);
    if (h->file && h->file->shm == s)
        h->file->shm = NULL;
    free(s);
}

static int x_close(sqlite3_file *file)
{
    struct handle *h = (struct handle *)file;

    shm_leave(h);
    drop(&h->own);
    return SQLITE_OK;
}

static int x_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    struct handle *h = (struct handle *)file;
    const struct bytes *b = content(h);

    if (gone(h))
        return SQLITE_IOERR_READ;
    size_t has = (size_t)at < b->n ? MIN(b->n - (size_t)at, (size_t)n) : 0;
    if (has)
        memcpy(p, b->p + at, has);
    memset((char *)p + has, 0, (size_t)n - has);
    return has == (size_t)n ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int x_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct handle *h = (struct handle *)file;
    struct file *f = h->file;
    int rc = fate(h, false);

    if (rc != SQLITE_OK)
        return rc;
    put(content(h), (size_t)at, p, (size_t)n);
    if (!f)
        return SQLITE_OK;
    if (f->n_changes == f->changes_cap) {
        f->changes_cap = f->changes_cap ? 2 * f->changes_cap : 64;
        f->changes = realloc(f->changes, f->changes_cap * sizeof *f->changes);
        if (!f->changes)
            abort();
    }
    f->changes[f->n_changes++] = (struct change){(size_t)at, (size_t)n, f->unsynced.n};
    put(&f->unsynced, f->unsynced.n, p, (size_t)n);
    return SQLITE_OK;
}

static int x_truncate(sqlite3_file *file, sqlite3_int64 n)
{
    struct handle *h = (struct handle *)file;

    if (gone(h))
        return SQLITE_IOERR_TRUNCATE;
    if ((size_t)n >= content(h)->n)
        return SQLITE_OK; /* which makes nothing durable */
    if (h->file) {
        sync_all(h->file);
        h->file->durable.n = MIN(h->file->durable.n, (size_t)n);
    }
    content(h)->n = MIN(content(h)->n, (size_t)n);
    return SQLITE_OK;
}

static int x_sync(sqlite3_file *file, int flags)
{
    struct handle *h = (struct handle *)file;
    int rc = fate(h, true);

    if (rc != SQLITE_OK)
        return rc;
    if (disk.slow_us)
        disk.slept(disk.slow_us);
    if (h->file)
        sync_all(h->file);
    return SQLITE_OK;
}

static int x_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    struct handle *h = (struct handle *)file;

    *ret = (sqlite3_int64)content(h)->n;
    return gone(h) ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

/* Locks of the file itself: in WAL mode only shared ones, but for opening and closing, which nobody does beside another. */
static int x_lock(sqlite3_file *file, int level)
{
    return gone((struct handle *)file) ? SQLITE_IOERR_LOCK : SQLITE_OK;
}

static int x_unlock(sqlite3_file *file, int level)
{
    return SQLITE_OK;
}

static int x_reserved(sqlite3_file *file, int *ret)
{
    *ret = 0;
    return SQLITE_OK;
}

static int x_control(sqlite3_file *file, int op, void *arg)
{
    return SQLITE_NOTFOUND;
}

static int x_sector(sqlite3_file *file)
{
    return SECTOR;
}

static int x_traits(sqlite3_file *file)
{
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* as on Unix */
}

static int x_shm_map(sqlite3_file *file, int i, int n, int extend, void volatile **ret)
{
    struct handle *h = (struct handle *)file;

    *ret = NULL;
    if (gone(h) || !h->file || i >= REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    if (!h->shm) {
        if (!h->file->shm)
            h->file->shm = calloc(1, sizeof *h->file->shm);
        if (!h->file->shm)
            return SQLITE_NOMEM;
        h->shm = h->file->shm;
        h->shm->refs++;
    }
    if (!h->shm->regions[i] && extend)
        h->shm->regions[i] = calloc(1, (size_t)n);
    *ret = h->shm->regions[i];
    return SQLITE_OK;
}

static int x_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct handle *h = (struct handle *)file;
    struct shm *s = h->shm;
    bool exclusive = flags & SQLITE_SHM_EXCLUSIVE;

    if (!s)
        return SQLITE_IOERR_SHMLOCK;
    for (int i = offset; i < offset + n; i++) {
        int others = s->shared[i] - ((h->shared >> i) & 1);
        if (flags & SQLITE_SHM_UNLOCK)
            continue;
        if (s->exclusive[i] > ((h->exclusive >> i) & 1) || (exclusive && others))
            return SQLITE_BUSY;
    }
    for (int i = offset; i < offset + n; i++) {
        int bit = 1 << i, *mine = exclusive ? &h->exclusive : &h->shared, *all = exclusive ? s->exclusive : s->shared;
        if ((flags & SQLITE_SHM_LOCK) && !(*mine & bit)) {
            *mine |= bit;
            all[i]++;
        } else if ((flags & SQLITE_SHM_UNLOCK) && (*mine & bit)) {
            *mine &= ~bit;
            all[i]--;
        }
    }
    return SQLITE_OK;
}

static void x_shm_barrier(sqlite3_file *file) {}

static int x_shm_unmap(sqlite3_file *file, int delete)
{
    shm_leave((struct handle *)file);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = x_close,
    .xRead = x_read,
    .xWrite = x_write,
    .xTruncate = x_truncate,
    .xSync = x_sync,
    .xFileSize = x_size,
    .xLock = x_lock,
    .xUnlock = x_unlock,
    .xCheckReservedLock = x_reserved,
    .xFileControl = x_control,
    .xSectorSize = x_sector,
    .xDeviceCharacteristics = x_traits,
    .xShmMap = x_shm_map,
    .xShmLock = x_shm_lock,
    .xShmBarrier = x_shm_barrier,
    .xShmUnmap = x_shm_unmap,
};

/* --- the folder --- */

static struct file *find(const char *name, bool make)
{
    struct file *unused = NULL;

    for (size_t i = FILES_MAX; i-- > 0;) {
        struct file *f = &disk.files[i];
        if (f->name[0] && strcmp(f->name, name) == 0 && (f->used || make)) {
            f->used = true;
            return f;
        }
        if (!f->name[0])
            unused = f;
    }
    if (!make || !unused)
        return NULL;
    snprintf(unused->name, sizeof unused->name, "%s", name);
    unused->used = true;
    return unused;
}

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct handle *h = (struct handle *)file;

    *h = (struct handle){.cuts = disk.cuts};
    if (name && !(h->file = find(name, flags & SQLITE_OPEN_CREATE)))
        return SQLITE_CANTOPEN;
    h->base.pMethods = &methods;
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int x_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    struct file *f = find(name, false);

    if (!f)
        return SQLITE_IOERR_DELETE_NOENT;
    forget(f);
    f->now.n = f->durable.n = 0;
    f->used = false;
    return SQLITE_OK;
}

static int x_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    *ret = find(name, false) != NULL;
    return SQLITE_OK;
}

static int x_path(sqlite3_vfs *vfs, const char *name, int n, char *ret)
{
    snprintf(ret, (size_t)n, "%s", name);
    return SQLITE_OK;
}

static int x_random(sqlite3_vfs *vfs, int n, char *ret)
{
    disk.dice.fill(disk.dice.self, ret, (size_t)n);
    return n;
}

static int x_sleep(sqlite3_vfs *vfs, int us)
{
    return us;
}

static int x_time(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
    *ret = INT64_C(210866760000000); /* the epoch: haul does not ask SQLite for the time */
    return SQLITE_OK;
}

static int x_error(sqlite3_vfs *vfs, int n, char *ret)
{
    return 0;
}

void disk_init(struct rng dice, void (*slept)(usec us))
{
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 255,
        .zName = "simulated",
        .xOpen = x_open,
        .xDelete = x_delete,
        .xAccess = x_access,
        .xFullPathname = x_path,
        .xRandomness = x_random,
        .xSleep = x_sleep,
        .xGetLastError = x_error,
        .xCurrentTimeInt64 = x_time,
    };

    disk.dice = dice;
    disk.slept = slept;
    sqlite3_vfs_register(&vfs, 1);
}
