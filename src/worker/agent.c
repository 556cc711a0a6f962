/* The agent: says what this machine can run, asks for it, and starts a supervisor for each job it gets. Holds nothing that matters:
 * it can be stopped and started while jobs run. */
#include "worker/worker.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uuid.h"
#include "worker/attempt.h"
#include "worker/completion.h"
#include "worker/settings.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define POLL_WAIT_MS    30000
#define LOOK_EVERY_MS   1000 /* supervisors of an earlier agent end without a SIGCHLD to us */
#define REPORT_AGAIN_US (30 * USEC_PER_SEC)

struct agent {
    struct settings set;
    struct handlers *handlers;
    enum sandbox_level level;
    char worker_id[UUID_STR_MAX], host[256];
    char attempts[PATH_MAX];
    pthread_mutex_t lock;   /* over spawning and counting */
    int wake_fd, signal_fd; /* wake: a slot may be free, or stop */
    bool stopping;
    unsigned busy;
    usec reported_us; /* when left-over completions were last taken up */
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

/* Counts what runs, takes up what was left: a journalled ending is reported, the rest of a dead attempt removed. */
static void attempts_look(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    DIR *d = opendir(g->attempts);
    unsigned busy = 0;
    const bool report_now = boot_now() - g->reported_us >= REPORT_AGAIN_US || !g->reported_us;
    if (report_now)
        g->reported_us = boot_now();
    for (const struct dirent *e; d && (e = readdir(d));) {
        char dir[PATH_MAX], lock_path[PATH_MAX];
        AUTO_FD int lock_fd = -1;
        struct err err;
        if (e->d_name[0] == '.' || fs_join(dir, sizeof dir, g->attempts, e->d_name, &err) ||
            fs_join(lock_path, sizeof lock_path, dir, "lock", &err))
            continue;
        const int rc = fs_lock(lock_path, &lock_fd, &err);
        if (rc == ERR_LOCKED) {
            busy++;
            continue;
        }
        if (rc)
            continue; /* it has just removed itself */
        if (!completion_exists(dir)) {
            if (fs_remove_tree(dir, &err))
                log_err("remove a dead attempt", &err);
        } else {
            busy++;
            if (report_now && supervisor_spawn(dir, lock_fd, true, &err))
                log_err("report a finished attempt", &err);
        }
    }
    if (d)
        closedir(d);
    const bool freed = busy < g->busy;
    g->busy = busy;
    pthread_mutex_unlock(&g->lock);
    if (freed)
        wake(g->wake_fd);
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
        rc = fs_join(dir, sizeof dir, g->attempts, name, err);
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

/* Works on the raw text: a payload must reach the handler byte for byte. */
static int jobs_start(struct agent *g, const char *answer, usec sent_us, struct err *err)
{
    json_t *doc = NULL;
    int rc = json_parse(answer, strlen(answer), &doc, err);
    if (rc)
        return rc;
    json_decref(doc);
    const char *list;
    size_t list_n;
    if (!json_raw_member(answer, strlen(answer), "jobs", &list, &list_n))
        return err_set(err, ERR_CORRUPT, 0, "lease answer without jobs");
    pthread_mutex_lock(&g->lock);
    for (const char *p = list, *end = list + list_n; !g->stopping && (p = memchr(p, '{', (size_t)(end - p)));) {
        const char *after = value_end(p, end);
        struct err one;
        err_clear(&one);
        if (job_start(g, p, (size_t)(after - p), sent_us, &one))
            log_err("start a job", &one); /* never confirmed, so the server gives it to another */
        p = after;
    }
    pthread_mutex_unlock(&g->lock);
    return ERR_OK;
}

static char *poll_body(const struct agent *g, const char *poll_id, unsigned busy)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1U << 20);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_string(&w, "worker_id", g->worker_id);
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
    jw_int(&w, "slots", MIN(g->set.slots - busy, 64));
    jw_int(&w, "slots_total", g->set.slots);
    jw_int(&w, "slots_busy", busy);
    jw_string(&w, "wait", "30s");
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

static int poll_once(struct agent *g, struct haul_client *c, const char *poll_id, struct haul_error *he)
{
    AUTO_FREE char *body = poll_body(g, poll_id, busy_now(g));
    AUTO_FREE char *answer = NULL;
    const usec sent_us = boot_now();
    if (!body)
        return HAUL_LOCAL;
    const int rc = haul_call(c, "POST", "/v1/lease", body, NULL, POLL_WAIT_MS, &answer, he);
    struct err err;
    err_clear(&err);
    if (rc == HAUL_OK && jobs_start(g, answer ? answer : "", sent_us, &err))
        log_err("lease answer", &err);
    return rc;
}

static void *poll_run(void *arg)
{
    struct agent *g = arg;
    struct haul_error he = {0};
    struct haul_client *c = haul_client_new(g->set.server, "haul-worker/" HAUL_VERSION, &he);
    char poll_id[33];
    rng_hex128(rng_real(), poll_id);
    for (unsigned failures = 0; c && !stopping(g);) {
        uint64_t n;
        (void)!read(g->wake_fd, &n, sizeof n);
        if (busy_now(g) >= g->set.slots) {
            struct pollfd p = {.fd = g->wake_fd, .events = POLLIN};
            (void)poll(&p, 1, -1);
            continue;
        }
        const int rc = poll_once(g, c, poll_id, &he);
        if (rc == HAUL_OK) {
            if (failures)
                log_event(LOG_INFO, "server answers again", "server", g->set.server, NULL);
            failures = 0;
        } else if (!failures++ || rc != HAUL_NETWORK)
            log_event(LOG_WARN, "poll failed, trying again", "server", g->set.server, "why", he.message, NULL);
        /* Unknown outcome: the same id, so that claims made for it are not lost. */
        if (rc != HAUL_NETWORK && !(rc == HAUL_REFUSED && he.repeatable))
            rng_hex128(rng_real(), poll_id);
        if (rc != HAUL_OK)
            backoff_wait(failures, 10 * USEC_PER_SEC, -1);
    }
    haul_client_free(c);
    return NULL;
}

static void reap(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* as PID 1 also orphans that are none of ours */
    }
}

