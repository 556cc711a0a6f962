#pragma once
/* Within submission.c and its tests: the two ways of reading a submission, which agree wherever the first one reads. */
#include "api/request.h"

#define SUBMISSION_PRIORITY     5 /* unless it says another */
#define SUBMISSION_ATTEMPTS_MAX 100
#define SUBMISSION_TRACE_MAX    512 /* bytes of traceparent, of tracestate */

/* Where a submission comes from, and what names it there. */
enum source { SOURCE_REQUEST, SOURCE_BATCH, SOURCE_MESSAGE };
struct origin {
    enum source source;
    const char *key; /* of the header, of the batch, of the message; or NULL */
};

/** Reads what nearly all submissions are: right, plain (json_pull.h), with no other members than those that are read here. Fills `ret` as
 * submission_strict does. @return false: it is something else, or memory ran out; submission_strict is to be asked */
bool submission_plain(const char *body, size_t n, const struct origin *from, const struct policy *policy,
                      struct arena *arena, struct op_submit *ret);
/** Any submission, by jansson. @param n  1.. */
int submission_strict(const char *body, size_t n, const struct origin *from, const struct policy *policy,
                      struct arena *arena, struct op_submit *ret, struct err *err);
/** The key that it is remembered by, and for how long. @param key  of its own, or NULL */
int submission_key(const struct origin *from, const char *key, const struct policy *policy, struct arena *arena,
                   struct op_submit *op, struct err *err);
