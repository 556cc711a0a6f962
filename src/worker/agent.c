/* The agent: says what this machine can run, asks for it, and starts a supervisor for each job it gets. Holds nothing that matters:
 * it can be stopped and started while jobs run. */
#include "worker/worker.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "worker/agent.h"
#include "worker/attempt.h"
#include "worker/status.h"
#include "worker/stop.h"
#include "worker/transfer.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define LOOK_EVERY_MS 1000                /* supervisors of an earlier agent end without a SIGCHLD to us */
#define SILENT_US     (60 * USEC_PER_SEC) /* a poll is answered within half of that even when there is no job */

/* Health is the age of the last successful poll: said once a minute while it is old. */
static void silence_look(struct agent *g)
{
    char age[48];
    const usec now = boot_now();
    pthread_mutex_lock(&g->lock);
    const usec silent_us = now - MAX(g->answered_us, g->boot_us);
    const bool say = silent_us >= SILENT_US && now - g->complained_us >= SILENT_US && !g->stopping;
    if (say)
        g->complained_us = now;
    pthread_mutex_unlock(&g->lock);
    if (!say)
        return;
    duration_format(silent_us / USEC_PER_SEC * USEC_PER_SEC, age);
    log_event(LOG_WARN, "no successful poll for long", "server", haul_client_server(g->client), "for", age, NULL);
}

static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* as PID 1 also orphans that are none of ours */
    }
}

static void hand_back(void *arg, const char *dir, const char *name)
{
    if (stop_hand_back(dir))
        log_event(LOG_INFO, "job is handed back", "attempt", name, NULL);
}

/* A container ends with its PID 1: the first TERM is answered by claiming nothing more and waiting for what runs, the next by ending that,
 * too, and handing it back to the server. */
static void drain_step(struct agent *g, unsigned *asked, unsigned more)
{
    if (*asked + more > 1) {
        log_event(LOG_WARN, "asked again: the jobs that run are ended and handed back", NULL);
        state_attempts(&g->state, hand_back, NULL);
    }
    *asked += more;
}

/* Said when it is true: a claim that crossed the end of polling is here by now. */
static void drain_say(struct agent *g, bool *said)
{
    char jobs[16];
    if (*said)
        return;
    *said = true;
    snprintf(jobs, sizeof jobs, "%u", busy_now(g));
    log_event(LOG_INFO, "draining: nothing more is claimed, the jobs that run are waited for", "jobs", jobs, NULL);
}

static unsigned stops_read(struct agent *g)
{
    struct signalfd_siginfo si;
    unsigned n = 0;
    while (read(g->signal_fd, &si, sizeof si) == (ssize_t)sizeof si)
        n += si.ssi_signo != SIGCHLD;
    return n;
}

static void polling_stop(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    g->stopping = true;
    pthread_mutex_unlock(&g->lock);
    haul_client_interrupt(g->client, true); /* the poll that waits would get the next job */
    wake(g->wake_fd);
}

static bool settled(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const bool s = g->settled;
    pthread_mutex_unlock(&g->lock);
    return s;
}

static void serve(struct agent *g)
{
    const bool drain = getpid() == 1; /* nothing outlives PID 1 of a container */
    bool said = false;
    for (unsigned asked = 0;;) {
        struct pollfd p = {.fd = g->signal_fd, .events = POLLIN};
        (void)poll(&p, 1, LOOK_EVERY_MS);
        const unsigned more = stops_read(g);
        reap();
        if (more && !asked)
            polling_stop(g);
        if (more && !drain)
            return;
        if (more)
            drain_step(g, &asked, more);
        attempts_look(g, false);
        room_look(g);
        silence_look(g);
        if (asked && settled(g)) {
            drain_say(g, &said);
            if (!busy_now(g))
                return;
        }
    }
}

/* What the agent says on the state folder's socket. */
static void agent_tell(void *arg, struct json_writer *w)
{
    struct agent *g = arg;
    pthread_mutex_lock(&g->lock);
    const usec now = boot_now(), answered_us = g->answered_us, began_us = g->boot_us;
    const bool stop = g->stopping, no_room = g->no_room, drained = g->drained;
    const unsigned busy = g->busy;
    const uint64_t free_bytes = g->free_bytes;
    pthread_mutex_unlock(&g->lock);
    const usec age_us = now - MAX(answered_us, began_us);
    jw_int(w, "pid", getpid());
    jw_string(w, "version", HAUL_VERSION);
    jw_string(w, "worker_id", g->state.worker_id);
    jw_string(w, "name", g->set.name);
    jw_string(w, "server", haul_client_server(g->client));
    jw_string(w, "servers", g->set.server);
    jw_string(w, "state",
              stop                  ? "draining"
              : age_us >= SILENT_US ? "silent"
              : drained             ? "drained"
              : no_room             ? "no_room"
              : busy < g->set.slots ? "polling"
                                    : "full");
    jw_int(w, "slots_total", g->set.slots);
    jw_int(w, "slots_busy", busy);
    jw_time(w, "started", g->wall_us);
    jw_duration_s(w, "uptime_s", now - began_us);
    if (answered_us)
        jw_duration_s(w, "last_poll_age_s", now - answered_us);
    else
        jw_null(w, "last_poll_age_s");
    jw_int(w, "free_bytes", (int64_t)free_bytes);
    jw_int(w, "min_free_bytes", (int64_t)g->set.min_free);
}

