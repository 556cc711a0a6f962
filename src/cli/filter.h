#pragma once
/* Which jobs: the filter that jobs list and the actions on many jobs share, and the pages of what it matches. */
#include "cli/command.h"

struct filter {
    const char *status, *task_type, *queue, *created_after, *created_before;
    const char *fingerprint, *failed_before; /* of a redrive's; no part of filter_query */
    const char *text;                        /* of lists; no redrive has it */
    struct text_list labels;
    int64_t limit;
};

/* Rows for the option table of a command whose struct `args` has a struct filter called `f`; --limit is the command's own. */
/* clang-format off */
#define FILTER_OPTIONS(args, f)                                                                                        \
    {"status", 0, OPT_TEXT, offsetof(struct args, f.status), "STATUS", 0, 0,                                           \
     "pending, running, success, failed or cancelled"},                                                                \
    {"text", 0, OPT_TEXT, offsetof(struct args, f.text), "TEXT", 0, 0,                                                 \
     "with TEXT in its type, key, a label's value or its error, or an id that begins so"},                             \
    FILTER_OPTIONS_ANY(args, f)
/* Without --status and --text. */
#define FILTER_OPTIONS_ANY(args, f)                                                                                    \
    {"type", 't', OPT_TEXT, offsetof(struct args, f.task_type), "NAME", 0, 0, "jobs of this task type"},               \
    {"queue", 'q', OPT_TEXT, offsetof(struct args, f.queue), "NAME", 0, 0, "jobs of this queue"},                      \
    {"label", 'l', OPT_LIST, offsetof(struct args, f.labels), "KEY[=VALUE]", 0, 0,                                     \
     "jobs with this label; given more than once: with all of them"},                                                  \
    {"created-after", 0, OPT_TEXT, offsetof(struct args, f.created_after), "TIME", 0, 0,                               \
     "submitted at TIME or later: 2d (ago), 2026-12-01 10:00 (local), RFC 3339"},                                      \
    {"created-before", 0, OPT_TEXT, offsetof(struct args, f.created_before), "TIME", 0, 0, "submitted before TIME"}
/* clang-format on */

/** 16 lower-case hex digits? */
bool fingerprint_valid(const char *s);
/** No condition at all? (`limit` is none.) */
bool filter_empty(const struct filter *f);
/** The conditions but the status as "&task_type=...": times become instants here, once. @param ret  buf_release, also after an error
 * @return EXIT_OK, or the status of a usage error that was printed */
int filter_query(const struct command *cmd, const struct filter *f, struct buf *ret);
/** An instant of a condition ("2d" is so long ago), as filter_query reads them. Usage errors are printed. */
int filter_time(const struct command *cmd, const char *option, const char *text, usec now, usec *ret);
/** Walks the matching jobs, newest first, page by page. @param query  of filter_query @param status  NULL: all @param limit at most so
 * many @param take  nonzero stops and is returned
 * @param ret_cursor  where it stopped at the limit, free(), NULL at the end; may be NULL */
int filter_walk(struct cli *cli, const char *query, const char *status, int64_t limit,
                int (*take)(void *arg, json_t *job), void *arg, char **ret_cursor);
