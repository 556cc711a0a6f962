#include "app/objective_options.h"
#include "base/auto.h"
#include "base/text.h"
#include <errno.h>
#include <math.h>

#define YEARS_US (INT64_C(3650) * 24 * 3600 * USEC_PER_SEC)

struct entry {
    char *task_type, *queue, *objective, *success, *dead_letters;
    usec start_within, window;
};

static const struct option_row rows[] = {
    {"task_type", OPTION_STRING, offsetof(struct entry, task_type), 1, JOB_NAME_MAX, NULL,
     "of its jobs only; without it of all"},
    {"queue", OPTION_STRING, offsetof(struct entry, queue), 1, JOB_NAME_MAX, NULL, "of its jobs only"},
    {"start_within", OPTION_DURATION, offsetof(struct entry, start_within), USEC_PER_MSEC, YEARS_US, NULL,
     "a job is claimed so soon after it became due"},
    {"objective", OPTION_STRING, offsetof(struct entry, objective), 1, 32, NULL,
     "with start_within: for which share, 0.99 or 99%"},
    {"success", OPTION_STRING, offsetof(struct entry, success), 1, 32, NULL, "or: which share of jobs succeeds"},
    {"dead_letters", OPTION_STRING, offsetof(struct entry, dead_letters), 1, 8, "fail",
     "with success: a dead letter breaks (fail) or keeps (keep) the promise"},
    {"window", OPTION_DURATION, offsetof(struct entry, window), OBJECTIVE_WINDOW_MIN, OBJECTIVE_WINDOW_MAX, "30d",
     "over which the error budget is"},
};

int share_parse(const char *text, const char *field, double min, double max, double *ret, struct err *err)
{
    char *end = NULL;

    errno = 0;
    double v = strtod(text, &end);
    bool percent = *end == '%';
    if (end == text || end[percent] || errno || !isfinite(v) || text[0] == '+' || text[0] == ' ')
        return err_field(err, field, "'%.40s' is no share: write 0.99 or 99%%", text);
    v = percent ? v / 100 : v;
    if (v < min || v > max)
        return err_field(err, field, "must be %.15g to %.15g (%.15g%% to %.15g%%), got '%.40s'", min, max, min * 100,
                         max * 100, text);
    *ret = v;
    return ERR_OK;
}

static int check(const struct entry *e, const struct objective *made, struct err *err)
{
    if (!e->start_within == !e->success)
        return err_field(err, e->success ? "success" : "start_within",
                         "give either start_within (with objective) or success");
    if (e->start_within && !e->objective)
        return err_field(err, "objective", "is required with start_within: which share of jobs, 0.99 say");
    if (e->success && e->objective)
        return err_field(err, "objective", "belongs to start_within; success names its share itself");
    if (strcmp(e->dead_letters, "fail") != 0 && strcmp(e->dead_letters, "keep") != 0)
        return err_field(err, "dead_letters", "must be fail or keep, got '%.8s'", e->dead_letters);
    if (made->keep_dead && !e->success)
        return err_field(err, "dead_letters", "belongs to success");
    if (e->task_type && !name_valid(e->task_type, JOB_NAME_MAX))
        return err_field(err, "task_type", "must be a name of letters, digits, _ . : -");
    if (e->queue && !name_valid(e->queue, JOB_NAME_MAX))
        return err_field(err, "queue", "must be a name of letters, digits, _ . : -");
    return ERR_OK;
}

static int fill(const struct config_node *node, struct entry *e, struct objective *ret, struct err *err)
{
    *ret = (struct objective){.kind = e->success ? OBJECTIVE_SUCCESS : OBJECTIVE_START,
                              .within_us = e->start_within,
                              .keep_dead = strcmp(e->dead_letters, "keep") == 0,
                              .window_us = e->window};
    int rc = check(e, ret, err);
    if (!rc)
        rc = share_parse(e->success ? e->success : e->objective, e->success ? "success" : "objective", 0.01, 0.99999,
                         &ret->target, err);
    if (rc)
        return rc;
    ret->task_type = TAKE_PTR(e->task_type);
    ret->queue = TAKE_PTR(e->queue);
    ret->name = strdup(node->key);
    return ret->name ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "objectives");
}

static int bind_one(const struct config *c, const struct config_node *node, struct objective *ret, struct err *err)
{
    struct entry e;
    if (!name_valid(node->key, JOB_NAME_MAX) || node->kind != CONFIG_MAP)
        return config_refuse(c, node, err,
                             "'%.64s' must be a name (letters, digits, _ . : -) with a map of what is promised",
                             node->key);
    int rc = options_defaults(rows, ARRAY_LEN(rows), &e, err);
    if (!rc)
        rc = options_bind(rows, ARRAY_LEN(rows), &e, c, node, err);
    if (!rc && (rc = fill(node, &e, ret, err)) != ERR_OK)
        rc = config_wrap(c, node, rc, err);
    options_release(rows, ARRAY_LEN(rows), &e);
    return rc;
}

int objectives_bind(const struct config *c, const struct config_node *map, struct objectives *ret, struct err *err)
{
    *ret = (struct objectives){.n = 0};
    if (!map || (map->kind == CONFIG_SCALAR && map->scalar[0] == '\0'))
        return ERR_OK;
    if (map->kind != CONFIG_MAP)
        return config_refuse(c, map, err, "must be a map of objectives");
    if (map->n_items > OBJECTIVES_MAX)
        return config_refuse(c, map, err, "at most %d objectives, got %zu", OBJECTIVES_MAX, map->n_items);
    if (!(ret->items = calloc(map->n_items + 1, sizeof(*ret->items))))
        return err_set(err, ERR_NO_MEMORY, 0, "objectives");
    for (size_t i = 0; i < map->n_items; i++) {
        int rc = bind_one(c, map->items[i], &ret->items[ret->n++], err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

void objectives_release(struct objectives *o)
{
    for (size_t i = 0; i < o->n; i++) {
        free((void *)(uintptr_t)o->items[i].name);
        free((void *)(uintptr_t)o->items[i].task_type);
        free((void *)(uintptr_t)o->items[i].queue);
    }
    free(o->items);
    *o = (struct objectives){.n = 0};
}

void objectives_help(void)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        printf("  %-20s %s\n", rows[i].name, rows[i].help);
}
