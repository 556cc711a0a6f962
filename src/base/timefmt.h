#pragma once
/* Time as people and the wire write it. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>

#define RFC3339_MAX 40

/** "2026-11-25T04:50:55.123456Z": UTC, fraction only when not zero (3 or 6 digits). */
void rfc3339_format(usec t_us, char ret[RFC3339_MAX]);
/** RFC 3339 with any offset, 1 to 9 fraction digits (cut to microseconds), leap second :60 read as :59. */
bool rfc3339_parse(const char *s, usec *ret_us);

/** "90" (seconds), "250ms", "10m", "1h30m", "2d"; units us ms s m h d w, each once, falling. Refuses signs, spaces,
 * overflow and anything else: ERR_INVALID naming `field`. */
int duration_parse(const char *s, const char *field, usec *ret_us, struct err *err);
/** Shortest exact form: "1h30m", "250ms", "0s". `ret` at least 48 bytes. */
void duration_format(usec d_us, char ret[48]);
