/* One thing done to many jobs: by ids, or to all that a filter matches. */
#include "cli/action.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "cli/patient.h"
#include "cli/selection.h"
#include <strings.h>

#define CHUNK         1000 /* ids a call */
#define REFUSALS_TOLD 10
#define REFUSALS_KEPT 1000 /* in --json */

/* One command's work on any number of jobs. */
struct work {
    struct cli *cli;
    const struct action *action;
    struct bar bar;
    size_t n, done, asked, refused; /* asked: running jobs that were told to stop, part of done */
    int status;                     /* of the first refusal */
    bool each;                      /* ids were given: each is reported */
    json_t *report;                 /* each: all of them; otherwise refusals */
};

/* The answer to a repeated call may be about what the first try has done already. */
static bool done_before(const struct work *w, const json_t *r, unsigned tries)
{
    if (tries < 2)
        return false;
    const char *sub = w->action->cmd->sub;
    return (strcmp(sub, "retry") == 0 && jint(r, "status") == 409) ||
           (strcmp(sub, "discard") == 0 && jint(r, "status") == 404);
}

static void refused(struct work *w, const char *id, const json_t *problem)
{
    const char *code = jtext(problem, "code"), *detail = jtext(problem, "detail");
    if (!*detail)
        detail = jtext(problem, "title");
    w->refused++;
    if (w->status == EXIT_OK)
        w->status = err_exit(err_from_name(code));
    if (w->each || json_array_size(w->report) < REFUSALS_KEPT)
        json_array_append_new(w->report,
                              json_pack("{s:s,s:b,s:s,s:s}", "job_id", id, "ok", 0, "code", code, "detail", detail));
    if (!w->each && w->refused > REFUSALS_TOLD)
        return;
    AUTO_FREE char *safe = text_safe(detail);
    bar_clear(&w->bar);
    fprintf(stderr, "haul: %.36s: %s\n", id, safe ? safe : "refused");
}

static void result(struct work *w, const char *id, const json_t *r, unsigned tries)
{
    bool ok = jint(r, "status") < 300 || done_before(w, r, tries);
    if (!ok) {
        refused(w, id, json_object_get(r, "problem"));
        return;
    }
    const char *now = jtext(r, "job_status"), *sub = w->action->cmd->sub;
    bool asked = strcmp(sub, "cancel") == 0 && strcmp(now, "running") == 0;
    if (!*now || strcmp(sub, "discard") == 0)
        now = w->action->past;
    w->done++;
    w->asked += asked;
    if (!w->each)
        return;
    json_array_append_new(w->report, json_pack("{s:s,s:b,s:s}", "job_id", id, "ok", 1, "status", now));
    AUTO_FREE char *safe = text_safe(asked ? "is asked to stop" : now);
    if (!w->cli->json)
        printf("%s %s\n", id, safe ? safe : "");
}

static void body_write(struct buf *b, const struct uuid *ids, size_t n)
{
    struct json_writer w;
    char id[UUID_STR_MAX];
    jw_init(&w, b);
    jw_object(&w, NULL);
    jw_array(&w, "job_ids");
    for (size_t i = 0; i < n; i++) {
        uuid_format(&ids[i], id);
        jw_string(&w, NULL, id);
    }
    jw_array_end(&w);
    jw_object_end(&w);
}

/* Is the job's outcome still open: the server was too busy for it? */
static bool undecided(const json_t *r)
{
    return jint(r, "status") >= 300 && err_repeatable(err_from_name(jtext(json_object_get(r, "problem"), "code")));
}

