#pragma once
/* Counts by size, in buckets fixed at compile time: what a metric shows of durations and sizes. */
#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS_MAX 16

/** Upper bounds, inclusive, rising. What is above the last is counted behind it. */
struct histogram_bounds {
    size_t n; /* at most HISTOGRAM_BOUNDS_MAX */
    int64_t upper[HISTOGRAM_BOUNDS_MAX];
};

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS_MAX + 1]; /* each bucket's own, not cumulative */
    int64_t sum;
};

/** Which bucket `value` falls into: 0..n. */
size_t histogram_bucket(const struct histogram_bounds *bounds, int64_t value);
void histogram_add(struct histogram *h, const struct histogram_bounds *bounds, int64_t value);
uint64_t histogram_total(const struct histogram *h);
/** The value below which a share `q` (0..1) of what was counted lies, as Prometheus estimates it: evenly spread within a bucket, the last
 * bound for what is above it. @return -1 when nothing was counted */
double histogram_quantile(const struct histogram *h, const struct histogram_bounds *bounds, double q);
