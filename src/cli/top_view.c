/* haul top: the picture. */
#include "base/auto.h"
#include "base/timefmt.h"
#include "cli/top.h"

#define GAP         2 /* between columns */
#define HEAD_ROWS   3 /* server, figures, alerts */
#define PANE_FRAME  2 /* a pane's name, its titles */
#define BAR_CELLS   10
#define BAR_COLUMNS 14 /* the bar and " 40%" */
#define ALL_PANES   18 /* rows of a screen that has room for all panes */

static const char *const pane_names[TOP_PANES] = {"Queues", "Jobs", "Workers"};

/* ---- a table ---- */

struct widths {
    unsigned of[TOP_COLUMNS_MAX]; /* 0: left out */
};

static unsigned widths_sum(const struct widths *w, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += w->of[i] ? w->of[i] + (sum ? GAP : 0) : 0;
    return sum;
}

static bool shows_bar(const struct top_row *row, const struct top_column *c)
{
    return c->kind == COLUMN_BAR && row->part >= 0;
}

static unsigned wanted(const struct screen *s, const struct top_pane *p, const struct top_column *c, size_t column)
{
    size_t most = strlen(c->title) + (c->kind == COLUMN_NUMBER ? 1 : 2); /* and the mark of what it is sorted by */
    for (size_t i = 0; i < p->n; i++)
        most =
            MAX(most, screen_columns(s, p->rows[i].cells[column]) + (shows_bar(&p->rows[i], c) ? BAR_COLUMNS + 1 : 0));
    return (unsigned)MIN(MAX(most, (size_t)c->min), (size_t)c->max);
}

/* Each has its least; columns of last resort go when that is too much, from the right; what is left goes to those that want more. */
static struct widths widths_make(const struct screen *s, const struct top_pane *p, enum top_pane_kind kind)
{
    const unsigned width = screen_width(s);
    const struct top_column *c = top_columns[kind];
    const size_t n = top_n_columns[kind];
    struct widths w = {{0}};
    for (size_t i = 0; i < n; i++)
        w.of[i] = c[i].min;
    for (size_t i = n; i-- > 0 && widths_sum(&w, n) > width;)
        if (c[i].last_resort)
            w.of[i] = 0;
    for (size_t i = n; i-- > 1 && widths_sum(&w, n) > width;)
        w.of[i] = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned used = widths_sum(&w, n), more = w.of[i] ? wanted(s, p, &c[i], i) - w.of[i] : 0;
        w.of[i] += used < width ? MIN(more, width - used) : 0;
    }
    return w;
}

static void bar_put(struct screen *s, unsigned x, unsigned y, unsigned width, unsigned style, const struct top_row *row)
{
    char text[8], bar[3 * BAR_CELLS + 1] = "";
    const unsigned full = (unsigned)(row->part * BAR_CELLS + 0.5);
    snprintf(text, sizeof(text), "%3d%%", (int)(row->part * 100));
    for (unsigned i = 0; i < BAR_CELLS; i++)
        strncat(bar, i < full ? (screen_utf8(s) ? "█" : "#") : (screen_utf8(s) ? "░" : "."),
                sizeof(bar) - strlen(bar) - 1);
    unsigned at = screen_put(s, x, y, width, style, bar);
    at += screen_put(s, x + at, y, width - MIN(at, width), style, text);
    if (*row->cells[1] && at + 1 < width)
        screen_put(s, x + at + 1, y, width - at - 1, style, row->cells[1]);
}

static void titles_draw(struct screen *s, unsigned y, const struct top_pane *p, enum top_pane_kind kind,
                        const struct widths *w)
{
    char title[32];
    unsigned x = 0;
    for (size_t i = 0; i < top_n_columns[kind]; i++) {
        const struct top_column *c = &top_columns[kind][i];
        if (!w->of[i])
            continue;
        snprintf(title, sizeof(title), "%s%s", c->title, p->sort == (int)i ? (c->kind == COLUMN_TEXT ? "+" : "-") : "");
        if (c->kind == COLUMN_NUMBER)
            screen_put_right(s, x, y, w->of[i], COLOUR_DIM, title);
        else
            screen_put(s, x, y, w->of[i], COLOUR_DIM, title);
        x += w->of[i] + GAP;
    }
}

