#include "base/fs.h"

#include "base/auto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int fs_mkdirs(const char *path, mode_t mode, struct err *err)
{
    AUTO_FREE char *copy = strdup(path);
    if (!copy)
        return err_set(err, ERR_NO_MEMORY, 0, "make directory '%s'", path);
    for (char *at = copy;;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char end = *at;
        *at = '\0';
        if (*copy && mkdir(copy, mode) != 0) {
            int sys = errno;
            /* a read-only or foreign parent may answer EROFS or EACCES for what exists */
            if (!is_dir(copy))
                return err_set(err, ERR_IO, sys == EEXIST ? ENOTDIR : sys, "make directory '%s'", copy);
        }
        if (!end)
            return ERR_OK;
        *at = end;
        if (at[strspn(at, "/")] == '\0')
            return ERR_OK;
    }
}

int fs_read(const char *path, struct buf *buf, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    char chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, errno, "read '%s'", path);
        if (n == 0)
            return ERR_OK;
        if ((size_t)n > buf->max - buf->len)
            return err_set(err, ERR_TOO_LARGE, 0, "read '%s': more than %zu bytes", path, buf->max);
        buf_add(buf, chunk, (size_t)n);
        if (buf->failed)
            return err_set(err, ERR_NO_MEMORY, 0, "read '%s'", path);
    }
}

int fs_write_all(int fd, const void *p, size_t n, struct err *err)
{
    for (const char *at = p; n > 0;) {
        ssize_t put = write(fd, at, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_set(err, ERR_IO, errno, "write");
        at += put;
        n -= (size_t)put;
    }
    return ERR_OK;
}

int fs_sync_dir(const char *path, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "open directory '%s'", path);
    /* EINVAL: a file system that has no such thing as syncing a directory */
    if (fsync(fd) != 0 && errno != EINVAL)
        return err_set(err, ERR_IO, errno, "sync directory '%s'", path);
    return ERR_OK;
}

static int write_temp(const char *temp, int fd_given, const void *p, size_t n, mode_t mode, struct err *err)
{
    AUTO_FD int fd = fd_given;
    int rc = fs_write_all(fd, p, n, err);
    if (rc != ERR_OK)
        return err_wrap(err, rc, "'%s'", temp);
    if (fchmod(fd, mode) != 0 || fsync(fd) != 0)
        return err_set(err, ERR_IO, errno, "sync '%s'", temp);
    if (close(TAKE_FD(fd)) != 0 && errno != EINTR)
        return err_set(err, ERR_IO, errno, "close '%s'", temp);
    return ERR_OK;
}

int fs_write_durable(const char *path, const void *p, size_t n, mode_t mode, struct err *err)
{
    char dir[PATH_MAX], temp[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = !slash          ? snprintf(dir, sizeof(dir), ".")
              : slash == path ? snprintf(dir, sizeof(dir), "/")
                              : snprintf(dir, sizeof(dir), "%.*s", (int)MIN(slash - path, PATH_MAX), path);
    if (len < 0 || (size_t)len >= sizeof(dir))
        return err_set(err, ERR_TOO_LARGE, 0, "path too long: '%.60s'...", path);
    int rc = fs_join(temp, sizeof(temp), dir, ".tmp-XXXXXX", err);
    if (rc != ERR_OK)
        return rc;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "create '%s'", temp);
    rc = write_temp(temp, fd, p, n, mode, err);
    if (rc == ERR_OK && rename(temp, path) != 0)
        rc = err_set(err, ERR_IO, errno, "rename '%s' to '%s'", temp, path);
    if (rc != ERR_OK) {
        unlink(temp);
        return rc;
    }
    return fs_sync_dir(dir, err);
}

/* A directory, never through a symbolic link; with all rights for us when it is ours. -1 and errno: ENOTDIR or ELOOP
 * when it is something else. */
