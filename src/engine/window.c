#include "engine/window.h"
#include "base/auto.h"

static const struct window_totals *kept(const struct windows *w, size_t back)
{
    return &w->kept[(w->n - 1 - back) % WINDOW_KEPT];
}

bool windows_due(const struct windows *w, usec boot_us)
{
    return w->n == 0 || boot_us - kept(w, 0)->at >= WINDOW_EVERY_US;
}

void windows_add(struct windows *w, const struct window_totals *totals)
{
    w->kept[w->n++ % WINDOW_KEPT] = *totals;
}

static void histogram_since(struct histogram *h, const struct histogram *before)
{
    for (size_t i = 0; i < HISTOGRAM_BOUNDS_MAX + 1; i++)
        h->counts[i] -= before->counts[i];
    h->sum -= before->sum;
}

void windows_last(const struct windows *w, const struct window_totals *now, usec span_us, struct window_totals *ret)
{
    const struct window_totals *before = NULL;

    for (size_t back = 0; back < w->n && back < WINDOW_KEPT; back++) {
        before = kept(w, back);
        if (now->at - before->at >= span_us)
            break;
    }
    *ret = *now;
    if (!before) {
        ret->at = 0;
        return;
    }
    ret->at = now->at - before->at;
    for (size_t i = 0; i < JOB_STATUS_COUNT; i++)
        ret->finished[i] -= before->finished[i];
    histogram_since(&ret->start_us, &before->start_us);
    histogram_since(&ret->complete_us, &before->complete_us);
}
