#pragma once
/* Within the room: the query of GET /v1/jobs. Pure. */
#include "api/request.h"

/** "key=value" or "key". @param arena  where the key lives; NULL: only looked at. The value is borrowed from `text`.
 * @return false: not of that form, or memory is short */
bool label_split(const char *text, struct arena *arena, struct label_filter *ret);
/** Its part that says which jobs: status, task_type, queue, labels. Lifetimes as of list_parse. */
int list_filter(struct http_request *req, struct job_filter *ret, struct err *err);
/** Is the job one that such a filter asks for? */
bool list_fits(const struct job_filter *f, const struct job *job);
/** The same but for its status: is it one that it asked for, or will ask for, perhaps? */
bool list_fits_but_status(const struct job_filter *f, const struct job *job);
/** Strings are borrowed from the request or live in its arena. */
int list_parse(struct http_request *req, struct job_filter *ret, struct err *err);
