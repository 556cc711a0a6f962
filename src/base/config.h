#pragma once
/* Configuration: YAML into a tree with line numbers, and tables that bind it to structs.
 * Refused, with file and line: anchors, aliases, tags, duplicate keys, unknown keys, more than one document. Types come
 * from the table, never from YAML's guesses. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_kind { CONFIG_SCALAR, CONFIG_LIST, CONFIG_MAP };

struct config_node {
    enum config_kind kind;
    unsigned line, column; /* 1..; of the key in a map */
    char *key;             /* in a map; else NULL */
    char *scalar;          /* CONFIG_SCALAR */
    struct config_node **items;
    size_t n_items;
};

struct config {
    char *path;
    struct config_node *root; /* a map, possibly empty */
};

/** @param path  file of at most 1 MiB. ERR_NOT_FOUND when absent; ERR_INVALID says "path:line:column: what, and what to do". */
int config_load(const char *path, struct config **ret, struct err *err);
int config_parse(const char *text, size_t n, const char *name, struct config **ret, struct err *err);
void config_free(struct config *c);
const struct config_node *config_find(const struct config_node *map,
                                      const char *key); /* NULL when absent or not a map */

/** ERR_INVALID at `node`. */
int config_refuse(const struct config *c, const struct config_node *node, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/** Puts "path:line:column" before what `err` says. @return rc */
int config_wrap(const struct config *c, const struct config_node *node, int rc, struct err *err);
/** Refuses a section that is none of haul's: server, task_types, objectives, alerts, alert_receivers, worker, client. Each program checks what is in its own. */
int config_check_sections(const struct config *c, struct err *err);

enum option_type { OPTION_STRING, OPTION_INT, OPTION_SIZE, OPTION_DURATION, OPTION_BOOL, OPTION_STRING_LIST };

/** NULL-terminated array of owned strings. */
struct string_list {
    char **items;
    size_t n;
};

/** One option of a room: parser, --help and reference page come from it. */
struct option_row {
    const char *name; /* key in YAML, and --name on the command line where the command offers it */
    enum option_type type;
    size_t
        offset; /* into the bound struct: char *, int64_t, uint64_t bytes ("64MiB"), usec, bool, struct string_list */
    int64_t min, max;     /* numbers, sizes, durations (us), length of strings */
    const char *fallback; /* default as text, NULL = leave zero */
    const char *help;
};

/** Fills `target` with the defaults. Strings are owned by `target`: options_release. */
int options_defaults(const struct option_row *rows, size_t n, void *target, struct err *err);
/** Sets one option from text. `where` begins the error message. */
int options_set(const struct option_row *rows, size_t n, void *target, const char *name, const char *value,
                const char *where, struct err *err);
/** Binds a map node; unknown keys are refused with the known ones named. */
int options_bind(const struct option_row *rows, size_t n, void *target, const struct config *c,
                 const struct config_node *map, struct err *err);
void options_release(const struct option_row *rows, size_t n, void *target);
/** "64KiB", "1.5GiB" no fractions: digits and one of "", B, KiB, MiB, GiB, TiB, kB, MB, GB. */
int size_parse(const char *s, const char *field, uint64_t *ret, struct err *err);
