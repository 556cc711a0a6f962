/* One process for one attempt, from the confirmed claim to the answered completion. It outlives the agent that started it. */
#include "worker/worker.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "worker/checkpoint.h"
#include "worker/completion.h"
#include "worker/environment.h"
#include "worker/lease.h"
#include "worker/meter.h"
#include "worker/presence.h"
#include "worker/reports.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Between two samples of what the program uses: three a heartbeat. */
#define SAMPLE_LEAST_US (200 * USEC_PER_MSEC)
#define SAMPLE_MOST_US  (5 * USEC_PER_SEC)

enum stage { STAGE_FETCHING, STAGE_RUNNING, STAGE_VERIFYING, STAGE_CHECKPOINTING, STAGE_REPORTING };
enum stop { STOP_NONE, STOP_CANCEL, STOP_TIMEOUT, STOP_STALLED, STOP_INTERRUPT, STOP_LOST, STOP_ORPHAN };

struct run {
    const struct attempt *a;
    struct lease *lease;
    struct meter *meter;
    struct logs *log;
    struct reports *_Atomic reports;
    struct checkpoints *checkpoints;
    bool resumed; /* from a checkpoint */
    struct sandbox *box;
    int log_fd, report_fd, signal_fd;
    enum stop stop;
    usec kill_at_us; /* CLOCK_BOOTTIME; 0: nothing asked to end yet */
    bool killed;
    usec limit_us, quiet_limit_us; /* of the program that runs; 0: none */
    usec started_us, heard_us;     /* run_now() when it began, and when it last said something */
    bool line_begins;              /* the log is at the beginning of a line */
    int wait_status;
    struct phase_times phases;
    usec cpu_us;
    int64_t peak_bytes, bytes_in;
    usec wall_us;      /* when this process began */
    _Atomic int stage; /* this and `reports` are read by the presence's thread, too */
};

/* What this process says on its socket. */
static void self_tell(void *arg, struct json_writer *w)
{
    static const char *const names[] = {"fetching", "running", "verifying", "checkpointing", "reporting"};
    struct run *r = arg;
    struct reports *reports = r->reports;
    const int stage = r->stage;
    struct progress p;
    jw_string(w, "job_id", r->a->job_id);
    jw_int(w, "attempt", r->a->number);
    jw_string(w, "task_type", r->a->task_type);
    jw_int(w, "pid", getpid());
    jw_string(w, "state",
              (stage == STAGE_RUNNING || stage == STAGE_VERIFYING) && lease_frozen(r->lease) ? "frozen" : names[stage]);
    if (reports && reports_progress(reports, &p))
        jw_real(w, "percent", p.percent);
    else
        jw_null(w, "percent");
    jw_time(w, "started", r->wall_us);
    jw_string(w, "version", HAUL_VERSION);
}

static int program_begin(struct run *r, const struct string_list *command, struct err *err)
{
    int log_pipe[2], report_pipe[2];
    if (pipe2(log_pipe, O_CLOEXEC))
        return err_set(err, ERR_IO, errno, "pipe");
    r->log_fd = log_pipe[0];
    AUTO_FD int log_far = log_pipe[1];
    if (pipe2(report_pipe, O_CLOEXEC))
        return err_set(err, ERR_IO, errno, "pipe");
    r->report_fd = report_pipe[0];
    AUTO_FD int report_far = report_pipe[1];
    fcntl(r->log_fd, F_SETFL, O_NONBLOCK);
    fcntl(r->report_fd, F_SETFL, O_NONBLOCK);
    struct string_list env = {NULL, 0};
    int rc = environment_make(r->a, r->resumed, &env, err);
    const struct sandbox_spec spec = {.level = r->a->level,
                                      .argv = (const char *const *)command->items,
                                      .env = (const char *const *)env.items,
                                      .work_dir = r->a->scratch,
                                      .read_only = (const char *const *)r->a->read_only.items,
                                      .file_size_max = r->a->file_size_max,
                                      .log_fd = log_far,
                                      .report_fd = report_far};
    if (!rc)
        rc = sandbox_start(&spec, &r->box, err);
    string_list_free(&env);
    return rc;
}

