/* What runs on this machine: a folder, a lock and a supervisor for each job, and what dead ones left. */
#include "worker/agent.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/uuid.h"
#include "worker/attempt.h"
#include "worker/completion.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#define REPORT_AGAIN_US (30 * USEC_PER_SEC)

void wake(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

unsigned busy_now(struct agent *g)
{
    pthread_mutex_lock(&g->lock);
    const unsigned busy = g->busy;
    pthread_mutex_unlock(&g->lock);
    return busy;
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

void attempts_look(struct agent *g, bool first)
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
void room_look(struct agent *g)
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

/* One element of the lease answer: a folder, its lock, job.json, a supervisor. */
int job_start(struct agent *g, const char *text, size_t n, usec sent_us, struct err *err)
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
    AUTO_FREE char *servers = haul_client_servers(g->client); /* the one that gave it first */
    if (!servers)
        return err_set(err, ERR_NO_MEMORY, 0, "servers");
    const struct attempt_origin o = {servers, g->level, sent_us, boot_now(), g->set.orphan_limit_us};
    rc = attempt_write(dir, text, n, h, &o, err);
    if (!rc)
        rc = supervisor_spawn(dir, lock_fd, false, err);
    if (!rc)
        g->busy++;
    return rc;
}
