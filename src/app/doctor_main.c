/* The command line of `haul doctor`: options, a line a check. */
#include "app/doctor_main.h"
#include "app/doctor.h"
#include "app/usage.h"
#include "base/auto.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/term.h"
#include <getopt.h>
#include <locale.h>
#include <signal.h>

struct options {
    const char *config, *server;
    bool json, help;
};

struct report {
    struct findings findings;
    json_t *checks; /* NULL: lines */
    unsigned failed;
};

static void print_help(void)
{
    puts("Usage: haul doctor [--config FILE] [--server URL]\n\n"
         "Looks at everything that a server with this configuration needs, and says what to do: data folder, database, "
         "blobs,\n"
         "clocks, limits, the worker's isolation. A running server is left alone. Run it as the user the server runs "
         "as.\n\n"
         "Options:\n"
         "      --config FILE               configuration file (default: as 'haul server')\n"
         "      --server URL                is a server ready there? (HAUL_SERVER)\n"
         "      --json                      print JSON\n"
         "  -h, --help                      print this help\n\n"
         "Exit status 1 when a check failed. A warning is none.");
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"server", required_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};

    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == 'c')
            o->config = optarg;
        else if (c == 's')
            o->server = optarg;
        else if (c == 'j')
            o->json = true;
        else if (c == 'h')
            o->help = true;
        else
            return usage("doctor", argv[optind - 1],
                         c == ':' ? "this option needs a value" : "there is no such option");
    }
    if (optind < argc)
        return usage("doctor", argv[optind], "one argument too many");
    const char *env = getenv("HAUL_SERVER");
    if (!o->server && env && *env)
        o->server = env;
    return EXIT_OK;
}

static const char *const words[] = {[FINDING_OK] = "ok", [FINDING_WARN] = "warn", [FINDING_FAIL] = "FAIL"};

static void print_line(const struct finding *what)
{
    static const enum colour colours[] = {
        [FINDING_OK] = COLOUR_GREEN, [FINDING_WARN] = COLOUR_YELLOW, [FINDING_FAIL] = COLOUR_RED};
    AUTO_FREE char *said = text_safe(what->said);

    printf("%s%-4s%s  %-12s  %s%s%s\n", colour_begin(stdout, colours[what->level]), words[what->level],
           colour_end(stdout, colours[what->level]), what->check, said ? said : "", *what->remedy ? "; " : "",
           what->remedy);
}

static void take(struct findings *f, const struct finding *what)
{
    struct report *r = (struct report *)f; /* which it begins with */
    AUTO_FREE char *said = text_safe(what->said);

    r->failed += what->level == FINDING_FAIL;
    if (r->checks)
        json_array_append_new(r->checks, json_pack("{s:s,s:s,s:s,s:s}", "check", what->check, "status",
                                                   what->level == FINDING_FAIL ? "fail" : words[what->level], "said",
                                                   said ? said : "", "remedy", what->remedy));
    else
        print_line(what);
}

static int examine(const struct options *o, struct report *r)
{
    struct server_options options = {0};
    struct err err = {0};
    char name[] = "server", flag[] = "--config";
    AUTO_FREE char *path = strdup(o->config ? o->config : "");
    char *argv[] = {name, flag, path, NULL};
    bool help;
    int rc = path ? server_options_read(o->config ? 3 : 1, argv, &options, &help, &err)
                  : err_set(&err, ERR_NO_MEMORY, 0, "configuration");

    if (rc != ERR_OK)
        finding_add(&r->findings, FINDING_FAIL, "configuration", "docs/configuration.md has every key", "%s%s%s",
                    err.field, *err.field ? ": " : "", err.msg);
    else {
        finding_add(&r->findings, FINDING_OK, "configuration", NULL, "%s",
                    o->config ? o->config : "as 'haul server' finds it");
        doctor_run(&(struct doctor){.options = &options, .server = o->server, .findings = &r->findings});
    }
    server_options_release(&options);
    return r->failed ? EXIT_JOB_FAILED : EXIT_OK;
}

int doctor_main(int argc, char **argv)
{
    struct options o = {0};
    struct report r = {.findings.take = take};

    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    int status = read_options(argc, argv, &o);
    if (status != EXIT_OK)
        return status;
    if (o.help) {
        print_help();
        return EXIT_OK;
    }
    r.checks = o.json ? json_array() : NULL;
    status = examine(&o, &r);
    if (r.checks) {
        json_t *doc = json_pack("{s:b,s:o}", "ok", (int)(r.failed == 0), "checks", r.checks);
        print_json(doc);
        json_decref(doc);
    }
    return status;
}
