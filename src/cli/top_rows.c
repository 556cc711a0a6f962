/* haul top: what the server said, as rows. */
#include "base/auto.h"
#include "base/timefmt.h"
#include "cli/top.h"

#define ROWS_ARENA_MAX ((size_t)64 << 20)

static const struct top_column queue_columns[] = {
    {"QUEUE", 12, 60, COLUMN_TEXT, false},   {"READY", 7, 9, COLUMN_NUMBER, false},
    {"WAITING", 7, 9, COLUMN_NUMBER, false}, {"RUNNING", 7, 9, COLUMN_NUMBER, false},
    {"DEAD", 6, 9, COLUMN_NUMBER, false},    {"OLDEST", 7, 7, COLUMN_NUMBER, false},
    {"STATE", 6, 6, COLUMN_TEXT, false},     {"IN/MIN", 6, 9, COLUMN_NUMBER, true},
    {"OK/MIN", 6, 9, COLUMN_NUMBER, true},   {"FAIL/MIN", 8, 9, COLUMN_NUMBER, true},
    {"WHY", 10, 80, COLUMN_TEXT, true},
};
static const struct top_column job_columns[] = {
    {"TYPE", 12, 40, COLUMN_TEXT, false}, {"PROGRESS", 16, 60, COLUMN_BAR, false},
    {"LEFT", 6, 6, COLUMN_NUMBER, false}, {"AGE", 6, 6, COLUMN_NUMBER, false},
    {"TRY", 3, 4, COLUMN_NUMBER, false},  {"WORKER", 10, 40, COLUMN_TEXT, false},
    {"QUEUE", 10, 40, COLUMN_TEXT, true}, {"JOB", 36, 36, COLUMN_TEXT, true},
};
static const struct top_column worker_columns[] = {
    {"WORKER", 12, 40, COLUMN_TEXT, false},   {"STATE", 8, 8, COLUMN_TEXT, false},
    {"BUSY", 7, 7, COLUMN_NUMBER, false},     {"SEEN", 8, 10, COLUMN_NUMBER, false},
    {"VERSION", 8, 12, COLUMN_TEXT, true},    {"HOST", 10, 40, COLUMN_TEXT, true},
    {"HANDLERS", 12, 90, COLUMN_TEXT, false},
};
const struct top_column *const top_columns[TOP_PANES] = {queue_columns, job_columns, worker_columns};
const size_t top_n_columns[TOP_PANES] = {ARRAY_LEN(queue_columns), ARRAY_LEN(job_columns), ARRAY_LEN(worker_columns)};

/* ---- cells ---- */

static const char *kept(struct top *t, const char *text)
{
    const char *s = arena_strdup(t->arena, text);
    return s ? s : "";
}

static void put(struct top *t, struct top_row *row, size_t column, const char *text)
{
    row->cells[column] = kept(t, text);
}

static void put_count(struct top *t, struct top_row *row, size_t column, const json_t *obj, const char *key)
{
    char text[32] = "?";
    const json_t *v = json_object_get(obj, key);
    if (json_is_integer(v))
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(v));
    row->order[column] = (double)jint(obj, key);
    put(t, row, column, text);
}

static void put_span(struct top *t, struct top_row *row, size_t column, usec span_us)
{
    char text[32];
    left_format(span_us, text);
    row->order[column] = (double)span_us;
    put(t, row, column, text);
}

static bool since(const json_t *obj, const char *key, usec wall_us, usec *ret)
{
    usec at;
    if (!rfc3339_parse(jtext(obj, key), &at))
        return false;
    *ret = MAX(wall_us - at, 0);
    return true;
}

static void put_rate(struct top *t, struct top_row *row, size_t column, const json_t *obj, const char *key)
{
    char text[32];
    jrate_format(obj, key, text);
    row->order[column] = jreal(obj, key);
    put(t, row, column, text);
}

/* ---- queues ---- */

