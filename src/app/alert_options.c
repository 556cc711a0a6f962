#include "app/alert_options.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include <errno.h>
#include <math.h>

#define MINUTE_US   (60 * USEC_PER_SEC)
#define EVERY_US    (5 * USEC_PER_SEC)
#define EVERY_MIN   (100 * USEC_PER_MSEC)
#define FOR_MAX     (INT64_C(30) * 24 * 3600 * USEC_PER_SEC)
#define CLEAR_SHARE 0.9 /* of `above`, where clear_at does not say: an alert on the edge must not flap */

/* What an alert is like when the file does not say. */
static const struct {
    bool on, has_bound, has_window;
    double above;
    usec for_us, window_us;
    const char *severity, *help;
} usual[ALERT_KIND_COUNT] = {
    [ALERT_QUEUE_DEPTH] = {true, true, false, 500, MINUTE_US, 0, "critical", "jobs that are ready to run"},
    [ALERT_FAILURE_RATE] = {true, true, true, 0.03, MINUTE_US, 5 * MINUTE_US, "warning",
                            "share of ended jobs that failed"},
    [ALERT_DLQ_GROWTH] = {true, true, true, 10, 0, 60 * MINUTE_US, "warning", "jobs that became dead letters"},
    [ALERT_OLDEST_READY] = {false, true, false, 600, MINUTE_US, 0, "warning",
                            "how long a ready job waits, a duration; off unless above is given"},
    [ALERT_FAST_BURN] = {true, false, false, 0, 0, 0, "critical", "of every objective: 5 minutes and an hour"},
    [ALERT_SLOW_BURN] = {true, false, false, 0, 0, 0, "warning", "of every objective: 30 minutes and six hours"},
};

struct entry {
    char *above, *clear_at, *severity;
    usec for_us, window;
};

static const struct option_row rows[] = {
    {"for", OPTION_DURATION, offsetof(struct entry, for_us), 0, FOR_MAX, NULL, "how long it must be so"},
    {"severity", OPTION_STRING, offsetof(struct entry, severity), 1, 16, NULL, "critical, warning or info"},
    {"above", OPTION_STRING, offsetof(struct entry, above), 1, 32, NULL, "bound; it fires above it"},
    {"clear_at", OPTION_STRING, offsetof(struct entry, clear_at), 1, 32, NULL,
     "it is resolved at this or below; without it at nine tenths of the bound"},
    {"window", OPTION_DURATION, offsetof(struct entry, window), MINUTE_US, TALLY_US, NULL, "what it looks back at"},
};
#define ROWS_FOR_ALL 2
#define ROWS_BOUND   4

struct every {
    usec every;
};
static const struct option_row every_row = {
    "every", OPTION_DURATION, offsetof(struct every, every), EVERY_MIN, 60 * MINUTE_US, "5s", "between two looks"};

/* A bound as its kind has it: a share, a duration, or a number. */
static int bound_parse(enum alert_kind kind, const char *text, const char *field, double *ret, struct err *err)
{
    usec us = 0;
    char *end = NULL;

    if (kind == ALERT_FAILURE_RATE)
        return share_parse(text, field, 0, 1, ret, err);
    if (kind == ALERT_OLDEST_READY) {
        int rc = duration_parse(text, field, &us, err);
        *ret = (double)us / (double)USEC_PER_SEC;
        return rc;
    }
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > 1000000000000ULL)
        return err_field(err, field, "must be a whole number, 0 to 1000000000000, got '%.32s'", text);
    *ret = (double)n;
    return ERR_OK;
}

static const char *severity_known(const char *text)
{
    static const char *const known[] = {"critical", "warning", "info"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(text, known[i]) == 0)
            return known[i];
    return NULL;
}

static int fill(const struct entry *e, struct alert_rule *rule, struct err *err)
{
    int rc = ERR_OK;

    rule->for_us = e->for_us;
    rule->window_us = e->window;
    if (e->severity && !(rule->severity = severity_known(e->severity)))
        return err_field(err, "severity", "must be critical, warning or info, got '%.16s'", e->severity);
    if (e->above)
        rc = bound_parse(rule->kind, e->above, "above", &rule->above, err);
    rule->clear_at = rule->above * CLEAR_SHARE;
    if (!rc && e->clear_at)
        rc = bound_parse(rule->kind, e->clear_at, "clear_at", &rule->clear_at, err);
    if (!rc && rule->clear_at > rule->above)
        rc = err_field(err, "clear_at", "must be at most above: what is resolved there must not fire at once");
    return rc;
}

static int bind_map(const struct config *c, const struct config_node *node, struct alert_rule *rule, struct err *err)
{
    size_t n = usual[rule->kind].has_window ? ARRAY_LEN(rows) : usual[rule->kind].has_bound ? ROWS_BOUND : ROWS_FOR_ALL;
    struct entry e;
    int rc = options_defaults(rows, ARRAY_LEN(rows), &e, err);

    e.for_us = rule->for_us;
    e.window = rule->window_us;
    if (!rc)
        rc = options_bind(rows, n, &e, c, node, err);
    if (!rc && (rc = fill(&e, rule, err)) != ERR_OK)
        rc = config_wrap(c, node, rc, err);
    options_release(rows, ARRAY_LEN(rows), &e);
    return rc;
}

