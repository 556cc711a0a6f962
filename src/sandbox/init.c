/* The handler's parent inside the sandbox: starts it, reaps everything, takes orders, reports the raw wait status.
 * Static, because the sandbox may hold no C library. As PID 1 it keeps the handler from being one: PID 1 ignores its own SIGSEGV.
 * When the handler ends, or when the other end of the control socket is gone, nothing of the tree survives. */
#include "sandbox/init.h"
#include "sandbox/process.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 65536

static struct process processes[PROCESSES_MAX];
static bool alone;

/* Who holds the tree still: an order, or the time that was given it (sandbox_until). It goes on when neither does. */
static bool held_by_order, held_by_time;
static int64_t until_us; /* 0: none was given */
static int until_fd = -1;

static void nap_ms(long ms)
{
    const struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* Everything that must be signalled: alone, all but us; on the host, our descendants (orphans of theirs become our children). */
static size_t tree_scan(void)
{
    DIR *d = opendir("/proc");
    if (!d)
        return 0;
    size_t n = 0;
    const pid_t self = getpid();
    for (const struct dirent *e; n < PROCESSES_MAX && (e = readdir(d));) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !sandbox_process_read(e->d_name, &processes[n]))
            continue;
        processes[n].ours = alone ? processes[n].pid != self : processes[n].parent == self;
        n++;
    }
    closedir(d);
    for (bool again = !alone; again;) {
        again = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n && !processes[i].ours; k++)
                if (processes[k].ours && processes[k].pid == processes[i].parent)
                    again = processes[i].ours = true;
    }
    return n;
}

static void tree_signal(int sig)
{
    if (alone) {
        kill(-1,
             sig); /* all but the caller, and no fork slips through: the kernel restarts a fork with a signal pending */
        return;
    }
    const size_t n = tree_scan();
    for (size_t i = 0; i < n; i++)
        if (processes[i].ours)
            kill(processes[i].pid, sig);
}

/* 'D' counts as stopped: it runs nothing until the kernel lets go, and then takes the pending stop. */
static int tree_stop(void)
{
    for (int round = 0; round < 3000; round++) {
        tree_signal(SIGSTOP);
        bool all = true;
        const size_t n = tree_scan();
        for (size_t i = 0; i < n; i++)
            if (processes[i].ours && !strchr("TtZXxD", processes[i].state))
                all = false;
        if (all)
            return 0;
        nap_ms(1);
    }
    return ETIMEDOUT;
}

/* Reaps what ended; true when the handler is among it. */
static bool reap(pid_t handler, int *ret_status)
{
    bool found = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == handler) {
            *ret_status = status;
            found = true;
        }
    return found;
}

/* Kills again and again rather than once: on the bare host a fork may slip between the scan and the signal. */
static bool tree_end(pid_t handler, int *ret_status)
{
    bool found = false;
    for (;;) {
        tree_signal(SIGKILL);
        found = reap(handler, ret_status) || found;
        if (waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD)
            return found;
        nap_ms(2);
    }
}

static void say(enum init_kind kind, int value)
{
    const struct init_message m = {(int32_t)kind, value};
    (void)!send(INIT_FD_CONTROL, &m, sizeof m, MSG_NOSIGNAL);
}

static void limit(__rlimit_resource_t what, rlim_t value)
{
    const struct rlimit l = {value, value};
    setrlimit(what, &l);
}

static _Noreturn void handler_exec(const struct init_spec *spec, char **argv, char **env, int failure_fd)
{
    setsid();
    limit(RLIMIT_CORE, 0);
    if (spec->file_size_max)
        limit(RLIMIT_FSIZE, (rlim_t)spec->file_size_max);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(INIT_FD_LOG, 1);
    dup2(INIT_FD_LOG, 2);
    for (int fd = INIT_FD_REPORT + 1; fd < 64; fd++) /* init opens no more than a few; its parent closed the rest */
        if (fd != failure_fd)
            close(fd);
    execve(argv[0], argv, env);
    const int why = errno;
    (void)!write(failure_fd, &why, sizeof why);
    _exit(127);
}

/* 0, or the errno that kept the handler from starting. */
static int handler_start(const struct init_spec *spec, char **argv, char **env, pid_t *ret_pid)
{
    int failure[2];
    if (pipe2(failure, O_CLOEXEC))
        return errno;
    const pid_t pid = fork();
    if (pid < 0)
        return errno;
    if (!pid)
        handler_exec(spec, argv, env, failure[1]);
    close(failure[1]);
    int why = 0;
    const ssize_t n = read(failure[0], &why, sizeof why);
    close(failure[0]);
    *ret_pid = pid;
    return n == (ssize_t)sizeof why ? why : 0;
}

