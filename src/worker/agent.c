/* The agent: says what this machine can run, asks for it, and starts a supervisor for each job it gets. Holds nothing that matters:
 * it can be stopped and started while jobs run. */
#include "worker/worker.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/timefmt.h"
#include "base/uuid.h"
#include "worker/attempt.h"
#include "worker/completion.h"
#include "worker/presence.h"
#include "worker/settings.h"
#include "worker/state.h"
#include "worker/status.h"
#include "worker/stop.h"
#include "worker/transfer.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define POLL_WAIT_MS    30000
#define LOOK_EVERY_MS   1000 /* supervisors of an earlier agent end without a SIGCHLD to us */
#define REPORT_AGAIN_US (30 * USEC_PER_SEC)
#define SETTLE_MS       3000                /* how long a worker that stops asks for claims it has not heard of */
#define SILENT_US       (60 * USEC_PER_SEC) /* a poll is answered within half of that even when there is no job */

struct agent {
    struct settings set;
    struct handlers *handlers;
    enum sandbox_level level;
    char host[256];
    struct state state;
    struct presence *presence;
    struct haul_client *client; /* of the poll thread; interrupted from the main one */
    usec wall_us, boot_us;      /* when this agent began */
    int wake_fd, signal_fd;     /* wake: a slot may be free, or stop */
    pthread_mutex_t lock;       /* over spawning and counting, and all below */
    bool stopping, no_room;
    bool settled; /* the poll thread has ended */
    bool closed;  /* no supervisor is started any more */
    unsigned busy;
    usec reported_us; /* when left-over completions were last taken up */
    usec answered_us; /* CLOCK_BOOTTIME of the last successful poll; 0: none yet */
    usec complained_us;
    uint64_t free_bytes;
};

