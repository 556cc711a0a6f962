/* What comes out of an archive was written by whoever had it. Its entries must be, one after the other, those that a backup has: the
 * names are compared with names of our own making (the store's file, the paths that the blob driver gives the ids in the database) and
 * never used as paths, so that nothing can lead out of the folder; libarchive unpacks nothing by itself. */
#include "app/restore.h"
#include "app/drivers.h"
#include "base/auto.h"
#include "base/fs.h"
#include "store/snapshot.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PIECE        ((size_t)256 << 10)
#define MANIFEST_MAX 65536
#define SPARE_BYTES  ((int64_t)16 << 20)

struct work {
    struct restore *r;
    const struct store_snapshots *store;
    const struct blob_driver *blobs;
    struct backup_reader *reader;
    struct store_copy *copy;
    char dir[PATH_MAX]; /* where it is made, until it gets its name */
    int dir_fd, blobs_fd;
    const char *name; /* of the entry at hand; NULL after the last one */
    int64_t size;
    int64_t missing, wrong; /* blobs that are not there, or not what the database says */
    char first[UUID_STR_MAX];
    char *piece;
};

/* --- the folder --- */

static int check_unused(const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof(path), dir, "lock", err);

    if (rc != ERR_OK)
        return rc;
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return err_set(err, ERR_LOCKED, 0, "a server uses the data folder '%.180s': restore into a new one", dir);
    return ERR_OK;
}

static int check_empty(const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    bool empty = true;

    if (!d)
        return errno == ENOENT ? ERR_OK : err_set(err, ERR_IO, errno, "data folder '%.180s'", dir);
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    if (!empty)
        return err_set(err, ERR_CONFLICT, 0, "the folder '%.180s' is not empty: restore into a new one", dir);
    return ERR_OK;
}

static int make_work_folder(struct work *w, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    int n = w->r->dir ? snprintf(w->dir, sizeof(w->dir), "%s.restoring-XXXXXX", w->r->dir)
                      : snprintf(w->dir, sizeof(w->dir), "%s/haul-verify-XXXXXX", tmp ? tmp : "/var/tmp");

    if (n < 0 || (size_t)n >= sizeof(w->dir)) {
        w->dir[0] = '\0';
        return err_set(err, ERR_TOO_LARGE, 0, "the folder's path is too long");
    }
    if (!mkdtemp(w->dir)) {
        int sys = errno;
        w->dir[0] = '\0';
        return err_set(err, ERR_IO, sys, "make a folder beside '%.150s'", w->r->dir ? w->r->dir : "temporary files");
    }
    w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->dir_fd < 0 || mkdirat(w->dir_fd, "blobs", 0700) < 0)
        return err_set(err, ERR_IO, errno, "'%s'", w->dir);
    w->blobs_fd = openat(w->dir_fd, "blobs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return w->blobs_fd >= 0 ? ERR_OK : err_set(err, ERR_IO, errno, "'%s'", w->dir);
}

static int check_space(const struct work *w, struct err *err)
{
    const struct backup_manifest *m = &w->r->manifest;
    struct statvfs st;
    int64_t needs = m->database_bytes + SPARE_BYTES, blobs = w->r->dir ? m->blob_bytes : 0;

    if (__builtin_add_overflow(needs, blobs, &needs))
        return err_set(err, ERR_CORRUPT, 0, "%s claims more bytes than there can be", BACKUP_MANIFEST);
    if (fstatvfs(w->dir_fd, &st) < 0)
        return err_set(err, ERR_IO, errno, "'%s'", w->dir);
    int64_t has = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    if (has >= needs)
        return ERR_OK;
    return err_set(err, ERR_NO_SPACE, 0, "this needs %lld MiB beside '%.120s', there are %lld MiB free",
                   (long long)(needs >> 20) + 1, w->dir, (long long)(has >> 20));
}

/* --- entries --- */

static int next(struct work *w, struct err *err)
{
    return backup_reader_next(w->reader, &w->name, &w->size, err);
}

