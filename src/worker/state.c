#include "worker/state.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/text.h"
#include "sandbox/sandbox.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_TRIES 20

/* A small file's first line; "" when there is none. */
static int line_read(const char *path, char *ret, size_t size, struct err *err)
{
    struct buf b;
    buf_init(&b, 4096);
    ret[0] = 0;
    int rc = fs_read(path, &b, err);
    if (!rc)
        snprintf(ret, size, "%.*s", (int)strcspn(buf_str(&b), "\r\n"), buf_str(&b));
    buf_release(&b);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static int line_write(const char *path, const char *line, struct err *err)
{
    char text[128];
    const int n = snprintf(text, sizeof text, "%s\n", line);
    return fs_write_durable(path, text, (size_t)n, 0600, err);
}

/* What tells this machine from others over reboots, hashed: the id itself is nobody's business. "" when there is no such thing, as in a
 * container that was made without; then the folder's owner is taken on trust. */
static void host_identify(char ret[SHA256_HEX_MAX])
{
    static const char *const sources[] = {"/etc/machine-id", "/var/lib/dbus/machine-id",
                                          "/sys/class/dmi/id/product_uuid"};
    char id[128];
    struct err err;
    ret[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        if (line_read(sources[i], id, sizeof id, &err) || strlen(id) < 32)
            continue; /* "uninitialized" is shorter */
        char text[160];
        uint8_t sum[32];
        const int n = snprintf(text, sizeof text, "haul-worker %s", id);
        sha256_once(text, (size_t)n, sum);
        hex_format(sum, sizeof sum, ret);
        return;
    }
}

static int format_check(const struct state *s, bool *ret_old, struct err *err)
{
    char path[PATH_MAX], line[32];
    int rc = fs_join(path, sizeof path, s->path, "format", err);
    if (rc || (rc = line_read(path, line, sizeof line, err)))
        return rc;
    char *end;
    const unsigned long format = strtoul(line, &end, 10); /* none was written before the first number: 0 */
    if (*end || (*line && !isdigit((unsigned char)*line)))
        return err_set(err, ERR_CORRUPT, 0, "'%.120s' holds no number: this is no state folder of haul, give another",
                       path);
    if (format > STATE_FORMAT)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "'%.90s' was written by a newer haul (format %lu, this one knows %d): run that haul, or give "
                       "another --state. Nothing was changed",
                       s->path, format, STATE_FORMAT);
    *ret_old = format < STATE_FORMAT;
    return ERR_OK;
}

static int host_check(const struct state *s, const char *host, bool *ret_new, struct err *err)
{
    char path[PATH_MAX], line[SHA256_HEX_MAX];
    int rc = fs_join(path, sizeof path, s->path, "host", err);
    if (rc || (rc = line_read(path, line, sizeof line, err)))
        return rc;
    if (*line && *host && strcmp(line, host))
        return err_set(err, ERR_CONFLICT, 0,
                       "'%.60s' belongs to another machine. Copied: give another --state, or empty it. Moved here for "
                       "good: remove the file 'host' in it. Nothing was changed",
                       s->path);
    *ret_new = !*line && *host;
    return ERR_OK;
}

static int worker_id_take(struct state *s, struct err *err)
{
    char path[PATH_MAX];
    struct uuid u;
    int rc = fs_join(path, sizeof path, s->path, "worker-id", err);
    if (rc || (rc = line_read(path, s->worker_id, sizeof s->worker_id, err)))
        return rc;
    if (!*s->worker_id) {
        const struct clock c = clock_real();
        u = uuid_v7(c.wall_us(c.self), rng_real());
        uuid_format(&u, s->worker_id);
        return line_write(path, s->worker_id, err);
    }
    if (!uuid_parse(s->worker_id, &u))
        return err_set(err, ERR_CORRUPT, 0, "'%.150s' holds no UUID: remove it to get a new identity", path);
    return ERR_OK;
}

/* What a crash in the middle of fs_write_durable, or of the sandbox's probe, left. */
static void halves_remove(const struct state *s)
{
    DIR *d = opendir(s->path);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, ".tmp-", 5))
            unlinkat(dirfd(d), e->d_name, 0);
        else if (!strncmp(e->d_name, SANDBOX_PROBE_PREFIX, strlen(SANDBOX_PROBE_PREFIX)))
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    if (d)
        closedir(d);
}

static int paths_make(struct state *s, const char *path, struct err *err)
{
    if (!realpath(path, s->path))
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "state folder '%.150s'", path);
    return fs_join(s->attempts, sizeof s->attempts, s->path, "attempts", err);
}

