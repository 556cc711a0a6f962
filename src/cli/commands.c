/* The table of commands, the parser that serves them all, and what they share. */
#include "cli/command.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/timefmt.h"
#include "base/uuid.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/table.h"
#include "cli/term.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>

const struct command *const commands[] = {
    &command_submit,         &command_jobs_list,     &command_jobs_show,
    &command_jobs_explain,   &command_jobs_log,      &command_jobs_wait,
    &command_jobs_cancel,    &command_jobs_retry,    &command_jobs_discard,
    &command_jobs_outputs,   &command_dlq_list,      &command_dlq_show,
    &command_dlq_retry,      &command_dlq_discard,   &command_dlq_redrives,
    &command_dlq_cancel,     &command_queues_list,   &command_queues_pause,
    &command_queues_resume,  &command_workers_list,  &command_workers_drain,
    &command_workers_resume, &command_alerts_test,   &command_alerts,
    &command_objectives,     &command_blob_put,      &command_blob_get,
    &command_status,         &command_top,           &command_server,
    &command_worker,         &command_worker_status, &command_backup,
    &command_restore,        &command_migrate,       &command_doctor,
    &command_bench_submit,   &command_bench_life,    &command_bench_start,
    &command_version,        &command_help,          NULL,
};

/* ---- errors ---- */

int cli_usage(const struct command *cmd, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    AUTO_FREE char *safe = text_safe(text);
    fprintf(stderr, "haul%s%s%s%s: %s\n", cmd ? " " : "", cmd ? cmd->name : "", cmd && cmd->sub ? " " : "",
            cmd && cmd->sub ? cmd->sub : "", safe ? safe : "wrong usage");
    if (cmd)
        fprintf(stderr, "Try 'haul help %s%s%s'.\n", cmd->name, cmd->sub ? " " : "", cmd->sub ? cmd->sub : "");
    else
        fprintf(stderr, "Try 'haul help'.\n");
    return EXIT_USAGE;
}

int cli_err(const struct err *err, const char *what)
{
    AUTO_FREE char *safe = text_safe(err->msg);
    fprintf(stderr, "haul: %s%s%s%s%s\n", what ? what : "", what ? ": " : "", err->field, *err->field ? ": " : "",
            safe ? safe : "error");
    return err_exit(err->code);
}

int haul_error_exit(const struct haul_error *err)
{
    enum err_code code = err_from_name(err->code);
    if (code != ERR_INTERNAL)
        return err_exit(code);
    switch (err->rc) {
    case HAUL_NETWORK:
        return err_exit(ERR_NETWORK);
    case HAUL_LOCAL:
        return err_exit(ERR_IO);
    case HAUL_ABORTED:
        return err_exit(ERR_CANCELLED);
    default:
        return err_exit(ERR_INTERNAL);
    }
}

int cli_haul_err(const struct cli *cli, const struct haul_error *err, const char *what)
{
    AUTO_FREE char *safe = text_safe(err->message), *field = text_safe(err->field);
    if (what && safe && strstr(safe, what))
        what = NULL; /* the server named it */
    bool named = field && *field && safe && strncmp(safe, field, strlen(field)) != 0;
    fprintf(stderr, "haul: %s%s%s%s%s\n", what ? what : "", what ? ": " : "", named ? field : "", named ? ": " : "",
            safe ? safe : "error");
    if (err->rc == HAUL_NETWORK && err->status == 0)
        fprintf(stderr,
                "Is the server running there? 'haul server' starts one; --server or HAUL_SERVER names another.\n");
    return haul_error_exit(err);
}

/* ---- what commands share ---- */

struct haul_client *cli_client(struct cli *cli, int *ret_exit)
{
    struct err err = {0};
    struct haul_error herr;
    if (cli->client)
        return cli->client;
    AUTO_FREE char *flag = TAKE_PTR(cli->server);
    int rc = config_server(flag, cli->config, &cli->server, &err);
    if (rc != ERR_OK) {
        *ret_exit = cli_err(&err, NULL);
        return NULL;
    }
    cli->client = haul_client_new(cli->server, "haul/" HAUL_VERSION, &herr);
    if (!cli->client)
        *ret_exit = cli_haul_err(cli, &herr, NULL);
    else
        haul_client_trace(cli->client, getenv("TRACEPARENT"), getenv("TRACESTATE"));
    return cli->client;
}