static void row_draw(struct screen *s, unsigned y, const struct top_row *row, enum top_pane_kind kind,
                     const struct widths *w, bool chosen)
{
    const unsigned style = chosen ? STYLE_REVERSE : (unsigned)row->colour;
    unsigned x = 0;
    if (chosen)
        screen_style_row(s, y, style);
    for (size_t i = 0; i < top_n_columns[kind]; i++) {
        if (!w->of[i])
            continue;
        if (shows_bar(row, &top_columns[kind][i]))
            bar_put(s, x, y, w->of[i], style, row);
        else if (top_columns[kind][i].kind == COLUMN_NUMBER)
            screen_put_right(s, x, y, w->of[i], style, row->cells[i]);
        else
            screen_put(s, x, y, w->of[i], style, row->cells[i]);
        x += w->of[i] + GAP;
    }
}

static void name_draw(const struct top *t, struct screen *s, unsigned y, enum top_pane_kind kind, bool mark)
{
    const struct top_pane *p = &t->panes[kind];
    char text[500], status[32] = "", count[64];
    if (kind == TOP_JOBS)
        snprintf(status, sizeof(status), " %s", t->now.status);
    if (kind == TOP_JOBS && p->of == TOP_JOBS_MAX)
        snprintf(count, sizeof(count), "the latest %zu", p->of);
    else
        snprintf(count, sizeof(count), "%zu", p->of);
    int n = snprintf(text, sizeof(text), " %s%s (%s)", pane_names[kind], status, count);
    if (kind == TOP_JOBS && *t->now.queue)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  queue %s", t->now.queue);
    if (*p->filter)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "  filter '%s': %zu", p->filter, p->n);
    if (mark && p->n > 0)
        snprintf(text + n, sizeof(text) - (size_t)n, "  row %zu", p->at + 1);
    screen_put(s, 0, y, screen_width(s), STYLE_BOLD | (mark ? COLOUR_BLUE : COLOUR_NONE), text);
    if (mark)
        screen_put(s, 0, y, 1, STYLE_BOLD | COLOUR_BLUE, ">");
}

/** @param mark  it is the active one: show so, and which row is chosen */
static void pane_draw(struct top *t, struct screen *s, unsigned y, unsigned rows, enum top_pane_kind kind, bool mark)
{
    struct top_pane *p = &t->panes[kind];
    const struct widths w = widths_make(s, p, kind);
    name_draw(t, s, y, kind, mark);
    titles_draw(s, y + 1, p, kind, &w);
    if (p->at < p->first)
        p->first = p->at;
    if (rows > 0 && p->at >= p->first + rows)
        p->first = p->at - rows + 1;
    if (p->first + rows > p->n)
        p->first = p->n > rows ? p->n - rows : 0;
    for (size_t i = 0; i < rows && p->first + i < p->n; i++)
        row_draw(s, y + PANE_FRAME + (unsigned)i, &p->rows[p->first + i], kind, &w, mark && p->first + i == p->at);
    if (p->n == 0 && rows > 0)
        screen_put(s, 1, y + PANE_FRAME, screen_width(s), COLOUR_DIM,
                   p->of ? "none that the filter lets through" : "none");
}

/* ---- the head ---- */

static void share_format(const json_t *v, double scale, const char *unit, char ret[32])
{
    if (json_is_number(v))
        snprintf(ret, 32, "%.3g%s", json_number_value(v) * scale, unit);
    else
        snprintf(ret, 32, "-");
}

static void figures_draw(const struct top *t, struct screen *s, unsigned y)
{
    const json_t *all = json_object_get(t->now.slis, "all"), *q, *w;
    char start[32], rate[32], done[32], success[32], text[240];
    int64_t running = 0, busy = 0, slots = 0;
    size_t i;
    json_array_foreach (json_object_get(t->now.queues, "queues"), i, q)
        running += jint(q, "running");
    json_array_foreach (json_object_get(t->now.workers, "workers"), i, w)
        if (strcmp(jtext(w, "state"), "gone") != 0) {
            busy += jint(w, "slots_busy");
            slots += jint(w, "slots_total");
        }
    share_format(json_object_get(all, "job_start_latency_p95_s"), 1, "s", start);
    share_format(json_object_get(all, "started_per_s"), 60, "/min", rate);
    share_format(json_object_get(all, "finished_per_s"), 60, "/min", done);
    share_format(json_object_get(all, "job_success_rate_5m"), 100, "%", success);
    snprintf(text, sizeof(text), "ready %lld  running %lld  slots %lld/%lld  in %s  out %s  start p95 %s  success %s",
             (long long)jint(all, "queue_depth"), (long long)running, (long long)busy, (long long)slots, rate, done,
             start, success);
    screen_put(s, 0, y, screen_width(s), COLOUR_NONE, text);
}

