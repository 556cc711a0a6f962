/* Starts init, inside bubblewrap or on the bare host, and talks to it. */
#include "sandbox/sandbox.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "sandbox/bwrap.h"
#include "sandbox/init.h"
#include "sandbox/process.h"
#include "sandbox/tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define START_LIMIT_MS 30000
#define ORDER_LIMIT_MS 10000

extern const char sandbox_init[];
extern const size_t sandbox_init_size;

struct sandbox {
    pid_t child; /* bwrap, or init itself on the bare host */
    pid_t init;  /* as it is called out here; 0: not known */
    int init_fd; /* pidfd of init; readable when it, and with it its namespace, is gone */
    int control;
    int status;
    bool bare;  /* no namespace ends the tree with its init */
    bool ended; /* value is known */
    pthread_mutex_t lock;
    struct init_status value;
};

const char *sandbox_level_name(enum sandbox_level l)
{
    return l == SANDBOX_NAMESPACES ? "namespaces" : "none";
}

static int memfd_of(const char *name, const void *p, size_t n, bool exec, int *ret_fd, struct err *err)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    /* Kernels before 6.3 know no MFD_EXEC; later ones may forbid executing a memfd made without it. */
    AUTO_FD int fd = exec ? memfd_create(name, flags | MFD_EXEC) : -1;
    if (fd < 0)
        fd = memfd_create(name, flags);
    if (fd < 0)
        return err_set(err, ERR_IO, errno, "memfd '%s'", name);
    const int rc = fs_write_all(fd, p, n, err);
    if (rc)
        return rc;
    if (lseek(fd, 0, SEEK_SET) || fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        return err_set(err, ERR_IO, errno, "seal memfd '%s'", name);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

static int spec_fd(const struct sandbox_spec *spec, int *ret_fd, struct err *err)
{
    struct buf b;
    buf_init(&b, 4U << 20);
    struct init_spec head = {.alone = spec->level == SANDBOX_NAMESPACES, .file_size_max = spec->file_size_max};
    while (spec->argv[head.n_argv])
        head.n_argv++;
    while (spec->env && spec->env[head.n_env])
        head.n_env++;
    buf_add(&b, &head, sizeof head);
    for (uint32_t i = 0; i < head.n_argv; i++)
        buf_add(&b, spec->argv[i], strlen(spec->argv[i]) + 1);
    for (uint32_t i = 0; i < head.n_env; i++)
        buf_add(&b, spec->env[i], strlen(spec->env[i]) + 1);
    const int rc = b.failed ? err_set(err, ERR_TOO_LARGE, 0, "command and environment are over 4 MiB")
                            : memfd_of("haul-spec", b.data, b.len, false, ret_fd, err);
    buf_release(&b);
    return rc;
}

/* Everything the child needs, made before the fork: nothing allocates after it. */
struct launch {
    const char *program;
    const char *const *argv;
    const char *chdir_to;
    int fds[INIT_FD_ARGS + 1];
};

static _Noreturn void launch_exec(const struct launch *l)
{
    int high[INIT_FD_ARGS + 1];
    for (int i = 0; i <= INIT_FD_ARGS; i++)
        high[i] = l->fds[i] < 0 ? -1 : fcntl(l->fds[i], F_DUPFD, 64);
    for (int i = 0; i <= INIT_FD_ARGS; i++)
        if (high[i] >= 0)
            dup2(high[i], i);
        else
            close(i);
    syscall(SYS_close_range, INIT_FD_ARGS + 1, ~0U, 0);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    static char *const no_env[] = {NULL};
    if (!l->chdir_to || !chdir(l->chdir_to)) {
        char *argv[8] = {NULL};
        for (size_t i = 0; i < 7 && l->argv[i]; i++)
            memcpy(&argv[i], &l->argv[i], sizeof argv[i]); /* exec's prototype predates const */
        execve(l->program, argv, no_env);
    }
    static const char what[] = "exec of the sandbox failed";
    (void)!write(INIT_FD_ERRORS, what, sizeof what - 1);
    _exit(127);
}

static void errors_read(int fd, char *ret, size_t size)
{
    const ssize_t n = pread(fd, ret, size - 1, 0);
    ret[n > 0 ? n : 0] = 0;
    for (char *p = ret; *p; p++)
        if (*p == '\n')
            *p = p[1] ? ';' : 0;
}

/* On the bare host, where our child is init itself: did its handler kill it, before it could even say that it had started one? Then there
 * was a start, and sandbox_result ends what is left. */
static bool init_killed(const struct sandbox *s)
{
    siginfo_t how = {0};
    return !waitid(P_PID, (id_t)s->child, &how, WEXITED | WNOWAIT) && how.si_code == CLD_KILLED &&
           how.si_status == SIGKILL;
}

/* The first message of init. Its sender's credentials are the only way to learn init's pid out here. */
static int started_wait(struct sandbox *s, const struct sandbox_spec *spec, int errors_fd, struct err *err)
{
    char control[CMSG_SPACE(sizeof(struct ucred))] __attribute__((aligned(16)));
    struct init_message m = {0, 0};
    struct iovec io = {&m, sizeof m};
    struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct pollfd p = {.fd = s->control, .events = POLLIN};
    int ready;
    do
        ready = poll(&p, 1, START_LIMIT_MS);
    while (ready < 0 && errno == EINTR);
    const ssize_t n = ready > 0 ? recvmsg(s->control, &h, MSG_CMSG_CLOEXEC) : -1;
    if (n == 0 && s->bare && init_killed(s)) {
        s->init_fd = (int)syscall(SYS_pidfd_open, s->child, 0);
        return s->init_fd < 0 ? err_set(err, ERR_UNSUPPORTED, errno, "pidfd of the sandbox's init") : ERR_OK;
    }
    if (n != (ssize_t)sizeof m || m.kind != INIT_STARTED) {
        char why[180];
        errors_read(errors_fd, why, sizeof why);
        return err_set(err, ERR_UNSUPPORTED, 0, "the sandbox did not start: %s",
                       *why    ? why
                       : ready ? "it ended at once"
                               : "no answer in 30 s");
    }
    if (m.value) {
        errno = m.value;
        return err_set(err, m.value == ENOENT ? ERR_NOT_FOUND : ERR_FORBIDDEN, m.value,
                       "handler '%s' could not be started%s", spec->argv[0],
                       m.value == ENOENT
                           ? " (it, or the interpreter in its first line, is not inside the sandbox: see read_only)"
                           : "");
    }
    for (const struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = NULL)
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred u;
            memcpy(&u, CMSG_DATA(c), sizeof u);
            s->init_fd = (int)syscall(SYS_pidfd_open, u.pid, 0);
            s->init = u.pid;
        }
    /* A handler that ends at once may have taken init with it: gone is what sandbox_free waits for, and the result is in the pipe. */
    if (s->init_fd < 0 && errno != ESRCH)
        return err_set(err, ERR_UNSUPPORTED, errno, "pidfd of the sandbox's init");
    return ERR_OK;
}

