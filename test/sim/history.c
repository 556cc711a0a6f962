#include "history.h"
#include "base/auto.h"
#include "base/json.h"
#include <errno.h>

#define LINE_MAX_BYTES 4096

static const char *const kinds[EV_KIND_COUNT] = {
    [EV_RUN] = "run",
    [EV_SERVER] = "server",
    [EV_WORKER] = "worker",
    [EV_HEAL] = "heal",
    [EV_SUBMIT] = "submit",
    [EV_CANCEL] = "cancel",
    [EV_RETRY] = "retry",
    [EV_CLAIM] = "claim",
    [EV_BEAT] = "beat",
    [EV_OUTPUT] = "output",
    [EV_COMPLETE] = "complete",
    [EV_FAIL] = "fail",
    [EV_PROCESS] = "process",
    [EV_STATE] = "state",
    [EV_NEWS] = "news",
    [EV_FINAL] = "final",
    [EV_ATTEMPT] = "attempt",
    [EV_END] = "end",
    [EV_CHECKPOINT] = "checkpoint",
    [EV_RESTORE] = "restore",
    [EV_GONE] = "gone",
};
static const char *const phases[PHASE_COUNT] = {"", "invoke", "ok", "refused", "unknown"};

/* One table: what a line may say, and where it stands in an event. */
static const struct text_field {
    const char *name;
    size_t at, size;
} texts[] = {
#define TEXT(name)                                                                                                     \
    {                                                                                                                  \
#name, offsetof(struct event, name), sizeof(((struct event *)0)->name)                                         \
    }
    TEXT(who), TEXT(what), TEXT(code), TEXT(key), TEXT(token),
};
static const struct int_field {
    const char *name;
    size_t at;
} ints[] = {
#define INT(name)                                                                                                      \
    {                                                                                                                  \
#name, offsetof(struct event, name)                                                                            \
    }
    INT(t),        INT(op),        INT(attempt),       INT(max_attempts), INT(retries),
    INT(losses),   INT(confirmed), INT(interruptions), INT(version),      INT(due_us),
    INT(since_us), INT(lease_us),  INT(heartbeat_us),  INT(cancel),       INT(retention_us),
    INT(age_us),
};

static int64_t int_of(const struct event *e, const struct int_field *f)
{
    int64_t v;

    memcpy(&v, (const char *)e + f->at, sizeof v);
    return v;
}

struct event *history_add(struct history *h, usec t, enum event_kind kind)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 256;
        h->events = realloc(h->events, h->cap * sizeof *h->events);
        if (!h->events)
            abort();
    }
    h->events[h->n] = (struct event){.t = t, .kind = kind};
    return &h->events[h->n++];
}

/* Two sorted halves become one; what is equal keeps its order. */
static void merge(struct event *events, size_t half, size_t n, struct event *left)
{
    size_t i = 0, k = half, to = 0;

    memcpy(left, events, half * sizeof *left);
    while (i < half)
        events[to++] = k < n && events[k].t < left[i].t ? events[k++] : left[i++];
}

static void sort(struct event *events, size_t n, struct event *room)
{
    size_t half = n / 2;

    if (n < 2)
        return;
    sort(events, half, room);
    sort(events + half, n - half, room);
    if (events[half].t < events[half - 1].t) /* it nearly is in order */
        merge(events, half, n, room);
}

void history_sort(struct history *h)
{
    AUTO_FREE struct event *room = malloc((h->n / 2 + 1) * sizeof *room);

    if (!room)
        abort();
    sort(h->events, h->n, room);
}

void history_free(struct history *h)
{
    free(h->events);
    *h = (struct history){0};
}

static void write_outputs(const struct event *e, struct json_writer *w)
{
    jw_array(w, "outputs");
    for (size_t i = 0; i < e->n_outputs; i++) {
        jw_object(w, NULL);
        jw_string(w, "name", e->outputs[i].name);
        jw_int(w, "size", e->outputs[i].size);
        jw_string(w, "sha256", e->outputs[i].sha256);
        jw_object_end(w);
    }
    jw_array_end(w);
}

void event_write(const struct event *e, struct buf *ret)
{
    struct json_writer w;
    char id[UUID_STR_MAX];

    jw_init(&w, ret);
    jw_object(&w, NULL);
    jw_string(&w, "event", kinds[e->kind]);
    if (e->phase)
        jw_string(&w, "phase", phases[e->phase]);
    for (size_t i = 0; i < ARRAY_LEN(ints); i++)
        if (int_of(e, &ints[i]))
            jw_int(&w, ints[i].name, int_of(e, &ints[i]));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (((const char *)e)[texts[i].at])
            jw_string(&w, texts[i].name, (const char *)e + texts[i].at);
    if (!uuid_is_nil(&e->job)) {
        uuid_format(&e->job, id);
        jw_string(&w, "job", id);
    }
    if (e->status)
        jw_string(&w, "status", job_status_name((enum job_status)(e->status - 1)));
    if (e->outcome)
        jw_string(&w, "outcome", outcome_name((enum outcome)e->outcome));
    if (e->n_outputs)
        write_outputs(e, &w);
    jw_object_end(&w);
}

