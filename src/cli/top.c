/* haul top: the server, live on a terminal. */
#include "cli/top.h"
#include "base/auto.h"
#include "cli/top_fetch.h"
#include "cli/tty.h"

#define EVERY_MIN_US   (USEC_PER_SEC / 4)
#define EVERY_MAX_US   (3600 * USEC_PER_SEC)
#define ANSWER_MS      10000
#define ESCAPE_MS      50 /* what belongs to an ESC comes within */
#define PIPED_WIDTH    160
#define DRAW_BYTES_MAX ((size_t)16 << 20)

struct args {
    usec every_us;
    const char *queue;
    bool once;
};

static const struct opt options[] = {
    {"every", 'e', OPT_DURATION, offsetof(struct args, every_us), "TIME", 0, 0, "ask again so often (default 1s)"},
    {"queue", 'q', OPT_TEXT, offsetof(struct args, queue), "QUEUE", 0, 0, "begin with the jobs of this queue"},
    {"once", '1', OPT_FLAG, offsetof(struct args, once), NULL, 0, 0, "print one picture and end"},
};

/* ---- once ---- */

static void print_picture(struct top *t)
{
    const struct screen_kind kind = {.utf8 = true};
    struct buf text;
    top_rows_make(t, now_wall(), now_mono());
    struct screen *s = top_picture(t, term_is(stdout) ? term_width(stdout) : PIPED_WIDTH, kind);
    buf_init(&text, DRAW_BYTES_MAX);
    if (s)
        screen_text(s, &text);
    fputs(buf_str(&text), stdout);
    buf_release(&text);
    screen_free(s);
}

static void print_document(const struct top_snapshot *s)
{
    json_t *doc =
        json_pack("{s:O,s:O,s:O,s:O,s:O}", "all", json_object_get(s->slis, "all"), "alerts",
                  json_object_get(s->alerts, "alerts"), "queues", json_object_get(s->queues, "queues"), "workers",
                  json_object_get(s->workers, "workers"), "jobs", json_object_get(s->jobs, "jobs"));
    print_json(doc);
    json_decref(doc);
}

static int once(struct cli *cli, struct haul_client *c, struct top *t)
{
    struct top_snapshot s;
    struct haul_error herr;
    int status = EXIT_OK;
    top_ask(c, &t->want, NULL, &s, &herr);
    if (*s.trouble)
        status = cli_haul_err(cli, &herr, "top");
    else if (cli->json)
        print_document(&s);
    top_take(t, &s, now_mono());
    if (status == EXIT_OK && !cli->json)
        print_picture(t);
    return status;
}

/* ---- live ---- */

/* What its owner says of the terminal; what cli_main set for us says nothing of it. */
static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

struct live {
    struct top *top;
    struct top_fetch *fetch;
    struct screen *shown, *next;
    char typed[64];
    size_t n_typed;
};

/* @return false: the terminal is gone, or memory */
static bool draw(struct live *l)
{
    const struct screen_kind kind = {.utf8 = speaks_utf8(), .colour = term_colour(stdout)};
    unsigned width, height;
    struct buf out;
    tty_size(&width, &height);
    screen_free(l->next);
    l->next = screen_new(width, height, kind);
    if (!l->next)
        return false;
    top_rows_make(l->top, now_wall(), now_mono());
    top_draw(l->top, l->next);
    buf_init(&out, DRAW_BYTES_MAX);
    screen_draw(l->top->redraw ? NULL : l->shown, l->next, &out);
    l->top->redraw = false;
    const bool well = !out.failed && (out.len == 0 || tty_write(out.data, out.len));
    buf_release(&out);
    struct screen *spare = l->shown;
    l->shown = l->next;
    l->next = spare;
    return well;
}

static void press(struct live *l, bool whole)
{
    struct key k;
    size_t used;
    while (l->n_typed > 0 && (used = key_next(l->typed, l->n_typed, whole, &k)) > 0) {
        l->n_typed -= used;
        memmove(l->typed, l->typed + used, l->n_typed);
        top_rows_make(l->top, now_wall(), now_mono()); /* what the key before it changed */
        top_key(l->top, &k);
        if (*l->top->order.path && !top_fetch_order(l->fetch, &l->top->order))
            snprintf(l->top->said, sizeof(l->top->said), "the server has not answered the one before; not done");
    }
    if (l->n_typed == sizeof(l->typed))
        l->n_typed = 0; /* no key is that long */
    top_fetch_want(l->fetch, &l->top->want);
}

static void take_news(struct live *l)
{
    struct top_snapshot s;
    char said[sizeof(l->top->said)];
    if (!top_fetch_take(l->fetch, &s, said, sizeof(said)))
        return;
    if (*said)
        snprintf(l->top->said, sizeof(l->top->said), "%s", said);
    if (s.wall_us)
        top_take(l->top, &s, now_mono());
}

static void loop(struct live *l)
{
    while (!l->top->quit && draw(l)) {
        const unsigned events = tty_wait(top_fetch_fd(l->fetch), l->n_typed ? ESCAPE_MS : -1);
        if (events & TTY_END)
            return;
        if (events & (TTY_BACK | TTY_RESIZED))
            l->top->redraw = true;
        if (events & TTY_OTHER)
            take_news(l);
        if (events & TTY_INPUT) {
            const size_t n = tty_read(l->typed + l->n_typed, sizeof(l->typed) - l->n_typed);
            if (n == 0)
                return;
            l->n_typed += n;
            press(l, false);
        } else if (events == 0) {
            press(l, true);
        }
    }
}

/* The terminal is taken after the thread began, which inherits the signals blocked: they are for the one that has the terminal. */
static int live(struct haul_client *c, usec every_us, struct top *t)
{
    struct live l = {.top = t};
    struct err err = {0};
    if (tty_enter(&err) == ERR_OK) {
        l.fetch = top_fetch_new(c, every_us, &t->want, &err);
        if (l.fetch)
            loop(&l);
    }
    tty_restore();
    top_fetch_free(l.fetch);
    screen_free(l.shown);
    screen_free(l.next);
    return err.code ? cli_err(&err, "top") : EXIT_OK;
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    const struct args *a = args;
    const char *kind = getenv("TERM");
    const usec every_us = a->every_us ? a->every_us : USEC_PER_SEC;
    int status = EXIT_OK;
    struct top t;
    if (every_us < EVERY_MIN_US || every_us > EVERY_MAX_US)
        return cli_usage(&command_top, "--every must be from 250ms to 1h");
    if (a->queue && strlen(a->queue) >= TOP_ID_MAX)
        return cli_usage(&command_top, "--queue: no queue has so long a name");
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    haul_client_timeout(c, ANSWER_MS);
    if (!top_init(&t))
        return cli_usage(&command_top, "out of memory");
    snprintf(t.want.queue, sizeof(t.want.queue), "%s", a->queue ? a->queue : "");
    const bool dumb = !kind || !*kind || strcmp(kind, "dumb") == 0;
    const bool whole_screen = !a->once && !cli->json && !dumb && term_is(stdin) && term_is(stdout);
    status = whole_screen ? live(c, every_us, &t) : once(cli, c, &t);
    top_release(&t);
    if (whole_screen)
        tty_leave();
    return status;
}

const struct command command_top = {
    .name = "top",
    .args = "",
    .summary = "Queues, running jobs and workers, live on a terminal.",
    .detail =
        "'?' shows the keys. Whatever changes anything is asked first. Where stdout is no terminal, or TERM is dumb,\n"
        "one picture is printed, as with --once; --json prints what it is made of.",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run,
};
