#include "worker/checkpoint.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/eventfd.h>

#define GAP_US        USEC_PER_SEC /* a handler that says so at every frame costs the server one write a second */
#define AGAIN_MAX     7            /* looks at a folder that does not stand still: three seconds of them */
#define AGAIN_MS      25
#define REPEAT_CAP_US (10 * USEC_PER_SEC)
#define BODY_MAX      (1U << 20)

enum taken {
    TAKEN,       /* the server has it, or had it before */
    TAKEN_NOT,   /* it cannot be one: said in the log */
    TAKEN_LATER, /* no server took it */
    TAKEN_AGAIN, /* the handler wrote meanwhile */
    TAKEN_NEVER  /* the attempt is no longer ours, or this is to end */
};

struct checkpoints {
    const struct attempt *a;
    struct reports *reports;
    struct logs *log;
    struct haul_client *client;
    pthread_t thread;
    bool runs;
    int wake_fd, stop_fd, done_fd;
    pthread_mutex_t lock;
    bool asked, finish, anyway; /* these under the lock */
    double asked_percent;

    /* the thread's */
    struct kept_files stored, tried; /* what the server has; what was uploaded, or not yet, for the next one */
    double stored_percent, restored_percent;
    int64_t sequence; /* of the last list that was sent */
    bool owed, owed_asked, ending;
    double owed_percent; /* when asked */
    unsigned failures, again;
    usec next_us, gap_us,
        moved_us; /* CLOCK_BOOTTIME: the interval's end; no sooner than; when something went well last */
    char said[600], why[512];
};