int cli_call(struct cli *cli, const char *method, const char *path, char **ret_text, json_t **ret, const char *what)
{
    struct haul_error herr;
    struct err err = {0};
    int status = EXIT_OK;
    AUTO_FREE char *text = NULL;
    struct haul_client *c = cli_client(cli, &status);
    if (!c)
        return status;
    if (haul_call_repeated(c, method, path, NULL, NULL, NULL, 3, &text, &herr) != HAUL_OK)
        return cli_haul_err(cli, &herr, what);
    cli->met = true;
    if (ret && json_parse(text, strlen(text), ret, &err) != ERR_OK) {
        err_wrap(&err, (int)err.code, "the server's answer");
        return cli_err(&err, what);
    }
    if (ret_text)
        *ret_text = TAKE_PTR(text);
    return EXIT_OK;
}

bool cli_job_id(const struct command *cmd, const char *s)
{
    struct uuid id;
    if (uuid_parse(s, &id))
        return true;
    cli_usage(cmd, "'%.80s' is not a job id: give all 36 characters, as 'haul submit' and 'haul jobs list' print them",
              s);
    return false;
}

void print_json_text(const char *text)
{
    size_t n = strlen(text);
    fwrite(text, 1, n, stdout);
    if (n == 0 || text[n - 1] != '\n')
        fputc('\n', stdout);
}

void print_json(const json_t *doc)
{
    AUTO_FREE char *text = json_text(doc, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    print_json_text(text ? text : "null");
}

void print_rows(const json_t *items, const char *titles, void (*row)(struct table *t, const json_t *item),
                const char *none)
{
    const json_t *item;
    size_t i;
    if (json_array_size(items) == 0) {
        fprintf(stderr, "%s\n", none);
        return;
    }
    struct table *t = table_new(titles);
    json_array_foreach (items, i, item)
        row(t, item);
    table_print(t, stdout, 0);
    table_free(t);
}

const char *jtext(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : "";
}

int64_t jint(const json_t *obj, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(obj, key));
}

double jreal(const json_t *obj, const char *key)
{
    return json_number_value(json_object_get(obj, key));
}

void jrate_format(const json_t *obj, const char *key, char ret[32])
{
    const double rate = jreal(obj, key);

    if (!json_is_number(json_object_get(obj, key)))
        snprintf(ret, 32, "?");
    else
        snprintf(ret, 32, "%.*f", rate == 0 || rate >= 9.95 ? 0 : 1, rate);
}

void url_add(struct buf *buf, const char *text)
{
    for (; *text; text++)
        if (isalnum((unsigned char)*text) || strchr("-._~", *text))
            buf_addc(buf, *text);
        else
            buf_printf(buf, "%%%02X", (unsigned)(unsigned char)*text);
}

/* ---- the parser ---- */

enum { COMMON_SERVER = 1000, COMMON_CONFIG, COMMON_JSON, COMMON_HELP, OPTION_BASE = 2000 };
#define OPTIONS_MAX 40

static int option_take(const struct command *cmd, const struct opt *o, void *args, const char *value)
{
    char *at = (char *)args + o->offset;
    struct err err = {0};
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)at = true;
        break;
    case OPT_TEXT:
        *(const char **)at = value;
        break;
    case OPT_LIST: {
        struct text_list *l = (struct text_list *)at;
        char **more = reallocarray(l->items, l->n + 1, sizeof(*more));
        if (!more) {
            err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
            return cli_err(&err, NULL);
        }
        l->items = more;
        l->items[l->n++] = (char *)(uintptr_t)value;
        break;
    }
    case OPT_INT: {
        char *end;
        errno = 0;
        long long v = strtoll(value, &end, 10);
        if (errno || end == value || *end || isspace((unsigned char)*value) || v < o->min || v > o->max)
            return cli_usage(cmd, "--%s must be a whole number from %lld to %lld, got '%.80s'", o->name,
                             (long long)o->min, (long long)o->max, value);
        *(int64_t *)at = v;
        break;
    }
    case OPT_DURATION: {
        usec v;
        if (duration_parse(value, o->name, &v, &err) != ERR_OK)
            return cli_usage(cmd, "--%s must be a duration like 90s, 10m or 1h30m, got '%.80s'", o->name, value);
        *(usec *)at = v;
        break;
    }
    }
    return EXIT_OK;
}

