#include "worker/completion.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/log_send.h"
#include "worker/meter.h"
#include <errno.h>

#define ERROR_TAIL 4096
#define REPEAT_CAP (30 * USEC_PER_SEC)

char *error_log_make(const char *cause, struct logs *log)
{
    struct buf b;
    char tail[ERROR_TAIL];
    buf_init(&b, 65536);
    buf_adds(&b, cause);
    size_t n = log ? logs_last(log, tail, sizeof tail) : 0;
    const char *p = tail;
    while (n && ((unsigned char)*p & 0xC0) == 0x80) { /* begin at a character */
        p++;
        n--;
    }
    if (n) {
        buf_adds(&b, "\n\n");
        buf_add(&b, p, n);
    }
    for (size_t i = 0; i < b.len; i++)
        if (!b.data[i])
            b.data[i] = ' ';  /* U+0000 is refused on the wire */
    utf8_mend(b.data, b.len); /* a replacement character each would take it over the server's bound */
    return buf_take(&b);
}

static void body_write(struct json_writer *w, const struct ending *e)
{
    const bool success = !strcmp(e->outcome, "success");
    jw_object(w, "body");
    if (success) {
        jw_array(w, "outputs");
        for (size_t i = 0; i < e->outputs.n; i++)
            jw_string(w, NULL, e->outputs.items[i]);
        jw_array_end(w);
    } else {
        jw_string(w, "outcome", e->outcome);
        if (e->permanent)
            jw_bool(w, "permanent", true);
        jw_string(w, "error_log", e->error_log ? e->error_log : "");
    }
    if (e->exit_code >= 0)
        jw_int(w, "exit_code", e->exit_code);
    if (e->signal > 0)
        jw_int(w, "signal", e->signal);
    jw_real(w, "cpu_s", (double)e->cpu_us / (double)USEC_PER_SEC);
    jw_int(w, "peak_memory_bytes", e->peak_bytes);
    jw_int(w, "bytes_in", e->bytes_in);
}

/* The body is left open by one member, bytes_out, known only after the upload. */
int completion_text(const struct attempt *a, const struct ending *e, struct buf *ret, struct err *err)
{
    struct json_writer w;
    buf_init(ret, 1U << 20);
    jw_init(&w, ret);
    jw_object(&w, NULL);
    jw_string(&w, "kind", strcmp(e->outcome, "success") ? "fail" : "complete");
    jw_int(&w, "log_total", e->log_total);
    if (e->progress) {
        jw_object(&w, "progress");
        jw_real(&w, "percent", e->progress->percent);
        jw_string(&w, "message", e->progress->message);
        jw_object_end(&w);
    }
    if (e->meter) /* beside the body: an older build that finds this file sends that as it is, and its server knows no samples */
        (void)meter_write(e->meter, &w);
    phases_write(a, &e->phases, &w); /* likewise */
    body_write(&w, e);
    jw_object_end(&w);
    jw_object_end(&w);
    return ret->failed ? err_set(err, ERR_TOO_LARGE, 0, "completion.json") : ERR_OK;
}

/* A success still has its outputs to send, a failure nothing. */
static void scratch_thin(const struct attempt *a, bool success)
{
    static const char *const done_with[] = {"in", "checkpoint"};
    char path[PATH_MAX];
    struct err err;
    if (!success)
        (void)fs_remove_tree(a->scratch, &err);
    for (size_t i = 0; success && i < ARRAY_LEN(done_with); i++)
        if (!fs_join(path, sizeof path, a->scratch, done_with[i], &err))
            (void)fs_remove_tree(path, &err);
}

int completion_journal(const struct attempt *a, const struct buf *text, bool success, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof path, a->dir, "completion.json", err);
    if (!rc)
        rc = fs_write_durable(path, text->data, text->len, 0600, err);
    if (rc == ERR_NO_SPACE) {
        scratch_thin(a, success);
        rc = fs_write_durable(path, text->data, text->len, 0600, err);
    }
    return rc;
}

bool completion_exists(const char *dir)
{
    char path[PATH_MAX];
    struct err err;
    return !fs_join(path, sizeof path, dir, "completion.json", &err) && fs_exists(path);
}

static bool refused_for_good(int rc, const struct haul_error *he)
{
    return rc == HAUL_REFUSED && !he->repeatable && he->status < 500 && he->status != 429 && he->status != 408;
}

static bool stale(const struct haul_error *he)
{
    return he->status == 409 || he->status == 404 || he->status == 410;
}

