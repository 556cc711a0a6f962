#include "worker/handlers.h"
#include "base/auto.h"
#include "base/text.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* What most programs need to start. Only what the machine has is bound. */
static const char *const read_only_default[] = {
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/localtime",
    "/etc/fonts",
    "/etc/mime.types",
    "/etc/ImageMagick-6",
};

struct entry {
    struct string_list command, verify, permanent, read_only;
    char *version, *isolation;
    usec timeout_us, no_progress_us, verify_timeout_us, checkpoint_us;
    uint64_t file_size_max, checkpoint_max;
};

#define LIMIT_MAX_US (366 * INT64_C(86400) * USEC_PER_SEC)

static const struct option_row rows[] = {
    {"command", OPTION_STRING_LIST, offsetof(struct entry, command), 1, 4096, NULL,
     "program and arguments; with a slash: from this file's folder"},
    {"version", OPTION_STRING, offsetof(struct entry, version), 1, 64, "1",
     "shown with the worker and in each attempt"},
    {"timeout", OPTION_DURATION, offsetof(struct entry, timeout_us), 0, LIMIT_MAX_US, "6h",
     "wall-clock limit; 0 = none"},
    {"no_progress_timeout", OPTION_DURATION, offsetof(struct entry, no_progress_us), 0, LIMIT_MAX_US, "0",
     "longest time without a report line or a byte of log; 0 = none"},
    {"verify", OPTION_STRING_LIST, offsetof(struct entry, verify), 1, 4096, NULL,
     "program and arguments that look at out/ before it counts"},
    {"verify_timeout", OPTION_DURATION, offsetof(struct entry, verify_timeout_us), 0, LIMIT_MAX_US, "10m",
     "wall-clock limit of verify; 0 = none"},
    {"permanent_exit_codes", OPTION_STRING_LIST, offsetof(struct entry, permanent), 1, 3, NULL,
     "exit statuses that no retry helps"},
    {"isolation", OPTION_STRING, offsetof(struct entry, isolation), 1, 16, "namespaces", "namespaces, or none"},
    {"read_only", OPTION_STRING_LIST, offsetof(struct entry, read_only), 1, 4095, NULL,
     "host paths the handler sees; its own folder always"},
    {"file_size_max", OPTION_SIZE, offsetof(struct entry, file_size_max), 0, INT64_MAX, "1TiB",
     "largest file it may write; 0 = no limit"},
    {"checkpoint_interval", OPTION_DURATION, offsetof(struct entry, checkpoint_us), 0, LIMIT_MAX_US, "0",
     "stores what changed in checkpoint/ so often, also unasked; 0 = off"},
    {"checkpoint_max", OPTION_SIZE, offsetof(struct entry, checkpoint_max), 0, INT64_MAX, "16GiB",
     "largest checkpoint, all its files together; 0 = none is stored"},
};

static int list_add(struct string_list *l, const char *s, struct err *err)
{
    char **more = realloc(l->items, (l->n + 2) * sizeof *more);
    if (!more)
        return err_set(err, ERR_NO_MEMORY, 0, "handlers");
    l->items = more;
    if (!(more[l->n] = strdup(s)))
        return err_set(err, ERR_NO_MEMORY, 0, "handlers");
    more[++l->n] = NULL;
    return ERR_OK;
}

static void list_free(struct string_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct string_list){NULL, 0};
}

/* A missing program is no error here: another worker may have it, and the attempt's error_log will say so. */
static int program_find(const char *name, const char *dir, char *ret, struct err *err)
{
    if (strchr(name, '/')) {
        char joined[PATH_MAX];
        int rc = ERR_OK;
        while (!strncmp(name, "./", 2))
            name += 2;
        const int n = name[0] == '/' ? snprintf(joined, sizeof joined, "%s", name)
                                     : snprintf(joined, sizeof joined, "%s/%s", dir, name);
        if (n < 0 || n >= (int)sizeof joined)
            rc = err_set(err, ERR_TOO_LARGE, 0, "command '%.60s' is too long", name);
        if (!rc && !realpath(joined, ret))
            snprintf(ret, PATH_MAX, "%s", joined);
        return rc;
    }
    const char *path = getenv("PATH");
    if (!path || !*path)
        path = "/usr/local/bin:/usr/bin:/bin";
    for (const char *p = path; *p;) {
        const size_t n = strcspn(p, ":");
        const int len = snprintf(ret, PATH_MAX, "%.*s/%s", (int)n, p, name);
        if (n && *p == '/' && len > 0 && len < PATH_MAX && !access(ret, X_OK))
            return ERR_OK;
        p += n + (p[n] == ':');
    }
    snprintf(ret, PATH_MAX, "/usr/bin/%s", name);
    return ERR_OK;
}

