/* The set of ISOLATION.md. Order matters: bwrap builds the root in the order of its arguments. */
#include "sandbox/bwrap.h"
#include "base/auto.h"
#include "sandbox/init.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define TMP_BYTES "268435456"
#define SHM_BYTES "67108864"

int bwrap_find(char *ret, struct err *err)
{
    const char *path = getenv("PATH");
    if (!path || !*path)
        path = "/usr/local/bin:/usr/bin:/bin";
    for (const char *p = path; *p;) {
        const size_t n = strcspn(p, ":");
        const int len = snprintf(ret, PATH_MAX, "%.*s/bwrap", (int)n, p);
        if (n && *p == '/' && len > 0 && len < PATH_MAX && !access(ret, X_OK))
            return ERR_OK;
        p += n + (p[n] == ':');
    }
    return err_set(err, ERR_NOT_FOUND, 0, "bubblewrap (bwrap) is not on PATH: install the package 'bubblewrap'");
}

static void add(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s) + 1);
}

static void add3(struct buf *b, const char *option, const char *x, const char *y)
{
    add(b, option);
    add(b, x);
    add(b, y);
}

static bool path_under(const char *path, const char *dir)
{
    const size_t n = strlen(dir);
    return !strncmp(path, dir, n) && (path[n] == 0 || path[n] == '/');
}

/* Is `path` reachable through another of the entries, one that is no symbolic link itself? */
static bool covered(const char *path, const char *const *entries, size_t n, size_t but)
{
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (i != but && path_under(path, entries[i]) && !lstat(entries[i], &st) && !S_ISLNK(st.st_mode))
            return true;
    }
    return false;
}

static int entry_add(struct buf *b, const char *const *entries, size_t n, size_t i, struct err *err)
{
    const char *path = entries[i];
    struct stat st;
    if (path[0] != '/' || !path[1])
        return err_set(err, ERR_INVALID, 0, "read_only: '%s' must be an absolute path below '/'", path);
    if (lstat(path, &st))
        return err_set(err, ERR_NOT_FOUND, errno, "read_only: '%s' cannot be bound into the sandbox", path);
    if (!S_ISLNK(st.st_mode)) {
        add3(b, "--ro-bind", path, path);
        return ERR_OK;
    }
    char target[PATH_MAX], real[PATH_MAX];
    const ssize_t len = readlink(path, target, sizeof target - 1);
    if (len < 0 || !realpath(path, real))
        return err_set(err, ERR_NOT_FOUND, errno, "read_only: '%s' is a symbolic link that leads nowhere", path);
    target[len] = 0;
    const char *parent_end = strrchr(path, '/');
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", (int)(parent_end - path), path);
    if (parent[0] && covered(parent, entries, n, i))
        return ERR_OK;                  /* the link is already there, in the folder that holds it */
    add3(b, "--symlink", target, path); /* /bin -> usr/bin: binding over it would hide what it stands for */
    if (!covered(real, entries, n, i))
        add3(b, "--ro-bind", real, real);
    return ERR_OK;
}

static int path_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int entries_add(struct buf *b, const struct sandbox_spec *spec, struct err *err)
{
    size_t n = 0;
    while (spec->read_only && spec->read_only[n])
        n++;
    if (!n)
        return ERR_OK;
    AUTO_FREE const char **sorted = calloc(n, sizeof *sorted);
    if (!sorted)
        return err_set(err, ERR_NO_MEMORY, 0, "sandbox arguments");
    memcpy(sorted, spec->read_only, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, path_order); /* a folder before what is inside it */
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(sorted[i], sorted[i - 1]))
            continue;
        const int rc = entry_add(b, sorted, n, i, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

int bwrap_args(const struct sandbox_spec *spec, struct buf *ret, struct err *err)
{
    static const char *const before[] = {
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--cap-drop",
        "ALL",
        "--new-session",
        "--die-with-parent",
        "--as-pid-1",
        "--hostname",
        "haul",
        /* Read-only: a handler of root's worker is the kernel's root to /proc/sys, capabilities or not, and bwrap 0.8 leaves it
         * writable where it thinks it is not. core_pattern alone would be the whole host. */
        "--proc",
        "/proc",
        "--remount-ro",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        SHM_BYTES,
        "--tmpfs",
        "/dev/shm",
        /* before the binds: a handler may live below /tmp */
        "--size",
        TMP_BYTES,
        "--tmpfs",
        "/tmp",
    };
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        add(ret, before[i]);
    const int rc = entries_add(ret, spec, err);
    if (rc)
        return rc;
    add3(ret, "--bind", spec->work_dir, SANDBOX_WORK_DIR);
    static const char *const after[] = {"--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SANDBOX_WORK_DIR};
    for (size_t i = 0; i < ARRAY_LEN(after); i++)
        add(ret, after[i]);
    return ret->failed ? err_set(err, ERR_NO_MEMORY, 0, "sandbox arguments are too long") : ERR_OK;
}
