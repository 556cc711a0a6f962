#pragma once
/* What was counted lately: totals are kept every few seconds, and a window is the difference of two. */
#include "base/clock.h"
#include "base/histogram.h"
#include "core/job.h"

#define WINDOW_EVERY_US (5 * USEC_PER_SEC)
#define WINDOW_KEPT     64 /* five minutes, and some */

/** Of all queues and types together, since the start. */
struct window_totals {
    usec at; /* boot clock */
    uint64_t finished[JOB_STATUS_COUNT];
    struct histogram start_us, complete_us;
};
struct windows {
    struct window_totals kept[WINDOW_KEPT];
    size_t n; /* ever */
};
/** Adds totals, when it is time. */
bool windows_due(const struct windows *w, usec boot_us);
void windows_add(struct windows *w, const struct window_totals *totals);
/** What was counted within the last `span_us`, or since the first sample. `ret->at` is how long that is. */
void windows_last(const struct windows *w, const struct window_totals *now, usec span_us, struct window_totals *ret);
