#pragma once
/* -p key=value... as a JSON object. */
#include "base/err.h"
#include <jansson.h>
#include <stddef.h>

/** true, false, null and JSON numbers become themselves, everything else a string. A key twice is refused.
 * @param ret  json_decref */
int payload_from_pairs(char *const *pairs, size_t n, json_t **ret, struct err *err);
