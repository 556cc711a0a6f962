#include "worker/presence.h"
#include "base/auto.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCKET_NAME "socket"
#define ANSWER_MAX  8192 /* fits the socket's buffer: telling never waits for a client */

struct presence {
    int dir_fd, listen_fd, stop_fd;
    pthread_t thread;
    bool runs;
    presence_tell tell;
    void *arg;
};

/* A path in sockaddr_un has 108 bytes, a folder's may have thousands: hence by the folder's descriptor. */
static struct sockaddr_un address(int dir_fd)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, dir_fd);
    return a;
}

static int dir_open(const char *dir)
{
    return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void client_answer(struct presence *p, int fd)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, ANSWER_MAX);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    p->tell(p->arg, &w);
    jw_object_end(&w);
    buf_addc(&b, '\n');
    if (!b.failed)
        (void)!send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&b);
}

static void *answer_run(void *arg)
{
    struct presence *p = arg;
    for (;;) {
        struct pollfd f[2] = {{.fd = p->stop_fd, .events = POLLIN}, {.fd = p->listen_fd, .events = POLLIN}};
        if (poll(f, 2, -1) < 0)
            continue;
        if (f[0].revents)
            return NULL;
        AUTO_FD int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            client_answer(p, fd);
        else if (errno == EMFILE || errno == ENFILE) /* the client waits in the backlog: not in a spin of ours */
            (void)poll(f, 1, 1000);
    }
}

static int socket_make(struct presence *p, const char *dir, struct err *err)
{
    p->dir_fd = dir_open(dir);
    if (p->dir_fd < 0)
        return err_set(err, ERR_IO, errno, "open folder '%.150s'", dir);
    p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listen_fd < 0)
        return err_set(err, ERR_IO, errno, "socket");
    const struct sockaddr_un a = address(p->dir_fd);
    unlinkat(p->dir_fd, SOCKET_NAME, 0);
    fchmod(p->listen_fd, 0600); /* before bind: the file is made with this mode */
    if (bind(p->listen_fd, (const void *)&a, sizeof a) || listen(p->listen_fd, 8))
        return err_set(err, ERR_IO, errno, "socket in '%.150s'", dir);
    return ERR_OK;
}

int presence_start(const char *dir, presence_tell tell, void *arg, struct presence **ret, struct err *err)
{
    struct presence *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, ERR_NO_MEMORY, 0, "presence");
    p->tell = tell;
    p->arg = arg;
    p->dir_fd = p->listen_fd = -1;
    p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = p->stop_fd < 0 ? err_set(err, ERR_IO, errno, "eventfd") : socket_make(p, dir, err);
    if (!rc && !(p->runs = !pthread_create(&p->thread, NULL, answer_run, p)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "thread for the socket");
    if (rc) {
        presence_stop(p);
        return rc;
    }
    *ret = p;
    return ERR_OK;
}

void presence_stop(struct presence *p)
{
    if (!p)
        return;
    if (p->runs) {
        const uint64_t one = 1;
        (void)!write(p->stop_fd, &one, sizeof one);
        pthread_join(p->thread, NULL);
        unlinkat(p->dir_fd, SOCKET_NAME, 0);
    }
    if (p->listen_fd >= 0)
        close(p->listen_fd);
    if (p->dir_fd >= 0)
        close(p->dir_fd);
    if (p->stop_fd >= 0)
        close(p->stop_fd);
    free(p);
}

static int answer_read(int fd, json_t **ret, struct err *err)
{
    char text[ANSWER_MAX + 1];
    size_t n = 0;
    for (ssize_t got; n < sizeof text; n += (size_t)got) {
        do
            got = recv(fd, text + n, sizeof text - n, 0);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return err_set(err, ERR_TIMEOUT, 0, "no answer within a second");
        if (!got)
            break;
    }
    return json_parse(text, n, ret, err);
}

int presence_ask(const char *dir, json_t **ret, pid_t *ret_pid, struct err *err)
{
    AUTO_FD int dir_fd = dir_open(dir);
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (dir_fd < 0 || fd < 0)
        return err_set(err, dir_fd < 0 && errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%.150s'", dir);
    const struct timeval limit = {.tv_sec = 1};
    const struct sockaddr_un a = address(dir_fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* connect waits so long for room in the backlog */
    if (connect(fd, (const void *)&a, sizeof a))
        return errno == EAGAIN ? err_set(err, ERR_TIMEOUT, 0, "no answer within a second")
                               : err_set(err, ERR_NOT_FOUND, errno, "nobody answers in '%.150s'", dir);
    struct ucred who;
    socklen_t size = sizeof who;
    if (ret_pid)
        *ret_pid = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) ? 0 : who.pid;
    json_t *answer = NULL;
    const int rc = answer_read(fd, &answer, err);
    if (!rc && ret)
        *ret = answer;
    else
        json_decref(answer);
    return rc;
}
