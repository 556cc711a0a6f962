#include "worker/settings.h"
#include "base/auto.h"
#include "base/fs.h"
#include <getopt.h>
#include <limits.h>
#include <unistd.h>

static const struct option_row rows[] = {
    {"server", OPTION_STRING, offsetof(struct settings, server), 1, 2048, "http://127.0.0.1:8420",
     "the server's URL, or a list of them with commas between (HAUL_SERVER)"},
    {"handlers", OPTION_STRING, offsetof(struct settings, handlers), 1, 4095, NULL,
     "handlers.yaml: what this worker can run"},
    {"slots", OPTION_INT, offsetof(struct settings, slots), 1, 1024, "1", "jobs at the same time"},
    {"queues", OPTION_STRING_LIST, offsetof(struct settings, queues), 1, 128, NULL, "only these queues (default: all)"},
    {"state", OPTION_STRING, offsetof(struct settings, state), 1, 3500, NULL,
     "folder for scratch and what must survive a restart"},
    {"name", OPTION_STRING, offsetof(struct settings, name), 1, 128, NULL,
     "shown to people (default: the host's name)"},
    {"orphan_limit", OPTION_DURATION, offsetof(struct settings, orphan_limit_us), USEC_PER_SEC,
     30 * INT64_C(86400) * USEC_PER_SEC, "15m", "how long a handler is held still for a server that does not answer"},
    {"min_free", OPTION_SIZE, offsetof(struct settings, min_free), 0, INT64_C(1) << 60, "1GiB",
     "no job is claimed while the state folder's disk has less room than this"},
};

void settings_help(void)
{
    puts("Usage: haul worker [OPTION]...\n"
         "       haul worker status [OPTION]...     what runs here; 'haul worker status --help' tells more\n"
         "       haul worker stop [OPTION]...       claims nothing more, and waits for its jobs or hands them "
         "back\n\nRuns "
         "jobs for a server, each in a sandbox.\n\n"
         "  --server URLS    the server, or several of one installation: URL,URL,... (HAUL_SERVER; default\n"
         "                   http://127.0.0.1:8420). The next one is used when one does not answer\n"
         "  --handlers FILE  what this worker can run (default: /etc/haul/handlers.yaml, or the ones beside the "
         "program)\n"
         "  --slots N        jobs at the same time (default 1)\n"
         "  --queue NAME     only this queue; may be given often (default: all)\n"
         "  --state DIR      scratch, and what must survive a restart\n"
         "  --name NAME      shown to people (default: the host's name)\n"
         "  --orphan-limit D how long a job is held still for a server that does not answer (default 15m)\n"
         "  --min-free SIZE  no job is claimed while the state folder's disk has less room (default 1GiB; 0: never "
         "mind)\n"
         "  --config FILE    YAML, section 'worker:'\n"
         "  --drain          the same as 'haul worker stop': it tells the worker that runs, and starts none\n"
         "  --help           this text\n\n"
         "SIGTERM stops the worker; its running jobs go on and the next worker on the same --state takes them over.\n"
         "As PID 1 of a container it waits for them instead, claiming nothing more; a second SIGTERM hands them back.");
}

static int set(struct settings *s, const char *name, const char *value, const char *where, struct err *err)
{
    return options_set(rows, ARRAY_LEN(rows), s, name, value, where, err);
}

static int config_read(struct settings *s, const char *path, bool must, struct err *err)
{
    struct config *c = NULL;
    if (!must && !fs_exists(path))
        return ERR_OK;
    int rc = config_load(path, &c, err);
    if (rc)
        return rc;
    const struct config_node *map = config_find(c->root, "worker");
    rc = config_check_sections(c, err);
    if (!rc && map)
        rc = options_bind(rows, ARRAY_LEN(rows), s, c, map, err);
    config_free(c);
    return rc;
}

static int config_take(struct settings *s, const char *given, struct err *err)
{
    char path[PATH_MAX];
    const char *env = getenv("HAUL_CONFIG"), *home = getenv("HOME");
    if (given)
        return config_read(s, given, true, err);
    if (env && *env)
        return config_read(s, env, true, err);
    if (home && snprintf(path, sizeof path, "%s/.config/haul/haul.yaml", home) < (int)sizeof path && fs_exists(path))
        return config_read(s, path, true, err);
    return config_read(s, "/etc/haul/haul.yaml", false, err);
}

static int state_default(struct settings *s, struct err *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    if (s->state)
        return ERR_OK;
    if (data && *data)
        n = asprintf(&s->state, "%s/haul/worker", data);
    else if (!geteuid() || !home || !*home)
        n = asprintf(&s->state, "/var/lib/haul/worker");
    else
        n = asprintf(&s->state, "%s/.local/share/haul/worker", home);
    if (n < 0)
        s->state = NULL;
    return n < 0 ? err_set(err, ERR_NO_MEMORY, 0, "state folder") : ERR_OK;
}

