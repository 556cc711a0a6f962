#include "worker/stop.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include "worker/attempt.h"
#include "worker/presence.h"
#include "worker/settings.h"
#include "worker/state.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_EVERY_MS  100
#define TIMEOUT_MAX_US (366 * INT64_C(86400) * USEC_PER_SEC)

struct asked {
    const char *state, *config;
    bool now, help, timed;
    usec timeout_us;
};

static void help(void)
{
    puts(
        "Usage: haul worker stop [OPTION]...\n"
        "       haul worker --drain [OPTION]...\n\n"
        "Tells the worker that serves a state folder on this machine to claim nothing more, and waits until the jobs "
        "that "
        "run\nthere have ended. Can be interrupted: they go on all the same. Needs no server.\n\n"
        "  --now            the jobs are not waited for but ended (TERM, and KILL after the grace), their checkpoints "
        "stored,\n                   and handed back: another worker can have them at once, and no attempt is used up\n"
        "  --timeout D      wait no longer than this, then exit with 18 (default: as long as it takes; 0: do not "
        "wait)\n"
        "  --state DIR      the worker's state folder (default: as 'haul worker' takes it)\n"
        "  --config FILE    YAML, section 'worker:'\n"
        "  --help           this text");
}

static int timeout_take(const char *text, struct asked *ret, struct err *err)
{
    ret->timed = true;
    int rc = duration_parse(text, "timeout", &ret->timeout_us, err);
    if (!rc && ret->timeout_us > TIMEOUT_MAX_US)
        rc = err_set(err, ERR_INVALID, 0, "timeout '%.40s' is longer than a year", text);
    return rc ? (int)(err->code = ERR_USAGE) : ERR_OK;
}

static int flags_take(int argc, char **argv, struct asked *ret, struct err *err)
{
    static const struct option options[] = {{"state", 1, NULL, 'd'},
                                            {"config", 1, NULL, 'c'},
                                            {"now", 0, NULL, 'n'},
                                            {"drain", 0, NULL, 'r'},
                                            {"timeout", 1, NULL, 't'},
                                            {"help", 0, NULL, 'h'},
                                            {0}};
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
        if (c == 'd')
            ret->state = optarg;
        else if (c == 'c')
            ret->config = optarg;
        else if (c == 'n')
            ret->now = true;
        else if (c == 'h')
            ret->help = true;
        else if (c == 't' && timeout_take(optarg, ret, err))
            return (int)err->code;
        else if (c == '?' || c == ':')
            return flag_refused("haul worker stop", c, argv, err);
    }
    return flags_end("haul worker stop", argc, argv, err);
}

bool stop_hand_back(const char *dir)
{
    struct err err;
    pid_t pid = 0;
    const int rc = presence_ask(dir, NULL, &pid, &err);
    return (!rc || rc == ERR_TIMEOUT) && pid > 1 && !kill(pid, SIGTERM);
}

struct look {
    bool now;
    unsigned running;
};

/* Asked at every look: the first word counts, and one that had no socket yet is asked when it has. */
static void attempt_look(void *arg, const char *dir, const char *name)
{
    struct look *l = arg;
    if (!state_attempt_runs(dir))
        return;
    l->running++;
    if (l->now)
        (void)stop_hand_back(dir);
}

static unsigned look(const struct state *s, bool now)
{
    struct look l = {.now = now};
    state_attempts(s, attempt_look, &l);
    return l.running;
}

/* Tells the agent, unless it was told: as PID 1 it would take a second word for more than was meant.
 * @param ret_fd  readable when it is gone; -1: none runs */
