#include "worker/logs.h"
#include "base/auto.h"
#include "base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>

struct logs {
    int fd; /* log.kept: the head, then a ring for the tail */
    pthread_mutex_t lock;
    int64_t total;
    bool sealed, mid_line;
};

int logs_open(const char *dir, int64_t total, struct logs **ret, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof path, dir, "log.kept", err);
    if (rc)
        return rc;
    struct logs *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_NO_MEMORY, 0, "log");
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->fd < 0) {
        free(l);
        return err_set(err, ERR_IO, errno, "open '%s'", path);
    }
    l->total = total;
    pthread_mutex_init(&l->lock, NULL);
    *ret = l;
    return ERR_OK;
}

void logs_free(struct logs *l)
{
    if (!l)
        return;
    close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* Where byte `at` of what was written lies, and how many follow it there. */
static int64_t place(int64_t at, int64_t *ret_room)
{
    if (at < LOG_HEAD_MAX) {
        *ret_room = LOG_HEAD_MAX - at;
        return at;
    }
    const int64_t in_ring = (at - LOG_HEAD_MAX) % LOG_RING_MAX;
    *ret_room = LOG_RING_MAX - in_ring;
    return LOG_HEAD_MAX + in_ring;
}

static void add(struct logs *l, const char *from, size_t n)
{
    if (n)
        l->mid_line = from[n - 1] != '\n';
    while (n) {
        int64_t room;
        const int64_t at = place(l->total, &room);
        const size_t now = MIN(n, (size_t)room);
        (void)!pwrite(l->fd, from, now, at); /* a full disk costs log lines, not the job */
        l->total += (int64_t)now;
        from += now;
        n -= now;
    }
}

void logs_add(struct logs *l, const void *p, size_t n)
{
    pthread_mutex_lock(&l->lock);
    add(l, p, n);
    pthread_mutex_unlock(&l->lock);
}

void logs_say(struct logs *l, const char *text)
{
    pthread_mutex_lock(&l->lock);
    if (l->mid_line)
        add(l, "\n", 1);
    add(l, text, strlen(text));
    add(l, "\n", 1);
    pthread_mutex_unlock(&l->lock);
}

int64_t logs_total(struct logs *l)
{
    pthread_mutex_lock(&l->lock);
    const int64_t t = l->total;
    pthread_mutex_unlock(&l->lock);
    return t;
}

void logs_seal(struct logs *l)
{
    pthread_mutex_lock(&l->lock);
    l->sealed = true;
    pthread_mutex_unlock(&l->lock);
}

/* From what was written, at most one piece. */
static size_t raw_read(struct logs *l, int64_t at, int64_t end, char *p, size_t n)
{
    if (at >= end)
        return 0;
    int64_t room;
    const int64_t where = place(at, &room);
    const size_t want = MIN(n, (size_t)MIN(room, end - at));
    const ssize_t got = pread(l->fd, p, want, where);
    if (got == (ssize_t)want)
        return want;
    memset(p + MAX(got, 0), '?', want - (size_t)MAX(got, 0)); /* never reached the disk */
    return want;
}

/* Where one who wants the bytes from `at` on has to go on: there, or at the tail when the ring has gone over them. */
static int64_t reachable(const struct logs *l, int64_t at)
{
    const int64_t oldest = l->total - (l->sealed ? LOG_TAIL_MAX : LOG_RING_MAX);
    return at < LOG_HEAD_MAX || at >= oldest ? at : l->total - LOG_TAIL_MAX;
}

size_t logs_read(struct logs *l, int64_t *at, char *p, size_t n)
{
    pthread_mutex_lock(&l->lock);
    *at = reachable(l, *at);
    const size_t got = raw_read(l, *at, l->total, p, n);
    pthread_mutex_unlock(&l->lock);
    return got;
}

size_t logs_last(struct logs *l, char *p, size_t n)
{
    pthread_mutex_lock(&l->lock);
    size_t got = 0;
    int64_t at = l->total > (int64_t)n ? l->total - (int64_t)n : 0;
    for (size_t m; at < l->total && (m = raw_read(l, at, l->total, p + got, n - got)); at += (int64_t)m)
        got += m;
    pthread_mutex_unlock(&l->lock);
    return got;
}
