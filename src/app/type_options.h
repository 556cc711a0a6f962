#pragma once
/* Section `task_types:` of the configuration file: what jobs of a type have when their submission does not say. */
#include "base/config.h"
#include "core/job.h"

struct type_policies {
    struct type_policy *items; /* sorted by task_type, as struct policy wants them */
    size_t n;
};

/** @param map  the section; NULL: there is none. ERR_INVALID names file, line and column. Owned: type_options_release, also on error. */
int type_options_bind(const struct config *c, const struct config_node *map, struct type_policies *ret,
                      struct err *err);
void type_options_release(struct type_policies *t);
/** Its keys, for --help. */
void type_options_help(void);
