#pragma once
/* Section `alerts:` of the configuration file: the alerts there are from the start, edited. */
#include "app/objective_options.h"
#include "core/alert.h"

struct alert_options {
    usec every; /* between two looks */
    struct alert_rule rules[ALERTS_MAX];
    size_t n_rules;
};

/** @param map         the section; NULL: there is none, and alerts are as they come
 *  @param objectives  each has its two burn-rate alerts
 * ERR_INVALID names file, line and column. Owns nothing. */
int alert_options_bind(const struct config *c, const struct config_node *map, const struct objectives *objectives,
                       struct alert_options *ret, struct err *err);
/** As they are without a file. */
void alert_options_default(struct alert_options *ret);
/** Its keys, for --help. */
void alert_options_help(void);