static int argv_check(const struct sandbox_spec *spec, struct err *err)
{
    const char *path = spec->argv[0];
    if (!path || path[0] != '/')
        return err_set(err, ERR_INVALID, 0, "handler command must be an absolute path");
    if (access(path, F_OK))
        return err_set(err, ERR_NOT_FOUND, errno,
                       "handler '%s' does not exist: install it, or correct 'command' in handlers.yaml", path);
    if (access(path, X_OK))
        return err_set(err, ERR_FORBIDDEN, errno, "handler '%s' is not executable: chmod +x it", path);
    return ERR_OK;
}

static int launch(struct sandbox *s, const struct sandbox_spec *spec, struct err *err)
{
    AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    AUTO_FD int exe = -1;
    AUTO_FD int wish = -1;
    AUTO_FD int args = -1;
    AUTO_FD int errors = memfd_create("haul-errors", MFD_CLOEXEC);
    int pair[2], pipe_fds[2], rc;
    if (null < 0 || errors < 0)
        return err_set(err, ERR_IO, errno, "sandbox descriptors");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return err_set(err, ERR_IO, errno, "sandbox control socket");
    s->control = pair[0];
    AUTO_FD int control_far = pair[1];
    if (pipe2(pipe_fds, O_CLOEXEC))
        return err_set(err, ERR_IO, errno, "sandbox status pipe");
    s->status = pipe_fds[0];
    AUTO_FD int status_far = pipe_fds[1];
    const int on = 1;
    setsockopt(s->control, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    if ((rc = memfd_of("haul-init", sandbox_init, sandbox_init_size, true, &exe, err)) ||
        (rc = spec_fd(spec, &wish, err)))
        return rc;

    static const char *const none_argv[] = {"haul-init", NULL};
    static const char *const bwrap_argv[] = {"bwrap", "--args", "9", "--", "/proc/self/fd/6", NULL};
    char bwrap[PATH_MAX];
    struct launch l = {.program = "/proc/self/fd/6", .argv = none_argv, .chdir_to = spec->work_dir};
    if (spec->level == SANDBOX_NAMESPACES) {
        struct buf b;
        buf_init(&b, 1U << 20);
        rc = bwrap_find(bwrap, err);
        if (!rc)
            rc = bwrap_args(spec, &b, err);
        if (!rc)
            rc = memfd_of("haul-args", b.data, b.len, false, &args, err);
        buf_release(&b);
        if (rc)
            return rc;
        l = (struct launch){.program = bwrap, .argv = bwrap_argv};
    }
    const int fds[] = {null, null, errors, spec->report_fd, control_far, status_far, exe, wish, spec->log_fd, args};
    memcpy(l.fds, fds, sizeof fds);
    s->child = fork();
    if (s->child < 0)
        return err_set(err, ERR_IO, errno, "fork");
    if (!s->child)
        launch_exec(&l);
    close(TAKE_FD(control_far));
    close(TAKE_FD(status_far));
    return started_wait(s, spec, errors, err);
}

int sandbox_start(const struct sandbox_spec *spec, struct sandbox **ret, struct err *err)
{
    int rc = argv_check(spec, err);
    if (rc)
        return rc;
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "sandbox");
    s->bare = spec->level == SANDBOX_NONE;
    if (s->bare) /* see orphans_end */
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    s->child = -1;
    s->control = s->status = s->init_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    rc = launch(s, spec, err);
    if (rc) {
        sandbox_free(s);
        return rc;
    }
    *ret = s;
    return ERR_OK;
}

