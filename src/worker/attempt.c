#include "worker/attempt.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/text.h"
#include <errno.h>
#include <poll.h>

#define JOB_JSON_MAX (4U << 20)

usec boot_now(void)
{
    const struct clock c = clock_real();
    return c.boot_us(c.self);
}

void backoff_wait(unsigned round, usec cap_us, int wake_fd)
{
    usec most = 250 * USEC_PER_MSEC;
    for (unsigned i = 0; i < round && most < cap_us; i++)
        most *= 2;
    if (most > cap_us)
        most = cap_us;
    const usec wait_us = most / 4 + (usec)(rng_u64(rng_real()) % (uint64_t)(most * 3 / 4 + 1));
    struct pollfd p = {.fd = wake_fd, .events = POLLIN};
    (void)poll(&p, 1, (int)(wait_us / USEC_PER_MSEC));
}

void attempt_path(const struct attempt *a, const char *what, char *ret, size_t size)
{
    snprintf(ret, size, "/v1/jobs/%s/attempts/%u/%s", a->job_id, a->number, what);
}

struct haul_client *attempt_client(const struct attempt *a, struct err *err)
{
    struct haul_error he;
    struct haul_client *c = haul_client_new(a->server, "haul-worker/" HAUL_VERSION, &he);
    if (!c)
        err_set(err, ERR_NETWORK, 0, "server '%s': %s", a->server, he.message);
    return c;
}

static void list_write(struct json_writer *w, const char *key, const struct string_list *l)
{
    jw_array(w, key);
    for (size_t i = 0; i < l->n; i++)
        jw_string(w, NULL, l->items[i]);
    jw_array_end(w);
}

int attempt_write(const char *dir, const char *job, size_t job_n, const struct handler *h,
                  const struct attempt_origin *o, struct err *err)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, JOB_JSON_MAX);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_string(&w, "server", o->server);
    jw_string(&w, "isolation", sandbox_level_name(h->bare ? SANDBOX_NONE : o->level));
    jw_int(&w, "claim_sent_us", o->claim_sent_us);
    jw_int(&w, "claimed_us", o->claimed_us);
    jw_int(&w, "orphan_us", o->orphan_us);
    list_write(&w, "command", &h->command);
    list_write(&w, "verify", &h->verify);
    list_write(&w, "read_only", &h->read_only);
    list_write(&w, "env", &h->env);
    jw_array(&w, "permanent");
    for (size_t i = 0; i < h->n_permanent; i++)
        jw_int(&w, NULL, h->permanent[i]);
    jw_array_end(&w);
    jw_int(&w, "handler_timeout_us", h->timeout_us);
    jw_int(&w, "no_progress_us", h->no_progress_us);
    jw_int(&w, "verify_timeout_us", h->verify_timeout_us);
    jw_int(&w, "file_size_max", (int64_t)h->file_size_max);
    jw_int(&w, "checkpoint_us", h->checkpoint_us);
    jw_int(&w, "checkpoint_max", (int64_t)h->checkpoint_max);
    jw_raw(&w, "job", job, job_n);
    jw_object_end(&w);
    char path[PATH_MAX];
    int rc = b.failed ? err_set(err, ERR_TOO_LARGE, 0, "job.json is over 4 MiB")
                      : fs_join(path, sizeof path, dir, "job.json", err);
    if (!rc)
        rc = fs_write_durable(path, b.data, b.len, 0600, err);
    buf_release(&b);
    return rc;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int64_t int_of(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static usec seconds_of(const json_t *o, const char *key, double absent, double max)
{
    const json_t *v = json_object_get(o, key);
    double s = json_is_number(v) ? json_number_value(v) : absent;
    if (!(s >= 0))
        s = absent;
    return (usec)(MIN(s, max) * (double)USEC_PER_SEC);
}

/* The job's own goes before its entry's. */
static usec limit_of(const json_t *job, const char *key, const json_t *entry, const char *entry_key)
{
    const usec own_us = seconds_of(job, key, 0, 366 * 86400.0);
    return own_us ? own_us : int_of(entry, entry_key);
}

static int list_read(const json_t *o, const char *key, struct string_list *ret, struct err *err)
{
    const json_t *a = json_object_get(o, key);
    ret->items = calloc(json_array_size(a) + 1, sizeof *ret->items);
    if (!ret->items)
        return err_set(err, ERR_NO_MEMORY, 0, "job.json");
    for (size_t i = 0; i < json_array_size(a); i++) {
        const char *s = json_string_value(json_array_get(a, i));
        if (s)
            memcpy(&ret->items[ret->n++], &s, sizeof s); /* borrowed; the list type is not const */
    }
    return ERR_OK;
}

static int inputs_read(struct attempt *a, const json_t *job, struct err *err)
{
    const json_t *list = json_object_get(job, "inputs");
    a->inputs = calloc(json_array_size(list) + 1, sizeof *a->inputs);
    if (!a->inputs)
        return err_set(err, ERR_NO_MEMORY, 0, "job.json");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *in = json_array_get(list, i);
        struct input *x = &a->inputs[a->n_inputs++];
        x->name = string_of(in, "name");
        x->ref = string_of(in, "ref");
        x->size = json_is_integer(json_object_get(in, "size")) ? int_of(in, "size") : -1;
        if (!filename_valid(x->name) || strncmp(x->ref, "blob:", 5))
            return err_set(err, ERR_CORRUPT, 0, "the server sent an input that cannot be: name '%.64s', ref '%.64s'",
                           x->name, x->ref);
    }
    return ERR_OK;
}