static int own(struct state *s, struct err *err)
{
    char path[PATH_MAX], host[SHA256_HEX_MAX], number[16];
    bool old = false, fresh = false;
    host_identify(host);
    int rc = format_check(s, &old, err);
    if (rc || (rc = host_check(s, host, &fresh, err)) || (rc = worker_id_take(s, err)))
        return rc;
    snprintf(number, sizeof number, "%d", STATE_FORMAT);
    if (old && ((rc = fs_join(path, sizeof path, s->path, "format", err)) || (rc = line_write(path, number, err))))
        return rc;
    if (fresh && ((rc = fs_join(path, sizeof path, s->path, "host", err)) || (rc = line_write(path, host, err))))
        return rc;
    halves_remove(s);
    return fs_mkdirs(s->attempts, 0700, err);
}

/* What the kernel said, and what to do about it. */
static int advise(const char *path, int rc, struct err *err)
{
    struct err was = *err;
    if (rc == ERR_NO_SPACE)
        return err_set(err, ERR_NO_SPACE, 0, "state folder '%.60s': no space left: free some, or give another --state",
                       path);
    if (was.sys == EROFS || was.sys == EACCES || was.sys == EPERM)
        return err_set(err, ERR_IO, was.sys,
                       "state folder '%.60s' must be writable for the worker's user; else give another --state", path);
    return rc;
}

/* A supervisor that an agent was just starting when it ended holds this lock, too, until its exec: a moment of patience. */
static int lock_take(const char *path, int *ret_fd, struct err *err)
{
    int rc = ERR_LOCKED;
    for (int i = 0; i < LOCK_TRIES && (rc = fs_lock(path, ret_fd, err)) == ERR_LOCKED; i++)
        (void)poll(NULL, 0, 100);
    return rc;
}

int state_open(const char *path, struct state *ret, struct err *err)
{
    char lock[PATH_MAX];
    *ret = (struct state){.lock_fd = -1};
    int rc = fs_mkdirs(path, 0700, err);
    if (!rc)
        rc = paths_make(ret, path, err);
    if (!rc)
        rc = fs_join(lock, sizeof lock, ret->path, "lock", err);
    if (!rc && (rc = lock_take(lock, &ret->lock_fd, err)) == ERR_LOCKED)
        return err_set(err, ERR_LOCKED, 0, "another worker uses '%.120s': stop it, or give this one its own --state",
                       ret->path);
    if (!rc)
        rc = own(ret, err);
    if (!rc)
        return ERR_OK;
    state_close(ret);
    return advise(path, rc, err);
}

int state_find(const char *path, struct state *ret, struct err *err)
{
    *ret = (struct state){.lock_fd = -1};
    const int rc = paths_make(ret, path, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, 0, "no worker has run with the state folder '%.120s': see --state", path);
    if (!rc && access(ret->path, R_OK | X_OK))
        return err_set(err, ERR_FORBIDDEN, errno, "state folder '%.120s': ask as the worker's user", ret->path);
    return rc;
}

void state_close(struct state *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    s->lock_fd = -1;
}

bool attempt_name_valid(const char *name)
{
    struct uuid u;
    char id[UUID_STR_MAX];
    if (strlen(name) < UUID_STR_MAX + 1 || name[UUID_STR_MAX - 1] != '-')
        return false;
    snprintf(id, sizeof id, "%.*s", (int)(UUID_STR_MAX - 1), name);
    const char *number = name + UUID_STR_MAX;
    return uuid_parse(id, &u) && strspn(number, "0123456789") == strlen(number);
}

void state_attempts(const struct state *s, state_each each, void *arg)
{
    DIR *d = opendir(s->attempts);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char dir[PATH_MAX];
        struct err err;
        if (attempt_name_valid(e->d_name) && !fs_join(dir, sizeof dir, s->attempts, e->d_name, &err))
            each(arg, dir, e->d_name);
    }
    if (d)
        closedir(d);
}

/* Shared and for an instant, so that an agent that comes by is hardly ever in its way. */
bool state_attempt_runs(const char *dir)
{
    char path[PATH_MAX];
    struct err err;
    if (fs_join(path, sizeof path, dir, "lock", &err))
        return false;
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
}

bool state_has_room(const struct state *s, uint64_t min_free, uint64_t *ret_free)
{
    struct statvfs v;
    *ret_free = 0;
    if (statvfs(s->path, &v) || (v.f_flag & ST_RDONLY))
        return false;
    *ret_free = (uint64_t)v.f_bavail * v.f_frsize;
    return *ret_free >= min_free;
}
