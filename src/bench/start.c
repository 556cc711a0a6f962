#include "bench/start.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/uuid.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>

#define ANSWER_MS 30000
#define IDLE_MS   5 /* before each sample: nothing is on its way, and a poll that was sent is held */

#define TYPE_CONFINED "bench_confined_v1"
#define TYPE_PLAIN    "bench_plain_v1"

/* A connection, where it goes, and the names of what is asked over it. */
struct line {
    struct wire wire;
    const struct address *to;
    const struct names *names;
};

/* One sample after the other, over two connections: one submits, the other is a worker's. Of two servers each has one. */
struct system {
    struct start *s;
    struct line submit, lease;
    struct form form;
    struct buf b;
    uint64_t number, polls;
    char worker_id[37];
};

static void idle(int ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&ts, NULL);
}

static int stopped(const struct start *s, struct err *err)
{
    return s->stop && s->stop() ? err_set(err, ERR_CANCELLED, 0, "interrupted") : ERR_OK;
}

static struct latency *step(struct start *s, const char *name)
{
    s->steps[s->n_steps].name = name;
    return &s->steps[s->n_steps++].latency;
}

static void line_init(struct line *l, const struct start *s, unsigned server)
{
    wire_init(&l->wire);
    l->to = &s->ground->servers[server];
    l->names = &s->names[server];
}

static int line_send(struct line *to, const struct buf *request, struct err *err)
{
    int rc = to->wire.fd >= 0 ? ERR_OK : wire_open(&to->wire, to->to, err);
    return rc ? rc : wire_send(&to->wire, request->data, request->len, err);
}

static int call(struct line *to, const char *p, size_t n, int wanted, struct answer *a, struct err *err)
{
    int rc = wire_exchange(&to->wire, to->to, p, n, ANSWER_MS, a, err);
    if (!rc && a->status != wanted && a->status != 201)
        rc = answer_refusal(a, err);
    return rc;
}

/* ---- one submission answered, and beside each one the disk's own sync ---- */

static int submissions(struct system *y, struct err *err)
{
    struct latency *l = step(y->s, "submit"), *sync = step(y->s, "sync");
    struct answer a;
    int rc = ERR_OK;
    for (unsigned i = 0; i <= y->s->samples && !rc; i++) {
        int64_t took = 0;
        idle(IDLE_MS);
        rc = bare_sync(&y->s->ground->bare, &took, err);
        idle(IDLE_MS);
        form_fill(&y->form, y->number++, 0);
        int64_t begin = mono_ns();
        if (!rc)
            rc = call(&y->submit, y->form.text.data, y->form.text.len, 200, &a, err);
        if (!rc && i > 0) { /* the first one opens the connection */
            latency_add(l, mono_ns() - begin);
            latency_add(sync, took);
        }
        if (!rc)
            rc = stopped(y->s, err);
    }
    return rc;
}

/* ---- submit to lease held ---- */

static int lease_ask(struct system *y, struct err *err)
{
    lease_write(&y->b, y->lease.names, y->worker_id, ++y->polls, 1, "30s");
    return line_send(&y->lease, &y->b, err);
}

static int lease_await(struct system *y, struct claim *c, struct err *err)
{
    struct answer a;
    size_t pos = 0;
    int rc = wire_await(&y->lease.wire, ANSWER_MS + 5000, &a, err);
    if (rc)
        return rc;
    if (a.status != 200)
        return answer_refusal(&a, err);
    if (claim_next(a.body, a.n, y->lease.names, &pos, c) != 1)
        return err_set(err, ERR_CORRUPT, 0, "the server's answer to a lease has no job");
    return ERR_OK;
}

static int complete(struct system *y, const struct claim *c, struct err *err)
{
    struct answer a;
    complete_write(&y->b, y->lease.names, c);
    return call(&y->lease, y->b.data, y->b.len, 200, &a, err);
}

/* What was submitted before is in the queue still: taken and completed first. */
static int queue_empty(struct system *y, struct err *err)
{
    struct claim c;
    int rc = ERR_OK;
    for (unsigned i = 0; i <= y->s->samples && !rc; i++) {
        rc = lease_ask(y, err);
        if (!rc)
            rc = lease_await(y, &c, err);
        if (!rc)
            rc = complete(y, &c, err);
    }
    return rc;
}

