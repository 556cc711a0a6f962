#include "worker/reports.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/log_send.h"
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#define SEND_EVERY_MS 200 /* a follower sees lines this late at most; a chatty handler costs five requests a second */

struct reports {
    const struct attempt *a;
    pthread_t thread;
    pthread_mutex_t lock;
    int wake_fd, stop_fd;
    char line[REPORT_LINE_MAX];
    size_t line_n;
    char error[REPORT_LINE_MAX];
    bool progress_any, progress_new, log_new, checkpoint;
    struct progress progress;
    double checkpoint_percent;
    struct log_sender log; /* the thread's */
    bool log_later;
};

enum report_kind report_parse(const char *line, double *ret_percent, const char **ret_message)
{
    if (!strncmp(line, "error ", 6)) {
        *ret_message = line + 6;
        return REPORT_ERROR;
    }
    if (!strcmp(line, "checkpoint") || !strncmp(line, "checkpoint ", 11)) /* what follows is for later versions */
        return REPORT_CHECKPOINT;
    if (strncmp(line, "progress ", 9))
        return REPORT_NONE;
    char *end;
    const double v = strtod(line + 9, &end);
    if (end == line + 9 || (*end && *end != ' ') || !isfinite(v) || v < 0 || v > 100)
        return REPORT_NONE;
    *ret_percent = v;
    *ret_message = *end == ' ' ? end + 1 : "";
    return REPORT_PROGRESS;
}