static int expect(struct work *w, const char *name, int64_t size, struct err *err)
{
    int rc = next(w, err);

    if (rc != ERR_OK)
        return rc;
    if (!w->name || strcmp(w->name, name) != 0)
        return err_set(err, ERR_CORRUPT, 0, "the backup has '%.80s' where '%.80s' should be",
                       w->name ? w->name : "its end", name);
    if (size >= 0 && w->size != size)
        return err_set(err, ERR_CORRUPT, 0, "'%.80s' in the backup has %lld bytes, not %lld", name, (long long)w->size,
                       (long long)size);
    return ERR_OK;
}

static int step(struct work *w, struct err *err)
{
    struct restore *r = w->r;
    int64_t total = r->manifest.format ? r->manifest.archive_bytes : -1;

    if (r->progress && r->progress(r->arg, backup_reader_bytes(w->reader), total) != 0)
        return err_set(err, ERR_CANCELLED, 0, "stopped on request");
    return ERR_OK;
}

/** The entry's bytes. @param fd  -1: nowhere  @param hash  may be NULL */
static int take_bytes(struct work *w, int fd, struct sha256 *hash, struct err *err)
{
    int64_t got = 0;
    size_t n = 1;
    int rc = ERR_OK;

    while (rc == ERR_OK && n > 0) {
        rc = backup_reader_read(w->reader, w->piece, PIECE, &n, err);
        if (rc == ERR_OK && n > 0 && hash)
            sha256_add(hash, w->piece, n);
        if (rc == ERR_OK && n > 0 && fd >= 0)
            rc = fs_write_all(fd, w->piece, n, err);
        got += (int64_t)n;
        if (rc == ERR_OK)
            rc = step(w, err);
    }
    if (rc == ERR_OK && got != w->size)
        rc = err_set(err, ERR_CORRUPT, 0, "'%.80s' in the backup is cut", w->name);
    return rc;
}

/** A small entry, NUL-terminated. */
static int take_text(struct work *w, char *ret, size_t size, struct err *err)
{
    size_t have = 0, n = 1;
    int rc = ERR_OK;

    if (w->size >= (int64_t)size)
        return err_set(err, ERR_CORRUPT, 0, "'%.80s' in the backup is too large", w->name);
    while (rc == ERR_OK && n > 0 && have < size - 1) {
        rc = backup_reader_read(w->reader, ret + have, size - 1 - have, &n, err);
        have += rc == ERR_OK ? n : 0;
    }
    ret[have] = '\0';
    return rc;
}

