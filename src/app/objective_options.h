#pragma once
/* Section `objectives:` of the configuration file: what is promised. */
#include "base/config.h"
#include "core/objective.h"

struct objectives {
    struct objective *items; /* in the file's order; strings owned */
    size_t n;
};

/** @param map  the section; NULL: there is none. ERR_INVALID names file, line and column. Owned: objectives_release, also on error. */
int objectives_bind(const struct config *c, const struct config_node *map, struct objectives *ret, struct err *err);
void objectives_release(struct objectives *o);
/** Its keys, for --help. */
void objectives_help(void);
/** "0.999" or "99.9%": min..max, `field` named in the error. */
int share_parse(const char *text, const char *field, double min, double max, double *ret, struct err *err);
