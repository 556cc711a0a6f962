/* How fast: so many a second, a minute or an hour. */
#include "base/rate.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static usec unit(const char *s)
{
    if (strcmp(s, "s") == 0)
        return USEC_PER_SEC;
    if (strcmp(s, "m") == 0)
        return 60 * USEC_PER_SEC;
    return strcmp(s, "h") == 0 ? 3600 * USEC_PER_SEC : 0;
}

int rate_parse(const char *s, const char *field, struct rate *ret, struct err *err)
{
    const char *digits = s + strspn(s, "0123456789");
    errno = 0;
    long long n = strtoll(s, NULL, 10);
    usec per = *digits == '/' ? unit(digits + 1) : 0;
    if (digits == s || per == 0)
        return err_set(err, ERR_INVALID, 0,
                       "%s must be a whole number a second, minute or hour like 2/s, 30/m or 100/h, got '%.80s'", field,
                       s);
    if (n == 0 && errno == 0)
        return err_set(err, ERR_INVALID, 0, "%s 0 would never come to an end: at least 1/h", field);
    if (errno != 0 || n > RATE_MAX)
        return err_set(err, ERR_INVALID, 0, "%s must be at most %d, got '%.80s'", field, RATE_MAX, s);
    *ret = (struct rate){.n = n, .per = per};
    return ERR_OK;
}

size_t rate_batch(const struct rate *r, size_t max)
{
    if (r->n == 0)
        return max;
    int64_t n = r->n * (USEC_PER_SEC / 2) / r->per;
    return n < 1 ? 1 : n > (int64_t)max ? max : (size_t)n;
}

usec rate_gap(const struct rate *r, size_t n)
{
    if (r->n == 0)
        return 0;
    usec us = ((usec)n * r->per + r->n - 1) / r->n;
    return (us + USEC_PER_MSEC - 1) / USEC_PER_MSEC * USEC_PER_MSEC;
}

usec rate_next(const struct rate *r, usec due, usec now, size_t n)
{
    return r->n == 0 ? now : (now - due < USEC_PER_SEC ? due : now) + rate_gap(r, n);
}
