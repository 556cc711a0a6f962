#pragma once
/* The worker's options: defaults, file, HAUL_SERVER, flags, each over the one before. */
#include "base/config.h"
#include "base/err.h"

struct settings {
    char *server, *handlers, *state, *name;
    int64_t slots;
    struct string_list queues;
    usec orphan_limit_us;
    uint64_t min_free;
};
/** A flag that getopt_long refused: `c` is '?' or ':'. ERR_USAGE. @param command  whose --help tells more, such as "haul worker stop" */
int flag_refused(const char *command, int c, char **argv, struct err *err);
/** What stands behind the flags is not understood: ERR_USAGE, if there is anything. */
int flags_end(const char *command, int argc, char **argv, struct err *err);
int settings_read(int argc, char **argv, struct settings *ret, bool *ret_help, struct err *err);
void settings_help(void);
/** What `haul worker status` and `stop` need: the state folder, from `given`, the file at `config`, or where it lies by default. Owned by the caller. */
int settings_state(const char *given, const char *config, char **ret, struct err *err);