/* Time in which a program could run: it stands still while the lease cannot be renewed. */
static usec run_now(const struct run *r)
{
    return boot_now() - lease_frozen_us(r->lease);
}

/* To the log; the lines of verify are marked. */
static void log_take(struct run *r, const char *p, size_t n)
{
    static const char mark[] = "verify: ";
    while (n) {
        const char *end = r->stage == STAGE_VERIFYING ? memchr(p, '\n', n) : NULL;
        const size_t part = end ? (size_t)(end - p) + 1 : n;
        if (r->stage == STAGE_VERIFYING && r->line_begins)
            logs_add(r->log, mark, sizeof mark - 1);
        logs_add(r->log, p, part);
        r->line_begins = p[part - 1] == '\n';
        p += part;
        n -= part;
    }
    r->heard_us = run_now(r);
    reports_log_grew(r->reports);
}

/* Takes what is there; false at the end of the pipe. */
static bool log_drain(struct run *r)
{
    static char chunk[65536];
    for (int i = 0; i < 16;
         i++) { /* a handler that writes faster than we read must not keep us from the rest of the loop */
        const ssize_t n = read(r->log_fd, chunk, sizeof chunk);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        log_take(r, chunk, (size_t)n);
    }
    return true;
}

static bool report_drain(struct run *r)
{
    char chunk[4096];
    for (int i = 0; i < 64; i++) {
        const ssize_t n = read(r->report_fd, chunk, sizeof chunk);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        reports_add(r->reports, chunk, (size_t)n);
        r->heard_us = run_now(r);
    }
    return true;
}

/* Verify looks at what is done: it has nothing to keep. */
static void checkpoint_look(struct run *r)
{
    double percent;
    if (reports_checkpoint(r->reports, &percent) && r->stage == STAGE_RUNNING)
        checkpoints_ask(r->checkpoints, percent);
}

static void tree_signal(struct run *r, int sig)
{
    struct err err;
    err_clear(&err);
    if (sandbox_signal(r->box, sig, &err))
        log_err("signal to the handler", &err);
}

/* First TERM, and KILL when the grace is over. The first reason stays. */
static void stop_ask(struct run *r, enum stop why)
{
    if (r->stop == STOP_NONE || why == STOP_LOST || why == STOP_ORPHAN)
        r->stop = why;
    if (r->kill_at_us)
        return;
    const bool at_once = why == STOP_LOST || why == STOP_ORPHAN;
    r->kill_at_us = boot_now() + (at_once ? 0 : r->a->grace_us);
    if (!at_once)
        tree_signal(r, SIGTERM);
}

static void lease_check(struct run *r)
{
    bool cancel;
    const enum lease_state s = lease_look(r->lease, &cancel);
    if (s == LEASE_LOST)
        stop_ask(r, STOP_LOST);
    else if (s == LEASE_ORPHANED)
        stop_ask(r, STOP_ORPHAN);
    else if (cancel)
        stop_ask(r, STOP_CANCEL);
}

/* When the program that runs has used up its time, or was silent for too long, by run_now(); and which of the two. */
static usec limit_at(const struct run *r, enum stop *ret_why)
{
    const usec end_us = r->limit_us ? r->started_us + r->limit_us : USEC_NEVER;
    const usec quiet_us = r->quiet_limit_us ? r->heard_us + r->quiet_limit_us : USEC_NEVER;
    *ret_why = end_us <= quiet_us ? STOP_TIMEOUT : STOP_STALLED;
    return MIN(end_us, quiet_us);
}