/* The program as an absolute path, its arguments, and the folder of one that was given with a slash. */
static int program_take(struct handler *h, const struct string_list *given, const char *dir, struct string_list *ret,
                        struct err *err)
{
    char program[PATH_MAX], folder[PATH_MAX];
    int rc = program_find(given->items[0], dir, program, err);
    if (!rc)
        rc = list_add(ret, program, err);
    for (size_t i = 1; i < given->n && !rc; i++)
        rc = list_add(ret, given->items[i], err);
    if (rc || !strchr(given->items[0], '/'))
        return rc;
    snprintf(folder, sizeof folder, "%s", program);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return ERR_OK;
    *slash = 0;
    for (size_t i = 0; i < h->read_only.n; i++)
        if (!strcmp(h->read_only.items[i], folder))
            return ERR_OK;
    struct stat st;
    return lstat(folder, &st) ? ERR_OK : list_add(&h->read_only, folder, err);
}

static int command_take(struct handler *h, const struct entry *e, const char *dir, struct err *err)
{
    if (!e->command.n)
        return err_field(err, "command", "handler '%s' needs a command: [PROGRAM, ARGUMENT...]", h->task_type);
    int rc = ERR_OK;
    for (size_t i = 0; i < e->read_only.n && !rc; i++)
        rc = list_add(&h->read_only, e->read_only.items[i], err);
    for (size_t i = 0; i < ARRAY_LEN(read_only_default) && !e->read_only.n && !rc; i++)
        if (!access(read_only_default[i], F_OK))
            rc = list_add(&h->read_only, read_only_default[i], err);
    if (!rc)
        rc = program_take(h, &e->command, dir, &h->command, err);
    if (!rc && e->verify.n)
        rc = program_take(h, &e->verify, dir, &h->verify, err);
    return rc;
}

static int permanent_take(struct handler *h, const struct entry *e, struct err *err)
{
    if (e->permanent.n > PERMANENT_CODES_MAX)
        return err_field(err, "permanent_exit_codes", "at most %d", PERMANENT_CODES_MAX);
    for (size_t i = 0; i < e->permanent.n; i++) {
        char *end;
        const long v = strtol(e->permanent.items[i], &end, 10);
        if (*end || v < 1 || v > 255)
            return err_field(err, "permanent_exit_codes", "must be numbers from 1 to 255, got '%s'",
                             e->permanent.items[i]);
        h->permanent[h->n_permanent++] = (unsigned char)v;
    }
    return ERR_OK;
}

