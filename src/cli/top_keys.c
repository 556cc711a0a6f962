/* haul top: what a key does. What changes anything on the server is asked first. */
#include "base/auto.h"
#include "base/buf.h"
#include "cli/top.h"

#define PAGE 10 /* rows */

/* ---- its life ---- */

static void drop(json_t **answer)
{
    json_decref(*answer);
    *answer = NULL;
}

void top_snapshot_release(struct top_snapshot *s)
{
    json_t **answers[] = {&s->slis, &s->alerts, &s->queues, &s->workers, &s->jobs, &s->job, &s->why};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        drop(answers[i]);
    free(s->log);
    s->log = NULL;
}

bool top_init(struct top *t)
{
    *t = (struct top){.active = TOP_JOBS, .want.status = "running"};
    for (size_t i = 0; i < TOP_PANES; i++)
        t->panes[i].sort = -1;
    t->arena = arena_new(1 << 16);
    return t->arena != NULL;
}

void top_release(struct top *t)
{
    top_snapshot_release(&t->now);
    free(t->order.body);
    free(t->if_yes.body);
    arena_free(t->arena);
}

static void pace_see(struct top *t, const json_t *job, usec mono_us)
{
    const json_t *progress = json_object_get(job, "progress");
    const int64_t attempt = jint(job, "attempt");
    struct top_pace *p = NULL;
    if (!json_is_object(progress) || strcmp(jtext(job, "status"), "running") != 0)
        return;
    for (size_t i = 0; i < t->n_paces && !p; i++)
        if (strcmp(t->paces[i].id, jtext(job, "job_id")) == 0)
            p = &t->paces[i];
    if (!p) {
        if (t->n_paces == TOP_JOBS_MAX)
            return;
        p = &t->paces[t->n_paces++];
        *p = (struct top_pace){.attempt = attempt};
        snprintf(p->id, sizeof(p->id), "%s", jtext(job, "job_id"));
    }
    if (p->attempt != attempt)
        p->eta = (struct eta){0};
    p->attempt = attempt;
    p->seen = true;
    eta_see(&p->eta, mono_us, jreal(progress, "percent") / 100);
}

static void paces_see(struct top *t, usec mono_us)
{
    const json_t *job;
    size_t i, n = 0;
    for (i = 0; i < t->n_paces; i++)
        t->paces[i].seen = false;
    pace_see(t, t->now.job, mono_us);
    json_array_foreach (json_object_get(t->now.jobs, "jobs"), i, job)
        pace_see(t, job, mono_us);
    for (i = 0; i < t->n_paces; i++)
        if (t->paces[i].seen)
            t->paces[n++] = t->paces[i];
    t->n_paces = n;
}

/* What was known stays on the screen while the server is away. */
void top_take(struct top *t, struct top_snapshot *s, usec mono_us)
{
    if (*s->trouble) {
        snprintf(t->now.trouble, sizeof(t->now.trouble), "%s", s->trouble);
        snprintf(t->now.server, sizeof(t->now.server), "%s", s->server);
        top_snapshot_release(s);
    } else {
        top_snapshot_release(&t->now);
        t->now = *s;
        paces_see(t, mono_us);
    }
    *s = (struct top_snapshot){0};
}

/* ---- asking ---- */

static void ask(struct top *t, const char *question, const char *group, const char *id, const char *verb,
                json_t *body /* taken */, const char *done)
{
    struct buf path;
    buf_init(&path, sizeof(t->if_yes.path));
    buf_printf(&path, "/v1/%s/", group);
    url_add(&path, id);
    buf_printf(&path, "/%s", verb);
    if (!path.failed && *id) {
        free(t->if_yes.body);
        t->if_yes = (struct top_order){.body = body ? json_dumps(body, JSON_COMPACT) : NULL};
        snprintf(t->if_yes.path, sizeof(t->if_yes.path), "%s", buf_str(&path));
        snprintf(t->if_yes.done, sizeof(t->if_yes.done), "%s %s", id, done);
        snprintf(t->asked, sizeof(t->asked), "%s %.150s?", question, id);
    }
    json_decref(body);
    buf_release(&path);
}