static void args_release(const struct command *cmd, void *args)
{
    for (size_t i = 0; i < cmd->n_options; i++)
        if (cmd->options[i].kind == OPT_LIST)
            free(((struct text_list *)((char *)args + cmd->options[i].offset))->items);
}

/* getopt's own messages name argv[0] and know nothing of help: ours do. */
static int parse(struct cli *cli, const struct command *cmd, void *args, int argc, char **argv, bool *ret_help)
{
    struct option longs[OPTIONS_MAX + 5] = {{0}};
    char shorts[2 * OPTIONS_MAX + 4] = ":h";
    size_t n_shorts = 2, n = 0;
    assert(cmd->n_options <= OPTIONS_MAX);
    for (size_t i = 0; i < cmd->n_options; i++) {
        const struct opt *o = &cmd->options[i];
        longs[n++] =
            (struct option){o->name, o->kind == OPT_FLAG ? no_argument : required_argument, NULL, OPTION_BASE + (int)i};
        if (o->letter) {
            shorts[n_shorts++] = o->letter;
            if (o->kind != OPT_FLAG)
                shorts[n_shorts++] = ':';
        }
    }
    longs[n++] = (struct option){"server", required_argument, NULL, COMMON_SERVER};
    longs[n++] = (struct option){"config", required_argument, NULL, COMMON_CONFIG};
    longs[n++] = (struct option){"json", no_argument, NULL, COMMON_JSON};
    longs[n++] = (struct option){"help", no_argument, NULL, COMMON_HELP};
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        int rc = EXIT_OK;
        if (c == COMMON_SERVER || c == COMMON_CONFIG) {
            char **slot = c == COMMON_SERVER ? &cli->server : &cli->config;
            free(*slot);
            *slot = strdup(optarg);
        } else if (c == COMMON_JSON) {
            cli->json = true;
        } else if (c == COMMON_HELP || c == 'h') {
            *ret_help = true;
        } else if (c == '?') {
            if (optopt > 0 && optopt < 256)
                return cli_usage(cmd, "there is no option -%c", optopt);
            return cli_usage(cmd, "there is no option '%.80s', or not with a value, or more than one begins so",
                             argv[optind - 1]);
        } else if (c == ':') {
            return cli_usage(cmd, "option '%.80s' needs a value", argv[optind - 1]);
        } else if (c >= OPTION_BASE) {
            rc = option_take(cmd, &cmd->options[c - OPTION_BASE], args, optarg);
        } else {
            for (size_t i = 0; i < cmd->n_options; i++)
                if (cmd->options[i].letter == c)
                    rc = option_take(cmd, &cmd->options[i], args, optarg);
        }
        if (rc != EXIT_OK)
            return rc;
    }
    return EXIT_OK;
}

