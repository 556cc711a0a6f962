#pragma once
/* What is done to many jobs: cancel, retry, discard. */
#include "cli/filter.h"

struct action {
    const struct command *cmd; /* its `sub` names the call: POST /v1/jobs:retry */
    const char *statuses[4];   /* what it can be done to */
    const char *verb, *can;    /* "Cancel", "pending and running jobs can be cancelled" */
    const char *past;          /* "cancelled" */
};

struct action_args {
    struct filter filter;
    bool all, yes, dry_run;
};

/* Rows that every action has, beside those of the filter. */
/* clang-format off */
#define ACTION_OPTIONS                                                                                                 \
    {"all", 'a', OPT_FLAG, offsetof(struct action_args, all), NULL, 0, 0, "every job that this can be done to"},       \
    {"limit", 'n', OPT_INT, offsetof(struct action_args, filter.limit), "N", 1, INT32_MAX,                             \
     "at most so many, the newest (default: all that match)"},                                                         \
    {"yes", 'y', OPT_FLAG, offsetof(struct action_args, yes), NULL, 0, 0, "do not ask"},                               \
    {"dry-run", 0, OPT_FLAG, offsetof(struct action_args, dry_run), NULL, 0, 0, "only count what matches"}
/* clang-format on */

/** Counts, asks, acts, tells. @param argv  ids, or none: the filter says which @return an exit status */
int act(struct cli *cli, const struct action *action, const struct action_args *a, int argc, char **argv);