static int env_take(struct handler *h, const struct config_node *env, struct err *err)
{
    if (env->kind != CONFIG_MAP)
        return err_field(err, "env", "line %u: must be a map of NAME: value", env->line);
    for (size_t i = 0; i < env->n_items; i++) {
        const struct config_node *n = env->items[i];
        if (n->kind != CONFIG_SCALAR || strchr(n->key, '=') || !*n->key || !strncmp(n->key, "HAUL_", 5))
            return err_field(err, "env", "line %u: '%s' must be a NAME: value, and not begin with HAUL_", n->line,
                             n->key);
        AUTO_FREE char *pair = NULL;
        if (asprintf(&pair, "%s=%s", n->key, n->scalar) < 0) {
            pair = NULL;
            return err_set(err, ERR_NO_MEMORY, 0, "handlers");
        }
        const int rc = list_add(&h->env, pair, err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* Binds all but `env`, whose keys are the user's. */
static int entry_bind(const struct config *c, const struct config_node *node, struct entry *e, struct err *err)
{
    AUTO_FREE struct config_node **items = calloc(node->n_items + 1, sizeof *items);
    if (!items)
        return err_set(err, ERR_NO_MEMORY, 0, "handlers");
    struct config_node copy = *node;
    copy.items = items;
    copy.n_items = 0;
    for (size_t i = 0; i < node->n_items; i++)
        if (strcmp(node->items[i]->key, "env"))
            items[copy.n_items++] = node->items[i];
    return options_bind(rows, ARRAY_LEN(rows), e, c, &copy, err);
}

static int handler_take(struct handler *h, const struct config *c, const struct config_node *node, const char *dir,
                        struct err *err)
{
    if (!name_valid(node->key, 128) || node->kind != CONFIG_MAP)
        return config_refuse(c, node, err, "'%s' must be a task type (letters, digits, _ . : -) with a map", node->key);
    if (!(h->task_type = strdup(node->key)))
        return err_set(err, ERR_NO_MEMORY, 0, "handlers");
    struct entry e;
    int rc = options_defaults(rows, ARRAY_LEN(rows), &e, err);
    if (!rc)
        rc = entry_bind(c, node, &e, err);
    if (!rc)
        rc = command_take(h, &e, dir, err);
    if (!rc)
        rc = permanent_take(h, &e, err);
    const struct config_node *env = config_find(node, "env");
    if (!rc && env)
        rc = env_take(h, env, err);
    if (!rc && !(h->bare = !strcmp(e.isolation, "none")) && strcmp(e.isolation, "namespaces"))
        rc = err_field(err, "isolation", "must be namespaces or none, got '%s'", e.isolation);
    h->timeout_us = e.timeout_us;
    h->no_progress_us = e.no_progress_us;
    h->verify_timeout_us = e.verify_timeout_us;
    h->file_size_max = e.file_size_max;
    h->checkpoint_us = e.checkpoint_us;
    h->checkpoint_max = e.checkpoint_max;
    h->version = e.version;
    e.version = NULL;
    options_release(rows, ARRAY_LEN(rows), &e);
    return rc ? err_wrap(err, rc, "%s:%u:%u: handler '%s'", c->path, node->line, node->column, node->key) : ERR_OK;
}

int handlers_load(const char *path, struct handlers **ret, struct err *err)
{
    struct config *c = NULL;
    int rc = config_load(path, &c, err);
    if (rc)
        return rc;
    char real[PATH_MAX];
    struct handlers *h = calloc(1, sizeof *h);
    const struct config_node *map = config_find(c->root, "handlers");
    if (!h)
        rc = err_set(err, ERR_NO_MEMORY, 0, "handlers");
    else if (!realpath(path, real))
        rc = err_set(err, ERR_IO, errno, "'%s'", path);
    else if (!map || map->kind != CONFIG_MAP || !map->n_items || c->root->n_items != 1)
        rc = err_set(err, ERR_INVALID, 0, "%s: must hold one map 'handlers' with at least one task type", path);
    else if (!(h->items = calloc(map->n_items, sizeof *h->items)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "handlers");
    if (!rc)
        *strrchr(real, '/') = 0;
    for (size_t i = 0; !rc && i < map->n_items; i++, h->n++)
        rc = handler_take(&h->items[i], c, map->items[i], *real ? real : "/", err);
    config_free(c);
    if (rc) {
        handlers_free(h);
        return rc;
    }
    *ret = h;
    return ERR_OK;
}

void handlers_free(struct handlers *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->n; i++) {
        struct handler *x = &h->items[i];
        free(x->task_type);
        free(x->version);
        list_free(&x->command);
        list_free(&x->verify);
        list_free(&x->read_only);
        list_free(&x->env);
    }
    free(h->items);
    free(h);
}

const struct handler *handlers_find(const struct handlers *h, const char *task_type)
{
    for (size_t i = 0; i < h->n; i++)
        if (!strcmp(h->items[i].task_type, task_type))
            return &h->items[i];
    return NULL;
}

bool handler_runs_at(const struct handler *h, enum sandbox_level level)
{
    return h->bare || level == SANDBOX_NAMESPACES;
}
