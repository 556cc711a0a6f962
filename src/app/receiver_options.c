#include "app/receiver_options.h"
#include "base/auto.h"
#include "base/text.h"
#include <fnmatch.h>

static int check_pattern(const char *pattern, const struct alert_options *alerts, struct err *err)
{
    for (size_t i = 0; i < alerts->n_rules; i++)
        if (fnmatch(pattern, alerts->rules[i].name, 0) == 0)
            return ERR_OK;
    return err_field(err, "alerts", "no alert that is on is called '%.100s'; haul alerts shows them", pattern);
}

static int check(const struct receiver *r, const struct alert_options *alerts, struct err *err)
{
    int rc = receiver_check(r, err);

    for (size_t i = 0; i < r->alerts.n && !rc; i++)
        rc = check_pattern(r->alerts.items[i], alerts, err);
    return rc;
}

static int bind_one(const struct config *c, const struct config_node *node, const struct alert_options *alerts,
                    struct receiver *ret, struct err *err)
{
    int rc = options_defaults(receiver_rows, receiver_n_rows, ret, err);

    if (rc)
        return rc;
    if (!name_valid(node->key, RECEIVER_NAME_MAX) || node->kind != CONFIG_MAP)
        return config_refuse(c, node, err,
                             "'%.64s' must be a name (letters, digits, _ . : -) with a map that has webhook or command",
                             node->key);
    rc = options_bind(receiver_rows, receiver_n_rows, ret, c, node, err);
    if (!rc && !(ret->name = strdup(node->key)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "receivers");
    if (!rc && (rc = check(ret, alerts, err)) != ERR_OK)
        rc = config_wrap(c, node, rc, err);
    return rc;
}

int receivers_bind(const struct config *c, const struct config_node *map, const struct alert_options *alerts,
                   struct receivers *ret, struct err *err)
{
    *ret = (struct receivers){.n = 0};
    if (!map || (map->kind == CONFIG_SCALAR && map->scalar[0] == '\0'))
        return ERR_OK;
    if (map->kind != CONFIG_MAP)
        return config_refuse(c, map, err, "must be a map of receivers");
    if (map->n_items > RECEIVERS_MAX)
        return config_refuse(c, map, err, "at most %d receivers, got %zu", RECEIVERS_MAX, map->n_items);
    for (size_t i = 0; i < map->n_items; i++) {
        int rc = bind_one(c, map->items[i], alerts, &ret->items[ret->n++], err);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

void receivers_release(struct receivers *r)
{
    for (size_t i = 0; i < r->n; i++)
        receiver_release(&r->items[i]);
    r->n = 0;
}

void receivers_help(void)
{
    for (size_t i = 0; i < receiver_n_rows; i++)
        printf("  %-20s %s%s%s%s\n", receiver_rows[i].name, receiver_rows[i].help,
               receiver_rows[i].fallback ? " [" : "", receiver_rows[i].fallback ? receiver_rows[i].fallback : "",
               receiver_rows[i].fallback ? "]" : "");
}