static void wake(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

/* The supervisor inherits the lock: from here to its end there is no moment without it. */
static int supervisor_spawn(const char *dir, int lock_fd, bool report, struct err *err)
{
    char number[16];
    snprintf(number, sizeof number, "%d", lock_fd);
    char exe[] = "haul", verb[] = "supervise", o_dir[] = "--dir", o_lock[] = "--lock-fd", o_report[] = "--report";
    AUTO_FREE char *path = strdup(dir);
    if (!path)
        return err_set(err, ERR_NO_MEMORY, 0, "supervisor");
    char *const argv[] = {exe, verb, o_dir, path, o_lock, number, report ? o_report : NULL, NULL};
    const pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_IO, errno, "fork of a supervisor");
    if (pid)
        return ERR_OK;
    setsid(); /* what is sent to the agent's terminal or group is not for it */
    fcntl(lock_fd, F_SETFD, 0);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 0);
    dup2(null, 1);
    signal(SIGPIPE, SIG_DFL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

/* Left by an earlier agent and alive. */
static void found_say(const char *dir, const char *name)
{
    json_t *who = NULL;
    struct err err;
    const int rc = presence_ask(dir, &who, NULL, &err);
    const char *state = rc ? err_name((enum err_code)rc) : json_string_value(json_object_get(who, "state"));
    char pid[24];
    snprintf(pid, sizeof pid, "%lld", (long long)json_integer_value(json_object_get(who, "pid")));
    log_event(LOG_INFO, "found a running job", "attempt", name, "state", state, "supervisor", rc ? "no answer" : pid,
              NULL);
    json_decref(who);
}

struct look {
    unsigned busy;
    bool first, report_now;
};

/* Was nobody sent to tell this ending since it was written? True once: the lock's own time says when somebody was. */
static bool untold(const char *dir, int lock_fd)
{
    char path[PATH_MAX];
    struct stat ending, lock;
    struct err err;
    return !fs_join(path, sizeof path, dir, "completion.json", &err) && !stat(path, &ending) &&
           !fstat(lock_fd, &lock) &&
           (ending.st_mtim.tv_sec > lock.st_mtim.tv_sec ||
            (ending.st_mtim.tv_sec == lock.st_mtim.tv_sec && ending.st_mtim.tv_nsec > lock.st_mtim.tv_nsec)) &&
           !futimens(lock_fd, NULL);
}

/* Counts what runs, takes up what was left: a journalled ending is reported, the rest of a dead attempt removed. */
static void attempt_look(void *arg, const char *dir, const char *name)
{
    struct look *l = arg;
    char lock_path[PATH_MAX];
    AUTO_FD int lock_fd = -1;
    struct err err;
    int rc = fs_join(lock_path, sizeof lock_path, dir, "lock", &err);
    if (!rc)
        rc = fs_lock(lock_path, &lock_fd, &err);
    if (rc == ERR_LOCKED) {
        l->busy++;
        if (l->first)
            found_say(dir, name);
        return;
    }
    if (rc)
        return; /* it has just removed itself */
    if (!completion_exists(dir)) {
        if (fs_remove_tree(dir, &err))
            log_err("remove a dead attempt", &err); /* its handler may be dying still: next time */
        else
            log_event(LOG_INFO, "removed what a dead attempt left", "attempt", name, NULL);
    } else if (l->report_now ||
               untold(dir,
                      lock_fd)) { /* not counted before: an ending that cannot be told must not cost a slot for ever */
        if (supervisor_spawn(dir, lock_fd, true, &err))
            log_err("report a finished attempt", &err);
        else
            l->busy++;
    }
}

static void attempts_look(struct agent *g, bool first)
{
    pthread_mutex_lock(&g->lock);
    struct look l = {.first = first};
    l.report_now = first || boot_now() - g->reported_us >= REPORT_AGAIN_US;
    if (l.report_now)
        g->reported_us = boot_now();
    state_attempts(&g->state, attempt_look, &l);
    const bool freed = l.busy < g->busy;
    g->busy = l.busy;
    pthread_mutex_unlock(&g->lock);
    if (freed)
        wake(g->wake_fd);
}

/* No job is claimed on a disk that is nearly full: it would only fail there. */
static void room_look(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const bool was = g->no_room;
    const bool now = g->no_room = !state_has_room(&g->state, g->set.min_free, &g->free_bytes);
    pthread_mutex_unlock(&g->lock);
    if (now == was)
        return;
    if (now && !g->stopping)
        haul_client_interrupt(g->client, true); /* the poll that waits would still claim */
    wake(g->wake_fd);
}

/* Once when it begins and once when it ends; by the poll thread, between two polls, so that it is true. */
static void room_say(struct agent *g, bool *said)
{
    char free_text[32], least[32];
    pthread_mutex_lock(&g->lock);
    const bool now = g->no_room;
    snprintf(free_text, sizeof free_text, "%llu", (unsigned long long)g->free_bytes);
    pthread_mutex_unlock(&g->lock);
    if (now == *said)
        return;
    *said = now;
    snprintf(least, sizeof least, "%llu", (unsigned long long)g->set.min_free);
    log_event(now ? LOG_WARN : LOG_INFO,
              now ? "no room for another job: nothing is claimed until there is" : "there is room again: claiming",
              "state", g->state.path, "free_bytes", free_text, "min_free", least, NULL);
}

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
    log_event(LOG_WARN, "no successful poll for long", "server", g->set.server, "for", age, NULL);
}

/* One element of the lease answer: a folder, its lock, job.json, a supervisor. */
static int job_start(struct agent *g, const char *text, size_t n, usec sent_us, struct err *err)
{
    json_t *job = NULL;
    int rc = json_parse(text, n, &job, err);
    if (rc)
        return rc;
    const char *id = json_string_value(json_object_get(job, "job_id"));
    const char *type = json_string_value(json_object_get(job, "task_type"));
    const long long number = json_integer_value(json_object_get(job, "attempt"));
    const struct handler *h = type ? handlers_find(g->handlers, type) : NULL;
    struct uuid uuid;
    char dir[PATH_MAX], name[96], lock_path[PATH_MAX];
    AUTO_FD int lock_fd = -1;
    if (!id || !uuid_parse(id, &uuid) || number < 1 || !h)
        rc = err_set(err, ERR_CORRUPT, 0, "the server sent a job that was not asked for");
    if (!rc) {
        snprintf(name, sizeof name, "%s-%lld", id, number);
        rc = fs_join(dir, sizeof dir, g->state.attempts, name, err);
    }
    json_decref(job);
    if (rc || (rc = fs_join(lock_path, sizeof lock_path, dir, "lock", err)) || (rc = fs_mkdirs(dir, 0700, err)))
        return rc;
    rc = fs_lock(lock_path, &lock_fd, err);
    if (rc == ERR_LOCKED)
        return ERR_OK; /* the answer to a repeated poll: it runs already */
    if (rc || completion_exists(dir))
        return rc;
    const struct attempt_origin o = {g->set.server, g->level, sent_us, g->set.orphan_limit_us};
    rc = attempt_write(dir, text, n, h, &o, err);
    if (!rc)
        rc = supervisor_spawn(dir, lock_fd, false, err);
    if (!rc)
        g->busy++;
    return rc;
}