static void raise_fd(int fd)
{
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static bool stopped(const struct checkpoints *c, int64_t wait_ms)
{
    struct pollfd p = {.fd = c->stop_fd, .events = POLLIN};
    return poll(&p, 1, (int)wait_ms) > 0;
}

static int watch(void *arg, int64_t done, int64_t total)
{
    return stopped(arg, 0);
}

/* Once in a row: a folder that is bad at every interval must not fill the log. */
static enum taken say(struct checkpoints *c, enum taken what, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static enum taken say(struct checkpoints *c, enum taken what, const char *fmt, ...)
{
    char text[sizeof c->said];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (strcmp(text, c->said)) {
        logs_say(c->log, text);
        reports_log_grew(c->reports);
    }
    snprintf(c->said, sizeof c->said, "%s", text);
    return what;
}

static enum taken refuse(struct checkpoints *c, const char *why)
{
    return say(c, TAKEN_NOT, "haul: no checkpoint was taken, the one before stays: %.400s", why);
}

static enum taken later(struct checkpoints *c, const struct haul_error *he)
{
    if (!c->failures)
        log_event(LOG_WARN, "checkpoint not stored yet", "job_id", c->a->job_id, "why", he->message, NULL);
    snprintf(c->why, sizeof c->why, "%s", he->message);
    return TAKEN_LATER;
}

static bool passing(int rc, const struct haul_error *he)
{
    return rc == HAUL_NETWORK || (rc == HAUL_REFUSED && (he->repeatable || he->status == 429));
}

/* Blobs of an earlier look at the very same files. */
static void refs_adopt(const struct kept_files *from, struct kept_files *to)
{
    for (size_t i = 0; i < to->n; i++) {
        struct kept_file *f = &to->items[i];
        const struct kept_file *known = kept_files_find(from, f->name);
        if (!f->ref[0] && known && kept_file_same(&known->st, &f->st))
            memcpy(f->ref, known->ref, sizeof f->ref);
    }
}

static void refs_forget(struct kept_files *k)
{
    for (size_t i = 0; i < k->n; i++)
        k->items[i].ref[0] = 0;
}

static enum taken file_send(struct checkpoints *c, struct kept_file *f)
{
    struct err err;
    struct stat st;
    struct haul_error he;
    AUTO_FD int fd = -1;
    err_clear(&err);
    if (scratch_file_open(c->a->scratch, "checkpoint", f->name, &fd, &st, &err))
        return err.sys == ENOENT ? TAKEN_AGAIN : refuse(c, err.msg);
    if (!kept_file_same(&st, &f->st))
        return TAKEN_AGAIN;
    const int rc = haul_upload(c->client, NULL, NULL, fd, st.st_size, watch, c, f->ref, NULL, &he);
    if (rc == HAUL_OK)
        return c->moved_us = boot_now(), TAKEN;
    f->ref[0] = 0;
    if (stopped(c, 0))
        return TAKEN_NEVER;
    if (passing(rc, &he))
        return later(c, &he);
    if (fstat(fd, &st) || !kept_file_same(&st, &f->st)) /* it shrank, or what came is not what was read last */
        return TAKEN_AGAIN;
    char why[700];
    snprintf(why, sizeof why, "checkpoint/%.100s cannot be stored: %s", f->name, he.message);
    return refuse(c, why);
}

static void body_write(struct buf *b, const struct kept_files *k, double percent, int64_t sequence)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_object(&w, NULL);
    if (percent >= 0)
        jw_real(&w, "percent", percent);
    jw_int(&w, "sequence", sequence);
    jw_array(&w, "files");
    for (size_t i = 0; i < k->n; i++) {
        jw_object(&w, NULL);
        jw_string(&w, "name", k->items[i].name);
        jw_string(&w, "ref", k->items[i].ref);
        jw_bool(&w, "executable", k->items[i].st.st_mode & S_IXUSR);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
}

static enum taken list_send(struct checkpoints *c, const struct kept_files *k, double percent)
{
    char path[256];
    struct haul_error he;
    struct buf b;
    buf_init(&b, BODY_MAX);
    body_write(&b, k, percent, ++c->sequence);
    const bool fits = !b.failed;
    attempt_path(c->a, "checkpoint", path, sizeof path);
    const int rc = fits ? haul_call(c->client, "PUT", path, buf_str(&b), c->a->token, 0, NULL, &he) : HAUL_OK;
    buf_release(&b);
    if (!fits)
        return refuse(c, "its list of files is larger than 1 MiB");
    if (rc == HAUL_OK)
        return TAKEN;
    if (stopped(c, 0) || he.status == 409 || he.status == 410)
        return TAKEN_NEVER;
    if (passing(rc, &he))
        return later(c, &he);
    if (!strncmp(he.field, "files[", 6)) { /* a blob that nothing named for too long is gone: they are sent again */
        refs_forget(&c->stored);
        refs_forget(&c->tried);
        snprintf(c->why, sizeof c->why, "%s", he.message);
        return TAKEN_AGAIN;
    }
    return refuse(c, he.message);
}

/* What is new goes up as blobs. */
static enum taken files_send(struct checkpoints *c, struct kept_files *k)
{
    enum taken t = TAKEN;
    for (size_t i = 0; i < k->n && t == TAKEN; i++)
        if (!k->items[i].ref[0])
            t = file_send(c, &k->items[i]);
    return t;
}

/* Did all of it stand still while it was read? Then the folder was so at one moment. */
static enum taken stood_still(struct checkpoints *c)
{
    struct kept_files after = {0};
    struct err err;
    err_clear(&err);
    if (kept_files_read(c->a->scratch, INT64_MAX, &after, &err))
        return refuse(c, err.msg);
    const bool still = kept_files_stand(&c->tried, &after);
    kept_files_free(&after);
    return still ? TAKEN : TAKEN_AGAIN;
}

/* The files that are there now become `tried`. false: `ret` says why not, or that there is nothing new */
static bool folder_read(struct checkpoints *c, bool asked, double percent, enum taken *ret)
{
    struct kept_files now = {0};
    struct err err;
    err_clear(&err);
    *ret = TAKEN;
    if (!c->a->checkpoint_max) {
        if (asked)
            *ret = refuse(c, "checkpoint_max is 0");
        return false;
    }
    if (kept_files_read(c->a->scratch, c->a->checkpoint_max, &now, &err)) {
        *ret = refuse(c, err.msg);
        return false;
    }
    const bool nothing =
        asked ? kept_files_equal(&now, &c->stored) && percent == c->stored_percent
              : !now.n || kept_files_equal(&now, &c->stored); /* who empties it may be about to fill it */
    if (nothing || !kept_files_settled(&now)) {
        kept_files_free(&now);
        *ret = nothing ? TAKEN : TAKEN_AGAIN;
        return false;
    }
    refs_adopt(&c->tried, &now);
    refs_adopt(&c->stored, &now);
    kept_files_free(&c->tried);
    c->tried = now;
    return true;
}

/* How far the work was when the folder was as it is, or before. */
static double percent_now(struct checkpoints *c)
{
    struct progress p;
    const double percent = c->owed_asked ? c->owed_percent : reports_progress(c->reports, &p) ? p.percent : -1;
    return percent >= 0 ? percent : c->restored_percent;
}

static enum taken take(struct checkpoints *c)
{
    const double percent = percent_now(c);
    enum taken t;
    if (!folder_read(c, c->owed_asked, percent, &t) || (t = files_send(c, &c->tried)) != TAKEN ||
        (t = stood_still(c)) != TAKEN || (t = list_send(c, &c->tried, percent)) != TAKEN)
        return t;
    kept_files_free(&c->stored);
    c->stored = c->tried;
    c->tried = (struct kept_files){0};
    c->stored_percent = percent;
    c->said[0] = 0;
    return TAKEN;
}

static void give_up(struct checkpoints *c)
{
    (void)say(c, TAKEN_NOT, "haul: a checkpoint was given up, the one before stays: %.400s",
              *c->why ? c->why : "there was no time for it");
}

/* @return whether to go on */
static bool judge(struct checkpoints *c, enum taken t)
{
    const usec now = boot_now();
    bool over = t == TAKEN || t == TAKEN_NOT;
    c->failures = t == TAKEN_LATER ? c->failures + 1 : 0;
    c->again = t == TAKEN_AGAIN ? c->again + 1 : 0;
    if (c->failures && c->ending && now - c->moved_us > c->a->orphan_us) {
        give_up(c);
        over = true;
    } else if (c->again > AGAIN_MAX) {
        (void)refuse(c, "its files changed while they were read: put them there by rename");
        over = true;
    }
    if (over) {
        c->owed = c->owed_asked = false;
        c->failures = c->again = 0;
        c->gap_us = now + (t == TAKEN ? GAP_US : GAP_US / 10);
        c->next_us = now + c->a->checkpoint_us;
    }
    return t != TAKEN_NEVER;
}

static void wishes_look(struct checkpoints *c)
{
    uint64_t n;
    (void)!read(c->wake_fd, &n, sizeof n);
    pthread_mutex_lock(&c->lock);
    if (c->asked) {
        c->owed = c->owed_asked = true;
        c->owed_percent = c->asked_percent;
    }
    c->asked = false;
    if (c->finish && !c->ending) {
        c->ending = true;
        c->moved_us = boot_now();
        c->owed = c->owed || c->anyway;
    }
    pthread_mutex_unlock(&c->lock);
    if (c->a->checkpoint_us && boot_now() >= c->next_us)
        c->owed = true;
}

static void rest(struct checkpoints *c)
{
    struct pollfd p[2] = {{.fd = c->stop_fd, .events = POLLIN}, {.fd = c->wake_fd, .events = POLLIN}};
    const usec now = boot_now(), until_us = c->owed ? c->gap_us : c->next_us;
    if (c->failures)
        backoff_wait(c->failures - 1, REPEAT_CAP_US, c->stop_fd);
    else if (c->again)
        (void)stopped(c, AGAIN_MS << (c->again - 1));
    else if (!c->ending)
        (void)poll(p, 2,
                   c->owed || c->a->checkpoint_us ? (int)MIN(MAX(until_us - now, 0) / USEC_PER_MSEC + 1, 60000) : -1);
}

static void *carry(void *arg)
{
    struct checkpoints *c = arg;
    bool on = true;
    while (on) {
        rest(c);
        if (stopped(c, 0))
            break;
        wishes_look(c);
        if (c->owed && (c->ending || c->failures || c->again || boot_now() >= c->gap_us))
            on = judge(c, take(c));
        on = on && !(c->ending && !c->owed);
    }
    pthread_mutex_lock(&c->lock);
    const bool lacks = c->finish && (c->owed || c->asked || (c->anyway && !c->ending));
    pthread_mutex_unlock(&c->lock);
    if (lacks)
        give_up(c);
    raise_fd(c->done_fd);
    return NULL;
}

int checkpoints_start(const struct attempt *a, struct reports *reports, struct logs *log, struct restored *restored,
                      struct checkpoints **ret, struct err *err)
{
    struct checkpoints *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_NO_MEMORY, 0, "checkpoints");
    c->a = a;
    c->reports = reports;
    c->log = log;
    c->stored = restored->files;
    restored->files = (struct kept_files){0};
    c->stored_percent = c->restored_percent = restored->percent;
    c->next_us = boot_now() + a->checkpoint_us;
    pthread_mutex_init(&c->lock, NULL);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = ERR_OK;
    if (c->wake_fd < 0 || c->stop_fd < 0 || c->done_fd < 0)
        rc = err_set(err, ERR_IO, errno, "descriptors for checkpoints");
    else if (!(c->client = attempt_client(a, err)))
        rc = (int)err->code;
    else if (!(c->runs = !pthread_create(&c->thread, NULL, carry, c)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "thread for checkpoints");
    if (rc) {
        checkpoints_stop(c);
        return rc;
    }
    *ret = c;
    return ERR_OK;
}

void checkpoints_ask(struct checkpoints *c, double percent)
{
    pthread_mutex_lock(&c->lock);
    c->asked = true;
    c->asked_percent = percent;
    pthread_mutex_unlock(&c->lock);
    raise_fd(c->wake_fd);
}

void checkpoints_finish(struct checkpoints *c, bool anyway)
{
    pthread_mutex_lock(&c->lock);
    c->finish = true;
    c->anyway = anyway;
    pthread_mutex_unlock(&c->lock);
    raise_fd(c->wake_fd);
}

int checkpoints_done_fd(const struct checkpoints *c)
{
    return c->done_fd;
}

static void fd_end(int fd)
{
    if (fd >= 0)
        close(fd);
}

void checkpoints_stop(struct checkpoints *c)
{
    if (!c)
        return;
    if (c->runs) {
        raise_fd(c->stop_fd);
        haul_client_interrupt(c->client, true);
        pthread_join(c->thread, NULL);
    }
    haul_client_free(c->client);
    kept_files_free(&c->stored);
    kept_files_free(&c->tried);
    fd_end(c->wake_fd);
    fd_end(c->stop_fd);
    fd_end(c->done_fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
