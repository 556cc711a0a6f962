#include "bench/latency.h"
#include "base/auto.h"
#include <math.h>

#define LONGEST_NS (INT64_C(3600) * 1000000000)

int64_t mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Up to 127 a bucket for each value; above, each power of two has LATENCY_SUB of them. */
static size_t bucket_of(int64_t ns)
{
    uint64_t v = (uint64_t)MAX(MIN(ns, LONGEST_NS), 0);
    if (v < 2 * LATENCY_SUB)
        return (size_t)v;
    unsigned shift = 63 - (unsigned)__builtin_clzll(v) - 6;
    return (size_t)(shift * LATENCY_SUB + (v >> shift));
}

static int64_t bucket_end(size_t i)
{
    if (i < 2 * LATENCY_SUB)
        return (int64_t)i;
    unsigned shift = (unsigned)(i / LATENCY_SUB) - 1;
    uint64_t top = i % LATENCY_SUB + LATENCY_SUB;
    return (int64_t)(((top + 1) << shift) - 1);
}

void latency_add(struct latency *l, int64_t ns)
{
    l->n++;
    l->counts[bucket_of(ns)]++;
    l->max_ns = MAX(l->max_ns, ns);
}

int64_t latency_at(const struct latency *l, double share)
{
    uint64_t want = (uint64_t)ceil(share * (double)l->n), seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->counts[i];
        if (seen >= MAX(want, 1))
            return MIN(bucket_end(i), l->max_ns);
    }
    return 0;
}

void latency_merge(struct latency *into, const struct latency *from)
{
    into->n += from->n;
    into->max_ns = MAX(into->max_ns, from->max_ns);
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        into->counts[i] += from->counts[i];
}
