/* haul dlq retry, discard: a redrive is asked for, and its way followed; the server does the work. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/rate.h"
#include "base/timefmt.h"
#include "cli/dlq_redrive.h"
#include "cli/filter.h"

struct args {
    struct filter filter;
    const char *rate; /* "2/s", or NULL */
    bool all, yes, dry_run, detach;
};

static const struct opt options[] = {
    {"group", 'g', OPT_TEXT, offsetof(struct args, filter.fingerprint), "FINGERPRINT", 0, 0,
     "those with this fingerprint, as 'haul dlq list --group' prints it"},
    FILTER_OPTIONS_ANY(args, filter),
    {"failed-before", 0, OPT_TEXT, offsetof(struct args, filter.failed_before), "TIME", 0, 0,
     "that failed before TIME"},
    {"all", 'a', OPT_FLAG, offsetof(struct args, all), NULL, 0, 0, "every dead letter"},
    {"limit", 'n', OPT_INT, offsetof(struct args, filter.limit), "N", 1, INT32_MAX,
     "at most so many, the newest (default: all that match)"},
    {"rate", 'r', OPT_TEXT, offsetof(struct args, rate), "N/s", 0, 0,
     "so many a second (/s), minute (/m) or hour (/h); the server keeps the pace"},
    {"yes", 'y', OPT_FLAG, offsetof(struct args, yes), NULL, 0, 0, "do not ask"},
    {"dry-run", 0, OPT_FLAG, offsetof(struct args, dry_run), NULL, 0, 0, "only count what matches"},
    {"detach", 'd', OPT_FLAG, offsetof(struct args, detach), NULL, 0, 0,
     "print the redrive's id, and do not wait for its end"},
};

static int add_time(const struct command *cmd, struct json_writer *w, const char *option, const char *key,
                    const char *text)
{
    usec at;
    int status = text ? filter_time(cmd, option, text, now_wall(), &at) : EXIT_OK;
    if (text && status == EXIT_OK)
        jw_time(w, key, at);
    return status;
}

static void add_text(struct json_writer *w, const char *key, const char *text)
{
    if (text)
        jw_string(w, key, text);
}

static int add_filter(const struct command *cmd, struct json_writer *w, const struct filter *f)
{
    int status;
    jw_object(w, "filter");
    add_text(w, "fingerprint", f->fingerprint);
    add_text(w, "task_type", f->task_type);
    add_text(w, "queue", f->queue);
    if (f->labels.n > 0) {
        jw_array(w, "labels");
        for (size_t i = 0; i < f->labels.n; i++)
            jw_string(w, NULL, f->labels.items[i]);
        jw_array_end(w);
    }
    if ((status = add_time(cmd, w, "--created-after", "created_after", f->created_after)) != EXIT_OK ||
        (status = add_time(cmd, w, "--created-before", "created_before", f->created_before)) != EXIT_OK ||
        (status = add_time(cmd, w, "--failed-before", "failed_before", f->failed_before)) != EXIT_OK)
        return status;
    jw_object_end(w);
    return EXIT_OK;
}

/* @param ret  initialised here; buf_release */
static int body_write(const struct command *cmd, const struct args *a, bool dry_run, struct buf *ret)
{
    struct json_writer w;
    buf_init(ret, 65536);
    jw_init(&w, ret);
    jw_object(&w, NULL);
    jw_string(&w, "action", cmd->sub);
    int status = add_filter(cmd, &w, &a->filter);
    if (status != EXIT_OK)
        return status;
    if (a->filter.limit > 0)
        jw_int(&w, "limit", a->filter.limit);
    add_text(&w, "rate", dry_run ? NULL : a->rate);
    if (dry_run)
        jw_bool(&w, "dry_run", true);
    jw_object_end(&w);
    return ret->failed ? cli_usage(cmd, "the filters are too long") : EXIT_OK;
}

static int usage(const struct command *cmd, const struct args *a)
{
    struct rate rate;
    struct err err = {0};
    bool filtered = !filter_empty(&a->filter);
    if (a->rate && rate_parse(a->rate, "--rate", &rate, &err) != ERR_OK)
        return cli_usage(cmd, "%s", err.msg);
    if (a->filter.fingerprint && !fingerprint_valid(a->filter.fingerprint))
        return cli_usage(
            cmd, "--group takes a fingerprint, 16 hex digits as 'haul dlq list --group' prints them, got '%.80s'",
            a->filter.fingerprint);
    for (size_t i = 0; i < a->filter.labels.n; i++)
        if (a->filter.labels.items[i][0] == '\0' || a->filter.labels.items[i][0] == '=')
            return cli_usage(cmd, "--label takes KEY or KEY=VALUE, got '%.80s'", a->filter.labels.items[i]);
    if (!filtered && !a->all)
        return cli_usage(cmd,
                         "which jobs? Give --group, a filter like --type or --label; --all takes every dead letter");
    if (filtered && a->all)
        return cli_usage(cmd, "--all takes every dead letter: give it or a filter, not both");
    if (a->detach && a->dry_run)
        return cli_usage(cmd, "--detach has nothing to wait for with --dry-run");
    return EXIT_OK;
}

