#include "app/type_options.h"
#include "base/auto.h"
#include "base/text.h"

#define YEARS_US (INT64_C(3650) * 24 * 3600 * USEC_PER_SEC)

struct entry {
    usec start_deadline, timeout, no_progress_timeout;
    int64_t max_attempts;
};

static const struct option_row rows[] = {
    {"start_deadline", OPTION_DURATION, offsetof(struct entry, start_deadline), USEC_PER_MSEC, YEARS_US, NULL,
     "not started after waiting for so long: failed, outcome expired"},
    {"timeout", OPTION_DURATION, offsetof(struct entry, timeout), USEC_PER_MSEC, YEARS_US, NULL,
     "wall-clock limit of a run"},
    {"no_progress_timeout", OPTION_DURATION, offsetof(struct entry, no_progress_timeout), USEC_PER_MSEC, YEARS_US, NULL,
     "longest time in which its handler may be silent"},
    {"max_attempts", OPTION_INT, offsetof(struct entry, max_attempts), 1, 100, NULL, "the first and the retries"},
};

static int type_bind(const struct config *c, const struct config_node *node, struct type_policy *ret, struct err *err)
{
    struct entry e;
    if (!name_valid(node->key, JOB_NAME_MAX) || node->kind != CONFIG_MAP)
        return config_refuse(c, node, err,
                             "'%.64s' must be a task type (letters, digits, _ . : -) with a map of limits", node->key);
    int rc = options_defaults(rows, ARRAY_LEN(rows), &e, err);
    if (!rc)
        rc = options_bind(rows, ARRAY_LEN(rows), &e, c, node, err);
    if (rc)
        return rc;
    char *name = strdup(node->key);
    if (!name)
        return err_set(err, ERR_NO_MEMORY, 0, "task types");
    *ret = (struct type_policy){.task_type = name,
                                .start_deadline_us = e.start_deadline,
                                .timeout_us = e.timeout,
                                .no_progress_us = e.no_progress_timeout,
                                .max_attempts = (uint32_t)e.max_attempts};
    return ERR_OK;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(((const struct type_policy *)a)->task_type, ((const struct type_policy *)b)->task_type);
}

int type_options_bind(const struct config *c, const struct config_node *map, struct type_policies *ret, struct err *err)
{
    *ret = (struct type_policies){.n = 0};
    if (!map || (map->kind == CONFIG_SCALAR && map->scalar[0] == '\0'))
        return ERR_OK;
    if (map->kind != CONFIG_MAP)
        return config_refuse(c, map, err, "must be a map of task types");
    if (!(ret->items = calloc(map->n_items + 1, sizeof(*ret->items))))
        return err_set(err, ERR_NO_MEMORY, 0, "task types");
    for (size_t i = 0; i < map->n_items; i++, ret->n++) {
        int rc = type_bind(c, map->items[i], &ret->items[ret->n], err);
        if (rc)
            return rc;
    }
    qsort(ret->items, ret->n, sizeof(*ret->items), name_compare);
    return ERR_OK;
}

void type_options_release(struct type_policies *t)
{
    for (size_t i = 0; i < t->n; i++)
        free((void *)(uintptr_t)t->items[i].task_type);
    free(t->items);
    *t = (struct type_policies){.n = 0};
}

void type_options_help(void)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        printf("  %-20s %s\n", rows[i].name, rows[i].help);
}