static int name_index(const char *name, const char *const *names, int n)
{
    for (int i = 0; name && i < n; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

static int read_outputs(struct json_reader *r, struct event *e, struct err *err)
{
    json_t *list = json_get_value(r, "outputs", false, JSON_ARRAY), *item;
    size_t i;

    if (json_array_size(list) > EVENT_OUTPUTS_MAX)
        return err_field(err, "outputs", "more than %d", EVENT_OUTPUTS_MAX);
    json_array_foreach (list, i, item) {
        struct event_output *o = &e->outputs[e->n_outputs++];
        struct json_reader in;
        json_reader_init(&in, item, "outputs[].", err);
        const char *name = json_get_string(&in, "name", true, 1, sizeof o->name - 1);
        o->size = json_get_int(&in, "size", 0, 0, INT64_MAX);
        const char *sha = json_get_string(&in, "sha256", true, 0, 64);
        int rc = json_reader_end(&in);
        if (rc != ERR_OK)
            return rc;
        snprintf(o->name, sizeof o->name, "%s", name);
        snprintf(o->sha256, sizeof o->sha256, "%.16s", sha);
    }
    return ERR_OK;
}

static int read_members(struct json_reader *r, struct event *e, struct err *err)
{
    const char *kind = json_get_string(r, "event", true, 1, 32), *phase = json_get_string(r, "phase", false, 1, 32);
    const char *job = json_get_string(r, "job", false, 36, 36), *status = json_get_string(r, "status", false, 1, 32);
    const char *outcome = json_get_string(r, "outcome", false, 1, 32);
    enum job_status s = JOB_PENDING;
    enum outcome o = OUTCOME_NONE;

    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        int64_t v = json_get_int(r, ints[i].name, 0, INT64_MIN, INT64_MAX);
        memcpy((char *)e + ints[i].at, &v, sizeof v);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *v = json_get_string(r, texts[i].name, false, 0, texts[i].size - 1);
        snprintf((char *)e + texts[i].at, texts[i].size, "%s", v ? v : "");
    }
    int rc = read_outputs(r, e, err);
    if (rc == ERR_OK)
        rc = json_reader_end(r);
    if (rc != ERR_OK)
        return rc;
    int k = name_index(kind, kinds, EV_KIND_COUNT), p = phase ? name_index(phase, phases, PHASE_COUNT) : 0;
    if (k < 0 || p < 0)
        return err_field(err, k < 0 ? "event" : "phase", "is not known");
    if ((job && !uuid_parse(job, &e->job)) || (status && !job_status_parse(status, &s)) ||
        (outcome && !outcome_parse(outcome, &o)))
        return err_set(err, ERR_INVALID, 0, "job, status or outcome is none");
    e->kind = (enum event_kind)k;
    e->phase = (enum phase)p;
    e->status = status ? (int64_t)s + 1 : 0;
    e->outcome = (int64_t)o;
    return ERR_OK;
}

int event_read(const char *line, size_t n, struct event *ret, struct err *err)
{
    json_t *value = NULL;
    struct json_reader r;
    int rc = json_parse(line, n, &value, err);

    *ret = (struct event){0};
    if (rc != ERR_OK)
        return rc;
    json_reader_init(&r, value, "", err);
    rc = read_members(&r, ret, err);
    json_decref(value);
    return rc;
}

void history_write(const struct history *h, const struct uuid *job, FILE *to)
{
    struct buf line;

    buf_init(&line, LINE_MAX_BYTES);
    for (size_t i = 0; i < h->n; i++) {
        const struct event *e = &h->events[i];
        if (job && !uuid_equal(&e->job, job) && !uuid_is_nil(&e->job))
            continue;
        buf_reset(&line);
        event_write(e, &line);
        fprintf(to, "%s\n", buf_str(&line));
    }
    buf_release(&line);
}

int history_read(const char *path, struct history *ret, struct err *err)
{
    AUTO_FILE FILE *from = fopen(path, "r");
    AUTO_FREE char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t n;

    if (!from)
        return err_set(err, ERR_IO, errno, "open '%s'", path);
    while ((n = getline(&line, &room, from)) >= 0) {
        struct event e;
        int rc = event_read(line, (size_t)n, &e, err);
        number++;
        if (rc != ERR_OK)
            return err_wrap(err, rc, "'%s', line %zu", path, number);
        *history_add(ret, e.t, e.kind) = e;
    }
    return ferror(from) ? err_set(err, ERR_IO, errno, "read '%s'", path) : ERR_OK;
}

uint64_t history_hash(const struct history *h)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    struct buf line;

    buf_init(&line, LINE_MAX_BYTES);
    for (size_t i = 0; i < h->n; i++) {
        buf_reset(&line);
        event_write(&h->events[i], &line);
        for (size_t k = 0; k < line.len; k++)
            hash = (hash ^ (uint8_t)line.data[k]) * UINT64_C(1099511628211);
    }
    buf_release(&line);
    return hash;
}