/* When the loop must look again even if nothing happens: milliseconds. */
static int next_deadline(struct run *r)
{
    enum stop why;
    const usec limit_us = limit_at(r, &why);
    usec wait_us = USEC_NEVER;
    if (r->kill_at_us && !r->killed)
        wait_us = r->kill_at_us - boot_now();
    else if (!r->kill_at_us && limit_us != USEC_NEVER)
        wait_us = limit_us - run_now(r);
    wait_us = MIN(wait_us, meter_next_us(r->meter) - boot_now());
    wait_us = MAX(wait_us, 0);
    return (int)MIN(wait_us / USEC_PER_MSEC + 1, 60000); /* CLOCK_BOOTTIME and poll's clock differ over a suspend */
}

static void deadlines_check(struct run *r)
{
    const usec now = boot_now();
    if (r->kill_at_us && !r->killed && now >= r->kill_at_us) {
        r->killed = true;
        tree_signal(r, SIGKILL);
    } else if (!r->kill_at_us) {
        enum stop why;
        if (run_now(r) >= limit_at(r, &why))
            stop_ask(r, why);
    }
}

static void program_wait(struct run *r)
{
    enum { BOX, LOG, REPORT, LEASE, SIGNAL, N };
    struct pollfd p[N] = {{sandbox_event_fd(r->box), POLLIN, 0},
                          {r->log_fd, POLLIN, 0},
                          {r->report_fd, POLLIN, 0},
                          {lease_event_fd(r->lease), POLLIN, 0},
                          {r->signal_fd, POLLIN, 0}};
    for (;;) {
        if (poll(p, N, next_deadline(r)) < 0)
            continue;
        if (p[LOG].revents && !log_drain(r))
            p[LOG].fd = -1;
        if (p[REPORT].revents && !report_drain(r))
            p[REPORT].fd = -1;
        checkpoint_look(r);
        if (p[LEASE].revents)
            lease_check(r);
        if (p[SIGNAL].revents) {
            struct signalfd_siginfo si;
            (void)!read(r->signal_fd, &si, sizeof si);
            stop_ask(r, STOP_INTERRUPT);
        }
        deadlines_check(r);
        meter_look(r->meter, r->box, lease_frozen(r->lease));
        if (p[BOX]
                .revents) { /* the whole tree is gone, and this would only spin until both pipes have come to their end */
            (void)sandbox_result(r->box, &r->wait_status, &r->cpu_us, &r->peak_bytes, NULL);
            p[BOX].fd = -1;
        }
        if (p[BOX].fd < 0 && p[LOG].fd < 0 && p[REPORT].fd < 0)
            return;
    }
}

static void fd_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The handler, or verify: in the same sandbox, on the same folder. */
static int program_run(struct run *r, const struct string_list *command, struct failure *f, struct err *err)
{
    const usec cpu_us = r->cpu_us;
    const int64_t peak_bytes = r->peak_bytes;
    int rc = lease_wait(r->lease, r->signal_fd, err);
    if (rc)
        return rc;
    rc = program_begin(r, command, err);
    if (rc)
        return failure_set(f, "error", false, "%s", err->msg), rc;
    lease_guard(r->lease, r->box);
    r->started_us = r->heard_us = run_now(r);
    meter_begin(r->meter);
    program_wait(r);
    reports_end(r->reports);
    checkpoint_look(r);
    lease_guard(r->lease, NULL);
    rc = sandbox_result(r->box, &r->wait_status, &r->cpu_us, &r->peak_bytes, err);
    sandbox_free(r->box);
    r->box = NULL;
    fd_end(&r->log_fd);
    fd_end(&r->report_fd);
    r->cpu_us += cpu_us;
    r->peak_bytes = MAX(r->peak_bytes, peak_bytes);
    return rc ? (failure_set(f, "error", false, "%s", err->msg), rc) : ERR_OK;
}

/* Which limit was hit. */
static void limit_judge(const struct run *r, const char *who, struct failure *f)
{
    char text[64];
    duration_format(r->stop == STOP_STALLED ? r->quiet_limit_us : r->limit_us, text);
    if (r->stop == STOP_STALLED)
        failure_set(f, "stalled", false, "no progress: neither a report nor a line of log for %s (no_progress_timeout)",
                    text);
    else
        failure_set(f, "timeout", false, "%stime limit of %s reached", who, text);
}

