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

/** Which way a bare duration points from now. */
enum when { WHEN_AGO, WHEN_AHEAD };

/** An instant as people write it: a duration with a unit ("10m": so long ago, or from now, as `way` says), "now", RFC 3339, or a date
 * with or without a time of day ("2026-12-01", "2026-12-01 10:00", "2026-12-01T10:00:30Z"; the offset may be Z or +01:00). What has no
 * offset is local time (TZ): a date alone is its midnight, the earlier of two is taken when a clock was put back, and one that the
 * clock skipped is refused. ERR_INVALID naming `field`. Not for the wire: that is rfc3339_parse. */
int when_parse(const char *s, const char *field, usec now_us, enum when way, usec *ret_us, struct err *err);
