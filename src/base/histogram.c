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

double histogram_quantile(const struct histogram *h, const struct histogram_bounds *bounds, double q)
{
    double rank = q * (double)histogram_total(h), below = 0;

    for (size_t i = 0; i < bounds->n && rank > 0; i++) {
        double n = (double)h->counts[i], lower = i ? (double)bounds->upper[i - 1] : 0;
        if (n > 0 && below + n >= rank)
            return lower + ((double)bounds->upper[i] - lower) * (rank - below) / n;
        below += n;
    }
    return rank > 0 ? (double)bounds->upper[bounds->n - 1] : -1;
}