static void answer(struct top *t, const struct key *k)
{
    const bool yes = k->kind == KEY_TEXT && (k->text[0] == 'y' || k->text[0] == 'Y');
    t->asked[0] = '\0';
    if (yes) {
        free(t->order.body);
        t->order = t->if_yes;
    } else {
        free(t->if_yes.body);
    }
    t->if_yes = (struct top_order){0};
    snprintf(t->said, sizeof(t->said), "%s", yes ? "..." : "nothing was done");
}

static const char *chosen(const struct top *t, enum top_pane_kind kind)
{
    const struct top_pane *p = &t->panes[kind];
    if (t->page == TOP_JOB)
        return kind == TOP_JOBS ? t->want.job_id : "";
    return t->active == kind && p->n > 0 ? p->rows[p->at].id : "";
}

static void ask_job(struct top *t, const char *verb)
{
    const char *id = chosen(t, TOP_JOBS);
    if (!*id)
        snprintf(t->said, sizeof(t->said), "choose a job first");
    else if (*verb == 'c')
        ask(t, "Cancel job", "jobs", id, "cancel", NULL, "is being cancelled");
    else
        ask(t, "Retry job", "jobs", id, "retry", NULL, "runs again");
}

static void ask_queue(struct top *t)
{
    const char *id = chosen(t, TOP_QUEUES);
    const struct top_pane *p = &t->panes[TOP_QUEUES];
    if (!*id)
        snprintf(t->said, sizeof(t->said), "choose a queue first");
    else if (strcmp(p->rows[p->at].cells[6], "paused") == 0)
        ask(t, "Resume queue", "queues", id, "resume", NULL, "goes on");
    else
        ask(t, "Pause queue", "queues", id, "pause", json_pack("{s:o*}", "by", cli_who()), "is paused");
}

static void ask_worker(struct top *t)
{
    const char *id = chosen(t, TOP_WORKERS);
    const struct top_pane *p = &t->panes[TOP_WORKERS];
    if (!*id)
        snprintf(t->said, sizeof(t->said), "choose a worker first");
    else if (strncmp(p->rows[p->at].cells[1], "drain", 5) == 0)
        ask(t, "Give jobs again to worker", "workers", id, "resume", NULL, "gets jobs again");
    else
        ask(t, "Drain worker", "workers", id, "drain", json_pack("{s:o*}", "by", cli_who()), "gets no more jobs");
}

/* ---- moving ---- */

static void move_to(struct top_pane *p, size_t at)
{
    p->at = p->n ? MIN(at, p->n - 1) : 0;
    snprintf(p->id, sizeof(p->id), "%s", p->n ? p->rows[p->at].id : "");
}

static bool move(struct top *t, const struct key *k)
{
    struct top_pane *p = &t->panes[t->active];
    const char c = k->kind == KEY_TEXT ? k->text[0] : '\0';
    if (k->kind == KEY_UP || c == 'k')
        move_to(p, p->at ? p->at - 1 : 0);
    else if (k->kind == KEY_DOWN || c == 'j')
        move_to(p, p->at + 1);
    else if (k->kind == KEY_PAGE_UP)
        move_to(p, p->at > PAGE ? p->at - PAGE : 0);
    else if (k->kind == KEY_PAGE_DOWN)
        move_to(p, p->at + PAGE);
    else if (k->kind == KEY_HOME || c == 'g')
        move_to(p, 0);
    else if (k->kind == KEY_END || c == 'G')
        move_to(p, SIZE_MAX);
    else if (k->kind == KEY_TAB || k->kind == KEY_RIGHT)
        t->active = (t->active + 1) % TOP_PANES;
    else if (k->kind == KEY_BACK_TAB || k->kind == KEY_LEFT)
        t->active = (t->active + TOP_PANES - 1) % TOP_PANES;
    else
        return false;
    return true;
}

