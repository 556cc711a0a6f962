#pragma once
/* A series: CPU and memory of an attempt over time, in bounded space. Of each stretch of time the least, the most and the mean are kept, so
 * that a spike stays visible however long the attempt runs. Pure; kept as bytes by the store. */
#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIES_POINTS_MAX 120
#define SERIES_BYTES_MAX  (40 + SERIES_POINTS_MAX * 70)
#define SAMPLE_AT_MAX_US  (INT64_C(3650) * 24 * 3600 * USEC_PER_SEC)
#define SAMPLE_CPU_MAX    100000             /* CPUs */
#define SAMPLE_MEMORY_MAX (INT64_C(1) << 50) /* bytes */

struct sample {
    usec at_us;           /* since the attempt began, 0..SAMPLE_AT_MAX_US */
    double cpu;           /* CPUs that were busy since the sample before, 0..SAMPLE_CPU_MAX */
    int64_t memory_bytes; /* then, 0..SAMPLE_MEMORY_MAX */
};
struct series_range {
    int64_t least, mean, most;
};
struct series_point {
    usec at_us; /* of its last sample; whole milliseconds */
    struct series_range cpu_milli, memory_bytes;
};
struct series {
    unsigned n;
    int64_t full, last; /* samples that a point holds, and that the last one holds so far */
    struct series_point points[SERIES_POINTS_MAX];
};

/** When all points are taken, each two become one, and from then on a point holds twice as many samples.
 * @return false, and nothing changed: it is no later than the last one (a repeat), or is out of the bounds above */
bool series_add(struct series *s, const struct sample *sample);
/** @param ret  SERIES_BYTES_MAX bytes  @return how many were written */
size_t series_pack(const struct series *s, unsigned char *ret);
/** false: these are not what series_pack wrote; then *ret is empty. No bytes are an empty series. */
bool series_unpack(struct series *ret, const void *bytes, size_t n);