/* What ended it, in ISOLATION.md's order. @param who  "", or "verify: " */
static void outcome_judge(struct run *r, const char *who, struct ending *e, struct failure *f)
{
    const int status = r->wait_status;
    const char *said = reports_error(r->reports), *line = *said ? "\n" : "";
    e->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    e->signal = WIFEXITED(status) ? -1 : WTERMSIG(status);
    if (r->stop == STOP_CANCEL)
        failure_set(f, "cancelled", false, "cancelled on request");
    else if (r->stop == STOP_ORPHAN)
        failure_set(f, "interrupted", false, "no server answered for longer than orphan_limit: the handler was ended");
    else if (r->stop == STOP_TIMEOUT || r->stop == STOP_STALLED)
        limit_judge(r, who, f);
    else if (r->stop == STOP_INTERRUPT)
        failure_set(f, "interrupted", false, "the worker was told to stop");
    else if (e->signal == SIGXFSZ)
        failure_set(f, "signal", false,
                    "%skilled by signal %d (SIGXFSZ): it wrote a file larger than file_size_max (%llu bytes)", who,
                    e->signal, (unsigned long long)r->a->file_size_max);
    else if (e->signal >= 0)
        failure_set(f, "signal", false, "%s%s%skilled by signal %d (SIG%s)", said, line, who, e->signal,
                    sigabbrev_np(e->signal) ? sigabbrev_np(e->signal) : "?");
    else if (e->exit_code) {
        bool permanent = false;
        for (size_t i = 0; i < r->a->n_permanent; i++)
            permanent = permanent || r->a->permanent[i] == e->exit_code;
        failure_set(f, "error", permanent, "%s%s%sexit status %d", said, line, who, e->exit_code);
    }
}

/* Everything the handler begins with. */
static int scratch_fill(struct run *r, struct failure *f, struct err *err)
{
    struct restored restored = {0};
    phases_next(&r->phases, "download");
    int rc = inputs_fetch(r->a, r->lease, r->signal_fd, &r->bytes_in, f, err);
    if (!rc)
        rc = checkpoint_restore(r->a, r->log, r->lease, r->signal_fd, &restored, f, err);
    r->resumed = !rc && restored.files.n;
    if (!rc)
        rc = checkpoints_start(r->a, r->reports, r->log, &restored, &r->checkpoints, err);
    kept_files_free(&restored.files);
    return rc;
}

/* An attempt that did not do it all leaves what the next one goes on from. The lease is kept meanwhile. */
static void checkpoint_last(struct run *r, const struct failure *f)
{
    if (r->checkpoints && f->outcome && r->stop != STOP_CANCEL && r->stop != STOP_LOST) {
        struct pollfd p[2] = {{.fd = checkpoints_done_fd(r->checkpoints), .events = POLLIN},
                              {.fd = lease_event_fd(r->lease), .events = POLLIN}};
        bool cancel = false;
        r->stage = STAGE_CHECKPOINTING;
        phases_next(&r->phases, "checkpoint");
        checkpoints_finish(r->checkpoints, !strcmp(f->outcome, "interrupted"));
        while (!p[0].revents && lease_look(r->lease, &cancel) == LEASE_HELD && !cancel)
            (void)poll(p, 2, -1);
    }
    checkpoints_stop(r->checkpoints);
    r->checkpoints = NULL;
}

static int handler_run(struct run *r, struct ending *e, struct failure *f, struct err *err)
{
    r->stage = STAGE_RUNNING;
    phases_next(&r->phases, "run");
    r->limit_us = r->a->timeout_us;
    r->quiet_limit_us = r->a->no_progress_us;
    r->line_begins = true;
    const int rc = program_run(r, &r->a->command, f, err);
    if (!rc)
        outcome_judge(r, "", e, f);
    return rc;
}

