/* No shell, no descriptor but the standard three, none of the server's environment but what a program needs to run: the rest may hold
 * passwords. It leads a process group, which ends with it: looked at while it is a zombie, so that the number cannot be another's. */
#include "notify/command.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/timefmt.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define PATH_USUAL "/usr/local/bin:/usr/bin:/bin"
#define BODY_MAX   16384 /* fits into a pipe: nobody waits for a program that does not read */
#define SAID_MAX   160
#define LINES_MAX  24

/* --- as configured --- */

static const char *search_path(void)
{
    const char *path = getenv("PATH");

    return path && *path ? path : PATH_USUAL;
}

static bool runs(const char *path)
{
    return access(path, X_OK) == 0;
}

static bool found(const char *name)
{
    char path[4096];

    for (const char *at = search_path(); *at; at += strcspn(at, ":") + (at[strcspn(at, ":")] == ':')) {
        const int n = (int)strcspn(at, ":");
        if (n > 0 && snprintf(path, sizeof(path), "%.*s/%s", n, at, name) < (int)sizeof(path) && runs(path))
            return true;
    }
    return false;
}

int command_check(const struct receiver *r, struct err *err)
{
    const char *program = r->command.items[0];

    if (*program != '/' && strchr(program, '/'))
        return err_field(err, "command", "'%.200s' must be an absolute path, or a name to be found in PATH", program);
    if (*program == '/' ? runs(program) : *program && found(program))
        return ERR_OK;
    return err_field(err, "command", "'%.200s' cannot be run: it is not there, or not executable", program);
}

/* --- its environment --- */

struct lines {
    char *items[LINES_MAX + 1];
    size_t n;
    bool no_memory;
};

static void add(struct lines *l, const char *name, const char *value)
{
    if (l->n == LINES_MAX || asprintf(&l->items[l->n], "%s=%s", name, value) < 0)
        l->no_memory = true;
    else
        l->n++;
}

static void add_real(struct lines *l, const char *name, double value)
{
    char text[40] = "";

    if (value == value) /* NaN: there was nothing to measure */
        snprintf(text, sizeof(text), "%.15g", value);
    add(l, name, text);
}

static void add_time(struct lines *l, const char *name, usec at)
{
    char text[RFC3339_MAX] = "";

    if (at)
        rfc3339_format(at, text);
    add(l, name, text);
}

static void make_environment(const struct message *m, struct lines *l)
{
    static const char *const kept[] = {"HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"};

    add(l, "PATH", search_path());
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (getenv(kept[i]))
            add(l, kept[i], getenv(kept[i]));
    add(l, "HAUL_ALERT_ID", m->id);
    add(l, "HAUL_ALERT_NAME", m->topic.name);
    add(l, "HAUL_ALERT_STATE", message_state(m));
    add(l, "HAUL_ALERT_TEST", m->kind == MESSAGE_TEST ? "1" : "0");
    add(l, "HAUL_ALERT_SEVERITY", m->topic.severity);
    add(l, "HAUL_ALERT_TEXT", m->topic.text);
    add_real(l, "HAUL_ALERT_VALUE", m->state.value);
    add_real(l, "HAUL_ALERT_ABOVE", m->topic.above);
    add_time(l, "HAUL_ALERT_FIRED_AT", m->state.fired_at);
    add_time(l, "HAUL_ALERT_RESOLVED_AT", m->kind == MESSAGE_RESOLVED ? m->state.resolved_at : 0);
    add(l, "HAUL_ALERT_RECEIVER", m->receiver);
    add(l, "HAUL_ALERT_SERVER", m->server);
}

static void release(struct lines *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
}

/* --- one try --- */

struct run {
    pid_t pid;
    int pid_fd, said_fd; /* what it says, both outputs */
    char said[SAID_MAX]; /* its last words */
    size_t n_said;
};

/** @param in, out  its standard input and outputs */
static int spawn(const struct receiver *r, const struct lines *l, int in, int out, pid_t *ret)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, out, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawn_file_actions_addchdir_np(&files, "/");
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    int rc = posix_spawnp(ret, r->command.items[0], &files, &attr, r->command.items, (char *const *)l->items);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return rc;
}

static int give_body(const struct message *m, int fd, struct err *err)
{
    struct buf body;

    buf_init(&body, BODY_MAX);
    message_write(m, &body);
    int rc = body.failed ? err_set(err, ERR_NO_MEMORY, 0, "out of memory") : fs_write_all(fd, body.data, body.len, err);
    buf_release(&body);
    return rc;
}

