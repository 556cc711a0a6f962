#pragma once
/* Within the room: the query of GET /v1/jobs. Pure. */
#include "api/request.h"

/** Strings are borrowed from the request or live in its arena. */
int list_parse(struct http_request *req, struct job_filter *ret, struct err *err);
