#pragma once
/* haul submit --batch: a file of submissions, one a line, sent a thousand at a time, and gone on with where it stopped. */
#include "cli/command.h"

struct batch_args {
    const char *file; /* "-": standard input */
    const char *state, *rejects, *ids, *key;
    int64_t max_errors; /* negative: the default */
    bool restart;
};

#define BATCH_MAX_ERRORS 100

/** @param defaults  a submission's members for lines that have them not @param options  the same as they were typed: a later run
 * must be given the same @return the exit status; everything was said */
int submit_batch(struct cli *cli, const struct batch_args *a, const char *defaults, const char *options);
