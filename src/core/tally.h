#pragma once
/* Tallies: how many events were good and how many bad, by the minute for six hours and by the hour for 30 days. What objectives and alerts
 * are judged by. Pure; kept as text by the store, where servers over one database add to the same. */
#include "base/buf.h"
#include "base/clock.h"

#define TALLY_MINUTES_US (INT64_C(6) * 3600 * USEC_PER_SEC)       /* longest span that is told to the minute */
#define TALLY_US         (INT64_C(30) * 24 * 3600 * USEC_PER_SEC) /* longest span at all */
#define TALLY_TEXT_MAX   ((size_t)128 << 10)

struct tally_bucket {
    int64_t at; /* minutes or hours since the epoch */
    uint64_t good, bad;
};
struct tally {
    struct tally_bucket minutes[6 * 60 + 1], hours[30 * 24 + 1];
};
struct tally_sum {
    uint64_t good, bad;
};

/** @param now_us  the store's time, microseconds since the epoch, > 0. What is older than what stands in its place is left out. */
void tally_add(struct tally *t, usec now_us, uint64_t good, uint64_t bad);
void tally_merge(struct tally *into, const struct tally *more);
/** Of the last `span_us` before `now_us`: the minute (beyond six hours: the hour) that has begun, and as many whole ones before it as the
 * span has. At most TALLY_US. */
struct tally_sum tally_last(const struct tally *t, usec now_us, usec span_us);
bool tally_empty(const struct tally *t);
/** As text; what is older than its span at `now_us` is left out. At most TALLY_TEXT_MAX bytes. */
void tally_write(const struct tally *t, usec now_us, struct buf *text);
/** Reads what tally_write wrote; what is not of that kind is passed over. `text` may be NULL: empty. */
void tally_read(struct tally *ret, const char *text);