static int run_command(struct cli *cli, const struct command *cmd, int argc, char **argv)
{
    _Alignas(max_align_t) char args[ARGS_MAX] = {0};
    bool help = false;
    if (!cmd->run) { /* its options are bound by app/main.c */
        help_command(cmd, stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; i < cmd->n_options; i++)
        if (cmd->options[i].kind == OPT_INT)
            *(int64_t *)(void *)(args + cmd->options[i].offset) = cmd->options[i].min - 1;
    int rc = parse(cli, cmd, args, argc, argv, &help);
    argc -= optind;
    argv += optind;
    if (rc == EXIT_OK && help) {
        help_command(cmd, stdout);
    } else if (rc == EXIT_OK && argc < cmd->min_args) {
        rc = cli_usage(cmd, "%s is missing", cmd->args);
    } else if (rc == EXIT_OK && cmd->max_args >= 0 && argc > cmd->max_args) {
        rc = cli_usage(cmd, "'%.80s' is one argument too many", argv[cmd->max_args]);
    } else if (rc == EXIT_OK) {
        rc = cmd->run(cli, args, argc, argv);
    }
    args_release(cmd, args);
    return rc;
}

/* Which command, and how many words of argv name it. */
static const struct command *find(int argc, char **argv, int *ret_words, bool *ret_group)
{
    *ret_group = false;
    for (size_t i = 0; commands[i]; i++) {
        const struct command *c = commands[i];
        if (strcmp(c->name, argv[1]) != 0)
            continue;
        *ret_group = c->sub != NULL;
        *ret_words = c->sub ? 2 : 1;
        if (!c->sub || (argc > 2 && strcmp(c->sub, argv[2]) == 0))
            return c;
    }
    /* "haul jobs" and "haul jobs --status failed" list them; so do "haul queues" and "haul workers". */
    const struct command *lists = strcmp(argv[1], "jobs") == 0      ? &command_jobs_list
                                  : strcmp(argv[1], "queues") == 0  ? &command_queues_list
                                  : strcmp(argv[1], "workers") == 0 ? &command_workers_list
                                                                    : NULL;
    if (lists && (argc == 2 || (argv[2][0] == '-' && strcmp(argv[2], "--help") && strcmp(argv[2], "-h")))) {
        *ret_words = 1;
        return lists;
    }
    return NULL;
}

/* Options that stand before the command are moved behind it: haul --json jobs list. */
static int rotate_leading(int argc, char **argv)
{
    int first = 1;
    while (first < argc && argv[first][0] == '-') {
        bool takes = strcmp(argv[first], "--server") == 0 || strcmp(argv[first], "--config") == 0;
        first += takes ? 2 : 1;
    }
    if (first >= argc || first == 1)
        return first >= argc ? -1 : 0;
    int n_words = 1;
    if (first + 1 < argc && argv[first + 1][0] != '-')
        n_words = 2; /* a subcommand, or an argument: either may come first */
    char *moved[2] = {argv[first], n_words == 2 ? argv[first + 1] : NULL};
    memmove(&argv[1 + n_words], &argv[1], (size_t)(first - 1) * sizeof(*argv));
    memcpy(&argv[1], moved, (size_t)n_words * sizeof(*argv));
    return 0;
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {0};
    int words = 1, rc;
    bool group = false;
    setlocale(LC_CTYPE, "C.UTF-8"); /* wcwidth: everything on the wire is UTF-8, whatever the terminal's owner chose */
    signal(SIGPIPE, SIG_DFL);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help_all(stdout);
        return EXIT_OK;
    }
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
        return command_version.run(&cli, NULL, 0, NULL);
    if (argc < 2 || rotate_leading(argc, argv) < 0) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    const struct command *cmd = find(argc, argv, &words, &group);
    if (cmd) {
        argv[words] = argv[0]; /* getopt skips the first */
        rc = run_command(&cli, cmd, argc - words, argv + words);
    } else if (group && argc > 2 &&
               (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0 || strcmp(argv[2], "help") == 0)) {
        rc = help_group(argv[1], stdout) == 0 ? EXIT_OK : EXIT_USAGE;
    } else if (group) {
        rc = cli_usage(NULL, "'%s' needs one of its commands%s%.80s%s; 'haul help %s' lists them", argv[1],
                       argc > 2 ? ", and '" : "", argc > 2 ? argv[2] : "", argc > 2 ? "' is none" : "", argv[1]);
    } else {
        rc = cli_usage(NULL, "there is no command '%.80s'", argv[1]);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "haul: writing the output: %s\n", strerror(errno));
        if (rc == EXIT_OK)
            rc = err_exit(ERR_IO);
    }
    haul_client_free(cli.client);
    free(cli.server);
    free(cli.config);
    return rc;
}
