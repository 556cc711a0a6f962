#include "api/exposition.h"
#include <inttypes.h>

static const struct {
    const char *name, *type, *help;
} metrics[METRIC_COUNT] = {
#define METRIC(id, name, type, labels, help) {name, type, help},
#include "api/metrics.def"
#undef METRIC
};

void expo_metric(struct exposition *x, enum metric_id id)
{
    x->name = metrics[id].name;
    buf_printf(x->buf, "# HELP %s %s\n# TYPE %s %s\n", x->name, metrics[id].help, x->name, metrics[id].type);
}

static void escaped(struct buf *buf, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            buf_adds(buf, "\\n");
        else if (*s == '\\' || *s == '"')
            buf_printf(buf, "\\%c", *s);
        else
            buf_addc(buf, *s);
    }
}

/* Exact, and the same text every time: a bound is part of a series' name. */
static void seconds_format(usec value, char ret[32])
{
    const char *sign = value < 0 ? "-" : "";
    uint64_t us = value < 0 ? -(uint64_t)value : (uint64_t)value;
    int n = snprintf(ret, 32, "%s%" PRIu64 ".%06" PRIu64, sign, us / 1000000, us % 1000000);

    while (ret[n - 1] == '0')
        ret[--n] = '\0';
    if (ret[n - 1] == '.')
        ret[n - 1] = '\0';
}

static void number_format(int64_t value, bool seconds, char ret[32])
{
    if (seconds)
        seconds_format(value, ret);
    else
        snprintf(ret, 32, "%" PRId64, value);
}

static void sample(struct exposition *x, const char *suffix, const struct label *labels, size_t n, const char *le,
                   const char *value)
{
    buf_adds(x->buf, x->name);
    buf_adds(x->buf, suffix);
    if (n || le)
        buf_addc(x->buf, '{');
    for (size_t i = 0; i < n; i++) {
        buf_printf(x->buf, "%s%s=\"", i ? "," : "", labels[i].name);
        escaped(x->buf, labels[i].value);
        buf_addc(x->buf, '"');
    }
    if (le)
        buf_printf(x->buf, "%sle=\"%s\"", n ? "," : "", le);
    if (n || le)
        buf_addc(x->buf, '}');
    buf_printf(x->buf, " %s\n", value);
}

void expo_int(struct exposition *x, const struct label *labels, size_t n, int64_t value)
{
    char text[32];

    number_format(value, false, text);
    sample(x, "", labels, n, NULL, text);
}

void expo_usec(struct exposition *x, const struct label *labels, size_t n, usec value)
{
    char text[32];

    number_format(value, true, text);
    sample(x, "", labels, n, NULL, text);
}

void expo_real(struct exposition *x, const struct label *labels, size_t n, double value)
{
    char text[48];

    snprintf(text, sizeof(text), "%.6f", value);
    sample(x, "", labels, n, NULL, text);
}

void expo_histogram(struct exposition *x, const struct label *labels, size_t n, const struct histogram_bounds *bounds,
                    const struct histogram *h, bool seconds)
{
    char le[32], text[32];
    uint64_t below = 0;

    for (size_t i = 0; i < bounds->n; i++) {
        below += h->counts[i];
        number_format(bounds->upper[i], seconds, le);
        number_format((int64_t)below, false, text);
        sample(x, "_bucket", labels, n, le, text);
    }
    number_format((int64_t)histogram_total(h), false, text);
    sample(x, "_bucket", labels, n, "+Inf", text);
    char sum[32];
    number_format(h->sum, seconds, sum);
    sample(x, "_sum", labels, n, NULL, sum);
    sample(x, "_count", labels, n, NULL, text);
}
