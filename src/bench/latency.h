#pragma once
/* Latencies in buckets that are 1/64 of their value wide: any quantile within 1.6 %, in 20 KiB however many there are. */
#include <stdint.h>

#define LATENCY_SUB     64
#define LATENCY_BUCKETS (40 * LATENCY_SUB)

/** Zeroed at start. Nanoseconds; what takes longer than an hour is counted as one. */
struct latency {
    uint64_t n;
    int64_t max_ns;
    uint64_t counts[LATENCY_BUCKETS];
};

int64_t mono_ns(void); /* CLOCK_MONOTONIC */
void latency_add(struct latency *l, int64_t ns);
/** The value that `share` (0..1) of them do not exceed, rounded up to its bucket's end; 0 when there are none. */
int64_t latency_at(const struct latency *l, double share);
void latency_merge(struct latency *into, const struct latency *from);
