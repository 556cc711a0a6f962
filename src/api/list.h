#pragma once
/* Within the room: the query of GET /v1/jobs. Pure. */
#include "api/request.h"

/** "key=value" or "key". @param arena  where the key lives; NULL: only looked at. The value is borrowed from `text`.
 * @return false: not of that form, or memory is short */
bool label_split(const char *text, struct arena *arena, struct label_filter *ret);
/** Strings are borrowed from the request or live in its arena. */
int list_parse(struct http_request *req, struct job_filter *ret, struct err *err);