static void alerts_draw(const struct top *t, struct screen *s, unsigned y)
{
    const json_t *a;
    struct buf text;
    size_t i, n = 0;
    buf_init(&text, 64 << 10);
    json_array_foreach (json_object_get(t->now.alerts, "alerts"), i, a)
        if (strcmp(jtext(a, "state"), "firing") == 0)
            buf_printf(&text, "%s%s%s%s", n++ ? ", " : "", jtext(a, "name"), *jtext(a, "text") ? ": " : "",
                       jtext(a, "text"));
    char count[32];
    snprintf(count, sizeof(count), "%zu alert%s  ", n, n == 1 ? "" : "s");
    unsigned x =
        screen_put(s, 0, y, screen_width(s), n ? STYLE_BOLD | COLOUR_RED : COLOUR_GREEN, n ? count : "no alerts");
    screen_put(s, x, y, screen_width(s) - x, COLOUR_RED, buf_str(&text));
    buf_release(&text);
}

static void head_draw(const struct top *t, struct screen *s)
{
    char at[RFC3339_MAX] = "", text[600];
    if (t->now.wall_us)
        rfc3339_format(t->now.wall_us / USEC_PER_SEC * USEC_PER_SEC, at);
    snprintf(text, sizeof(text), "haul %s", t->now.server);
    screen_put(s, 0, 0, screen_width(s), STYLE_BOLD, text);
    snprintf(text, sizeof(text), "%s %s", t->want.held ? " held" : "", at);
    screen_put_right(s, 0, 0, screen_width(s), STYLE_BOLD | (t->want.held ? COLOUR_YELLOW : COLOUR_NONE), text);
    if (t->now.slis)
        figures_draw(t, s, 1);
    if (*t->now.trouble)
        screen_put(s, 0, 2, screen_width(s), STYLE_BOLD | COLOUR_RED, t->now.trouble);
    else if (t->now.alerts)
        alerts_draw(t, s, 2);
    else
        screen_put(s, 0, 2, screen_width(s), COLOUR_DIM, "asking the server");
}

/* The last row: a question, what is typed, what was done, or which keys there are. */
static void foot_draw(const struct top *t, struct screen *s)
{
    static const char *const keys[] = {
        [TOP_LISTS] =
            "q quit  ? help  tab pane  enter open  s sort  f filter  w which jobs  c cancel  r retry  P pause  d drain",
        [TOP_JOB] = "q quit  ? help  esc back  c cancel  r retry  p hold",
        [TOP_HELP] = "any key: back  q quit",
    };
    const unsigned y = screen_height(s) - 1, width = screen_width(s);
    char text[400];
    if (*t->asked) {
        snprintf(text, sizeof(text), "y: yes, anything else: no");
        unsigned x = screen_put(s, 0, y, width, STYLE_REVERSE | COLOUR_YELLOW, t->asked);
        screen_put(s, x + 1, y, width, STYLE_BOLD, text);
    } else if (t->typing) {
        snprintf(text, sizeof(text), "filter %s: %s_", pane_names[t->active], t->panes[t->active].filter);
        screen_put(s, 0, y, width, STYLE_BOLD, text);
    } else if (*t->said) {
        screen_put(s, 0, y, width, STYLE_BOLD, t->said);
    } else {
        screen_put(s, 0, y, width, COLOUR_DIM, keys[t->page]);
    }
}

/* ---- the lists ---- */