static int open_dir(int at, const char *name)
{
    AUTO_FD int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == EACCES) {
        /* chmod cannot be told not to follow, and an O_PATH descriptor cannot be fchmod'ed: hence /proc */
        char proc[40];
        AUTO_FD int path_fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (path_fd < 0)
            return -1;
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
        if (chmod(proc, S_IRWXU) != 0)
            return -1;
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && (st.st_mode & S_IRWXU) != S_IRWXU && fchmod(fd, S_IRWXU) != 0 && errno != EPERM)
        return -1;
    return TAKE_FD(fd);
}

/* Moves directory `name` of `from` to a free name in `root`. */
static int hoist(int root, int from, const char *name, unsigned long *counter)
{
    AUTO_FD int fd = open_dir(from, name); /* moving a directory rewrites its "..": it must be writable */
    char to[40];
    if (fd < 0)
        return -1;
    do
        snprintf(to, sizeof(to), ".haul-remove-%lu", (*counter)++);
    while (renameat(from, name, root, to) != 0 && (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR));
    return faccessat(root, to, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* Empties the directory of `d`; its subdirectories are removed when `root` is negative, else moved up to `root`.
 * Trees of any depth go with three descriptors and no recursion: each level is lifted to the top, then emptied. */
static int empty_dir(DIR *d, int root, unsigned long *counter)
{
    int fd = dirfd(d);
    for (bool again = true; again;) {
        again = false;
        rewinddir(d);
        struct dirent *e;
        while (errno = 0, (e = readdir(d)) != NULL) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            again = true;
            if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
                continue;
            if (errno != EISDIR && errno != EPERM)
                return -1;
            if (root >= 0) {
                if (hoist(root, fd, e->d_name, counter) != 0)
                    return -1;
                continue;
            }
            int child = open_dir(fd, e->d_name);
            DIR *inner = child < 0 ? NULL : fdopendir(child);
            if (!inner) {
                int sys = errno;
                auto_close(&child);
                errno = sys;
                return -1;
            }
            int rc = empty_dir(inner, fd, counter), sys = errno;
            closedir(inner);
            errno = sys;
            if (rc != 0 || unlinkat(fd, e->d_name, AT_REMOVEDIR) != 0)
                return -1;
        }
        if (errno)
            return -1;
    }
    return 0;
}

int fs_remove_tree(const char *path, struct err *err)
{
    int fd = open_dir(AT_FDCWD, path);
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        if (unlink(path) != 0 && errno != ENOENT)
            return err_set(err, ERR_IO, errno, "remove '%s'", path);
        return ERR_OK;
    }
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int sys = errno;
        auto_close(&fd);
        return err_set(err, ERR_IO, sys, "open directory '%s'", path);
    }
    unsigned long counter = 0;
    int rc = empty_dir(d, -1, &counter), sys = errno;
    closedir(d);
    if (rc != 0)
        return err_set(err, ERR_IO, sys, "empty directory '%s'", path);
    if (rmdir(path) != 0 && errno != ENOENT)
        return err_set(err, ERR_IO, errno, "remove directory '%s'", path);
    return ERR_OK;
}

static int lock(const char *path, int how, int *ret_fd, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", path);
    int rc;
    while ((rc = flock(fd, how | LOCK_NB)) != 0 && errno == EINTR)
        ;
    if (rc != 0 && errno == EWOULDBLOCK)
        return err_set(err, ERR_LOCKED, 0, "'%s' is locked by another process", path);
    if (rc != 0)
        return err_set(err, ERR_IO, errno, "lock '%s'", path);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

int fs_lock(const char *path, int *ret_fd, struct err *err)
{
    return lock(path, LOCK_EX, ret_fd, err);
}

int fs_lock_shared(const char *path, int *ret_fd, struct err *err)
{
    return lock(path, LOCK_SH, ret_fd, err);
}

bool fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int64_t fs_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

int fs_join(char *ret, size_t size, const char *a, const char *b, struct err *err)
{
    size_t n = strlen(a);
    const char *slash = n == 0 || a[n - 1] == '/' ? "" : "/";
    int len = snprintf(ret, size, "%s%s%s", a, slash, b);
    if (len < 0 || (size_t)len >= size)
        return err_set(err, ERR_TOO_LARGE, 0, "path too long: '%.60s'/'%.60s'", a, b);
    return ERR_OK;
}