/* Fixed bytes beyond the text stay zero: wants are compared whole. */
static void want_text(char *at, size_t size, const char *text)
{
    memset(at, 0, size);
    snprintf(at, size, "%s", text);
}

static void enter(struct top *t)
{
    if (t->active == TOP_JOBS && *chosen(t, TOP_JOBS)) {
        want_text(t->want.job_id, sizeof(t->want.job_id), chosen(t, TOP_JOBS));
        t->page = TOP_JOB;
    } else if (t->active == TOP_QUEUES && *chosen(t, TOP_QUEUES)) {
        want_text(t->want.queue, sizeof(t->want.queue), chosen(t, TOP_QUEUES));
        t->active = TOP_JOBS;
    }
}

static void back(struct top *t)
{
    struct top_pane *p = &t->panes[t->active];
    if (t->page != TOP_LISTS) {
        t->page = TOP_LISTS;
        want_text(t->want.job_id, sizeof(t->want.job_id), "");
    } else if (*p->filter) {
        p->filter[0] = '\0';
    } else {
        want_text(t->want.queue, sizeof(t->want.queue), "");
    }
}

static void next_status(struct top *t)
{
    static const char *const statuses[] = {"running", "pending", "failed", "success", "cancelled"};
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(statuses) && strcmp(statuses[i], t->want.status) != 0)
        i++;
    want_text(t->want.status, sizeof(t->want.status), statuses[(i + 1) % ARRAY_LEN(statuses)]);
}

/* ---- typing a filter ---- */

static void type(struct top *t, const struct key *k)
{
    char *filter = t->panes[t->active].filter;
    size_t n = strlen(filter);
    if (k->kind == KEY_ENTER) {
        t->typing = false;
    } else if (k->kind == KEY_ESCAPE) {
        t->typing = false;
        filter[0] = '\0';
    } else if (k->kind == KEY_BACKSPACE) {
        while (n > 0 && (filter[--n] & 0xC0) == 0x80)
            ;
        filter[n] = '\0';
    } else if (k->kind == KEY_TEXT && n + strlen(k->text) < sizeof(t->panes[0].filter)) {
        snprintf(filter + n, sizeof(t->panes[0].filter) - n, "%s", k->text);
    }
}

/* ---- letters ---- */

static void letter_of_lists(struct top *t, char c)
{
    struct top_pane *p = &t->panes[t->active];
    if (c == 's')
        p->sort = p->sort + 1 < (int)top_n_columns[t->active] ? p->sort + 1 : -1;
    else if (c == 'f' || c == '/')
        t->typing = true;
    else if (c == 'w')
        next_status(t);
    else if (c == 'P')
        ask_queue(t);
    else if (c == 'd')
        ask_worker(t);
}

static void letter(struct top *t, char c)
{
    if (c == 'q')
        t->quit = true;
    else if (c == '?' || c == 'h')
        t->page = TOP_HELP;
    else if (c == 'p')
        t->want.held = !t->want.held;
    else if (c == 'c' || c == 'r')
        ask_job(t, c == 'c' ? "cancel" : "retry");
    else if (t->page == TOP_LISTS)
        letter_of_lists(t, c);
}

void top_key(struct top *t, const struct key *k)
{
    if (k->kind == KEY_REDRAW) {
        t->redraw = true;
        return;
    }
    if (k->kind == KEY_NONE)
        return;
    if (*t->asked) {
        answer(t, k);
        return;
    }
    t->said[0] = '\0';
    if (t->typing)
        type(t, k);
    else if (t->page == TOP_HELP && !(k->kind == KEY_TEXT && k->text[0] == 'q'))
        t->page = *t->want.job_id ? TOP_JOB : TOP_LISTS;
    else if (k->kind == KEY_ESCAPE || k->kind == KEY_BACKSPACE)
        back(t);
    else if (t->page == TOP_LISTS && move(t, k))
        ;
    else if (k->kind == KEY_ENTER && t->page == TOP_LISTS)
        enter(t);
    else if (k->kind == KEY_TEXT)
        letter(t, k->text[0]);
}