/* First a fair share for each, then what is over: to the active one, to the others. */
static void share_rows(const struct top *t, unsigned room, unsigned ret[TOP_PANES])
{
    unsigned left = room;
    for (size_t i = 0; i < TOP_PANES; i++) {
        ret[i] = MIN(MAX((unsigned)MIN(t->panes[i].n, (size_t)room), 1u), room / TOP_PANES);
        left -= ret[i];
    }
    for (size_t k = 0; k < TOP_PANES; k++) {
        const size_t i = (t->active + k) % TOP_PANES;
        const unsigned more = t->panes[i].n > ret[i] ? (unsigned)MIN(t->panes[i].n - ret[i], (size_t)left) : 0;
        ret[i] += more;
        left -= more;
    }
}

static void lists_draw(struct top *t, struct screen *s)
{
    const unsigned height = screen_height(s);
    unsigned rows[TOP_PANES], y = HEAD_ROWS;
    if (height < ALL_PANES) {
        if (height > HEAD_ROWS + PANE_FRAME + 1)
            pane_draw(t, s, y, height - HEAD_ROWS - PANE_FRAME - 1, t->active, true);
        return;
    }
    share_rows(t, height - HEAD_ROWS - 1 - PANE_FRAME * TOP_PANES, rows);
    for (size_t i = 0; i < TOP_PANES; i++) {
        pane_draw(t, s, y, rows[i], (enum top_pane_kind)i, i == t->active);
        y += PANE_FRAME + rows[i];
    }
}

struct screen *top_picture(struct top *t, unsigned width, struct screen_kind kind)
{
    unsigned height = HEAD_ROWS, y = HEAD_ROWS;
    for (size_t i = 0; i < TOP_PANES; i++)
        height += PANE_FRAME + (unsigned)MIN(MAX(t->panes[i].n, (size_t)1), (size_t)300);
    struct screen *s = screen_new(width, height, kind);
    if (!s)
        return NULL;
    head_draw(t, s);
    for (size_t i = 0; i < TOP_PANES; i++) {
        const unsigned rows = (unsigned)MIN(MAX(t->panes[i].n, (size_t)1), (size_t)300);
        pane_draw(t, s, y, rows, (enum top_pane_kind)i, false);
        y += PANE_FRAME + rows;
    }
    return s;
}

/* ---- a job ---- */

static unsigned fact(struct screen *s, unsigned y, const char *name, const char *value)
{
    if (!*value)
        return y;
    screen_put(s, 0, y, 14, COLOUR_DIM, name);
    screen_put(s, 15, y, screen_width(s) - MIN(15u, screen_width(s)), COLOUR_NONE, value);
    return y + 1;
}

static unsigned facts_of_run(const struct top *t, struct screen *s, unsigned y, const json_t *job)
{
    const json_t *progress = json_object_get(job, "progress");
    char text[300], left[32] = "";
    usec span;
    if (json_is_object(progress)) {
        if (top_left(t, job, &span))
            left_format(span, left);
        snprintf(text, sizeof(text), "%.1f%%%s%s  %.200s", jreal(progress, "percent"), *left ? ", left " : "", left,
                 jtext(progress, "message"));
        y = fact(s, y, "progress", text);
    }
    snprintf(text, sizeof(text), "%lld of %lld", (long long)jint(job, "attempt"), (long long)jint(job, "max_attempts"));
    y = fact(s, y, "attempt", text);
    y = fact(s, y, "submitted", jtext(job, "created_at"));
    y = fact(s, y, "started", jtext(job, "started_at"));
    return fact(s, y, "finished", jtext(job, "finished_at"));
}

static unsigned facts_of_waiting(struct screen *s, unsigned y, const json_t *why)
{
    const json_t *workers = json_object_get(why, "workers");
    char text[160];
    y = fact(s, y, "why it waits", jtext(why, "text"));
    if (json_is_integer(json_object_get(why, "position"))) {
        snprintf(text, sizeof(text), "%s%lld", json_is_true(json_object_get(why, "position_exact")) ? "" : "behind ",
                 (long long)jint(why, "position"));
        y = fact(s, y, "position", text);
    }
    if (json_is_object(workers)) {
        snprintf(text, sizeof(text), "%lld of %lld live ones run its type, %lld of their %lld slots are free",
                 (long long)jint(workers, "serving"), (long long)jint(workers, "live"),
                 (long long)jint(workers, "free_slots"), (long long)jint(workers, "slots"));
        y = fact(s, y, "workers", text);
    }
    return fact(s, y, "likely start", jtext(why, "likely_start_at"));
}