/* The end of the JSON value that begins at p; text is known to be valid. */
static const char *value_end(const char *p, const char *end)
{
    int depth = 0;
    bool quoted = false;
    for (; p < end; p++) {
        if (quoted) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"')
            quoted = true;
        else if (*p == '{' || *p == '[')
            depth++;
        else if ((*p == '}' || *p == ']') && --depth == 0)
            return p + 1;
    }
    return end;
}

/* Works on the raw text: a payload must reach the handler byte for byte. False when a job could not be started here. */
static bool jobs_start(struct agent *g, const char *answer, usec sent_us)
{
    json_t *doc = NULL;
    struct err err;
    const char *list;
    size_t list_n;
    err_clear(&err);
    if (!json_parse(answer, strlen(answer), &doc, &err) &&
        !json_raw_member(answer, strlen(answer), "jobs", &list, &list_n))
        err_set(&err, ERR_CORRUPT, 0, "there are no jobs in it");
    json_decref(doc);
    if (err.code != ERR_OK) {
        log_err("lease answer", &err);
        return false;
    }
    bool all = true;
    pthread_mutex_lock(&g->lock);
    for (const char *p = list, *end = list + list_n; !g->closed && (p = memchr(p, '{', (size_t)(end - p)));) {
        const char *after = value_end(p, end);
        err_clear(&err);
        /* What is not started is never confirmed, so the server gives it to another. */
        if (g->no_room)
            log_event(LOG_WARN, "a job came when there was no room any more: left to another worker", NULL);
        else if (job_start(g, p, (size_t)(after - p), sent_us, &err)) {
            log_err("start a job", &err);
            all = false;
        }
        p = after;
    }
    pthread_mutex_unlock(&g->lock);
    return all;
}

static char *poll_body(const struct agent *g, const char *poll_id, unsigned busy, unsigned want)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1U << 20);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_string(&w, "worker_id", g->state.worker_id);
    jw_string(&w, "poll_id", poll_id);
    jw_string(&w, "name", g->set.name);
    jw_string(&w, "host", g->host);
    jw_string(&w, "version", HAUL_VERSION);
    jw_string(&w, "isolation", sandbox_level_name(g->level));
    jw_object(&w, "handlers");
    for (size_t i = 0; i < g->handlers->n; i++)
        if (handler_runs_at(&g->handlers->items[i], g->level))
            jw_string(&w, g->handlers->items[i].task_type, g->handlers->items[i].version);
    jw_object_end(&w);
    if (g->set.queues.n) {
        jw_array(&w, "queues");
        for (size_t i = 0; i < g->set.queues.n; i++)
            jw_string(&w, NULL, g->set.queues.items[i]);
        jw_array_end(&w);
    }
    jw_int(&w, "slots", want);
    jw_int(&w, "slots_total", g->set.slots);
    jw_int(&w, "slots_busy", busy);
    jw_string(&w, "wait", want ? "30s" : "0s");
    jw_object_end(&w);
    return buf_take(&b);
}

static unsigned busy_now(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const unsigned busy = g->busy;
    pthread_mutex_unlock(&g->lock);
    return busy;
}

static bool stopping(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const bool s = g->stopping;
    pthread_mutex_unlock(&g->lock);
    return s;
}

/* Free slots that want a job: none when all are taken, or when the disk is too full. */
static unsigned slots_wanted(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const int64_t slots = g->no_room ? 0 : MAX(g->set.slots - (int64_t)g->busy, 0);
    pthread_mutex_unlock(&g->lock);
    return (unsigned)MIN(slots, 64);
}