static void queue_row(struct top *t, const json_t *q, struct top_row *row)
{
    const bool paused = json_is_string(json_object_get(q, "paused_at"));
    char why[400];
    row->id = kept(t, jtext(q, "queue"));
    put(t, row, 0, jtext(q, "queue"));
    put_count(t, row, 1, q, "ready");
    put_count(t, row, 2, q, "pending");
    put_count(t, row, 3, q, "running");
    put_count(t, row, 4, q, "failed");
    if (jint(q, "ready") > 0)
        put_span(t, row, 5, (usec)(jreal(q, "oldest_ready_age_s") * 1e6));
    put(t, row, 6, paused ? "paused" : "open");
    put_rate(t, row, 7, q, "submitted_per_min");
    put_rate(t, row, 8, q, "succeeded_per_min");
    put_rate(t, row, 9, q, "failed_per_min");
    snprintf(why, sizeof(why), "%s%s%s", jtext(q, "paused_by"), *jtext(q, "paused_reason") ? ": " : "",
             jtext(q, "paused_reason"));
    if (paused)
        put(t, row, 10, why);
    row->colour = paused ? COLOUR_YELLOW : COLOUR_NONE;
}

/* ---- jobs ---- */

static const struct top_pace *pace_of(const struct top *t, const json_t *job)
{
    for (size_t i = 0; i < t->n_paces; i++)
        if (strcmp(t->paces[i].id, jtext(job, "job_id")) == 0)
            return &t->paces[i];
    return NULL;
}

bool top_left(const struct top *t, const json_t *job, usec *ret_us)
{
    const struct top_pace *pace = pace_of(t, job);
    const double percent = jreal(json_object_get(job, "progress"), "percent");
    usec ran;
    if (strcmp(jtext(job, "status"), "running") != 0)
        return false;
    if (pace && eta_left(&pace->eta, t->mono_us, ret_us))
        return true;
    /* Not seen at it long enough: by what it took so far, where that was all in one attempt. */
    if (jint(job, "attempt") != 1 || percent <= 0 || percent > 100 || !since(job, "started_at", t->wall_us, &ran))
        return false;
    *ret_us = (usec)((double)ran * (100 - percent) / percent);
    return true;
}

static const char *worker_name(const struct top *t, const char *id)
{
    size_t i;
    json_t *w;
    json_array_foreach (json_object_get(t->now.workers, "workers"), i, w)
        if (*id && strcmp(jtext(w, "worker_id"), id) == 0)
            return jtext(w, "name");
    return *id ? id : "";
}

/* A job that runs is as old as its start; another as its submission, or its end. */
static const char *age_key(const char *status)
{
    if (strcmp(status, "running") == 0)
        return "started_at";
    return strcmp(status, "pending") == 0 ? "created_at" : "finished_at";
}

static void job_row(struct top *t, const json_t *j, struct top_row *row)
{
    const char *status = jtext(j, "status");
    const json_t *progress = json_object_get(j, "progress");
    const bool running = strcmp(status, "running") == 0;
    usec span;
    row->id = kept(t, jtext(j, "job_id"));
    put(t, row, 0, jtext(j, "task_type"));
    if (running && json_is_object(progress)) {
        row->part = MIN(MAX(jreal(progress, "percent") / 100, 0.0), 1.0);
        put(t, row, 1, jtext(progress, "message"));
    } else {
        put(t, row, 1, running ? "" : *jtext(j, "outcome") ? jtext(j, "outcome") : status);
    }
    if (*jtext(j, "cancel_requested_at") && running) {
        put(t, row, 1, "being cancelled");
        row->part = -1;
    }
    row->order[1] = row->part;
    if (top_left(t, j, &span))
        put_span(t, row, 2, span);
    if (since(j, age_key(status), t->wall_us, &span))
        put_span(t, row, 3, span);
    put_count(t, row, 4, j, "attempt");
    put(t, row, 5, worker_name(t, jtext(j, "owner_id")));
    put(t, row, 6, jtext(j, "queue"));
    put(t, row, 7, jtext(j, "job_id"));
    row->colour = running ? COLOUR_NONE : status_colour(status);
}

/* ---- workers ---- */