static void wake(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static void text_copy(char *to, size_t size, const char *from)
{
    const size_t n = utf8_cut(from, MIN(strlen(from), size - 1));
    memcpy(to, from, n);
    to[n] = 0;
    utf8_mend(to, n);
    for (char *p = to; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f) /* the server refuses them in a message */
            *p = ' ';
}

static void line_take(struct reports *r)
{
    r->line[r->line_n] = 0;
    if (r->line_n && r->line[r->line_n - 1] == '\r')
        r->line[r->line_n - 1] = 0;
    r->line_n = 0;
    double percent;
    const char *message;
    const enum report_kind kind = report_parse(r->line, &percent, &message);
    pthread_mutex_lock(&r->lock);
    if (kind == REPORT_ERROR)
        text_copy(r->error, sizeof r->error, message);
    if (kind == REPORT_CHECKPOINT) {
        r->checkpoint = true;
        r->checkpoint_percent = r->progress_any ? r->progress.percent : -1;
    }
    if (kind == REPORT_PROGRESS) {
        r->progress.percent = percent;
        text_copy(r->progress.message, sizeof r->progress.message, message);
        r->progress_any = r->progress_new = true;
    }
    pthread_mutex_unlock(&r->lock);
    if (kind == REPORT_PROGRESS)
        wake(r->wake_fd);
    if (kind == REPORT_NONE && r->line[0])
        log_event(LOG_DEBUG, "report line not understood", "line", r->line, NULL);
}

void reports_add(struct reports *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\n')
            line_take(r);
        else if (p[i] && r->line_n < sizeof r->line - 1) /* the rest of an over-long line is dropped */
            r->line[r->line_n++] = p[i];
}

void reports_log_grew(struct reports *r)
{
    pthread_mutex_lock(&r->lock);
    const bool news = !r->log_new;
    r->log_new = true;
    pthread_mutex_unlock(&r->lock);
    if (news)
        wake(r->wake_fd);
}

void reports_end(struct reports *r)
{
    if (r->line_n)
        line_take(r);
}

bool reports_checkpoint(struct reports *r, double *ret_percent)
{
    pthread_mutex_lock(&r->lock);
    const bool said = r->checkpoint;
    *ret_percent = r->checkpoint_percent;
    r->checkpoint = false;
    pthread_mutex_unlock(&r->lock);
    return said;
}

const char *reports_error(const struct reports *r)
{
    return r->error;
}

void reports_error_forget(struct reports *r)
{
    pthread_mutex_lock(&r->lock);
    r->error[0] = 0;
    pthread_mutex_unlock(&r->lock);
}

int progress_post(const struct attempt *a, struct haul_client *c, const struct progress *p, struct haul_error *he)
{
    char path[256];
    struct buf b;
    struct json_writer w;
    buf_init(&b, 8192);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_real(&w, "percent", p->percent);
    if (*p->message)
        jw_string(&w, "message", p->message);
    jw_object_end(&w);
    attempt_path(a, "progress", path, sizeof path);
    const int rc = haul_call(c, "POST", path, buf_str(&b), a->token, 0, NULL, he);
    buf_release(&b);
    return rc;
}

/* What the server did not take stays new: the next round sends it, or the ending does. */
static int progress_send(struct reports *r, struct haul_client *c)
{
    struct haul_error he;
    pthread_mutex_lock(&r->lock);
    const bool any = r->progress_new;
    const struct progress p = r->progress;
    r->progress_new = false;
    pthread_mutex_unlock(&r->lock);
    const int rc = any ? progress_post(r->a, c, &p, &he) : HAUL_OK;
    if (rc == HAUL_NETWORK || (rc == HAUL_REFUSED && he.repeatable)) {
        pthread_mutex_lock(&r->lock);
        r->progress_new = true;
        pthread_mutex_unlock(&r->lock);
    }
    return rc;
}

/* What there is now of the log, as far as the budget goes. */
static int log_send(struct reports *r, struct haul_client *c)
{
    enum log_push pushed = LOG_PUSH_SENT;
    int rc = HAUL_OK;
    pthread_mutex_lock(&r->lock);
    r->log_new = false;
    pthread_mutex_unlock(&r->lock);
    while (rc == HAUL_OK && pushed == LOG_PUSH_SENT) {
        struct haul_error he;
        struct pollfd p = {.fd = r->stop_fd, .events = POLLIN};
        rc = log_push(r->a, c, &r->log, true, &pushed, &he);
        if (rc == HAUL_REFUSED && he.repeatable)
            rc = HAUL_NETWORK;
        if (poll(&p, 1, 0) > 0)
            break;
    }
    r->log_later = pushed == LOG_PUSH_LATER;
    return rc;
}

static void *send_run(void *arg)
{
    struct reports *r = arg;
    struct err err;
    struct haul_client *c = attempt_client(r->a, &err);
    if (!c) {
        log_err("reports", &err);
        return NULL;
    }
    haul_client_timeout(c, 10000);
    for (unsigned failures = 0;;) {
        struct pollfd p[2] = {{.fd = r->stop_fd, .events = POLLIN}, {.fd = r->wake_fd, .events = POLLIN}};
        (void)poll(p, 2, failures || r->log_later ? 0 : -1);
        if (p[0].revents)
            break;
        uint64_t n;
        (void)!read(r->wake_fd, &n, sizeof n);
        const int rc_progress = progress_send(r, c);
        const int rc_log = log_send(r, c);
        /* A refusal is not ours to act on: the heartbeat will find out why. Try again with what is new. */
        failures = rc_progress == HAUL_NETWORK || rc_log == HAUL_NETWORK ? failures + 1 : 0;
        if (failures)
            backoff_wait(failures, 10 * USEC_PER_SEC, r->stop_fd);
        else
            (void)poll(p, 1, SEND_EVERY_MS); /* until then lines gather */
    }
    haul_client_free(c);
    return NULL;
}

int reports_start(const struct attempt *a, struct logs *log, struct reports **ret, struct err *err)
{
    struct reports *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "reports");
    r->a = a;
    r->log.log = log;
    pthread_mutex_init(&r->lock, NULL);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0 || r->stop_fd < 0 || pthread_create(&r->thread, NULL, send_run, r)) {
        reports_free(r);
        return err_set(err, ERR_IO, errno, "thread for reports");
    }
    *ret = r;
    return ERR_OK;
}

void reports_stop(struct reports *r, int64_t *ret_log_sent)
{
    wake(r->stop_fd);
    pthread_join(r->thread, NULL);
    *ret_log_sent = r->log.sent;
}

bool reports_progress(struct reports *r, struct progress *ret)
{
    pthread_mutex_lock(&r->lock);
    *ret = r->progress;
    const bool any = r->progress_any;
    pthread_mutex_unlock(&r->lock);
    return any;
}

bool reports_unsent(const struct reports *r, struct progress *ret)
{
    *ret = r->progress;
    return r->progress_new;
}

void reports_free(struct reports *r)
{
    if (!r)
        return;
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    if (r->stop_fd >= 0)
        close(r->stop_fd);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
