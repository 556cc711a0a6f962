#include "worker/transfer.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/statvfs.h>

void failure_set(struct failure *f, const char *outcome, bool permanent, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    f->outcome = outcome;
    f->permanent = permanent;
}

bool unwanted(const struct wanted *w)
{
    bool cancel;
    struct pollfd p = {.fd = w->stop_fd, .events = POLLIN};
    return lease_look(w->lease, &cancel) != LEASE_HELD || cancel || poll(&p, 1, 0) > 0;
}

static int watch(void *arg, int64_t done, int64_t total)
{
    return unwanted(arg);
}

static int scratch_make(const struct attempt *a, struct err *err)
{
    static const char *const dirs[] = {"in", "out", "checkpoint"};
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        int rc = fs_join(path, sizeof path, a->scratch, dirs[i], err);
        if (!rc)
            rc = fs_mkdirs(path, 0700, err);
        if (rc)
            return rc;
    }
    const int rc = fs_join(path, sizeof path, a->scratch, "payload.json", err);
    return rc ? rc : fs_write_durable(path, a->payload, a->payload_n, 0600, err);
}

bool space_lacks(const struct attempt *a, const char *what, uint64_t need, struct failure *f)
{
    struct statvfs v;
    if (statvfs(a->scratch, &v) || need <= (uint64_t)v.f_bavail * v.f_frsize)
        return false;
    failure_set(f, "error", false, "%s %llu bytes, and the worker's disk has %llu: free space below its --state folder",
                what, (unsigned long long)need, (unsigned long long)v.f_bavail * v.f_frsize);
    return true;
}

/* One try. ERR_TIMEOUT: another one may help. */
static int fetch_once(struct haul_client *c, struct wanted *w, const char *what, const struct input *in, int fd,
                      int64_t *ret_size, struct haul_error *he, struct failure *f, struct err *err)
{
    if (unwanted(w))
        return err_set(err, ERR_CANCELLED, 0, "no longer wanted");
    if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
        return err_set(err, ERR_IO, errno, "truncate '%.150s'", in->name);
    const int rc = haul_download(c, in->ref, fd, watch, w, ret_size, he);
    if (rc == HAUL_OK && in->size >= 0 && *ret_size != in->size)
        return failure_set(f, "error", false, "%s '%s' came with %lld bytes instead of %lld", what, in->name,
                           (long long)*ret_size, (long long)in->size),
               ERR_INVALID;
    if (rc == HAUL_OK)
        return ERR_OK;
    if (rc == HAUL_LOCAL || (rc == HAUL_REFUSED && !he->repeatable))
        return failure_set(f, "error", he->status == 404, "%s '%s' (%s) cannot be fetched: %s", what, in->name, in->ref,
                           he->message),
               rc == HAUL_LOCAL ? ERR_IO : ERR_INVALID;
    return ERR_TIMEOUT;
}

int scratch_fetch(const struct attempt *a, struct haul_client *c, struct wanted *w, const struct fetch *what,
                  int64_t *ret_size, struct failure *f, struct err *err)
{
    char dir[PATH_MAX], path[PATH_MAX];
    int rc = fs_join(dir, sizeof dir, a->scratch, what->folder, err);
    if (!rc)
        rc = fs_join(path, sizeof path, dir, what->file.name, err);
    if (rc)
        return rc;
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, what->mode);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "create '%s'", path);
    for (unsigned round = 0;; round++) {
        struct haul_error he;
        rc = fetch_once(c, w, what->kind, &what->file, fd, ret_size, &he, f, err);
        if (rc != ERR_TIMEOUT)
            return rc;
        log_event(LOG_WARN, "not fetched yet", "job_id", a->job_id, what->kind, what->file.name, "why", he.message,
                  NULL);
        backoff_wait(round, 15 * USEC_PER_SEC, w->stop_fd);
    }
}

int inputs_fetch(const struct attempt *a, struct lease *l, int stop_fd, int64_t *ret_bytes, struct failure *f,
                 struct err *err)
{
    struct wanted w = {l, stop_fd};
    uint64_t need = 0;
    int rc = scratch_make(a, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < a->n_inputs; i++)
        need += a->inputs[i].size > 0 ? (uint64_t)a->inputs[i].size : 0;
    if (space_lacks(a, "the inputs need", need, f))
        return err_set(err, ERR_NO_SPACE, 0, "%.200s", f->message);
    struct haul_client *c = attempt_client(a, err);
    if (!c)
        return (int)err->code;
    *ret_bytes = 0;
    for (size_t i = 0; i < a->n_inputs && !rc; i++) {
        int64_t size = 0;
        rc = scratch_fetch(a, c, &w, &(struct fetch){"in", "input", a->inputs[i], 0600}, &size, f, err);
        *ret_bytes += size;
    }
    haul_client_free(c);
    return rc;
}