static void serve(struct agent *g)
{
    const bool drain = getpid() == 1; /* nothing outlives PID 1 of a container */
    for (bool stop = false;;) {
        struct pollfd p = {.fd = g->signal_fd, .events = POLLIN};
        (void)poll(&p, 1, LOOK_EVERY_MS);
        for (struct signalfd_siginfo si; read(g->signal_fd, &si, sizeof si) == (ssize_t)sizeof si;)
            stop = stop || si.ssi_signo != SIGCHLD;
        reap();
        if (stop) {
            pthread_mutex_lock(&g->lock); /* not between a claim and its supervisor */
            g->stopping = true;
            pthread_mutex_unlock(&g->lock);
            if (!drain)
                return;
        }
        attempts_look(g);
        if (stop && !busy_now(g))
            return;
    }
}

static int worker_id_load(struct agent *g, struct err *err)
{
    char path[PATH_MAX];
    struct buf b;
    buf_init(&b, 4096);
    int rc = fs_join(path, sizeof path, g->set.state, "worker-id", err);
    if (!rc && fs_exists(path)) {
        struct uuid u;
        rc = fs_read(path, &b, err);
        char *text = b.len ? b.data : NULL;
        if (text)
            text[strcspn(text, "\r\n")] = 0;
        if (!rc && (!text || !uuid_parse(text, &u)))
            rc = err_set(err, ERR_CORRUPT, 0, "'%s' holds no UUID: remove it to get a new identity", path);
        if (!rc)
            uuid_format(&u, g->worker_id);
    } else if (!rc) {
        const struct clock c = clock_real();
        const struct uuid u = uuid_v7(c.wall_us(c.self), rng_real());
        uuid_format(&u, g->worker_id);
        rc = fs_write_durable(path, g->worker_id, strlen(g->worker_id), 0600, err);
    }
    buf_release(&b);
    return rc;
}

static int state_open(struct agent *g, int *ret_lock, struct err *err)
{
    char path[PATH_MAX], real[PATH_MAX];
    int rc = fs_mkdirs(g->set.state, 0700, err);
    if (rc)
        return rc;
    if (!realpath(g->set.state, real) || !(free(g->set.state), g->set.state = strdup(real)))
        return err_set(err, ERR_IO, errno, "worker state folder");
    if ((rc = fs_join(path, sizeof path, real, "lock", err)))
        return rc;
    if ((rc = fs_lock(path, ret_lock, err)) == ERR_LOCKED)
        return err_set(err, ERR_LOCKED, 0, "another worker uses '%.150s': stop it, or give this one its own --state",
                       real);
    if (rc || (rc = fs_join(g->attempts, sizeof g->attempts, real, "attempts", err)) ||
        (rc = fs_mkdirs(g->attempts, 0700, err)))
        return rc;
    return worker_id_load(g, err);
}

static int level_find(struct agent *g, struct err *err)
{
    char why[512];
    g->level = sandbox_probe(why);
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

static int agent_run(struct agent *g, struct err *err)
{
    AUTO_FD int lock = -1;
    pthread_t poller;
    int rc = handlers_load(g->set.handlers, &g->handlers, err);
    if (rc || (rc = state_open(g, &lock, err)) || (rc = level_find(g, err)) || (rc = signals_take(g, err)))
        return rc;
    gethostname(g->host, sizeof g->host - 1);
    if (!g->set.name && !(g->set.name = strdup(*g->host ? g->host : "worker")))
        return err_set(err, ERR_NO_MEMORY, 0, "worker");
    attempts_look(g);
    printf("haul worker %s polling %s (isolation: %s, slots %lld)\n", g->set.name, g->set.server,
           sandbox_level_name(g->level), (long long)g->set.slots);
    fflush(stdout);
    if (pthread_create(&poller, NULL, poll_run, g))
        return err_set(err, ERR_NO_MEMORY, 0, "poll thread");
    serve(g);
    log_event(LOG_INFO, "worker stopped, its jobs go on", "worker", g->set.name, NULL);
    return ERR_OK;
}

int worker_main(int argc, char **argv)
{
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
