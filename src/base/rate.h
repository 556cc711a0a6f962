#pragma once
/* How fast: so many a second, a minute or an hour. */
#include "base/clock.h"
#include "base/err.h"

#define RATE_MAX 1000000

struct rate {
    int64_t n; /* 1 to RATE_MAX; 0: no limit */
    usec per;  /* a second, a minute or an hour */
};

/** "2/s", "30/m", "100/h". ERR_INVALID naming `field`: anything else, 0 too. */
int rate_parse(const char *s, const char *field, struct rate *ret, struct err *err);
/** How many go at once so that half a second passes between two calls: 1 to `max`. */
size_t rate_batch(const struct rate *r, size_t max);
/** When the next may be taken, after `n` that were due at `due` were taken at `now`. Being late is made up for within a second, not beyond. */
usec rate_next(const struct rate *r, usec due, usec now, size_t n);
/** How long after a call with `n` of them the next may begin; rounded up to a millisecond. */
usec rate_gap(const struct rate *r, size_t n);