/* argv and env, each NULL-terminated, one after the other in `ret`. */
static bool spec_read(const struct init_spec **ret_spec, char ***ret_argv, char ***ret_env)
{
    struct stat st;
    if (fstat(INIT_FD_SPEC, &st) || st.st_size < (off_t)sizeof(struct init_spec))
        return false;
    const size_t size = (size_t)st.st_size;
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, INIT_FD_SPEC, 0);
    if (base == MAP_FAILED)
        return false;
    const struct init_spec *spec = (const void *)base;
    char **v = calloc((size_t)spec->n_argv + spec->n_env + 2, sizeof *v);
    if (!v)
        return false;
    char *p = base + sizeof *spec, **to = v;
    for (uint32_t i = 0; i < spec->n_argv + spec->n_env; i++) {
        char *end = p < base + size ? memchr(p, 0, (size_t)(base + size - p)) : NULL;
        if (!end)
            return false;
        if (i == spec->n_argv)
            to++; /* leaves the NULL that ends argv */
        *to++ = p;
        p = end + 1;
    }
    *ret_spec = spec;
    *ret_argv = v;
    *ret_env = v + spec->n_argv + 1;
    return spec->n_argv > 0;
}

static void status_report(int wait_status)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    const struct init_status s = {
        .wait_status = wait_status,
        .cpu_us = ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec,
        .peak_bytes = (int64_t)u.ru_maxrss * 1024,
    };
    (void)!write(INIT_FD_STATUS, &s, sizeof s);
}

static int64_t boot_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void tree_go_on(void)
{
    if (!held_by_order && !held_by_time)
        tree_signal(SIGCONT);
}

static void until_set(int64_t us)
{
    const struct itimerspec t = {.it_value = {us / 1000000, us % 1000000 * 1000}};
    until_us = us;
    timerfd_settime(until_fd, TFD_TIMER_ABSTIME, &t, NULL);
    if (!held_by_time || boot_us() >= until_us)
        return;
    held_by_time = false;
    tree_go_on();
}

/* An order may have moved it on meanwhile. */
static void until_look(void)
{
    uint64_t n;
    (void)!read(until_fd, &n, sizeof n);
    if (!until_us || boot_us() < until_us)
        return;
    held_by_time = true;
    (void)tree_stop();
}

/* false when whoever gives orders is gone. */
static bool order_take(void)
{
    struct init_order_message o;
    const ssize_t n = recv(INIT_FD_CONTROL, &o, sizeof o, 0);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    int result = 0;
    switch (n == (ssize_t)sizeof o ? o.order : 0) {
    case INIT_TERM:
        tree_signal(SIGTERM);
        break;
    case INIT_KILL:
        tree_signal(SIGKILL);
        break;
    case INIT_STOP:
        held_by_order = true;
        result = tree_stop();
        break;
    case INIT_CONT:
        held_by_order = false;
        tree_go_on();
        break;
    case INIT_UNTIL:
        until_set(o.until_us);
        return true;
    default:
        result = EINVAL;
        break;
    }
    say(INIT_ACK, result);
    return true;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "probe"))
        return 0; /* what sandbox_probe runs as the handler: there may be no other program in there */
    const struct init_spec *spec;
    char **handler_argv, **handler_env;
    /* `alone` lets us signal everything in sight: only ever from PID 1 of a namespace of our own. */
    if (!spec_read(&spec, &handler_argv, &handler_env) || (spec->alone && getpid() != 1)) {
        say(INIT_STARTED, EINVAL);
        return 1;
    }
    alone = spec->alone;
    close(INIT_FD_SPEC);
    close(INIT_FD_EXE);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0,
          0); /* the handler may run as the same user: keep it from our memory and descriptors */
    if (!alone)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    const int child_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    until_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK); /* a suspend counts */
    pid_t handler = -1;
    const int why = child_fd < 0 || until_fd < 0 ? errno : handler_start(spec, handler_argv, handler_env, &handler);
    close(INIT_FD_REPORT); /* the ends of the handler's pipes are the handler's alone */
    close(INIT_FD_LOG);
    int status = 0;
    say(INIT_STARTED, why);
    if (why)
        return 1;
    for (;;) {
        struct pollfd p[] = {{.fd = child_fd, .events = POLLIN},
                             {.fd = INIT_FD_CONTROL, .events = POLLIN},
                             {.fd = until_fd, .events = POLLIN}};
        poll(p, sizeof p / sizeof *p, -1);
        struct signalfd_siginfo si;
        while (read(child_fd, &si, sizeof si) > 0) {
        }
        bool ended = reap(handler, &status);
        if (!ended && p[1].revents && !order_take()) {
            tree_end(handler, &status);
            return 1;
        }
        if (ended) {
            tree_end(handler, &status);
            status_report(status);
            return 0;
        }
        if (p[2].revents)
            until_look();
    }
}
