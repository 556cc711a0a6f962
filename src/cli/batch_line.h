#pragma once
/* One line of a batch as the submission that is sent. */
#include "base/buf.h"
#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

/** Appends the line's object to `out`, with what `defaults` (a submission's members) adds: members that the line has not, and labels
 * that its labels have not. `delay` and `run_at` stand for each other. The rest of the text stays as it was written.
 * @param ret_own_key  the line has a dedup_key: a job that is there already may be another's
 * @return ERR_MALFORMED or ERR_INVALID with nothing appended, for a line that is no JSON object */
int batch_line(const char *line, size_t n, const json_t *defaults, struct buf *out, bool *ret_own_key, struct err *err);
