#pragma once
/* Whom alerts are sent to: as the configuration says. */
#include "base/config.h"

#define RECEIVERS_MAX     16
#define RECEIVER_NAME_MAX 64

struct receiver {
    char *name;
    char *webhook; /* a URL; or */
    struct string_list command;
    char *secret_file, *secret_env, *ca;
    bool allow_private, allow_http;
    bool resolved;               /* is also told when an alert is over */
    struct string_list alerts;   /* patterns of names (fnmatch); none: all */
    struct string_list severity; /* none: all */
    usec timeout;                /* of one try */
    usec retry_for;
};

/** Of struct receiver, but its name. */
extern const struct option_row receiver_rows[];
extern const size_t receiver_n_rows;

/** ERR_INVALID names the key: what does not go together, a URL that is none, a secret that is not there, a command that cannot be run. */
int receiver_check(const struct receiver *r, struct err *err);
bool receiver_wants(const struct receiver *r, const char *alert, const char *severity);
void receiver_release(struct receiver *r);