/* The last lines of a text, as many as there are rows for. A carriage return begins a line, as on the terminal it was meant for. */
static void tail_draw(struct screen *s, unsigned y, unsigned rows, const char *text)
{
    const char *end = text + strlen(text), *from;
    char line[1024];
    while (end > text && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    from = end;
    for (unsigned n = 0; from > text; from--)
        if ((from[-1] == '\n' || from[-1] == '\r') && ++n >= rows)
            break;
    for (; from < end && rows > 0; rows--) {
        const size_t n = MIN(strcspn(from, "\r\n"), (size_t)(end - from));
        snprintf(line, sizeof(line), "%.*s", (int)MIN(n, sizeof(line) - 1), from);
        screen_put(s, 0, y++, screen_width(s), COLOUR_NONE, line);
        from += n + (from + n < end);
    }
}

static void job_draw(const struct top *t, struct screen *s)
{
    const json_t *job = t->now.job;
    const unsigned height = screen_height(s);
    unsigned y = HEAD_ROWS;
    char text[300];
    if (!job || strcmp(jtext(job, "job_id"), t->want.job_id) != 0) {
        screen_put(s, 0, y, screen_width(s), COLOUR_DIM, "asking for the job");
        return;
    }
    snprintf(text, sizeof(text), "Job %s  ", t->want.job_id);
    unsigned x = screen_put(s, 0, y, screen_width(s), STYLE_BOLD, text);
    snprintf(text, sizeof(text), "%s%s%s%s", jtext(job, "status"), *jtext(job, "outcome") ? " (" : "",
             jtext(job, "outcome"), *jtext(job, "outcome") ? ")" : "");
    screen_put(s, x, y++, screen_width(s) - MIN(x, screen_width(s)),
               STYLE_BOLD | (unsigned)status_colour(jtext(job, "status")), text);
    y = fact(s, y, "type", jtext(job, "task_type"));
    y = fact(s, y, "queue", jtext(job, "queue"));
    y = facts_of_run(t, s, y, job);
    if (*jtext(job, "cancel_requested_at"))
        y = fact(s, y, "cancel asked", jtext(job, "cancel_requested_at"));
    y = t->now.why ? facts_of_waiting(s, y, t->now.why) : fact(s, y, "waits", jtext(job, "waiting_reason"));
    const char *log = t->now.log && *t->now.log ? t->now.log : jtext(job, "error_log");
    if (!*log || y + 2 > height - 1)
        return;
    screen_put(s, 0, y++, screen_width(s), STYLE_BOLD, "Log, its end");
    tail_draw(s, y, height - 1 - y, log);
}

/* ---- help, and all ---- */

static void help_draw(struct screen *s)
{
    static const char *const lines[] = {
        "up down j k      move; PgUp PgDn, Home End (g G) further",
        "tab, left right  the next pane: queues, jobs, workers",
        "enter            a job: why it waits, the end of its log; a queue: its jobs alone",
        "esc              back; take the filter away; all queues again",
        "w                which jobs: running, pending, failed, success, cancelled",
        "s                sort by the next column; after the last as the server has them",
        "f /              filter the pane's rows by a text; enter keeps it, esc drops it",
        "p                hold the picture, go on",
        "c                cancel the job (asks first)",
        "r                retry the job (asks first)",
        "P                pause the queue, or resume it (asks first)",
        "d                drain the worker, or give it jobs again (asks first)",
        "Ctrl-L           draw all anew",
        "q                quit",
        "",
        "in, out: jobs that began and ended in the last minute. start p95, success: of the last five.",
        "left: by the pace since it is seen here, else since the job began.",
    };
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++)
        screen_put(s, 1, HEAD_ROWS + i, screen_width(s), COLOUR_NONE, lines[i]);
}

void top_draw(struct top *t, struct screen *s)
{
    screen_clear(s);
    head_draw(t, s);
    if (t->page == TOP_LISTS)
        lists_draw(t, s);
    else if (t->page == TOP_JOB)
        job_draw(t, s);
    else
        help_draw(s);
    foot_draw(t, s);
}