static int document_read(struct attempt *a, size_t n, struct err *err)
{
    int rc = json_parse(a->text, n, &a->doc, err);
    if (rc)
        return rc;
    const json_t *job = json_object_get(a->doc, "job");
    const char *job_text;
    size_t job_n;
    if (!json_is_object(job) || !json_raw_member(a->text, n, "job", &job_text, &job_n))
        return err_set(err, ERR_CORRUPT, 0, "job.json holds no job");
    if (!json_raw_member(job_text, job_n, "payload", &a->payload, &a->payload_n)) {
        a->payload = "{}";
        a->payload_n = 2;
    }
    a->server = string_of(a->doc, "server");
    a->job_id = string_of(job, "job_id");
    a->token = string_of(job, "token");
    a->task_type = string_of(job, "task_type");
    a->queue = string_of(job, "queue");
    a->traceparent = string_of(job, "traceparent");
    a->tracestate = string_of(job, "tracestate");
    a->number = (unsigned)int_of(job, "attempt");
    a->retries = int_of(job, "retries");
    a->max_attempts = int_of(job, "max_attempts");
    a->claim_sent_us = int_of(a->doc, "claim_sent_us");
    a->claimed_us = int_of(a->doc, "claimed_us");
    a->orphan_us = int_of(a->doc, "orphan_us");
    a->lease_us = seconds_of(job, "lease_s", 60, 86400);
    a->heartbeat_us = seconds_of(job, "heartbeat_s", 15, 86400);
    a->grace_us = seconds_of(job, "term_grace_s", 10, 3600);
    a->timeout_us = limit_of(job, "timeout_s", a->doc, "handler_timeout_us");
    a->no_progress_us = limit_of(job, "no_progress_timeout_s", a->doc, "no_progress_us");
    a->verify_timeout_us = int_of(a->doc, "verify_timeout_us");
    a->level = !strcmp(string_of(a->doc, "isolation"), "namespaces") ? SANDBOX_NAMESPACES : SANDBOX_NONE;
    a->file_size_max = (uint64_t)int_of(a->doc, "file_size_max");
    a->checkpoint_us = int_of(a->doc, "checkpoint_us");
    a->checkpoint_max = int_of(a->doc, "checkpoint_max");
    const json_t *codes = json_object_get(a->doc, "permanent");
    for (size_t i = 0; i < json_array_size(codes) && i < PERMANENT_CODES_MAX; i++)
        a->permanent[a->n_permanent++] = json_integer_value(json_array_get(codes, i));
    if (!*a->server || !*a->job_id || !*a->token || !a->number)
        return err_set(err, ERR_CORRUPT, 0, "job.json lacks server, job_id, token or attempt");
    if ((rc = list_read(a->doc, "command", &a->command, err)) || (rc = list_read(a->doc, "verify", &a->verify, err)) ||
        (rc = list_read(a->doc, "read_only", &a->read_only, err)) || (rc = list_read(a->doc, "env", &a->env, err)))
        return rc;
    return inputs_read(a, job, err);
}

int attempt_read(const char *dir, struct attempt **ret, struct err *err)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(err, ERR_NO_MEMORY, 0, "attempt");
    char path[PATH_MAX];
    struct buf b;
    buf_init(&b, JOB_JSON_MAX);
    int rc = ERR_OK;
    if (snprintf(a->dir, sizeof a->dir, "%s", dir) >= (int)sizeof a->dir)
        rc = err_set(err, ERR_TOO_LARGE, 0, "path of the attempt is too long");
    if (!rc)
        rc = fs_join(a->scratch, sizeof a->scratch, a->dir, "scratch", err);
    if (!rc)
        rc = fs_join(path, sizeof path, a->dir, "job.json", err);
    if (!rc)
        rc = fs_read(path, &b, err);
    const size_t n = b.len;
    if (!rc && !(a->text = buf_take(&b)))
        rc = err_set(err, ERR_CORRUPT, 0, "job.json is empty");
    buf_release(&b);
    if (!rc)
        rc = document_read(a, n, err);
    if (rc) {
        attempt_free(a);
        return rc;
    }
    *ret = a;
    return ERR_OK;
}

void attempt_free(struct attempt *a)
{
    if (!a)
        return;
    json_decref(a->doc);
    free(a->text);
    free(a->inputs);
    free(a->command.items);
    free(a->verify.items);
    free(a->read_only.items);
    free(a->env.items);
    free(a);
}
