#pragma once
/* Within the room: Prometheus' text exposition format 0.0.4. Pure. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/histogram.h"

enum metric_id {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "api/metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct label {
    const char *name, *value;
};

/** Writes into `buf`, whose `failed` tells in the end whether all went in. */
struct exposition {
    struct buf *buf;
    const char *name; /* of the metric at work */
};

/** The lines that introduce a metric; its samples follow. */
void expo_metric(struct exposition *x, enum metric_id id);
void expo_int(struct exposition *x, const struct label *labels, size_t n, int64_t value);
/** Microseconds, shown in seconds. */
void expo_usec(struct exposition *x, const struct label *labels, size_t n, usec value);
void expo_real(struct exposition *x, const struct label *labels, size_t n, double value); /* six decimals */
/** `seconds`: bounds and sum are microseconds, shown in seconds; else plain numbers. */
void expo_histogram(struct exposition *x, const struct label *labels, size_t n, const struct histogram_bounds *bounds,
                    const struct histogram *h, bool seconds);