static int level_find(struct agent *g, struct err *err)
{
    char why[512];
    g->level = sandbox_probe(g->state.path, why);
    size_t can = 0;
    for (size_t i = 0; i < g->handlers->n; i++)
        can += handler_runs_at(&g->handlers->items[i], g->level);
    if (g->level == SANDBOX_NONE)
        fprintf(stderr, "haul worker: this machine cannot isolate handlers: %s\n", why);
    if (can < g->handlers->n)
        fprintf(stderr,
                "haul worker: %zu of %zu handlers are not offered (only entries with 'isolation: none' can run here)\n",
                g->handlers->n - can, g->handlers->n);
    return can ? ERR_OK
               : err_set(err, ERR_UNSUPPORTED, 0,
                         "no handler can run here: allow namespaces, or set 'isolation: none' for handlers you trust");
}

static int signals_take(struct agent *g, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    g->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return g->signal_fd < 0 || g->wake_fd < 0 ? err_set(err, ERR_IO, errno, "worker descriptors") : ERR_OK;
}

/* Waits for the poll thread to settle, but not for ever; after this no supervisor is started. */
static void poller_end(struct agent *g, pthread_t poller)
{
    const struct clock c = clock_real();
    const usec at_us = c.wall_us(c.self) + 2 * SETTLE_MS * USEC_PER_MSEC;
    const struct timespec at = {.tv_sec = at_us / USEC_PER_SEC};
    (void)pthread_timedjoin_np(poller, NULL, &at);
    pthread_mutex_lock(&g->lock); /* not between a claim and its supervisor */
    g->closed = true;
    pthread_mutex_unlock(&g->lock);
}

static int client_make(struct agent *g, struct err *err)
{
    struct haul_error he = {0};
    g->client = haul_client_new(g->set.server, "haul-worker/" HAUL_VERSION, &he);
    return g->client ? ERR_OK : err_set(err, ERR_INVALID, 0, "server: %s", he.message);
}

static int agent_run(struct agent *g, struct err *err)
{
    const struct clock clock = clock_real();
    pthread_t poller;
    g->wall_us = clock.wall_us(clock.self);
    g->boot_us = boot_now();
    int rc = signals_take(g, err); /* first: as PID 1 a TERM that nobody waits for is lost */
    if (rc || (rc = handlers_load(g->set.handlers, &g->handlers, err)) || (rc = client_make(g, err)) ||
        (rc = state_open(g->set.state, &g->state, err)) || (rc = outputs_probe(g->state.path, err)) ||
        (rc = level_find(g, err)))
        return rc;
    gethostname(g->host, sizeof g->host - 1);
    if (!g->set.name && !(g->set.name = strdup(*g->host ? g->host : "worker")))
        return err_set(err, ERR_NO_MEMORY, 0, "worker");
    attempts_look(g, true);
    room_look(g);
    if (presence_start(g->state.path, agent_tell, g, &g->presence, err))
        log_err("'haul worker status' cannot ask this worker", err);
    printf("haul worker %s polling %s (isolation: %s, slots %lld)\n", g->set.name, g->set.server,
           sandbox_level_name(g->level), (long long)g->set.slots);
    fflush(stdout);
    if (pthread_create(&poller, NULL, poll_run, g))
        return err_set(err, ERR_NO_MEMORY, 0, "poll thread");
    serve(g);
    poller_end(g, poller);
    presence_stop(g->presence);
    log_event(LOG_INFO, busy_now(g) ? "worker stopped, its jobs go on" : "worker stopped", "worker", g->set.name, NULL);
    return ERR_OK;
}

static bool drain_asked(int argc, char **argv)
{
    bool asked = false;
    for (int i = 1; i < argc; i++)
        asked = asked || !strcmp(argv[i], "--drain");
    return asked;
}

int worker_main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "status"))
        return status_main(argc - 1, argv + 1);
    if (argc > 1 && (!strcmp(argv[1], "stop") || drain_asked(argc, argv)))
        return !strcmp(argv[1], "stop") ? stop_main(argc - 1, argv + 1) : stop_main(argc, argv);
    static struct agent g; /* the poll thread may still be in a call when the process ends */
    struct err err;
    err_clear(&err);
    log_setup("worker", LOG_INFO);
    pthread_mutex_init(&g.lock, NULL);
    bool help = false;
    int rc = settings_read(argc, argv, &g.set, &help, &err);
    if (help) {
        settings_help();
        return 0;
    }
    if (!rc)
        rc = agent_run(&g, &err);
    if (!rc) {
        fflush(NULL);
        _exit(0); /* the poll may wait for half a minute more; what it brings is never confirmed */
    }
    fprintf(stderr, "haul worker: %s\n", err.msg);
    return err_exit((enum err_code)rc);
}
