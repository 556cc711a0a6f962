#pragma once
/* Within the room: a submission as text -> op. Pure. */
#include "api/request.h"

/** Parses and checks the body of POST /v1/jobs; fills op (job_id is not minted here). Strings go to `arena`.
 * @param idempotency_key  of the header, or NULL: must be the body's dedup_key, where that is given */
int submission_parse(const char *body, size_t n, const char *idempotency_key, const struct policy *policy,
                     struct arena *arena, struct op_submit *ret, struct err *err);
/** Likewise an item of a batch. @param batch_key  or NULL: for an item that does not name its job itself */
int submission_parse_item(const char *item, size_t n, const char *batch_key, const struct policy *policy,
                          struct arena *arena, struct op_submit *ret, struct err *err);
/** Likewise a message from outside, which has job_id and retries, too. Its key is dedup_key, else job_id, else `message_id`; how often it
 * was tried elsewhere is not ours: its attempts begin here. */
int submission_parse_message(const char *json, size_t n, const char *message_id, const struct policy *policy,
                             struct arena *arena, struct op_submit *ret, struct err *err);
/** Of everything that was asked but the key: same request, same hash. */
int submission_hash(const struct op_submit *op, uint8_t ret[32], struct err *err);
/** "blob:<uuid>" -> id; ERR_INVALID naming `field`. */
int ref_parse(const char *ref, const char *field, struct uuid *ret, struct err *err);
/** As we write it, in the arena; NULL: err says why. */
const char *ref_canonical(const char *ref, const char *field, struct arena *arena, struct err *err);
