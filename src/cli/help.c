/* Help: of everything, of a group, of one command. All of it comes from the tables. */
#include "base/auto.h"
#include "cli/command.h"
#include "cli/term.h"

static const struct opt common[] = {
    {"server", 0, OPT_TEXT, 0, "URL", 0, 0,
     "server, or several of one installation: URL,URL,... (default: HAUL_SERVER, the configuration file, "
     "http://127.0.0.1:8420)"},
    {"config", 0, OPT_TEXT, 0, "FILE", 0, 0,
     "configuration file (default: HAUL_CONFIG, ~/.config/haul/haul.yaml, /etc/haul/haul.yaml)"},
    {"json", 0, OPT_FLAG, 0, NULL, 0, 0, "print JSON"},
    {"help", 'h', OPT_FLAG, 0, NULL, 0, 0, "print this help"},
};

static void print_options(const struct opt *o, size_t n, FILE *f)
{
    for (size_t i = 0; i < n; i++) {
        char left[80];
        int w = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s%s", o[i].letter ? '-' : ' ',
                         o[i].letter ? o[i].letter : ' ', o[i].letter ? ", " : "  ", o[i].name, o[i].arg ? " " : "",
                         o[i].arg ? o[i].arg : "", o[i].kind == OPT_LIST ? "..." : "");
        if (w > 32)
            fprintf(f, "%s\n%34s%s\n", left, "", o[i].help);
        else
            fprintf(f, "%-34s%s\n", left, o[i].help);
    }
}

void help_command(const struct command *cmd, FILE *f)
{
    fprintf(f, "Usage: haul %s%s%s [OPTION...]%s%s\n\n%s\n", cmd->name, cmd->sub ? " " : "", cmd->sub ? cmd->sub : "",
            *cmd->args ? " " : "", cmd->args, cmd->summary);
    if (cmd->detail)
        fprintf(f, "\n%s\n", cmd->detail);
    if (cmd->n_options > 0) {
        fprintf(f, "\nOptions:\n");
        print_options(cmd->options, cmd->n_options, f);
    }
    if (cmd->run) {
        fprintf(f, "\nCommon options:\n");
        print_options(common, ARRAY_LEN(common), f);
    }
}

static void print_row(const struct command *c, FILE *f)
{
    char left[80];
    snprintf(left, sizeof(left), "%s%s%s %s", c->name, c->sub ? " " : "", c->sub ? c->sub : "", c->args);
    fprintf(f, "  %-26s%s\n", left, c->summary);
}

int help_group(const char *name, FILE *f)
{
    bool any = false;
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) != 0 || !commands[i]->sub)
            continue;
        if (!any)
            fprintf(f, "Usage: haul %s COMMAND [OPTION...] [ARGUMENT...]\n\nCommands:\n", name);
        any = true;
        print_row(commands[i], f);
    }
    if (any)
        fprintf(f, "\n'haul %s COMMAND --help' tells more about one of them.\n", name);
    return any ? 0 : -1;
}

void help_all(FILE *f)
{
    fprintf(
        f,
        "haul: a background job queue for heavy jobs\n\nUsage: haul COMMAND [OPTION...] [ARGUMENT...]\n\nCommands:\n");
    for (size_t i = 0; commands[i]; i++)
        print_row(commands[i], f);
    fprintf(f, "\nCommon options:\n");
    print_options(common, ARRAY_LEN(common), f);
    fprintf(
        f,
        "\nExit status: 0 well; 1 the job failed; 2 the command line is wrong; 3 the job was cancelled; 4 waiting gave "
        "up;\n"
        "11 refused as invalid; 12 not found; 13 conflict; 14 too large; 15 forbidden; 16 the server is away or busy;\n"
        "18 timed out; 19 a local file. 'haul help COMMAND' tells more about one of them.\n");
}

static int run(struct cli *cli, const void *args, int argc, char **argv)
{
    if (argc == 0) {
        help_all(stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, argv[0]) == 0 &&
            (commands[i]->sub ? argc > 1 && strcmp(commands[i]->sub, argv[1]) == 0 : argc == 1)) {
            help_command(commands[i], stdout);
            return EXIT_OK;
        }
    if (argc == 1 && help_group(argv[0], stdout) == 0)
        return EXIT_OK;
    return cli_usage(NULL, "there is no command '%s%s%s'", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
}

const struct command command_help = {
    .name = "help",
    .args = "[COMMAND]",
    .summary = "Tell about a command, or all of them.",
    .max_args = 2,
    .run = run,
};

/* Run by app/main.c, which gives `haul help server` to them too: each tells of its own options. */
const struct command command_server = {
    .name = "server",
    .args = "",
    .summary = "Run the API server, the store and the blobs.",
};

const struct command command_worker = {
    .name = "worker",
    .args = "",
    .summary = "Run jobs for a server, each in its sandbox.",
};

const struct command command_worker_status = {
    .name = "worker",
    .sub = "status",
    .args = "",
    .summary = "Tell what runs on this machine, without a server.",
};

const struct command command_restore = {
    .name = "restore",
    .args = "FILE",
    .summary = "Check a backup and make a data folder of it.",
};

const struct command command_migrate = {
    .name = "migrate",
    .args = "--from CONFIG --to CONFIG | --unmark CONFIG",
    .summary = "Move everything a stopped server keeps into another store.",
};

const struct command command_doctor = {
    .name = "doctor",
    .args = "",
    .summary = "Look at all that a configuration needs, and say what to do.",
};
