#pragma once
/* Section `alert_receivers:` of the configuration file: whom alerts are sent to. */
#include "app/alert_options.h"
#include "notify/receiver.h"

struct receivers {
    struct receiver items[RECEIVERS_MAX];
    size_t n;
};

/** @param map  NULL: nobody. @param alerts  those that there are: whoever waits for another one would wait for ever
 * ERR_INVALID names file, line and column. Owned: receivers_release, after an error too. */
int receivers_bind(const struct config *c, const struct config_node *map, const struct alert_options *alerts,
                   struct receivers *ret, struct err *err);
void receivers_release(struct receivers *r);
/** Its keys, for --help. */
void receivers_help(void);