/* Written before the program is there, so that one that ends without reading costs no SIGPIPE. */
static int start(const struct receiver *r, const struct message *m, struct run *run, struct err *err)
{
    struct lines environment = {.n = 0};
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    int rc = pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ? err_set(err, ERR_IO, errno, "pipe") : ERR_OK;

    if (!rc)
        rc = give_body(m, in[1], err);
    make_environment(m, &environment);
    if (!rc && environment.no_memory)
        rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    if (!rc) {
        int sys = spawn(r, &environment, in[0], out[1], &run->pid);
        rc = sys ? err_set(err, ERR_IO, sys, "run '%.100s'", r->command.items[0]) : ERR_OK;
    }
    release(&environment);
    for (size_t i = 0; i < 2; i++)
        if (in[i] >= 0)
            close(in[i]);
    if (out[1] >= 0)
        close(out[1]);
    run->said_fd = out[0];
    if (!rc)
        run->pid_fd = pidfd_open(run->pid, 0);
    return rc;
}

/* Keeps the last of it. @return false: its end */
static bool listen_to(struct run *run)
{
    char piece[1024];
    ssize_t n = read(run->said_fd, piece, sizeof(piece));

    if (n <= 0)
        return false;
    for (ssize_t i = 0; i < n; i++) {
        if (run->n_said == sizeof(run->said) - 1)
            memmove(run->said, run->said + 1, --run->n_said);
        run->said[run->n_said++] = piece[i];
    }
    return true;
}

enum end { END_ITSELF, END_TIMEOUT, END_STOP };

static enum end wait_for(struct run *run, usec timeout_us, int stop_fd)
{
    const struct clock clock = clock_real();
    const usec until = clock.boot_us(clock.self) + timeout_us;
    struct pollfd fds[] = {{.fd = run->pid_fd, .events = POLLIN},
                           {.fd = stop_fd, .events = POLLIN},
                           {.fd = run->said_fd, .events = POLLIN}};

    for (;;) {
        const usec left = until - clock.boot_us(clock.self);
        if (left <= 0)
            return END_TIMEOUT;
        if (poll(fds, ARRAY_LEN(fds), (int)(left / USEC_PER_MSEC) + 1) < 0 && errno != EINTR)
            return END_TIMEOUT;
        if (fds[2].revents && !listen_to(run))
            fds[2].fd = -1;
        if (fds[0].revents)
            return END_ITSELF;
        if (fds[1].revents)
            return END_STOP;
    }
}

/* What it said and nobody read yet; whoever has its output still may hold it open. */
static void hear_out(struct run *run)
{
    struct pollfd fd = {.fd = run->said_fd, .events = POLLIN};

    for (int i = 0; i < 256 && poll(&fd, 1, 0) > 0 && listen_to(run); i++)
        ;
    run->said[run->n_said] = '\0';
    for (size_t i = 0; i < run->n_said; i++)
        if ((unsigned char)run->said[i] < ' ')
            run->said[i] = ' ';
    while (run->n_said > 0 && run->said[run->n_said - 1] == ' ')
        run->said[--run->n_said] = '\0';
}

static void judge(const struct run *run, const siginfo_t *info, struct outcome *ret)
{
    const char *colon = run->n_said ? ": " : "";

    if (info->si_code == CLD_EXITED && info->si_status == 0)
        *ret = (struct outcome){.what = DELIVERY_SENT};
    else if (info->si_code == CLD_EXITED)
        outcome_set(ret, DELIVERY_FAILED, "exit status %d%s%s", info->si_status, colon, run->said);
    else
        outcome_set(ret, DELIVERY_FAILED, "killed by signal %d%s%s", info->si_status, colon, run->said);
}

static void finish(struct run *run, const struct receiver *r, enum end end, struct outcome *ret)
{
    char timeout[48];
    siginfo_t info = {.si_code = 0};

    if (end != END_ITSELF)
        kill(-run->pid, SIGKILL);
    while (waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    kill(-run->pid, SIGKILL); /* what it left behind */
    while (waitid(P_PID, (id_t)run->pid, &info, WEXITED) < 0 && errno == EINTR)
        ;
    hear_out(run);
    duration_format(r->timeout, timeout);
    if (end == END_ITSELF)
        judge(run, &info, ret);
    else if (end == END_STOP)
        outcome_set(ret, DELIVERY_FAILED, "the server stops");
    else
        outcome_set(ret, DELIVERY_FAILED, "killed after %s (timeout)", timeout);
}

void command_run(const struct receiver *r, const struct message *m, int stop_fd, struct outcome *ret)
{
    struct run run = {.pid_fd = -1, .said_fd = -1};
    struct err err = {0};

    if (start(r, m, &run, &err) != ERR_OK)
        outcome_set(ret, DELIVERY_FAILED, "%s", err.msg);
    else
        finish(&run, r, wait_for(&run, r->timeout, stop_fd), ret);
    if (run.pid_fd >= 0)
        close(run.pid_fd);
    if (run.said_fd >= 0)
        close(run.said_fd);
}