/* One call about ids[0..n); those that are undecided are left in front, *ret_left of them. */
static int act_once(struct work *w, struct uuid *ids, size_t n, bool last, unsigned *ret_tries, size_t *ret_left)
{
    struct buf body;
    char path[40], id[UUID_STR_MAX];
    AUTO_FREE char *text = NULL;
    json_t *doc = NULL;
    struct haul_error herr;
    struct err err = {0};
    unsigned tries = 0;
    buf_init(&body, 64 + CHUNK * (UUID_STR_MAX + 3));
    body_write(&body, ids, n);
    snprintf(path, sizeof(path), "/v1/jobs:%s", w->action->cmd->sub);
    int rc = call_patiently(w->cli, "POST", path, buf_str(&body), NULL, &w->bar, &text, &tries, &herr);
    buf_release(&body);
    bar_clear(&w->bar);
    if (rc != HAUL_OK)
        return cli_haul_err(w->cli, &herr, w->action->cmd->sub);
    if (json_parse(text, strlen(text), &doc, &err) != ERR_OK)
        return cli_err(&err, "the server's answer");
    const json_t *results = json_object_get(doc, "results");
    size_t left = 0;
    *ret_tries += tries;
    if (json_array_size(results) == n) {
        for (size_t i = 0; i < n; i++) {
            const json_t *r = json_array_get(results, i);
            if (undecided(r) && !last) {
                ids[left++] = ids[i];
                continue;
            }
            uuid_format(&ids[i], id);
            result(w, id, r, *ret_tries);
        }
    } else {
        err_set(&err, ERR_INTERNAL, 0, "the server's answer tells of %zu jobs, not of %zu", json_array_size(results),
                n);
    }
    json_decref(doc);
    *ret_left = left;
    return err.code == ERR_OK ? EXIT_OK : cli_err(&err, NULL);
}

/* At most CHUNK of them; a server that is too busy for some is asked again about those. */
static int act_some(struct work *w, struct uuid *ids, size_t n)
{
    usec until = now_mono() + PATIENCE_US;
    unsigned tries = 0;
    for (unsigned round = 1; n > 0; round++) {
        int status = act_once(w, ids, n, now_mono() >= until, &tries, &n);
        if (status != EXIT_OK)
            return status;
        if (n > 0 && !patient_sleep(round, 0))
            break;
    }
    return EXIT_OK;
}

static void show_bar(struct work *w)
{
    char text[64];
    size_t decided = w->done + w->refused;
    if (w->n <= CHUNK || !term_is(stderr))
        return;
    snprintf(text, sizeof(text), "%zu of %zu", decided, w->n);
    bar_line(&w->bar, (double)decided / (double)w->n, text);
}

static int act_all(struct work *w, struct uuid *ids, size_t n)
{
    int status = EXIT_OK;
    w->n = n;
    interrupt_catch();
    for (size_t at = 0; status == EXIT_OK && at < n && !interrupted(); at += CHUNK) {
        status = act_some(w, ids + at, MIN(n - at, (size_t)CHUNK));
        if (status == EXIT_OK)
            show_bar(w);
    }
    bar_clear(&w->bar);
    if (w->done + w->refused < n)
        fprintf(stderr, "haul: stopped after %zu of %zu jobs; the same command takes the rest\n", w->done + w->refused,
                n);
    interrupt_release();
    return status;
}

/* ---- ids ---- */

static bool given_before(const struct uuid *ids, size_t n)
{
    for (size_t i = n; i-- > 0;)
        if (uuid_equal(&ids[i], &ids[n]))
            return true;
    return false;
}

static int act_on_ids(struct cli *cli, const struct action *action, int argc, char **argv)
{
    struct work w = {.cli = cli, .action = action, .bar = {.label = action->cmd->sub}, .each = true};
    AUTO_FREE struct uuid *ids = reallocarray(NULL, (size_t)argc, sizeof(*ids));
    int status = EXIT_OK;
    if (!ids) {
        struct err err = {0};
        err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
        return cli_err(&err, NULL);
    }
    size_t n = 0;
    for (int i = 0; i < argc; i++) {
        if (!cli_job_id(action->cmd, argv[i]))
            return EXIT_USAGE;
        if (uuid_parse(argv[i], &ids[n]) && !given_before(ids, n))
            n++;
    }
    if (!cli_client(cli, &status))
        return status;
    w.report = json_array();
    status = act_all(&w, ids, n);
    if (cli->json)
        print_json(w.report);
    json_decref(w.report);
    return status != EXIT_OK ? status : w.status;
}

/* ---- a filter ---- */

static bool applies(const struct action *action, const char *status)
{
    for (size_t i = 0; action->statuses[i]; i++)
        if (strcmp(action->statuses[i], status) == 0)
            return true;
    return false;
}

