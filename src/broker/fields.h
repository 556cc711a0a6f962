#pragma once
/* Within the room: what outside producers publish, as fields of a message -> as a JSON object. Pure. For every driver. */
#include "base/buf.h"
#include "base/err.h"

struct broker_field {
    const char *name, *value;
    size_t name_bytes, value_bytes;
};

/** Fields job_id, task_type, payload_ref, retries, and members of POST /v1/jobs: each becomes a member; those whose value is JSON (payload,
 * inputs, labels, and numbers) as they stand, the rest as strings. Or one field `json`, which is all of it.
 * What the members may be is not looked at. ERR_MALFORMED, ERR_TOO_LARGE: `ret` is no JSON then. */
int broker_fields_json(const struct broker_field *fields, size_t n, struct buf *ret, struct err *err);
