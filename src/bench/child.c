#include "bench/child.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/buf.h"
#include "bench/latency.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define START_MS 20000
#define STOP_MS  20000

/* Between fork and exec nothing is allocated. */
static void become(const char *const *argv, pid_t parent, int out, int log)
{
    sigset_t none;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before that was asked for */
        _exit(127);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for bench, which then stops its server */
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, 0);
    dup2(out, 1);
    dup2(log, 2);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(127);
}

int child_start(struct child *c, const char *const *argv, const char *log, struct err *err)
{
    int ends[2];
    *c = (struct child){.out = -1};
    snprintf(c->log, sizeof(c->log), "%s", log);
    AUTO_FD int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", log);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(err, ERR_IO, errno, "a pipe");
    pid_t parent = getpid();
    c->pid = fork();
    if (c->pid == 0)
        become(argv, parent, ends[1], log_fd);
    close(ends[1]);
    if (c->pid < 0) {
        c->pid = 0;
        close(ends[0]);
        return err_set(err, ERR_IO, errno, "fork");
    }
    c->out = ends[0];
    return ERR_OK;
}

/* The last line of its log, for people: why it ended stands there. */
static void last_line(const struct child *c, char *ret, size_t size)
{
    char tail[2048];
    ret[0] = '\0';
    AUTO_FD int fd = open(c->log, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    ssize_t n = end > 0 ? pread(fd, tail, sizeof(tail) - 1, MAX(end - (off_t)sizeof(tail) + 1, (off_t)0)) : 0;
    while (n > 0 && tail[n - 1] == '\n')
        n--;
    if (n <= 0)
        return;
    tail[n] = '\0';
    const char *line = memrchr(tail, '\n', (size_t)n);
    snprintf(ret, size, "%.250s", line ? line + 1 : tail);
}

static int ended(struct child *c, int status, struct err *err)
{
    char line[300];
    last_line(c, line, sizeof(line));
    c->pid = 0;
    return err_set(err, ERR_UNAVAILABLE, 0, "our own haul ended (%s %d)%s%s", WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), line[0] ? ": " : "", line);
}

int child_alive(struct child *c, struct err *err)
{
    int status;
    if (c->pid <= 0)
        return ERR_OK;
    pid_t pid = waitpid(c->pid, &status, WNOHANG);
    return pid == c->pid ? ended(c, status, err) : ERR_OK;
}

int child_line(struct child *c, char *ret, size_t size, struct err *err)
{
    size_t have = 0;
    int64_t until = mono_ns() + START_MS * INT64_C(1000000);
    for (;;) {
        struct pollfd p = {.fd = c->out, .events = POLLIN};
        int left = (int)((until - mono_ns()) / 1000000);
        int n = left <= 0 ? 0 : poll(&p, 1, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(err, ERR_TIMEOUT, 0, "our own haul does not start");
        ssize_t got = read(c->out, ret + have, size - 1 - have);
        if (got <= 0) {
            int status = 0;
            waitpid(c->pid, &status, 0);
            return ended(c, status, err);
        }
        have += (size_t)got;
        ret[have] = '\0';
        char *end = strchr(ret, '\n');
        if (end)
            *end = '\0';
        if (end || have + 1 >= size)
            return ERR_OK;
    }
}

void child_stop(struct child *c)
{
    if (c->pid > 0) {
        int64_t until = mono_ns() + STOP_MS * INT64_C(1000000);
        pid_t done = 0;
        kill(c->pid, SIGTERM); /* not waited for yet: the number is still its own */
        while ((done = waitpid(c->pid, NULL, WNOHANG)) == 0 && mono_ns() < until) {
            struct timespec ts = {.tv_nsec = 5000000};
            nanosleep(&ts, NULL);
        }
        if (done == 0) {
            kill(c->pid, SIGKILL);
            waitpid(c->pid, NULL, 0);
        }
    }
    c->pid = 0;
    if (c->out >= 0)
        close(c->out);
    c->out = -1;
}

int64_t child_cpu_ns(const struct child *c)
{
    clockid_t clock;
    struct timespec ts;
    if (c->pid <= 0 || clock_getcpuclockid(c->pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return 0;
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t child_peak_bytes(const struct child *c)
{
    char path[32], line[128];
    long long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)c->pid);
    AUTO_FILE FILE *f = c->pid > 0 ? fopen(path, "re") : NULL;
    while (f && kib == 0 && fgets(line, sizeof(line), f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoll(line + 6, NULL, 10);
    return (int64_t)kib * 1024;
}
