#pragma once
/* Alerts as rules for Prometheus, with the same meaning. */
#include <jansson.h>

/** @param alerts  as GET /v1/alerts has them
 *  @param objectives  as GET /v1/slis has them
 * Prints a rule file on stdout. */
void alert_rules_print(const json_t *alerts, const json_t *objectives);