static int lease_once(struct system *y, struct latency *l, struct err *err)
{
    struct claim c;
    struct answer a;
    int rc = lease_ask(y, err);
    idle(IDLE_MS);
    int64_t begin = mono_ns();
    form_fill(&y->form, y->number++, (uint64_t)begin);
    if (!rc)
        rc = line_send(&y->submit, &y->form.text, err);
    if (!rc)
        rc = lease_await(y, &c, err);
    int64_t took = mono_ns() - begin;
    if (!rc)
        rc = wire_await(&y->submit.wire, ANSWER_MS, &a, err);
    if (!rc && a.status != 201)
        rc = answer_refusal(&a, err);
    if (!rc)
        rc = complete(y, &c, err);
    if (!rc)
        latency_add(l, took);
    return rc;
}

static int leases(struct system *y, struct err *err)
{
    int rc = queue_empty(y, err);
    struct latency *l = step(y->s, "lease");
    for (unsigned i = 0; i < y->s->samples && !rc; i++) {
        rc = lease_once(y, l, err);
        if (!rc)
            rc = stopped(y->s, err);
    }
    return rc;
}

/* ---- submit to the handler's first instruction: a real worker, and a handler that writes into a pipe it can see ---- */

struct handler {
    struct child worker;
    char dir[PATH_MAX];
    int pipe; /* a FIFO beside the handler's program */
    bool confined, plain;
};

static int handler_files(struct handler *h, const char *top, struct err *err)
{
    static const char program[] = "#!/bin/sh\necho >\"${0%/*}/begun\"\n";
    static const char entries[] = "handlers:\n"
                                  "  " TYPE_CONFINED ": {command: [./begin]}\n"
                                  "  " TYPE_PLAIN ": {command: [./begin], isolation: none}\n";
    char path[PATH_MAX];
    int rc = fs_join(h->dir, sizeof(h->dir), top, "handler", err);
    if (!rc)
        rc = fs_mkdirs(h->dir, 0755, err);
    if (!rc)
        rc = fs_join(path, sizeof(path), h->dir, "begin", err);
    if (!rc)
        rc = fs_write_durable(path, program, sizeof(program) - 1, 0755, err);
    if (!rc)
        rc = fs_join(path, sizeof(path), h->dir, "handlers.yaml", err);
    if (!rc)
        rc = fs_write_durable(path, entries, sizeof(entries) - 1, 0644, err);
    if (!rc)
        rc = fs_join(path, sizeof(path), h->dir, "begun", err);
    if (!rc && mkfifo(path, 0666) != 0)
        rc = err_set(err, ERR_IO, errno, "make '%s'", path);
    if (rc)
        return rc;
    h->pipe = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC); /* for writing too: no end of file between two handlers */
    return h->pipe < 0 ? err_set(err, ERR_IO, errno, "open '%s'", path) : ERR_OK;
}

static int worker_start(struct system *y, struct handler *h, struct err *err)
{
    char yaml[PATH_MAX], state[PATH_MAX], log[PATH_MAX], config[PATH_MAX], url[400];
    const char *top = y->s->ground->dir;
    int rc = fs_join(yaml, sizeof(yaml), h->dir, "handlers.yaml", err);
    if (!rc)
        rc = fs_join(state, sizeof(state), top, "state", err);
    if (!rc)
        rc = fs_join(log, sizeof(log), top, "worker.log", err);
    if (!rc)
        rc = fs_join(config, sizeof(config), top, "worker.yaml", err);
    if (!rc)
        rc = fs_write_durable(config, "worker: {}\n", 11, 0600, err);
    if (rc)
        return rc;
    snprintf(url, sizeof(url), "http://%s", y->lease.to->host);
    const char *const argv[] = {"haul",       "worker",
                                "--server",   url,
                                "--handlers", yaml,
                                "--state",    state,
                                "--name",     y->lease.names->queue,
                                "--slots",    "1",
                                "--queue",    y->lease.names->queue,
                                "--min-free", "0",
                                "--config",   config,
                                NULL};
    return child_start(&h->worker, argv, log, err);
}

/* The server knows a worker from its first poll on, and with it what it can run here. */
static int worker_known(struct system *y, struct handler *h, bool *ret, struct err *err)
{
    struct answer a;
    json_t *doc = NULL, *w;
    size_t i;
    request_get(&y->b, y->lease.names->host, "/v1/workers");
    int rc = call(&y->lease, y->b.data, y->b.len, 200, &a, err);
    if (!rc)
        rc = json_parse(a.body, a.n, &doc, err);
    json_array_foreach (json_object_get(doc, "workers"), i, w) {
        const char *name = json_string_value(json_object_get(w, "name"));
        const json_t *offered = json_object_get(w, "handlers");
        if (!name || strcmp(name, y->lease.names->queue) != 0)
            continue;
        *ret = true;
        h->confined = json_object_get(offered, TYPE_CONFINED) != NULL;
        h->plain = json_object_get(offered, TYPE_PLAIN) != NULL;
    }
    json_decref(doc);
    return rc;
}