/* The log is worth waiting for a server, but not a job: a refusal ends it. */
static bool log_deliver(const struct attempt *a, struct haul_client *c, struct logs *log, int64_t sent)
{
    struct log_sender s = {.log = log, .sent = sent};
    enum log_push pushed = LOG_PUSH_SENT;
    unsigned failures = 0;
    while (pushed != LOG_PUSH_NOTHING) {
        struct haul_error he;
        const int rc = log_push(a, c, &s, false, &pushed, &he);
        if (rc == HAUL_OK) {
            failures = 0;
        } else if (refused_for_good(rc, &he)) {
            log_event(LOG_WARN, "rest of the log refused", "job_id", a->job_id, "why", he.message, NULL);
            return !stale(&he);
        } else
            backoff_wait(failures++, REPEAT_CAP, -1);
    }
    return true;
}

/* What the handler said just before it ended: worth as much waiting as the log. */
static void progress_deliver(const struct attempt *a, struct haul_client *c, const json_t *doc)
{
    const json_t *o = json_object_get(doc, "progress");
    const char *message = json_string_value(json_object_get(o, "message"));
    struct progress p = {.percent = json_number_value(json_object_get(o, "percent"))};
    struct haul_error he;
    if (!o)
        return;
    snprintf(p.message, sizeof p.message, "%s", message ? message : "");
    for (unsigned round = 0;; round++) {
        const int rc = progress_post(a, c, &p, &he);
        if (rc == HAUL_OK || refused_for_good(rc, &he))
            return;
        backoff_wait(round, REPEAT_CAP, -1);
    }
}

static void name_escape(const char *name, char *ret, size_t size)
{
    size_t n = 0;
    for (; *name && n + 4 < size; name++) {
        const unsigned char c = (unsigned char)*name;
        const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                           strchr("-_~", c) || (c == '.' && n);
        n += (size_t)snprintf(ret + n, size - n, plain ? "%c" : "%%%02X", c);
    }
    ret[n] = 0;
}

static int output_name(const struct attempt *a, struct haul_client *c, const char *name, const char *ref,
                       struct haul_error *he)
{
    char path[256];
    attempt_path(a, "outputs", path, sizeof path);
    json_t *body = json_pack("{s:s,s:s}", "name", name, "ref", ref);
    AUTO_FREE char *text = body ? json_text(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (text)
        return haul_call(c, "POST", path, text, a->token, 0, NULL, he);
    *he = (struct haul_error){.rc = HAUL_LOCAL, .message = "out of memory"};
    return HAUL_LOCAL;
}

/* Straight to where the server keeps bytes, where it offers that; by its name then. A server of the same installation may be too old for that. */
static int output_upload(const struct attempt *a, struct haul_client *c, const char *name, const char *path, int fd,
                         int64_t size, struct haul_resume *resume, struct haul_error *he)
{
    bool direct = false;
    char ref[64];
    int rc = size >= HAUL_RESUME_BYTES ? haul_direct_offered(c, &direct, he) : HAUL_OK;
    if (rc != HAUL_OK)
        return rc;
    if (direct) {
        rc = haul_upload_file(c, fd, size, resume, NULL, NULL, ref, NULL, he);
        if (rc == HAUL_OK)
            rc = output_name(a, c, name, ref, he);
        if (rc != HAUL_REFUSED || (he->status != 404 && he->status != 405))
            return rc;
    }
    return haul_upload(c, path, a->token, fd, size, NULL, NULL, NULL, NULL, he);
}

static int output_send(const struct attempt *a, struct haul_client *c, const char *name, int64_t *ret_size,
                       bool *ret_stale, struct err *err)
{
    char what[1024], path[1280];
    snprintf(what, sizeof what, "outputs/");
    name_escape(name, what + 8, sizeof what - 8);
    attempt_path(a, what, path, sizeof path);
    struct haul_resume resume = {.upload = ""};
    for (unsigned round = 0;; round++) {
        AUTO_FD int fd = -1;
        const int rc = output_open(a->scratch, name, &fd, ret_size, err);
        if (rc)
            return rc;
        struct haul_error he;
        const int sent = output_upload(a, c, name, path, fd, *ret_size, &resume, &he);
        if (sent == HAUL_OK)
            return ERR_OK;
        if (sent == HAUL_LOCAL || refused_for_good(sent, &he)) {
            *ret_stale = sent == HAUL_REFUSED && stale(&he);
            return err_set(err, ERR_IO, 0, "output '%.80s' cannot be stored: %s", name, he.message);
        }
        log_event(LOG_WARN, "output not stored yet", "job_id", a->job_id, "output", name, "why", he.message, NULL);
        backoff_wait(round, REPEAT_CAP, -1);
    }
}

static int outputs_send(const struct attempt *a, struct haul_client *c, const json_t *names, int64_t *ret_bytes,
                        bool *ret_stale, struct err *err)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        int64_t size = 0;
        const char *name = json_string_value(json_array_get(names, i));
        const int rc = name ? output_send(a, c, name, &size, ret_stale, err) : ERR_CORRUPT;
        if (rc)
            return rc;
        *ret_bytes += size;
    }
    return ERR_OK;
}

