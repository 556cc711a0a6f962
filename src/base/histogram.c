#include "base/histogram.h"

size_t histogram_bucket(const struct histogram_bounds *bounds, int64_t value)
{
    size_t i = 0;

    while (i < bounds->n && value > bounds->upper[i])
        i++;
    return i;
}

void histogram_add(struct histogram *h, const struct histogram_bounds *bounds, int64_t value)
{
    h->counts[histogram_bucket(bounds, value)]++;
    h->sum += value;
}

uint64_t histogram_total(const struct histogram *h)
{
    uint64_t total = 0;

    for (size_t i = 0; i < HISTOGRAM_BOUNDS_MAX + 1; i++)
        total += h->counts[i];
    return total;
}
