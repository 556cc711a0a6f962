/* A bucket's place is its time modulo their number, so an old one is found out when its place is wanted. */
#include "core/tally.h"
#include "base/auto.h"
#include <inttypes.h>

#define MINUTE_US (60 * USEC_PER_SEC)
#define HOUR_US   (60 * MINUTE_US)

static void put(struct tally_bucket *buckets, size_t n, const struct tally_bucket *more)
{
    struct tally_bucket *b = &buckets[(uint64_t)more->at % n];

    if (b->at > more->at || more->at <= 0)
        return;
    if (b->at < more->at)
        *b = (struct tally_bucket){.at = more->at};
    b->good += more->good;
    b->bad += more->bad;
}

void tally_add(struct tally *t, usec now_us, uint64_t good, uint64_t bad)
{
    put(t->minutes, ARRAY_LEN(t->minutes), &(struct tally_bucket){.at = now_us / MINUTE_US, .good = good, .bad = bad});
    put(t->hours, ARRAY_LEN(t->hours), &(struct tally_bucket){.at = now_us / HOUR_US, .good = good, .bad = bad});
}

void tally_merge(struct tally *into, const struct tally *more)
{
    for (size_t i = 0; i < ARRAY_LEN(more->minutes); i++)
        put(into->minutes, ARRAY_LEN(into->minutes), &more->minutes[i]);
    for (size_t i = 0; i < ARRAY_LEN(more->hours); i++)
        put(into->hours, ARRAY_LEN(into->hours), &more->hours[i]);
}

static struct tally_sum sum_since(const struct tally_bucket *buckets, size_t n, int64_t first)
{
    struct tally_sum sum = {0};

    for (size_t i = 0; i < n; i++) {
        if (buckets[i].at < first || buckets[i].at == 0)
            continue;
        sum.good += buckets[i].good;
        sum.bad += buckets[i].bad;
    }
    return sum;
}

struct tally_sum tally_last(const struct tally *t, usec now_us, usec span_us)
{
    if (span_us <= TALLY_MINUTES_US)
        return sum_since(t->minutes, ARRAY_LEN(t->minutes), (now_us - span_us) / MINUTE_US);
    return sum_since(t->hours, ARRAY_LEN(t->hours), (now_us - MIN(span_us, TALLY_US)) / HOUR_US);
}

bool tally_empty(const struct tally *t)
{
    struct tally_sum sum = sum_since(t->hours, ARRAY_LEN(t->hours), 0);

    return sum.good == 0 && sum.bad == 0;
}

static void write_since(char unit, const struct tally_bucket *buckets, size_t n, int64_t first, struct buf *text)
{
    for (size_t i = 0; i < n; i++)
        if (buckets[i].at >= first && (buckets[i].good || buckets[i].bad))
            buf_printf(text, "%c %" PRId64 " %" PRIu64 " %" PRIu64 "\n", unit, buckets[i].at, buckets[i].good,
                       buckets[i].bad);
}

void tally_write(const struct tally *t, usec now_us, struct buf *text)
{
    write_since('m', t->minutes, ARRAY_LEN(t->minutes), (now_us - TALLY_MINUTES_US) / MINUTE_US, text);
    write_since('h', t->hours, ARRAY_LEN(t->hours), (now_us - TALLY_US) / HOUR_US, text);
}

void tally_read(struct tally *ret, const char *text)
{
    *ret = (struct tally){0};
    while (text && *text) {
        const char unit = *text;
        char *at = NULL;
        struct tally_bucket b = {.at = strtoll(text + 1, &at, 10)};

        b.good = strtoull(at, &at, 10);
        b.bad = strtoull(at, &at, 10);
        if (*at == '\n' && unit == 'm')
            put(ret->minutes, ARRAY_LEN(ret->minutes), &b);
        else if (*at == '\n' && unit == 'h')
            put(ret->hours, ARRAY_LEN(ret->hours), &b);
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
}