static struct alert_rule rule_usual(enum alert_kind kind)
{
    struct alert_rule rule = {.kind = kind,
                              .above = usual[kind].above,
                              .clear_at = usual[kind].above * CLEAR_SHARE,
                              .for_us = usual[kind].for_us,
                              .window_us = usual[kind].window_us,
                              .severity = usual[kind].severity};

    snprintf(rule.name, sizeof(rule.name), "%s", alert_kind_name(kind));
    return rule;
}

/** "off", a map, or nothing. */
static int bind_kind(const struct config *c, const struct config_node *node, struct alert_rule *rule, bool *ret_on,
                     struct err *err)
{
    *ret_on = usual[rule->kind].on;
    if (!node || (node->kind == CONFIG_SCALAR && node->scalar[0] == '\0'))
        return ERR_OK;
    if (node->kind == CONFIG_SCALAR && (strcmp(node->scalar, "off") == 0 || strcmp(node->scalar, "false") == 0)) {
        *ret_on = false;
        return ERR_OK;
    }
    if (node->kind != CONFIG_MAP)
        return config_refuse(c, node, err, "%s must be off, or a map with above, for and so on",
                             alert_kind_name(rule->kind));
    *ret_on = true;
    return bind_map(c, node, rule, err);
}

static void add_burns(struct alert_options *o, const struct alert_rule *rule, const struct objectives *objectives)
{
    for (size_t i = 0; i < objectives->n; i++) {
        const struct objective *objective = &objectives->items[i];
        struct alert_rule *made = &o->rules[o->n_rules++];
        *made = *rule;
        made->objective = i;
        made->above = rule->kind == ALERT_FAST_BURN ? objective_fast_burn(objective) : objective_slow_burn(objective);
        made->clear_at = made->above; /* its two windows are what keeps it from flapping */
        snprintf(made->name, sizeof(made->name), "%s:%s", objective->name, alert_kind_name(rule->kind));
    }
}

static int bind_rules(const struct config *c, const struct config_node *map, const struct objectives *objectives,
                      struct alert_options *ret, struct err *err)
{
    for (int kind = 0; kind < ALERT_KIND_COUNT; kind++) {
        struct alert_rule rule = rule_usual((enum alert_kind)kind);
        bool on = false;
        int rc = bind_kind(c, config_find(map, rule.name), &rule, &on, err);
        if (rc)
            return rc;
        if (on && !usual[kind].has_bound)
            add_burns(ret, &rule, objectives);
        else if (on)
            ret->rules[ret->n_rules++] = rule;
    }
    return ERR_OK;
}

static int check_keys(const struct config *c, const struct config_node *map, struct err *err)
{
    for (size_t i = 0; i < map->n_items; i++) {
        const struct config_node *node = map->items[i];
        int kind = 0;
        while (kind < ALERT_KIND_COUNT && strcmp(node->key, alert_kind_name((enum alert_kind)kind)) != 0)
            kind++;
        if (kind == ALERT_KIND_COUNT && strcmp(node->key, every_row.name) != 0)
            return config_refuse(c, node, err,
                                 "unknown alert '%.64s'; known: every, queue_depth, job_failure_rate, dlq_growth, "
                                 "oldest_ready_age, fast_burn, slow_burn",
                                 node->key);
    }
    return ERR_OK;
}

static int bind_every(const struct config *c, const struct config_node *node, usec *ret, struct err *err)
{
    struct every e = {.every = EVERY_US};
    int rc = ERR_OK;

    if (node && node->kind != CONFIG_SCALAR)
        return config_refuse(c, node, err, "every must be a duration");
    if (node)
        rc = options_set(&every_row, 1, &e, every_row.name, node->scalar, NULL, err);
    *ret = e.every;
    return rc ? config_wrap(c, node, rc, err) : ERR_OK;
}

void alert_options_default(struct alert_options *ret)
{
    const struct objectives none = {.n = 0};
    struct err err;

    *ret = (struct alert_options){.every = EVERY_US};
    bind_rules(NULL, NULL, &none, ret, &err); /* nothing to bind, nothing to refuse */
}

int alert_options_bind(const struct config *c, const struct config_node *map, const struct objectives *objectives,
                       struct alert_options *ret, struct err *err)
{
    int rc = ERR_OK;

    *ret = (struct alert_options){.every = EVERY_US};
    if (map && map->kind == CONFIG_SCALAR && map->scalar[0] == '\0')
        map = NULL;
    if (map && map->kind != CONFIG_MAP)
        return config_refuse(c, map, err, "must be a map of alerts");
    if (map)
        rc = check_keys(c, map, err);
    if (!rc)
        rc = bind_every(c, config_find(map, every_row.name), &ret->every, err);
    return rc ? rc : bind_rules(c, map, objectives, ret, err);
}

void alert_options_help(void)
{
    printf("  %-20s %s [%s]\n", every_row.name, every_row.help, every_row.fallback);
    for (int kind = 0; kind < ALERT_KIND_COUNT; kind++)
        printf("  %-20s %s\n", alert_kind_name((enum alert_kind)kind), usual[kind].help);
    puts("each `off`, or a map of");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        printf("  %-20s %s\n", rows[i].name, rows[i].help);
}
