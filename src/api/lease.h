#pragma once
/* Within the room: the body of POST /v1/lease. Pure. */
#include "api/request.h"

struct lease_request {
    struct uuid worker_id;
    char poll_id[65];
    const char *name, *host, *version, *isolation; /* NULL when not given */
    const char *handlers;                          /* JSON object text */
    const char *load;                              /* likewise, or NULL */
    const char *const *versions;                   /* beside want.task_types */
    struct want want;
    unsigned slots_total, slots_busy;
    usec wait_us;
};
/** @param newer  req_newer()  @param poll_us  how long to wait when the worker does not say */
int lease_parse(json_t *root, bool newer, usec poll_us, struct arena *arena, struct lease_request *ret,
                struct err *err);
const char *lease_handler_version(const struct lease_request *ask, const char *task_type); /* NULL: not its type */
