#pragma once
/* Within the room: the trace that a submission is part of. */
#include "api/request.h"

/** As the headers of the request say, for a job that does not say itself; its strings go to `arena`. A header that breaks the rules counts
 * as none (W3C Trace Context), and so does a tracestate beyond our bound. */
int traced_by_headers(struct http_request *req, struct arena *arena, struct job *job, struct err *err);
/** Members of a submission; here what breaks the rules is an error: who writes it means it. NULL: not given. */
int traced_by_members(const char *traceparent, const char *tracestate, struct arena *arena, struct job *job,
                      struct err *err);