static void worker_row(struct top *t, const json_t *w, struct top_row *row)
{
    const char *state = jtext(w, "state"), *type;
    char text[64];
    json_t *version;
    struct buf types;
    usec span;
    row->id = kept(t, jtext(w, "worker_id"));
    put(t, row, 0, jtext(w, "name"));
    put(t, row, 1, state);
    snprintf(text, sizeof(text), "%lld/%lld", (long long)jint(w, "slots_busy"), (long long)jint(w, "slots_total"));
    put(t, row, 2, text);
    row->order[2] = (double)jint(w, "slots_busy");
    if (since(w, "last_seen", t->wall_us, &span))
        put_span(t, row, 3, span);
    put(t, row, 4, jtext(w, "version"));
    put(t, row, 5, jtext(w, "host"));
    buf_init(&types, 4096);
    json_object_foreach (json_object_get(w, "handlers"), type, version)
        buf_printf(&types, "%s%s", types.len ? " " : "", type);
    put(t, row, 6, buf_str(&types));
    buf_release(&types);
    row->colour = strcmp(state, "live") == 0 ? COLOUR_NONE : status_colour(state);
}

/* ---- a pane ---- */

static bool fits(const struct top_row *row, const char *filter)
{
    if (!*filter || strcasestr(row->id, filter))
        return true;
    for (size_t i = 0; i < TOP_COLUMNS_MAX; i++)
        if (row->cells[i] && strcasestr(row->cells[i], filter))
            return true;
    return false;
}

struct order {
    int column;
    bool number;
};

static int compare(const void *a, const void *b, void *arg)
{
    const struct top_row *x = a, *y = b;
    const struct order *o = arg;
    const double p = x->order[o->column], q = y->order[o->column];
    int c = o->number ? (p < q) - (p > q) : strcmp(x->cells[o->column], y->cells[o->column]);
    return c ? c : strcmp(x->id, y->id);
}

/* The one that was chosen, wherever it is now; when it is gone, whoever took its place. */
static void choose(struct top_pane *p)
{
    for (size_t i = 0; *p->id && i < p->n; i++)
        if (strcmp(p->rows[i].id, p->id) == 0) {
            p->at = i;
            return;
        }
    p->at = MIN(p->at, p->n ? p->n - 1 : 0);
    snprintf(p->id, sizeof(p->id), "%s", p->n ? p->rows[p->at].id : "");
}

static void pane_make(struct top *t, enum top_pane_kind kind, const json_t *items)
{
    struct top_pane *p = &t->panes[kind];
    const json_t *item;
    size_t i;
    p->of = json_array_size(items);
    p->n = 0;
    p->rows = arena_array(t->arena, p->of, sizeof(*p->rows));
    json_array_foreach (items, i, item) {
        if (!p->rows)
            break;
        struct top_row *row = &p->rows[p->n];
        *row = (struct top_row){.part = -1};
        if (kind == TOP_QUEUES)
            queue_row(t, item, row);
        else if (kind == TOP_JOBS)
            job_row(t, item, row);
        else
            worker_row(t, item, row);
        for (size_t c = 0; c < TOP_COLUMNS_MAX; c++)
            row->cells[c] = row->cells[c] ? row->cells[c] : "";
        if (fits(row, p->filter))
            p->n++;
    }
    if (p->sort >= 0) {
        struct order o = {p->sort, top_columns[kind][p->sort].kind != COLUMN_TEXT};
        if (p->n > 1)
            qsort_r(p->rows, p->n, sizeof(*p->rows), compare, &o);
    }
    choose(p);
}

void top_rows_make(struct top *t, usec wall_us, usec mono_us)
{
    t->wall_us = wall_us;
    t->mono_us = mono_us;
    arena_free(t->arena);
    t->arena = arena_new(ROWS_ARENA_MAX);
    if (!t->arena) {
        for (size_t i = 0; i < TOP_PANES; i++)
            t->panes[i].n = t->panes[i].of = 0;
        return;
    }
    pane_make(t, TOP_QUEUES, json_object_get(t->now.queues, "queues"));
    pane_make(t, TOP_JOBS, json_object_get(t->now.jobs, "jobs"));
    pane_make(t, TOP_WORKERS, json_object_get(t->now.workers, "workers"));
}
