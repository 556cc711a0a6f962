#pragma once
/* The jobs that a filter matches, counted before something is done to them: exactly these are acted upon. */
#include "base/uuid.h"
#include "cli/filter.h"

struct selection {
    struct uuid *ids; /* newest first, each once */
    size_t n;
    struct selection_row {
        char *status, *task_type;
        size_t n;
    } * rows; /* by status and task type */
    size_t n_rows;
};

/** Pages through what `f` matches. @param statuses  ended by NULL: what the action applies to, unless the filter names one
 * @return EXIT_OK or the status of an error that was printed; selection_release in any case */
int selection_fill(struct cli *cli, const struct command *cmd, const struct filter *f, const char *const *statuses,
                   struct selection *ret);
void selection_release(struct selection *s);
/** Counts by status and task type, most first. */
void selection_print(const struct selection *s, FILE *f);
json_t *selection_json(const struct selection *s);