static int ending_send(const struct attempt *a, struct haul_client *c, const char *kind, json_t *body, struct err *err)
{
    char path[256];
    attempt_path(a, kind, path, sizeof path);
    AUTO_FREE char *text = json_text(body, JSON_COMPACT);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, 0, "completion");
    for (unsigned round = 0;; round++) {
        struct haul_error he;
        const int rc = haul_call(c, "POST", path, text, a->token, 0, NULL, &he);
        if (rc == HAUL_OK)
            return ERR_OK;
        if (refused_for_good(rc, &he)) {
            log_event(LOG_WARN, "the server does not want this ending", "job_id", a->job_id, "why", he.message, NULL);
            return stale(&he) ? ERR_OK : err_set(err, ERR_INVALID, 0, "%s refused: %.180s", kind, he.message);
        }
        if (!round)
            log_event(LOG_WARN, "ending not reported yet", "job_id", a->job_id, "why", he.message, NULL);
        backoff_wait(round, REPEAT_CAP, -1);
    }
}

/* An output that cannot be stored turns success into failure. */
static int failed_body(json_t **body, const char *why, struct err *err)
{
    json_object_del(*body, "outputs");
    json_object_del(*body, "bytes_out");
    if (json_object_set_new(*body, "outcome", json_string("error")) ||
        json_object_set_new(*body, "error_log", json_string(why)))
        return err_set(err, ERR_NO_MEMORY, 0, "completion");
    return ERR_OK;
}

static int document_deliver(const struct attempt *a, struct haul_client *c, json_t *doc, struct logs *log,
                            int64_t log_sent, struct err *err)
{
    const char *kind = json_string_value(json_object_get(doc, "kind"));
    json_t *body = json_object_get(doc, "body");
    if (!kind || !json_is_object(body))
        return err_set(err, ERR_CORRUPT, 0, "completion.json");
    if (!log_deliver(a, c, log, log_sent))
        log_event(LOG_INFO, "token is stale, the ending will tell", "job_id", a->job_id, NULL);
    progress_deliver(a, c, doc);
    static const char *const beside[] = {"samples", "phases"};
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        json_t *value = json_object_get(doc, beside[i]);
        if (value && json_object_set(body, beside[i], value))
            return err_set(err, ERR_NO_MEMORY, 0, "completion");
    }
    if (!strcmp(kind, "complete")) {
        int64_t bytes = 0;
        bool is_stale = false;
        const json_t *outputs = json_object_get(body, "outputs");
        struct phase_time upload = {"upload", boot_now(), 0};
        const int rc = outputs_send(a, c, outputs, &bytes, &is_stale, err);
        upload.took_us = boot_now() - upload.at_us;
        if (json_array_size(outputs))
            phases_append(a, body, &upload);
        if (is_stale)
            return ERR_OK;
        if (rc) {
            kind = "fail";
            const int made = failed_body(&body, err->msg, err);
            if (made)
                return made;
        } else
            json_object_set_new(body, "bytes_out", json_integer(bytes));
    }
    return ending_send(a, c, kind, body, err);
}

static int document_read(const struct attempt *a, const struct buf *text, json_t **ret, struct err *err)
{
    char path[PATH_MAX];
    struct buf b;
    if (text)
        return json_parse(buf_str(text), text->len, ret, err);
    buf_init(&b, 1U << 20);
    int rc = fs_join(path, sizeof path, a->dir, "completion.json", err);
    if (!rc)
        rc = fs_read(path, &b, err);
    if (!rc)
        rc = json_parse(buf_str(&b), b.len, ret, err);
    buf_release(&b);
    return rc;
}

int completion_deliver(const struct attempt *a, const struct buf *text, struct logs *log, int64_t log_sent,
                       struct err *err)
{
    json_t *doc = NULL;
    struct logs *opened = NULL;
    int rc = document_read(a, text, &doc, err);
    if (!rc && !log) {
        rc = logs_open(a->dir, json_integer_value(json_object_get(doc, "log_total")), &opened, err);
        if (!rc)
            logs_seal(log = opened);
    }
    struct haul_client *c = rc ? NULL : attempt_client(a, err);
    if (!rc)
        rc = c ? document_deliver(a, c, doc, log, log_sent, err) : (int)err->code;
    haul_client_free(c);
    logs_free(opened);
    json_decref(doc);
    return rc;
}
