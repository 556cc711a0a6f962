/* Why each step of a commit is there (each was seen to matter in power cuts): without the sync of the file the name may
 * come back with a hole behind it; without the sync of the directory the name may not come back at all. A sync that failed
 * is never tried again: the kernel may have dropped the pages and would call the second try a success. The upload is given
 * up instead, and its sender sends it again into a new file. */
#include "blob/folder/folder.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/pool.h"
#include "blob/folder/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

#define FAN_OUT    256
#define COPY_BYTES ((size_t)256 << 10)
#define ID_FILE    "folder-id"

/** Write-back begins every so often, so that the sync at the end of a large upload is short. */
#define WRITE_BACK_BYTES (8 * 1024 * 1024)
#define ALLOCATE_BYTES   (32 * 1024 * 1024)
#define WRITE_BACKS_MAX  16 /* that wait; the next one does what found no room */
#define HASH_THREADS     2  /* beside those that write; the next one hashes by itself */

void blob_path(const struct uuid *id, char ret_id[UUID_STR_MAX], char ret_path[3 + UUID_STR_MAX])
{
    uuid_format(id, ret_id);
    snprintf(ret_path, 3 + UUID_STR_MAX, "%02x/%s", id->b[15], ret_id);
}

/** Empties tmp/ and makes the directories. All 256 now, under one sync of DIR: a commit then has one directory to sync, and
 * cannot meet one that another thread made but has not synced yet. */
static int prepare(const char *dir, int dir_fd, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof(path), dir, "tmp", err);

    if (rc == ERR_OK)
        rc = fs_remove_tree(path, err);
    if (rc != ERR_OK)
        return rc;
    if (mkdirat(dir_fd, "tmp", 0700) < 0)
        return err_set(err, ERR_IO, errno, "make '%s'", path);
    if (mkdirat(dir_fd, UPLOADS_DIR, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "make '%s/%s'", dir, UPLOADS_DIR);
    for (unsigned i = 0; i < FAN_OUT; i++) {
        char name[3];

        snprintf(name, sizeof(name), "%02x", i);
        if (mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
            return err_set(err, ERR_IO, errno, "make '%s/%s'", dir, name);
    }
    if (fsync(dir_fd) < 0)
        return err_set(err, ERR_IO, errno, "sync '%s'", dir);

    /* DIR's own name too. Its parent may be somebody else's and unreadable; then it was not us who made DIR. */
    AUTO_FD int parent = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (parent >= 0 ? fsync(parent) < 0 : errno != EACCES)
        return err_set(err, ERR_IO, errno, "sync the folder above '%s'", dir);
    return ERR_OK;
}

/** The folder's own id, made on the first open. */
static int identify(const char *dir, char ret_id[UUID_STR_MAX], struct err *err)
{
    char path[PATH_MAX];
    struct buf text;
    struct uuid id;
    int rc = fs_join(path, sizeof(path), dir, ID_FILE, err);

    if (rc != ERR_OK)
        return rc;
    buf_init(&text, 64);
    rc = fs_read(path, &text, err);
    if (rc == ERR_NOT_FOUND) {
        err_clear(err);
        id = uuid_v7(clock_real().wall_us(clock_real().self), rng_real());
        uuid_format(&id, ret_id);
        buf_reset(&text);
        buf_printf(&text, "%s\n", ret_id);
        rc = fs_write_durable(path, text.data, text.len, 0600, err);
    } else if (rc == ERR_OK || rc == ERR_TOO_LARGE) {
        bool good = rc == ERR_OK && text.len == UUID_STR_MAX && text.data[UUID_STR_MAX - 1] == '\n';

        if (good) {
            text.data[UUID_STR_MAX - 1] = '\0';
            good = uuid_parse(text.data, &id);
        }
        if (good) {
            uuid_format(&id, ret_id);
            rc = ERR_OK;
        } else {
            rc = err_set(err, ERR_CORRUPT, 0, "'%s' does not hold an id: restore it, or move the folder away", path);
        }
    }
    buf_release(&text);
    return rc;
}

static int folder_open(const char *dir, struct blobs **ret, char ret_id[UUID_STR_MAX], struct err *err)
{
    int rc = fs_mkdirs(dir, 0700, err);

    if (rc != ERR_OK)
        return err_wrap(err, rc, "blob folder");

    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, ERR_IO, errno, "open blob folder '%s'", dir);
    /* Emptying tmp/ under another process's hands would cut its uploads: beside those who share the folder it is left as it is. */
    bool alone = flock(fd, LOCK_EX | LOCK_NB) == 0;

    if (!alone && (errno != EWOULDBLOCK || flock(fd, LOCK_SH | LOCK_NB) < 0)) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_LOCKED, 0, "blob folder '%s' is in use by another process", dir);
        return err_set(err, ERR_IO, errno, "lock blob folder '%s'", dir);
    }
    rc = identify(dir, ret_id, err);
    if (rc == ERR_OK && alone)
        rc = prepare(dir, fd, err);
    if (rc != ERR_OK)
        return err_wrap(err, rc, "blob folder");

    struct blobs *b = calloc(1, sizeof(*b));

    if (!b)
        return err_set(err, ERR_NO_MEMORY, 0, "blob folder");
    rc = pool_new("write-back", 1, WRITE_BACKS_MAX, &b->write_back, err);
    if (rc == ERR_OK)
        rc = pool_new("hash", HASH_THREADS, 0, &b->hash, err);
    if (rc != ERR_OK) {
        pool_free(b->write_back);
        free(b);
        return err_wrap(err, rc, "blob folder");
    }
    b->dir_fd = TAKE_FD(fd);
    b->alone = alone;
    *ret = b;
    return ERR_OK;
}