/** @param path  of our making, below `at` */
static int create(int at, const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    *ret_fd = openat(at, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    return *ret_fd >= 0 ? ERR_OK : err_set(err, ERR_IO, errno, "create '%s'", path);
}

static int take_manifest(struct work *w, struct err *err)
{
    AUTO_FREE char *text = malloc(MANIFEST_MAX);
    int rc = text ? expect(w, BACKUP_MANIFEST, -1, err) : err_set(err, ERR_NO_MEMORY, 0, "restore");

    if (rc == ERR_OK)
        rc = take_text(w, text, MANIFEST_MAX, err);
    if (rc == ERR_OK)
        rc = backup_manifest_parse(text, strlen(text), &w->r->manifest, err);
    return rc == ERR_OK ? check_space(w, err) : rc;
}

/* Compared with what the database itself says, so that a manifest of another backup is seen. */
static int check_manifest(const struct work *w, const struct store_copy_info *info, const char *folder_id,
                          struct err *err)
{
    const struct backup_manifest *m = &w->r->manifest;

    bool bytes_agree = m->missing_blobs == 0 ? m->blob_bytes == info->blob_bytes : m->blob_bytes <= info->blob_bytes;

    if (m->schema != info->schema || m->jobs != info->jobs || m->blobs + m->missing_blobs != info->blobs ||
        !bytes_agree || strcmp(m->blob_folder_id, folder_id) != 0)
        return err_set(err, ERR_CORRUPT, 0, "%s and the database in the backup do not belong together",
                       BACKUP_MANIFEST);
    return ERR_OK;
}

static int take_database(struct work *w, struct err *err)
{
    struct store_copy_info info;
    char folder_id[UUID_STR_MAX];
    AUTO_FD int fd = -1;
    int rc = expect(w, w->store->file, w->r->manifest.database_bytes, err);

    if (rc == ERR_OK)
        rc = create(w->dir_fd, w->store->file, 0600, &fd, err);
    if (rc == ERR_OK)
        rc = take_bytes(w, fd, NULL, err);
    if (rc == ERR_OK)
        rc = w->store->open(w->dir, &w->copy, &info, err);
    if (rc == ERR_OK)
        rc = w->store->check(w->copy, err);
    if (rc == ERR_OK)
        rc = w->store->meta(w->copy, STORE_META_BLOB_FOLDER, folder_id, sizeof(folder_id), err);
    return rc == ERR_OK ? check_manifest(w, &info, folder_id, err) : rc;
}

static int take_folder_id(struct work *w, struct err *err)
{
    char name[BACKUP_NAME_MAX], want[UUID_STR_MAX + 1], got[UUID_STR_MAX + 1];
    AUTO_FD int fd = -1;

    snprintf(name, sizeof(name), BACKUP_BLOBS "%s", w->blobs->id_file);
    snprintf(want, sizeof(want), "%s\n", w->r->manifest.blob_folder_id);
    int rc = expect(w, name, (int64_t)strlen(want), err);
    if (rc == ERR_OK)
        rc = take_text(w, got, sizeof(got), err);
    if (rc == ERR_OK && strcmp(got, want) != 0)
        rc = err_set(err, ERR_CORRUPT, 0, "the blobs in the backup belong to another database");
    if (rc == ERR_OK)
        rc = create(w->blobs_fd, w->blobs->id_file, 0600, &fd, err);
    return rc == ERR_OK ? fs_write_all(fd, want, strlen(want), err) : rc;
}

/* --- blobs --- */

static void note(struct work *w, const struct uuid *id, int64_t *count)
{
    if (w->missing + w->wrong == 0)
        uuid_format(id, w->first);
    ++*count;
}

static int open_blob(struct work *w, const char *path, int *ret_fd, struct err *err)
{
    char folder[BLOB_PATH_MAX];
    const char *slash = strchr(path, '/');

    if (slash) {
        snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
        if (mkdirat(w->blobs_fd, folder, 0700) < 0 && errno != EEXIST)
            return err_set(err, ERR_IO, errno, "make '%s'", folder);
    }
    return create(w->blobs_fd, path, 0400, ret_fd, err);
}

static int take_blob(struct work *w, const struct store_copy_blob *blob, const char *path, struct err *err)
{
    uint8_t digest[32];
    AUTO_FD int fd = -1;

    if (w->size != blob->size)
        return err_set(err, ERR_CORRUPT, 0, "'%.80s' in the backup has %lld bytes, the database says %lld", w->name,
                       (long long)w->size, (long long)blob->size);
    struct sha256 *hash = sha256_new();
    int rc = hash ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "restore");
    if (rc == ERR_OK && w->r->dir)
        rc = open_blob(w, path, &fd, err);
    if (rc == ERR_OK)
        rc = take_bytes(w, fd, hash, err);
    if (rc == ERR_OK) {
        sha256_end(hash, digest);
        if (memcmp(digest, blob->sha256, sizeof(digest)) != 0)
            note(w, &blob->blob_id, &w->wrong);
    }
    sha256_free(hash);
    return rc;
}

/* Both are in the order of the ids: a row without an entry is a blob that was missing, an entry without a row is none of ours. */
static int take_blobs(struct work *w, struct err *err)
{
    struct store_copy_blob blob;
    char path[BLOB_PATH_MAX], name[BACKUP_NAME_MAX];
    bool more = true;
    int rc = next(w, err);

    while (rc == ERR_OK && (rc = w->store->next_blob(w->copy, &blob, &more, err)) == ERR_OK && more) {
        w->blobs->path(&blob.blob_id, path);
        snprintf(name, sizeof(name), BACKUP_BLOBS "%s", path);
        if (!w->name || strcmp(w->name, name) != 0) {
            note(w, &blob.blob_id, &w->missing);
            continue;
        }
        rc = take_blob(w, &blob, path, err);
        if (rc == ERR_OK)
            rc = next(w, err);
    }
    if (rc != ERR_OK && w->wrong > 0)
        return err_wrap(err, rc, "blob %s", w->first);
    if (rc == ERR_OK && w->name)
        rc = err_set(err, ERR_CORRUPT, 0, "the backup holds '%.80s', which its database does not name", w->name);
    return rc;
}