/* Exit 0 is the handler's word; this is the user's own look at what it left. */
static int verify_run(struct run *r, struct ending *e, struct failure *f, struct err *err)
{
    if (f->outcome || !r->a->verify.n)
        return ERR_OK;
    if (!r->line_begins)
        log_take(r, "\n", 1);
    r->stage = STAGE_VERIFYING;
    phases_next(&r->phases, "verify");
    r->limit_us = r->a->verify_timeout_us;
    r->quiet_limit_us = 0;
    reports_error_forget(r->reports);
    const int rc = program_run(r, &r->a->verify, f, err);
    if (!rc)
        outcome_judge(r, "verify: ", e, f);
    return rc;
}

/* Journals, tells, and leaves nothing behind. */
static int attempt_end(struct run *r, struct failure *f, struct ending *e, struct err *err)
{
    int64_t sent = 0;
    struct progress last;
    r->stage = STAGE_REPORTING;
    phases_next(&r->phases, NULL);
    if (r->reports)
        reports_stop(r->reports, &sent);
    if (r->reports && reports_unsent(r->reports, &last))
        e->progress = &last;
    if (r->log)
        logs_seal(r->log);
    AUTO_FREE char *error_log = f->outcome ? error_log_make(f->message, r->log) : NULL;
    e->outcome = f->outcome ? f->outcome : "success";
    e->permanent = f->permanent;
    e->error_log = error_log;
    e->meter = r->meter;
    e->cpu_us = r->cpu_us;
    e->peak_bytes = r->peak_bytes;
    e->bytes_in = r->bytes_in;
    e->phases = r->phases;
    e->log_total = r->log ? logs_total(r->log) : 0;
    struct buf text;
    int rc = completion_text(r->a, e, &text, err);
    if (!rc && completion_journal(r->a, &text, !f->outcome, err))
        log_err("the ending is not on disk: telling it all the same", err); /* a crash before the answer loses it */
    if (!rc)
        rc = completion_deliver(r->a, &text, r->log, sent, err);
    buf_release(&text);
    e->error_log = NULL; /* both end here */
    e->progress = NULL;
    e->meter = NULL;
    return rc;
}

/* From inputs to a decided ending. ERR_STALE_TOKEN: nothing to report. */
static int attempt_run(struct run *r, struct err *err)
{
    struct failure f = {0};
    struct ending e = {.exit_code = -1, .signal = -1};
    struct reports *reports = NULL;
    int rc = logs_open(r->a->dir, 0, &r->log, err);
    if (!rc)
        rc = reports_start(r->a, r->log, &reports, err);
    r->reports = reports;
    if (rc)
        failure_set(&f, "error", false, "the worker: %s", err->msg);
    else if ((rc = scratch_fill(r, &f, err)) || (rc = handler_run(r, &e, &f, err)) ||
             (rc = verify_run(r, &e, &f, err))) {
        bool cancel;
        const enum lease_state s = lease_look(r->lease, &cancel);
        if (s == LEASE_LOST)
            r->stop = STOP_LOST;
        else if (rc == ERR_CANCELLED)
            failure_set(&f, cancel ? "cancelled" : "interrupted", false,
                        cancel                ? "cancelled on request"
                        : s == LEASE_ORPHANED ? "no server answered while inputs were fetched"
                                              : "the worker was told to stop while inputs were fetched");
        else if (!f.outcome)
            failure_set(&f, "error", false, "the worker: %s", err->msg);
    }
    checkpoint_last(r, &f);
    if (r->stop == STOP_LOST)
        return err_set(err, ERR_STALE_TOKEN, 0, "the lease is lost");
    if (!f.outcome && outputs_list(r->a->scratch, &e.outputs, &f, err) && !f.outcome)
        failure_set(&f, "error", false, "the worker: %s", err->msg);
    rc = attempt_end(r, &f, &e, err);
    if (!rc)
        log_event(LOG_INFO, "attempt ended", "job_id", r->a->job_id, "outcome", e.outcome, NULL);
    string_list_free(&e.outputs);
    return rc;
}