static int folder_share(struct blobs *b, bool others, struct err *err)
{
    if (!others && !b->alone)
        return err_set(err, ERR_LOCKED, 0, "the blob folder is in use by servers that share it");
    if (others && b->alone && flock(b->dir_fd, LOCK_SH | LOCK_NB) < 0)
        return err_set(err, ERR_IO, errno, "share the blob folder");
    b->alone = !others;
    return ERR_OK;
}

static void folder_close(struct blobs *b)
{
    if (!b)
        return;
    pool_free(b->hash);
    pool_free(b->write_back);
    close(b->dir_fd);
    free(b);
}

bool upload_hashes(struct blob_upload *u)
{
    u->sum = xxh128_new();
    if (!u->hash || !u->sum)
        return false;
    sha256_behind_init(&u->behind, u->hash, u->blobs->hash);
    return true;
}

void upload_settle(struct blob_upload *u)
{
    sha256_behind_wait(&u->behind);
}

/** All are hashed. */
static void taken_release(struct blob_upload *u)
{
    for (size_t i = 0; i < ARRAY_LEN(u->taken); i++)
        buf_release(&u->taken[i]);
}

void upload_free(struct blob_upload *u, bool unlink_tmp)
{
    if (u->behind.hash) { /* it came so far */
        upload_settle(u);
        sha256_behind_release(&u->behind);
    }
    taken_release(u);
    if (unlink_tmp)
        unlinkat(u->blobs->dir_fd, u->tmp, 0); /* a failure leaves it to the next open */
    if (u->fd >= 0)
        close(u->fd);
    if (u->mark_fd >= 0)
        close(u->mark_fd);
    sha256_free(u->hash);
    xxh128_free(u->sum);
    free(u);
}