static const char *jobs_word(size_t n)
{
    return n == 1 ? "job" : "jobs";
}

/* EXIT_OK: go on. */
static int confirm(struct cli *cli, const struct action *action, const struct selection *sel)
{
    char answer[16] = "";
    if (!cli->json || term_is(stderr))
        selection_print(sel, stderr);
    if (!term_is(stdin) || !term_is(stderr)) {
        fprintf(stderr, "haul: %zu %s would be %s; nobody can be asked here: --yes does it, --dry-run only counts\n",
                sel->n, jobs_word(sel->n), action->past);
        return EXIT_USAGE;
    }
    fprintf(stderr, "%s %zu %s? [y/N] ", action->verb, sel->n, jobs_word(sel->n));
    fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y') &&
        (strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0))
        return EXIT_OK;
    fprintf(stderr, "nothing was done\n");
    return err_exit(ERR_CANCELLED);
}

static void summary(struct cli *cli, const struct action *action, const struct selection *sel, const struct work *w,
                    bool dry_run)
{
    if (cli->json) {
        json_t *doc =
            json_pack("{s:s,s:b,s:I,s:o,s:I,s:I,s:I,s:O}", "action", action->cmd->sub, "dry_run", (int)dry_run,
                      "matched", (json_int_t)sel->n, "by", selection_json(sel), "done", (json_int_t)w->done,
                      "asked_to_stop", (json_int_t)w->asked, "refused", (json_int_t)w->refused, "refusals", w->report);
        print_json(doc);
        json_decref(doc);
        return;
    }
    if (dry_run) {
        selection_print(sel, stdout);
        printf("%zu %s would be %s\n", sel->n, jobs_word(sel->n), action->past);
        return;
    }
    if (w->refused > REFUSALS_TOLD)
        fprintf(stderr, "haul: and %zu more were refused\n", w->refused - REFUSALS_TOLD);
    printf("%zu %s %s", w->done - w->asked, jobs_word(w->done - w->asked), action->past);
    if (w->asked > 0)
        printf(", %zu running asked to stop", w->asked);
    if (w->refused > 0)
        printf(", %zu refused", w->refused);
    fputc('\n', stdout);
}

static int act_on_selection(struct cli *cli, const struct action *action, const struct action_args *a,
                            struct selection *sel)
{
    struct work w = {.cli = cli, .action = action, .bar = {.label = action->cmd->sub}};
    int status = EXIT_OK;
    if (sel->n == 0)
        fprintf(stderr, "no jobs match: %s\n", action->can);
    else if (!a->dry_run && !a->yes)
        status = confirm(cli, action, sel);
    if (status != EXIT_OK || (sel->n == 0 && !cli->json))
        return status;
    w.report = json_array();
    if (!a->dry_run)
        status = act_all(&w, sel->ids, sel->n);
    summary(cli, action, sel, &w, a->dry_run);
    json_decref(w.report);
    return status != EXIT_OK ? status : w.status;
}

int act(struct cli *cli, const struct action *action, const struct action_args *a, int argc, char **argv)
{
    const struct command *cmd = action->cmd;
    bool filtered = !filter_empty(&a->filter);
    struct selection sel;
    if (argc > 0 && (filtered || a->all || a->filter.limit > 0 || a->dry_run))
        return cli_usage(cmd, "give ids, or a filter, not both");
    if (argc > 0)
        return act_on_ids(cli, action, argc, argv);
    if (!filtered && !a->all)
        return cli_usage(cmd, "which jobs? Give ids, or a filter like --type or --label; --all takes every job");
    if (filtered && a->all)
        return cli_usage(cmd, "--all takes every job: give it or a filter, not both");
    if (a->filter.status && !applies(action, a->filter.status))
        return cli_usage(cmd, "--status %.40s: %s", a->filter.status, action->can);
    int status = selection_fill(cli, cmd, &a->filter, action->statuses, &sel);
    if (status == EXIT_OK)
        status = act_on_selection(cli, action, a, &sel);
    selection_release(&sel);
    return status;
}
