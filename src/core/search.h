#pragma once
/* Text that people look for among jobs. Pure. */
#include "core/job.h"

#define SEARCH_TEXT_MAX 200 /* bytes */

/** Does the job's id begin with `text`, or is `text` part of its task type, its key, the value of one of its labels, or its error_log? Letters from A to Z are
 * as those from a to z; everything else stands for itself, `%`, `*` and `\` too.
 * @param job  of which only these are looked at; each but the id may be NULL  @param text  UTF-8, 1..SEARCH_TEXT_MAX bytes */
bool job_has_text(const struct job *job, const char *text);
/** Does a job that has these labels have that one? @param labels  JSON of an object  @param value  NULL: any */
bool labels_have(const char *labels, const char *key, const char *value);