static int check_blobs(const struct work *w, struct err *err)
{
    int64_t known = backup_reader_end(w->reader)->damaged;

    if (w->missing != w->r->manifest.missing_blobs || w->missing + w->wrong != known)
        return err_set(
            err, ERR_CORRUPT, 0,
            "%lld blobs are missing and %lld damaged (the first is %s), which they were not when the backup was made",
            (long long)w->missing, (long long)w->wrong, w->first);
    if (known > 0 && !w->r->allow_damaged)
        return err_set(err, ERR_CORRUPT, 0,
                       "%lld blobs (the first is %s) were missing or damaged already when the backup was made: "
                       "--allow-damaged restores all the rest",
                       (long long)known, w->first);
    return ERR_OK;
}

/* --- all of it --- */

static int take_all(struct work *w, struct err *err)
{
    int rc = backup_reader_new(w->r->fd, &w->reader, err);

    if (rc == ERR_OK)
        rc = take_manifest(w, err);
    if (rc == ERR_OK)
        rc = take_database(w, err);
    if (rc == ERR_OK)
        rc = take_folder_id(w, err);
    if (rc == ERR_OK)
        rc = take_blobs(w, err);
    if (rc == ERR_OK)
        rc = check_blobs(w, err);
    return rc;
}

/** Durable, then under its name. An empty folder of that name is replaced. */
static int publish(struct work *w, struct err *err)
{
    char parent[PATH_MAX];

    if (syncfs(w->dir_fd) < 0)
        return err_set(err, ERR_IO, errno, "sync '%s'", w->dir);
    if (rename(w->dir, w->r->dir) < 0) {
        if (errno == EBUSY)
            return err_set(err, ERR_CONFLICT, 0, "'%.150s' is a mount point: restore into a folder inside it",
                           w->r->dir);
        return err_set(err, ERR_IO, errno, "name '%.180s'", w->r->dir);
    }
    w->dir[0] = '\0';
    const char *slash = strrchr(w->r->dir, '/');
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - w->r->dir + 1) : 1, slash ? w->r->dir : ".");
    return fs_sync_dir(parent, err);
}

static void release(struct work *w)
{
    if (w->copy)
        w->store->close(w->copy);
    backup_reader_free(w->reader);
    if (w->blobs_fd >= 0)
        close(w->blobs_fd);
    if (w->dir_fd >= 0)
        close(w->dir_fd);
    if (w->dir[0])
        fs_remove_tree(w->dir, NULL);
    free(w->piece);
    free(w);
}

int restore_run(struct restore *r, struct err *err)
{
    struct work *w = calloc(1, sizeof(*w));
    int rc = ERR_OK;

    r->manifest = (struct backup_manifest){0};
    if (!w || !(w->piece = malloc(PIECE))) {
        free(w);
        return err_set(err, ERR_NO_MEMORY, 0, "restore");
    }
    w->r = r;
    w->store = app_store_embedded()->snapshots;
    w->blobs = app_blob_folder();
    w->dir_fd = w->blobs_fd = -1;
    if (!w->store || !w->blobs->path)
        rc = err_set(err, ERR_UNSUPPORTED, 0, "this haul's database and blobs are restored by tools of their own");
    if (rc == ERR_OK && r->dir)
        rc = check_unused(r->dir, err);
    if (rc == ERR_OK && r->dir)
        rc = check_empty(r->dir, err);
    if (rc == ERR_OK)
        rc = make_work_folder(w, err);
    if (rc == ERR_OK)
        rc = take_all(w, err);
    if (rc == ERR_OK) {
        r->bytes = backup_reader_bytes(w->reader);
        r->damaged = w->missing + w->wrong;
        w->store->close(TAKE_PTR(w->copy));
        if (r->dir)
            rc = publish(w, err);
    }
    release(w);
    return rc;
}