static int worker_await(struct system *y, struct handler *h, struct err *err)
{
    bool known = false;
    int64_t until = mono_ns() + ANSWER_MS * INT64_C(1000000);
    int rc = ERR_OK;
    while (!rc && !known) {
        idle(20);
        rc = child_alive(&h->worker, err);
        if (!rc)
            rc = worker_known(y, h, &known, err);
        if (!rc && !known && mono_ns() > until)
            rc = err_set(err, ERR_TIMEOUT, 0, "the worker does not start");
        if (!rc)
            rc = stopped(y->s, err);
    }
    return rc;
}

static int handler_await(struct handler *h, struct err *err)
{
    char byte[16];
    struct pollfd p = {.fd = h->pipe, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, ANSWER_MS);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return err_set(err, ERR_TIMEOUT, 0, "the handler does not begin");
    return read(h->pipe, byte, sizeof(byte)) > 0 ? ERR_OK : err_set(err, ERR_IO, errno, "read what the handler wrote");
}

/* Until the job has ended: then the worker asks again, and the next sample finds its poll held. */
static int job_await(struct system *y, const char *id, struct err *err)
{
    char path[80];
    struct answer a;
    snprintf(path, sizeof(path), "/v1/jobs/%s?wait=20s", id);
    request_get(&y->b, y->lease.names->host, path);
    return call(&y->lease, y->b.data, y->b.len, 200, &a, err);
}

static int handler_once(struct system *y, struct handler *h, struct form *form, struct latency *l, struct err *err)
{
    char id[37] = "";
    struct answer a = {0};
    form_fill(form, y->number++, 0);
    int64_t begin = mono_ns();
    int rc = line_send(&y->submit, &form->text, err);
    if (!rc)
        rc = handler_await(h, err);
    int64_t took = mono_ns() - begin;
    if (!rc)
        rc = wire_await(&y->submit.wire, ANSWER_MS, &a, err);
    if (!rc && a.status != 201)
        rc = answer_refusal(&a, err);
    const char *at = rc ? NULL : memmem(a.body, a.n, "\"job_id\":\"", 10);
    if (at && (size_t)(a.body + a.n - at) > 46)
        snprintf(id, sizeof(id), "%.36s", at + 10);
    if (!rc)
        rc = job_await(y, id, err);
    idle(4 * IDLE_MS);
    if (!rc && l)
        latency_add(l, took);
    return rc;
}

static int handler_samples(struct system *y, struct handler *h, const char *type, const char *name, struct err *err)
{
    struct form form;
    struct names names = *y->submit.names;
    names.type = type;
    int rc = form_init(&form, &names, 1, err);
    if (rc)
        return rc;
    rc = handler_once(y, h, &form, NULL, err); /* the first one reads the programs from the disk */
    struct latency *l = step(y->s, name);
    for (unsigned i = 0; i < y->s->samples && !rc; i++) {
        rc = handler_once(y, h, &form, l, err);
        if (!rc)
            rc = stopped(y->s, err);
    }
    form_release(&form);
    return rc;
}

static int handlers(struct system *y, struct err *err)
{
    struct handler h = {.worker.out = -1, .pipe = -1};
    int rc = handler_files(&h, y->s->ground->dir, err);
    if (!rc)
        rc = worker_start(y, &h, err);
    if (!rc)
        rc = worker_await(y, &h, err);
    if (!rc && h.confined)
        rc = handler_samples(y, &h, TYPE_CONFINED, "handler", err);
    if (!rc && h.plain)
        rc = handler_samples(y, &h, TYPE_PLAIN, "handler_unconfined", err);
    child_stop(&h.worker);
    if (h.pipe >= 0)
        close(h.pipe);
    return rc;
}

int start_run(struct start *s, struct err *err)
{
    struct system y = {.s = s};
    struct uuid id = uuid_v7(clock_real().wall_us(NULL), rng_real());
    uuid_format(&id, y.worker_id);
    line_init(&y.submit, s, 0);
    line_init(&y.lease, s, s->ground->n_servers - 1);
    buf_init(&y.b, 65536);
    int rc = form_init(&y.form, y.submit.names, 1, err);
    if (!rc)
        rc = submissions(&y, err);
    if (!rc)
        rc = leases(&y, err);
    if (!rc)
        rc = handlers(&y, err);
    form_release(&y.form);
    buf_release(&y.b);
    wire_release(&y.submit.wire);
    wire_release(&y.lease.wire);
    return rc;
}