/* HAUL_LOCAL: the server answered, but a job could not be started here. */
static int poll_once(struct agent *g, const char *poll_id, unsigned want, struct haul_error *he)
{
    AUTO_FREE char *body = poll_body(g, poll_id, busy_now(g), want);
    AUTO_FREE char *answer = NULL;
    const usec sent_us = boot_now();
    if (!body)
        return HAUL_LOCAL;
    const int rc = haul_call(g->client, "POST", "/v1/lease", body, NULL, want ? POLL_WAIT_MS : 0, &answer, he);
    if (rc != HAUL_OK)
        return rc;
    pthread_mutex_lock(&g->lock);
    g->answered_us = boot_now();
    pthread_mutex_unlock(&g->lock);
    return jobs_start(g, answer ? answer : "", sent_us) ? HAUL_OK : HAUL_LOCAL;
}

/* What came of a poll, for the log; and how often it failed by now. */
static unsigned poll_note(struct agent *g, int rc, unsigned failures, const struct haul_error *he)
{
    if (rc == HAUL_OK && failures)
        log_event(LOG_INFO, "server answers again", "server", g->set.server, NULL);
    if (rc == HAUL_REFUSED || (rc == HAUL_NETWORK && !failures))
        log_event(LOG_WARN, "poll failed, trying again", "server", g->set.server, "why", he->message, NULL);
    return rc == HAUL_OK ? 0 : failures + (rc != HAUL_ABORTED);
}

/* May the server have given jobs to this poll that we have not heard of? */
static bool outcome_unknown(int rc, const struct haul_error *he)
{
    return rc == HAUL_NETWORK || rc == HAUL_ABORTED || (rc == HAUL_REFUSED && he->repeatable);
}

/* With a free slot a long poll; without one a word every half minute that this worker lives and what it has. */
static void *poll_run(void *arg)
{
    struct agent *g = arg;
    struct haul_error he = {0};
    char poll_id[33];
    int rc = HAUL_OK;
    bool no_room_said = false;
    usec told_us = 0; /* when the server last heard that nothing is wanted */
    rng_hex128(rng_real(), poll_id);
    for (unsigned failures = 0; !stopping(g);) {
        uint64_t n;
        (void)!read(g->wake_fd, &n, sizeof n);
        haul_client_interrupt(g->client, false); /* before the looks at what it was about */
        const unsigned want = slots_wanted(g);
        room_say(g, &no_room_said);
        const usec rest_us = want || !told_us ? 0 : told_us + POLL_WAIT_MS * USEC_PER_MSEC - boot_now();
        if (stopping(g))
            break;
        if (rest_us > 0) {
            struct pollfd p = {.fd = g->wake_fd, .events = POLLIN};
            (void)poll(&p, 1, (int)(rest_us / USEC_PER_MSEC + 1));
            continue;
        }
        rc = poll_once(g, poll_id, want, &he);
        told_us = rc == HAUL_OK && !want ? boot_now() : 0;
        failures = poll_note(g, rc, failures, &he);
        if (!outcome_unknown(rc, &he)) /* else the same id, so that claims made for it are not lost */
            rng_hex128(rng_real(), poll_id);
        if (failures)
            backoff_wait(failures, 10 * USEC_PER_SEC, g->wake_fd);
    }
    haul_client_interrupt(g->client, false);
    haul_client_timeout(g->client, SETTLE_MS);
    if (outcome_unknown(rc, &he)) /* a claim that crossed our farewell still gets its supervisor */
        (void)poll_once(g, poll_id, 0, &he);
    pthread_mutex_lock(&g->lock);
    g->settled = true;
    pthread_mutex_unlock(&g->lock);
    return NULL;
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
    const bool stop = g->stopping, no_room = g->no_room;
    const unsigned busy = g->busy;
    const uint64_t free_bytes = g->free_bytes;
    pthread_mutex_unlock(&g->lock);
    const usec age_us = now - MAX(answered_us, began_us);
    jw_int(w, "pid", getpid());
    jw_string(w, "version", HAUL_VERSION);
    jw_string(w, "worker_id", g->state.worker_id);
    jw_string(w, "name", g->set.name);
    jw_string(w, "server", g->set.server);
    jw_string(w, "state",
              stop                  ? "draining"
              : age_us >= SILENT_US ? "silent"
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
    return g->client ? ERR_OK : err_set(err, ERR_INVALID, 0, "server '%.100s': %.120s", g->set.server, he.message);
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