static int none(const struct args *a)
{
    struct filter others = a->filter;
    struct err err = {0};
    others.fingerprint = NULL;
    if (!a->filter.fingerprint) {
        fprintf(stderr, "no dead letters match\n");
        return EXIT_OK;
    }
    err_set(&err, ERR_NOT_FOUND, 0, "no dead letter%s has the fingerprint %s",
            filter_empty(&others) ? "" : " that the filter matches", a->filter.fingerprint);
    return cli_err(&err, NULL);
}

/* EXIT_OK: go on. */
static int confirm(const struct command *cmd, int64_t n)
{
    const bool retry = strcmp(cmd->sub, "retry") == 0;
    char answer[16] = "";
    if (!term_is(stdin) || !term_is(stderr)) {
        fprintf(stderr, "haul: %lld %s would be %s; nobody can be asked here: --yes does it, --dry-run only counts\n",
                (long long)n, n == 1 ? "job" : "jobs", retry ? "retried" : "discarded");
        return EXIT_USAGE;
    }
    fprintf(stderr, "%s %lld %s? [y/N] ", retry ? "Retry" : "Discard", (long long)n, n == 1 ? "job" : "jobs");
    fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) && (strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0))
        return EXIT_OK;
    fprintf(stderr, "nothing was done\n");
    return err_exit(ERR_CANCELLED);
}

/* A redrive, to its end unless it is left alone. @param dry_run  it only counts  @param ret  json_decref */
static int redrive(struct cli *cli, const struct command *cmd, const struct args *a, bool dry_run, json_t **ret)
{
    struct buf body;
    int status = body_write(cmd, a, dry_run, &body);
    if (status == EXIT_OK)
        status = redrive_make(cli, buf_str(&body), ret);
    buf_release(&body);
    return status == EXIT_OK && (dry_run || !a->detach) ? redrive_follow(cli, ret) : status;
}

static int run(struct cli *cli, const struct command *cmd, const void *args)
{
    struct args a = *(const struct args *)args;
    json_t *counted = NULL, *made = NULL;
    int status = usage(cmd, &a);
    if (status == EXIT_OK && (a.dry_run || !a.yes))
        status = redrive(cli, cmd, &a, true, &counted);
    if (status == EXIT_OK && counted && jint(counted, "matched") == 0)
        status = none(&a);
    else if (status == EXIT_OK && counted && !a.dry_run)
        status = confirm(cmd, jint(counted, "matched"));
    bool go = status == EXIT_OK && !a.dry_run && (!counted || jint(counted, "matched") > 0);
    if (go && counted && !a.filter.failed_before) /* what failed since was not agreed to */
        a.filter.failed_before = jtext(json_object_get(counted, "filter"), "failed_before");
    if (go)
        status = redrive(cli, cmd, &a, false, &made);
    if (status == EXIT_OK && made && !a.detach && jint(made, "matched") == 0)
        status = none(&a);
    if (status == EXIT_OK && (made || counted))
        status = redrive_tell(cli, made ? made : counted);
    json_decref(counted);
    json_decref(made);
    return status;
}

static int run_retry(struct cli *cli, const void *args, int argc, char **argv)
{
    return run(cli, &command_dlq_retry, args);
}

static int run_discard(struct cli *cli, const void *args, int argc, char **argv)
{
    return run(cli, &command_dlq_discard, args);
}

#define HOW                                                                                                            \
    "The server does the work, a few at a time and newest first; this command makes the redrive and shows how far "    \
    "it\n"                                                                                                             \
    "is. Ctrl-C leaves it running: 'haul dlq redrives' shows it, 'haul dlq cancel' ends it. The dead letters are\n"    \
    "counted first and a terminal asks; elsewhere --yes is needed. Only what failed before is taken, each job once.\n" \
    "A fingerprint that no dead letter has: exit status 12.\n"

const struct command command_dlq_retry = {
    .name = "dlq",
    .sub = "retry",
    .args = "",
    .summary = "Run dead letters again, all of one cause, at a pace.",
    .detail = HOW "Examples:\n"
                  "  haul dlq retry --group 3f1c0d7a9be24456 --rate 2/s\n"
                  "  haul dlq retry --type transcode_v1 --created-after 12h --limit 10 --yes\n"
                  "  haul dlq retry --all --dry-run",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run_retry,
};
const struct command command_dlq_discard = {
    .name = "dlq",
    .sub = "discard",
    .args = "",
    .summary = "Forget dead letters, with their logs and outputs.",
    .detail = HOW "Examples:\n"
                  "  haul dlq discard --group 3f1c0d7a9be24456\n"
                  "  haul dlq discard --all --failed-before 30d --yes",
    .options = options,
    .n_options = ARRAY_LEN(options),
    .run = run_discard,
};