int sandbox_event_fd(const struct sandbox *s)
{
    return s->status;
}

static int order_give(struct sandbox *s, char order, struct err *err)
{
    const struct init_order_message o = {.order = order};
    if (send(s->control, &o, sizeof o, MSG_NOSIGNAL) != (ssize_t)sizeof o)
        return errno == EPIPE || errno == ECONNRESET ? ERR_OK : err_set(err, ERR_IO, errno, "order to the sandbox");
    struct pollfd p = {.fd = s->control, .events = POLLIN};
    int ready;
    do
        ready = poll(&p, 1, ORDER_LIMIT_MS);
    while (ready < 0 && errno == EINTR);
    struct init_message m;
    const ssize_t n = ready > 0 ? recv(s->control, &m, sizeof m, 0) : -1;
    if (ready == 0)
        return err_set(err, ERR_TIMEOUT, 0, "the sandbox did not take an order in 10 s");
    if (n == (ssize_t)sizeof m && m.value)
        return err_set(err, ERR_TIMEOUT, m.value, "the sandbox could not carry out an order");
    return ERR_OK; /* also when it is gone: what does not exist needs no signal */
}

int sandbox_signal(struct sandbox *s, int sig, struct err *err)
{
    const char order = sig == SIGTERM   ? INIT_TERM
                       : sig == SIGKILL ? INIT_KILL
                       : sig == SIGSTOP ? INIT_STOP
                       : sig == SIGCONT ? INIT_CONT
                                        : 0;
    if (!order)
        return err_set(err, ERR_UNSUPPORTED, 0, "signal %d to a sandbox", sig);
    pthread_mutex_lock(&s->lock);
    const int rc = order_give(s, order, err);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void sandbox_until(struct sandbox *s, usec boot_us)
{
    const struct init_order_message o = {.order = INIT_UNTIL, .until_us = boot_us};
    (void)!send(s->control, &o, sizeof o, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* On the bare host a handler can kill its own init. What that leaves behind becomes our children, and is ended by us: again and
 * again, for a fork may slip between the look and the signal, and the children of what died come to us in turn. */
static void orphans_end(void)
{
    const pid_t self = getpid();
    for (int round = 0; round < ORDER_LIMIT_MS / 2; round++) {
        DIR *d = opendir("/proc");
        bool any = false;
        if (!d)
            return;
        for (const struct dirent *e; (e = readdir(d));) {
            struct process p;
            if (!sandbox_process_read(e->d_name, &p) || p.parent != self)
                continue;
            any = true;
            kill(p.pid, SIGKILL);
            waitpid(p.pid, NULL, WNOHANG);
        }
        closedir(d);
        if (!any)
            return;
        const struct timespec nap = {0, 2000000};
        nanosleep(&nap, NULL);
    }
}

int sandbox_result(struct sandbox *s, int *ret_wait_status, usec *ret_cpu_us, int64_t *ret_peak_bytes, struct err *err)
{
    if (!s->ended) {
        struct pollfd p = {.fd = s->status, .events = POLLIN};
        if (poll(&p, 1, 0) < 1)
            return err_set(err, ERR_BUSY, 0, "the handler has not ended");
        if (read(s->status, &s->value, sizeof s->value) !=
            (ssize_t)sizeof s->value) { /* init died: only SIGKILL does that */
            s->value = (struct init_status){.wait_status = SIGKILL};
            if (s->bare) {
                struct pollfd gone = {.fd = s->init_fd, .events = POLLIN};
                (void)poll(&gone, 1, ORDER_LIMIT_MS); /* its pipe closes a moment before its children come to us */
                orphans_end();
            }
        }
        s->ended = true;
    }
    *ret_wait_status = s->value.wait_status;
    *ret_cpu_us = s->value.cpu_us;
    *ret_peak_bytes = s->value.peak_bytes;
    return ERR_OK;
}

bool sandbox_usage(const struct sandbox *s, struct sandbox_usage *ret)
{
    struct pollfd p = {.fd = s->init_fd, .events = POLLIN};
    /* Alive afterwards, too: so its number was nobody else's meanwhile. */
    return s->init > 0 && s->init_fd >= 0 && tree_usage(s->init, &ret->cpu_us, &ret->memory_bytes) &&
           poll(&p, 1, 0) == 0;
}

void sandbox_free(struct sandbox *s)
{
    if (!s)
        return;
    if (s->control >= 0)
        close(s->control); /* init kills and reaps the tree, then ends */
    if (s->init_fd >= 0) {
        struct pollfd p = {.fd = s->init_fd, .events = POLLIN};
        int ready;
        do
            ready = poll(&p, 1, ORDER_LIMIT_MS);
        while (ready < 0 && errno == EINTR);
        if (!ready) {
            syscall(SYS_pidfd_send_signal, s->init_fd, SIGKILL, NULL, 0);
            poll(&p, 1, ORDER_LIMIT_MS);
        }
        close(s->init_fd);
    } else if (s->child > 0)
        kill(s->child, SIGKILL);
    if (s->child > 0)
        while (waitpid(s->child, NULL, 0) < 0 && errno == EINTR) {
        }
    if (s->status >= 0)
        close(s->status);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