/* The ones installed, or the ones of the tree that this program was built in. */
static int handlers_default(struct settings *s, struct err *err)
{
    char exe[PATH_MAX], path[PATH_MAX + 64];
    if (s->handlers)
        return ERR_OK;
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    static const char *const beside[] = {"/../share/haul/handlers/handlers.yaml", "/../handlers/handlers.yaml"};
    if (fs_exists("/etc/haul/handlers.yaml"))
        s->handlers = strdup("/etc/haul/handlers.yaml");
    for (size_t i = 0; i < ARRAY_LEN(beside) && !s->handlers; i++) {
        snprintf(path, sizeof path, "%s%s", exe, beside[i]);
        if (fs_exists(path))
            s->handlers = strdup(path);
    }
    return s->handlers
               ? ERR_OK
               : err_set(err, ERR_USAGE, 0, "no handlers: give --handlers FILE, or put one at /etc/haul/handlers.yaml");
}

static int queue_add(struct settings *s, const char *name, bool *first, struct err *err)
{
    if (*first) { /* flags replace the file's list */
        for (size_t i = 0; i < s->queues.n; i++)
            free(s->queues.items[i]);
        s->queues.n = 0;
        *first = false;
    }
    char **more = realloc(s->queues.items, (s->queues.n + 2) * sizeof *more);
    if (!more)
        return err_set(err, ERR_NO_MEMORY, 0, "queues");
    s->queues.items = more;
    if (!(more[s->queues.n] = strdup(name)))
        return err_set(err, ERR_NO_MEMORY, 0, "queues");
    more[++s->queues.n] = NULL;
    return ERR_OK;
}

int flag_refused(const char *command, int c, char **argv, struct err *err)
{
    return err_set(err, ERR_USAGE, 0, "option '%.100s' %s; see '%s --help'", argv[optind - 1],
                   c == ':' ? "needs a value" : "is not known", command);
}

int flags_end(const char *command, int argc, char **argv, struct err *err)
{
    return optind < argc
               ? err_set(err, ERR_USAGE, 0, "'%.100s' is not understood; see '%s --help'", argv[optind], command)
               : ERR_OK;
}

static int flags_take(int argc, char **argv, struct settings *s, bool config_only, const char **ret_config,
                      bool *ret_help, struct err *err)
{
    static const struct option options[] = {{"server", 1, NULL, 's'},
                                            {"handlers", 1, NULL, 'h'},
                                            {"slots", 1, NULL, 'n'},
                                            {"queue", 1, NULL, 'q'},
                                            {"state", 1, NULL, 'd'},
                                            {"name", 1, NULL, 'm'},
                                            {"orphan-limit", 1, NULL, 'o'},
                                            {"min-free", 1, NULL, 'f'},
                                            {"config", 1, NULL, 'c'},
                                            {"help", 0, NULL, '?' + 256},
                                            {0}};
    static const char *const names[] = {['s'] = "server", ['h'] = "handlers",     ['n'] = "slots",   ['d'] = "state",
                                        ['m'] = "name",   ['o'] = "orphan_limit", ['f'] = "min_free"};
    bool first = true;
    int rc = ERR_OK;
    opterr = 0;
    optind = 0;
    for (int c; !rc && (c = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
        if (c == 'c')
            *ret_config = optarg;
        else if (c == '?' + 256)
            *ret_help = true;
        else if (c == '?' || c == ':')
            rc = flag_refused("haul worker", c, argv, err);
        else if (config_only)
            continue;
        else if (c == 'q')
            rc = queue_add(s, optarg, &first, err);
        else if (set(s, names[c], optarg, "option", err))
            rc = (int)(err->code = ERR_USAGE); /* a wrong command line, whatever is wrong with it */
        if (rc == ERR_INVALID)
            rc = err->code = ERR_USAGE; /* a wrong command line, whatever is wrong with it */
    }
    return rc ? rc : flags_end("haul worker", argc, argv, err);
}

int settings_read(int argc, char **argv, struct settings *ret, bool *ret_help, struct err *err)
{
    const char *config = NULL, *server = getenv("HAUL_SERVER");
    int rc = options_defaults(rows, ARRAY_LEN(rows), ret, err);
    if (rc || (rc = flags_take(argc, argv, ret, true, &config, ret_help, err)) || *ret_help ||
        (rc = config_take(ret, config, err)))
        return rc;
    if (server && *server && (rc = set(ret, "server", server, "HAUL_SERVER", err)))
        return rc;
    if ((rc = flags_take(argc, argv, ret, false, &config, ret_help, err)) || (rc = state_default(ret, err)))
        return rc;
    return handlers_default(ret, err);
}

int settings_state(const char *given, const char *config, char **ret, struct err *err)
{
    struct settings s;
    int rc = options_defaults(rows, ARRAY_LEN(rows), &s, err);
    if (!rc && given)
        rc = set(&s, "state", given, "option", err);
    else if (!rc)
        rc = config_take(&s, config, err);
    if (!rc && !(rc = state_default(&s, err)))
        *ret = TAKE_PTR(s.state);
    options_release(rows, ARRAY_LEN(rows), &s);
    return rc;
}