static int agent_tell_stop(const struct state *s, int *ret_fd, struct err *err)
{
    json_t *who = NULL;
    pid_t pid = 0;
    *ret_fd = -1;
    const int rc = presence_ask(s->path, &who, &pid, err);
    const char *state = json_string_value(json_object_get(who, "state"));
    const bool told = state && !strcmp(state, "draining");
    json_decref(who);
    if (rc && rc != ERR_TIMEOUT)
        return rc == ERR_NOT_FOUND ? ERR_OK : rc;
    if (pid < 1)
        return err_set(err, ERR_UNSUPPORTED, 0, "the worker runs where this command cannot see it (a container?)");
    *ret_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (*ret_fd < 0)
        return errno == ESRCH ? ERR_OK : err_set(err, ERR_IO, errno, "worker process %d", (int)pid);
    if (!told && syscall(SYS_pidfd_send_signal, *ret_fd, SIGTERM, NULL, 0) && errno != ESRCH)
        return err_set(err, ERR_FORBIDDEN, errno, "worker process %d cannot be told: ask as its user", (int)pid);
    printf(told ? "worker   process %d was told before\n" : "worker   process %d claims nothing more\n", (int)pid);
    return ERR_OK;
}

static void say(unsigned running, bool now)
{
    if (running)
        printf("jobs     %u %s\n", running, now ? "being handed back" : "still running");
    fflush(stdout);
}

/* Until the agent is gone and no supervisor is left. */
static int wait_all(const struct state *s, const struct asked *asked, int agent_fd, struct err *err)
{
    const usec end_us = asked->timed ? boot_now() + asked->timeout_us : USEC_NEVER;
    unsigned said = 0;
    for (bool gone = agent_fd < 0;;) {
        struct pollfd p = {.fd = gone ? -1 : agent_fd, .events = POLLIN};
        const unsigned running = look(s, asked->now); /* after `gone` was seen: nobody starts one any more */
        if (running != said)
            say(running, asked->now);
        said = running;
        if (gone && !running)
            return ERR_OK;
        const usec left_us = MAX(end_us - boot_now(), 0);
        if (!left_us && running)
            return err_set(err, ERR_TIMEOUT, 0, "%u %s still running, and %s", running,
                           running == 1 ? "job is" : "jobs are",
                           asked->now ? "will be handed back" : "will go on; 'haul worker stop --now' hands them back");
        if (!left_us)
            return err_set(err, ERR_TIMEOUT, 0, "the worker was told, and has not ended yet");
        (void)poll(&p, 1, (int)MIN(left_us / USEC_PER_MSEC + 1, LOOK_EVERY_MS));
        gone = gone || p.revents;
    }
}

static int stop(const struct asked *asked, struct err *err)
{
    AUTO_FREE char *folder = NULL;
    AUTO_FD int agent_fd = -1;
    struct state s;
    int rc = settings_state(asked->state, asked->config, &folder, err);
    if (!rc)
        rc = state_find(folder, &s, err);
    if (!rc)
        rc = agent_tell_stop(&s, &agent_fd, err);
    if (rc)
        return rc;
    const unsigned running = agent_fd < 0 ? look(&s, false) : 0;
    if (agent_fd < 0 && (!running || !asked->now))
        return err_set(err, ERR_NOT_FOUND, 0,
                       running ? "no worker runs with the state folder %.150s; its %u jobs go on without: "
                                 "'haul worker stop --now' hands them back"
                               : "no worker runs with the state folder %.150s",
                       s.path, running);
    if (asked->timed && !asked->timeout_us && !asked->now)
        return ERR_OK;
    rc = wait_all(&s, asked, agent_fd, err);
    if (!rc)
        puts("stopped  no worker and no job runs here");
    return rc;
}

int stop_main(int argc, char **argv)
{
    struct asked asked = {0};
    struct err err;
    err_clear(&err);
    int rc = flags_take(argc, argv, &asked, &err);
    if (!rc && asked.help)
        help();
    else if (!rc)
        rc = stop(&asked, &err);
    if (!rc)
        return 0;
    fprintf(stderr, "haul worker stop: %s\n", err.msg);
    return err_exit((enum err_code)rc);
}