static int folder_begin(struct blobs *b, const struct uuid *id, struct blob_upload **ret, struct err *err)
{
    struct blob_upload *u = calloc(1, sizeof(*u));

    if (!u)
        return err_set(err, ERR_NO_MEMORY, 0, "begin a blob");
    u->blobs = b;
    u->fd = u->mark_fd = -1;
    u->hash = sha256_new();
    if (!upload_hashes(u)) {
        upload_free(u, false);
        return err_set(err, ERR_NO_MEMORY, 0, "begin a blob");
    }
    blob_path(id, u->id, u->path);
    snprintf(u->tmp, sizeof(u->tmp), "tmp/%s", u->id);

    /* Mode 0400 does not bind the descriptor that creates the file; everybody after it finds it read-only. */
    if (FAULT("folder.create"))
        errno = EIO;
    else
        u->fd = openat(b->dir_fd, u->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    if (u->fd < 0) {
        int rc = errno == EEXIST ? err_set(err, ERR_CONFLICT, 0, "blob %s is being uploaded already", u->id)
                                 : err_set(err, ERR_IO, errno, "create blob %s", u->id);

        upload_free(u, false);
        return rc;
    }
    *ret = u;
    return ERR_OK;
}

struct span {
    int fd;
    int64_t from, n;
};

/** A hint: what goes wrong here the sync will tell (beginning a write-back takes no error away from it). */
static void write_back_task(void *arg)
{
    struct span *s = arg;

    sync_file_range(s->fd, s->from, s->n, SYNC_FILE_RANGE_WRITE);
    close(s->fd);
    free(s);
}

/** On a thread of its own, with a descriptor of its own: a disk that has enough to do makes it wait, and meanwhile there is more to
 * receive and to hash. */
static void write_back(struct blob_upload *u)
{
    struct span *s = malloc(sizeof(*s));

    if (!s)
        return;
    *s = (struct span){.fd = fcntl(u->fd, F_DUPFD_CLOEXEC, 0), .from = u->started, .n = u->size - u->started};
    if (s->fd >= 0 && pool_run(u->blobs->write_back, write_back_task, s, NULL) == ERR_OK) {
        u->started = u->size;
        return;
    }
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

/** Room for what comes next, in one piece and without a search at every write. A hint: where there is none, the writes will tell. */
static void allocate_ahead(struct blob_upload *u)
{
    const int64_t from = MAX(u->allocated, u->size);

    if (u->allocated - u->size < ALLOCATE_BYTES / 2 && fallocate(u->fd, FALLOC_FL_KEEP_SIZE, from, ALLOCATE_BYTES) == 0)
        u->allocated = from + ALLOCATE_BYTES;
}

void upload_trim(struct blob_upload *u)
{
    if (u->allocated > u->size && ftruncate(u->fd, u->size) == 0)
        u->allocated = 0;
}

/** @param ret_away  it is being hashed, and must stay as it is until the next upload_settle(), or until SHA256_BEHIND more pieces came */
static int write_and_hash(struct blob_upload *u, const void *p, size_t n, bool *ret_away, struct err *err)
{
    *ret_away = false;
    if (u->whole && n > 0)
        return err_set(err, ERR_CONFLICT, 0, "upload %s is whole", u->id);
    if (u->failed.code == ERR_OK) {
        *ret_away = sha256_behind_add(&u->behind, p, n);
        xxh128_add(u->sum, p, n); /* here, since whoever hashes has most to do */
        if (FAULT("folder.write"))
            err_set(&u->failed, ERR_IO, ENOSPC, "write blob %s", u->id);
        else if (fs_write_all(u->fd, p, n, &u->failed) != ERR_OK)
            err_wrap(&u->failed, (int)u->failed.code, "blob %s", u->id);
    }
    if (u->failed.code != ERR_OK) {
        if (err)
            *err = u->failed;
        return (int)u->failed.code;
    }
    u->size += (int64_t)n;
    if (u->size - u->started >= WRITE_BACK_BYTES) {
        write_back(u);
        allocate_ahead(u);
    }
    return ERR_OK;
}

static int folder_write(struct blob_upload *u, const void *p, size_t n, struct err *err)
{
    bool away;
    int rc = write_and_hash(u, p, n, &away, err);

    upload_settle(u);
    return rc;
}

/** What is kept is hashed while it is written and the next ones come. An upload that no thread hashes for keeps nothing. */
static int folder_take(struct blob_upload *u, struct buf *piece, struct err *err)
{
    bool away;
    int rc = write_and_hash(u, piece->data, piece->len, &away, err);

    if (away) {
        struct buf *place = &u->taken[u->n_taken++ % ARRAY_LEN(u->taken)], hashed = *place;

        *place = *piece;
        hashed.max = piece->max;
        *piece = hashed;
    } else {
        upload_settle(u);
        taken_release(u);
    }
    buf_reset(piece);
    return rc;
}

static void folder_sum(struct blob_upload *u, uint8_t ret[XXH128_BYTES])
{
    xxh128_digest(u->sum, ret);
    xxh128_reset(u->sum);
}

/** Back to where it was before publish(). */
static void withdraw(const struct blob_upload *u)
{
    int dir = u->blobs->dir_fd;

    if (u->mark_fd >= 0)
        renameat(dir, u->path, dir, u->tmp); /* else resume() finds it there */
    else
        unlinkat(dir, u->path, 0);
}

/** Renames without replacing: an id names the same bytes for ever. */
static int publish(const struct blob_upload *u)
{
    int dir = u->blobs->dir_fd;

    if (FAULT("folder.rename")) {
        errno = EIO;
        return -1;
    }
    if (renameat2(dir, u->tmp, dir, u->path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* Some file systems (NFS) lack NOREPLACE; a second name is refused there just as well. */
    if (linkat(dir, u->tmp, dir, u->path, 0) < 0)
        return -1;
    unlinkat(dir, u->tmp, 0);
    return 0;
}

static int sync_fan(const struct blob_upload *u)
{
    char name[3] = {u->path[0], u->path[1], '\0'};
    AUTO_FD int fd = openat(u->blobs->dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    if (FAULT("folder.sync_dir")) {
        errno = EIO;
        return -1;
    }
    return fsync(fd) < 0 && errno != EINVAL ? -1 : 0; /* EINVAL: a file system that has no such thing */
}

static int folder_commit(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err)
{
    int rc = ERR_OK;
    bool in_tmp = true;

    upload_trim(u);
    if (u->failed.code != ERR_OK) {
        rc = (int)u->failed.code;
        if (err)
            *err = u->failed;
    } else if (u->whole) {
        if (sync_fan(u) < 0) /* its name may be younger than the last sync */
            rc = err_set(err, ERR_IO, errno, "sync the folder of blob %s", u->id);
    } else if (FAULT("folder.sync") ? (errno = EIO, true) : fsync(u->fd) < 0) {
        rc = err_set(err, ERR_IO, errno, "sync blob %s", u->id);
    } else if ((u->mark_fd >= 0 && fchmod(u->fd, 0400) < 0) || publish(u) < 0) {
        rc = errno == EEXIST ? err_set(err, ERR_CONFLICT, 0, "blob %s exists already", u->id)
                             : err_set(err, ERR_IO, errno, "name blob %s", u->id);
    } else {
        in_tmp = false;
        if (sync_fan(u) < 0) { /* would it survive? not known: so it must not be seen */
            rc = err_set(err, ERR_IO, errno, "sync the folder of blob %s", u->id);
            withdraw(u);
        }
    }
    if (rc == ERR_OK) {
        *ret_size = u->size;
        upload_settle(u);
        sha256_end(u->hash, ret_sha256);
    }
    upload_free(u, in_tmp && u->mark_fd < 0);
    return rc;
}

static void folder_abort(struct blob_upload *u)
{
    if (u)
        upload_free(u, true);
}

static int64_t file_read(struct blob_reader *r, int64_t at, void *p, size_t n, struct err *err)
{
    ssize_t got;

    do
        got = pread(r->fd, p, n, at);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        err_set(err, ERR_IO, errno, "read a blob");
    return got;
}

static void file_close(struct blob_reader *r)
{
    close(r->fd);
    free(r);
}

static int folder_open_read(struct blobs *b, const struct uuid *id, struct blob_reader **ret, struct err *err)
{
    char name[UUID_STR_MAX], path[3 + UUID_STR_MAX];
    struct stat st;

    blob_path(id, name, path);
    if (FAULT("folder.read"))
        return err_set(err, ERR_IO, EIO, "open blob %s", name);

    AUTO_FD int fd = openat(b->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, 0, "no blob %s", name);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_IO, errno, "open blob %s", name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, 0, "blob %s is not a file", name);

    struct blob_reader *r = malloc(sizeof(*r));

    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "open blob %s", name);
    *r = (struct blob_reader){
        .size = st.st_size,
        .stamp = {st.st_ino, (uint64_t)st.st_ctim.tv_sec * UINT64_C(1000000000) + (uint64_t)st.st_ctim.tv_nsec},
        .read = file_read,
        .close = file_close,
        .fd = TAKE_FD(fd),
    };
    *ret = r;
    return ERR_OK;
}

/** Not synced: the row is gone already, and a power cut that brings the bytes back costs room, no truth. */
static int folder_remove(struct blobs *b, const struct uuid *id, struct err *err)
{
    char name[UUID_STR_MAX], path[3 + UUID_STR_MAX];

    blob_path(id, name, path);
    if (FAULT("folder.remove"))
        return err_set(err, ERR_IO, EIO, "remove blob %s", name);
    if (unlinkat(b->dir_fd, path, 0) < 0 && errno != ENOENT)
        return err_set(err, ERR_IO, errno, "remove blob %s", name);
    return ERR_OK;
}

static void folder_path(const struct uuid *id, char ret[BLOB_PATH_MAX])
{
    char name[UUID_STR_MAX], path[3 + UUID_STR_MAX];

    blob_path(id, name, path);
    snprintf(ret, BLOB_PATH_MAX, "%s", path);
}

static int copy_bytes(int from, int to, struct err *err)
{
    AUTO_FREE char *piece = malloc(COPY_BYTES);
    ssize_t n = 0;
    int rc = piece ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "copy");

    while (rc == ERR_OK && (n = read(from, piece, COPY_BYTES)) != 0)
        if (n > 0)
            rc = fs_write_all(to, piece, (size_t)n, err);
        else if (errno != EINTR)
            rc = err_set(err, ERR_IO, errno, "read");
    return rc;
}

static int copy_blob(struct blobs *b, const char *path, int dir_fd, struct err *err)
{
    AUTO_FD int from = openat(b->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_FD int to = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);

    if (from < 0 || to < 0)
        return err_set(err, ERR_IO, errno, "copy blob '%s'", path);
    int rc = copy_bytes(from, to, err);
    return rc == ERR_OK ? rc : err_wrap(err, rc, "copy blob '%s'", path);
}

static int link_blob(struct blobs *b, const char *path, int dir_fd)
{
    if (FAULT("folder.link")) {
        errno = EPERM;
        return -1;
    }
    return linkat(b->dir_fd, path, dir_fd, path, 0);
}

static int folder_link(struct blobs *b, const struct uuid *id, int dir_fd, int64_t *ret_size, struct err *err)
{
    char name[UUID_STR_MAX], path[3 + UUID_STR_MAX];
    struct stat st;

    blob_path(id, name, path);
    if (fstatat(b->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "blob %s", name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, 0, "blob %s is not a file", name);
    *ret_size = st.st_size;

    char fan[3] = {path[0], path[1], '\0'};

    if (mkdirat(dir_fd, fan, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_IO, errno, "make '%s' for blob %s", fan, name);
    if (link_blob(b, path, dir_fd) == 0)
        return ERR_OK;
    /* No links on this file system, none across two, or too many on this file. */
    if (errno == EPERM || errno == EXDEV || errno == EMLINK || errno == EOPNOTSUPP || errno == ENOSYS)
        return copy_blob(b, path, dir_fd, err);
    return err_set(err, ERR_IO, errno, "link blob %s", name);
}

const struct blob_driver *blob_folder(void)
{
    static const struct blob_driver driver = {
        .name = "folder",
        .open = folder_open,
        .share = folder_share,
        .close = folder_close,
        .begin = folder_begin,
        .write = folder_write,
        .take = folder_take,
        .sum = folder_sum,
        .commit = folder_commit,
        .abort = folder_abort,
        .open_read = folder_open_read,
        .remove = folder_remove,
        .resume = partial_resume,
        .sync = partial_sync,
        .leave = partial_leave,
        .offset = partial_offset,
        .discard = partial_discard,
        .unfinished = partial_unfinished,
        .id_file = ID_FILE,
        .path = folder_path,
        .link = folder_link,
    };

    return &driver;
}