static int supervise(const struct attempt *a, bool report_only, int signal_fd, struct err *err)
{
    const struct clock clock = clock_real();
    struct run r = {.a = a,
                    .log_fd = -1,
                    .report_fd = -1,
                    .signal_fd = signal_fd,
                    .wall_us = clock.wall_us(clock.self),
                    .stage = report_only ? STAGE_REPORTING : STAGE_FETCHING};
    struct presence *presence = NULL;
    r.meter = meter_new(MAX(SAMPLE_LEAST_US, MIN(a->heartbeat_us / 3, SAMPLE_MOST_US)));
    if (!r.meter)
        return err_set(err, ERR_NO_MEMORY, 0, "meter");
    int rc = lease_start(a, r.meter, &r.lease, err); /* also while reporting: an upload may take longer than a lease */
    if (rc) {
        meter_free(r.meter);
        return rc;
    }
    if (presence_start(a->dir, self_tell, &r, &presence, err))
        log_err("nobody can ask this supervisor", err); /* worth a line, but not a job */
    if (report_only)
        rc = completion_deliver(a, NULL, NULL, 0, err);
    else if (lease_confirm(r.lease) == LEASE_HELD)
        rc = attempt_run(&r, err);
    else
        rc = err_set(err, ERR_STALE_TOKEN, 0, "the claim was not confirmed");
    presence_stop(presence);
    lease_free(r.lease);
    meter_free(r.meter);
    if (r.reports && rc == ERR_STALE_TOKEN) {
        int64_t sent;
        reports_stop(r.reports, &sent);
    }
    reports_free(r.reports);
    logs_free(r.log);
    fd_end(&r.log_fd);
    fd_end(&r.report_fd);
    return rc;
}

/* Removed under its lock; the lock's own file goes last, with the folder. */
static void folder_remove(const char *dir)
{
    struct err err;
    if (fs_remove_tree(dir, &err))
        log_err("remove the attempt's folder", &err);
}

static int signals_take(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_SETMASK, &set, NULL); /* threads inherit it */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int supervise_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", 1, NULL, 'd'}, {"lock-fd", 1, NULL, 'l'}, {"report", 0, NULL, 'r'}, {0}};
    const char *dir = NULL;
    int lock_fd = -1;
    bool report_only = false;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (c == 'd')
            dir = optarg;
        else if (c == 'l')
            lock_fd = (int)strtol(optarg, NULL, 10);
        else if (c == 'r')
            report_only = true;
        else
            return 2;
    log_setup("supervisor", LOG_INFO);
    if (!dir || dir[0] != '/' || lock_fd < 3) {
        fputs("haul supervise: started by 'haul worker' only\n", stderr);
        return 2;
    }
    if (lock_fd > 3) /* the agent's descriptors are none of ours */
        syscall(SYS_close_range, 3, (unsigned)lock_fd - 1, 0);
    syscall(SYS_close_range, (unsigned)lock_fd + 1, ~0U, 0);
    fcntl(lock_fd, F_SETFD, FD_CLOEXEC);
    AUTO_FD int signal_fd = signals_take();
    struct err err;
    err_clear(&err);
    struct attempt *a = NULL;
    int rc = attempt_read(dir, &a, &err);
    if (!rc)
        rc = supervise(a, report_only, signal_fd, &err);
    if (rc && rc != ERR_STALE_TOKEN)
        log_err("attempt given up", &err);
    else if (rc)
        log_event(LOG_WARN, "attempt is no longer ours", "job_id", a->job_id, "why", err.msg, NULL);
    if (!rc || rc == ERR_STALE_TOKEN || !completion_exists(dir))
        folder_remove(dir); /* a journalled ending that could not be told stays for the next try */
    attempt_free(a);
    return rc && rc != ERR_STALE_TOKEN ? err_exit((enum err_code)rc) : 0;
}
