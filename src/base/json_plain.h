#pragma once
/* Within the room: JSON that is plain beyond doubt, read fast. */
#include "base/err.h"
#include <jansson.h>
#include <stddef.h>

/** Reads text in which nothing is unusual: no escapes, integers of at most 18 digits, reals of at most 15 without an exponent, no key
 * twice, nested to JSON_DEPTH_MAX at most. What it accepts jansson accepts, and the trees are equal.
 * @return NULL: not of that kind, or wrong, or memory ran out: jansson is to be asked. Caller: json_decref */
json_t *json_plain(const char *text, size_t n);
/** The same, but the member `apart` of the outermost object is not built: `true` stands there, and *ret_text is its text, borrowed.
 * NULL: there is none. @param apart  ASCII; NULL: no member */
json_t *json_plain_apart(const char *text, size_t n, const char *apart, const char **ret_text, size_t *ret_n);
/** json_parse without it: what decides whenever json_plain gave up. */
int json_parse_strict(const char *text, size_t n, json_t **ret, struct err *err);
