#pragma once
/* The worker's options: defaults, file, HAUL_SERVER, flags, each over the one before. */
#include "base/config.h"
#include "base/err.h"

struct settings {
    char *server, *handlers, *state, *name;
    int64_t slots;
    struct string_list queues;
    usec orphan_limit_us;
};
int settings_read(int argc, char **argv, struct settings *ret, bool *ret_help, struct err *err);
void settings_help(void);
