/* As bytes: a 1, then numbers of seven bits a byte, low ones first: n, full, last, and of each point what it differs by from the one before
 * (time) or from its own least (mean, most). */
#include "core/series.h"
#include "base/auto.h"
#include <string.h>

#define FORMAT   1
#define FULL_MAX (INT64_C(1) << 40)

static void range_join(struct series_range *into, int64_t n_into, const struct series_range *more, int64_t n_more)
{
    const double n = (double)(n_into + n_more);
    const double mean = ((double)into->mean * (double)n_into + (double)more->mean * (double)n_more) / n;

    into->least = MIN(into->least, more->least);
    into->most = MAX(into->most, more->most);
    into->mean = MAX(into->least, MIN((int64_t)(mean + 0.5), into->most));
}

static void point_join(struct series_point *into, int64_t n_into, const struct series_point *more, int64_t n_more)
{
    into->at_us = more->at_us;
    range_join(&into->cpu_milli, n_into, &more->cpu_milli, n_more);
    range_join(&into->memory_bytes, n_into, &more->memory_bytes, n_more);
}

static void halve(struct series *s)
{
    for (unsigned i = 0; i < SERIES_POINTS_MAX / 2; i++) {
        struct series_point two = s->points[2 * i];
        point_join(&two, 1, &s->points[2 * i + 1], 1);
        s->points[i] = two;
    }
    s->n = SERIES_POINTS_MAX / 2;
    s->full = MIN(s->full * 2, FULL_MAX);
    s->last = s->full;
}

static bool in_bounds(const struct sample *m)
{
    return m->at_us >= 0 && m->at_us <= SAMPLE_AT_MAX_US && m->cpu >= 0 && m->cpu <= SAMPLE_CPU_MAX &&
           m->memory_bytes >= 0 && m->memory_bytes <= SAMPLE_MEMORY_MAX;
}

bool series_add(struct series *s, const struct sample *sample)
{
    if (!in_bounds(sample)) /* NaN is not above 0 either */
        return false;
    const int64_t cpu = (int64_t)(sample->cpu * 1000 + 0.5), memory = sample->memory_bytes;
    const struct series_point one = {
        sample->at_us / USEC_PER_MSEC * USEC_PER_MSEC, {cpu, cpu, cpu}, {memory, memory, memory}};

    if (s->n > 0 && one.at_us <= s->points[s->n - 1].at_us)
        return false;
    if (s->n == SERIES_POINTS_MAX && s->last >= s->full)
        halve(s);
    s->full = MAX(s->full, 1);
    if (s->n > 0 && s->last < s->full) {
        point_join(&s->points[s->n - 1], s->last++, &one, 1);
    } else {
        s->points[s->n++] = one;
        s->last = 1;
    }
    return true;
}

static unsigned char *put(unsigned char *p, int64_t v)
{
    uint64_t rest = (uint64_t)v;

    for (; rest >= 0x80; rest >>= 7)
        *p++ = (unsigned char)(rest | 0x80);
    *p++ = (unsigned char)rest;
    return p;
}

static unsigned char *range_put(unsigned char *p, const struct series_range *r)
{
    return put(put(put(p, r->least), r->mean - r->least), r->most - r->least);
}

size_t series_pack(const struct series *s, unsigned char *ret)
{
    unsigned char *p = ret;
    usec before = 0;

    *p++ = FORMAT;
    p = put(put(put(p, s->n), s->full), s->last);
    for (unsigned i = 0; i < s->n; i++) {
        const struct series_point *point = &s->points[i];
        p = put(p, (point->at_us - before) / USEC_PER_MSEC);
        p = range_put(range_put(p, &point->cpu_milli), &point->memory_bytes);
        before = point->at_us;
    }
    return (size_t)(p - ret);
}

struct reader {
    const unsigned char *p, *end;
    bool bad;
};

static int64_t take(struct reader *r, int64_t max)
{
    uint64_t v = 0;

    for (unsigned shift = 0; r->p < r->end && shift < 63; shift += 7) {
        const unsigned char c = *r->p++;
        v |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) {
            r->bad |= v > (uint64_t)max;
            return r->bad ? 0 : (int64_t)v;
        }
    }
    r->bad = true;
    return 0;
}

static void range_take(struct reader *r, int64_t max, struct series_range *ret)
{
    ret->least = take(r, max);
    ret->mean = ret->least + take(r, max - ret->least);
    ret->most = ret->least + take(r, max - ret->least);
    r->bad |= ret->mean > ret->most;
}

bool series_unpack(struct series *ret, const void *bytes, size_t n)
{
    usec at = 0;

    *ret = (struct series){0};
    if (n == 0)
        return true;
    struct reader r = {.p = bytes, .end = (const unsigned char *)bytes + n};
    r.bad = *r.p++ != FORMAT;
    const unsigned points = (unsigned)take(&r, SERIES_POINTS_MAX);
    ret->full = take(&r, FULL_MAX);
    ret->last = take(&r, ret->full);
    for (unsigned i = 0; i < points && !r.bad; i++) {
        struct series_point *point = &ret->points[i];
        at += take(&r, (SAMPLE_AT_MAX_US - at) / USEC_PER_MSEC) * USEC_PER_MSEC;
        r.bad |= i > 0 && at == ret->points[i - 1].at_us;
        point->at_us = at;
        range_take(&r, INT64_C(1000) * SAMPLE_CPU_MAX, &point->cpu_milli);
        range_take(&r, SAMPLE_MEMORY_MAX, &point->memory_bytes);
    }
    if (r.bad || r.p != r.end || (points > 0) != (ret->last > 0)) {
        *ret = (struct series){0};
        return false;
    }
    ret->n = points;
    return true;
}
