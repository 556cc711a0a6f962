#include "api/log_range.h"
#include <errno.h>

static const char *digits(const char *s, int64_t *ret)
{
    char *end = NULL;
    if (*s < '0' || *s > '9')
        return NULL;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    *ret = errno ? INT64_MAX : v;
    return end;
}

enum range_kind range_parse(const char *header, int64_t total, int64_t *ret_from, int64_t *ret_end)
{
    int64_t from = 0, last = 0;
    *ret_from = 0;
    *ret_end = total;
    if (!header || strncmp(header, "bytes=", 6) != 0)
        return RANGE_ALL;
    const char *s = header + 6;
    if (*s == '-') {
        s = digits(s + 1, &last);
        if (!s || *s)
            return RANGE_ALL;
        if (last == 0 || total == 0)
            return RANGE_BAD;
        *ret_from = last < total ? total - last : 0;
        return RANGE_PART;
    }
    s = digits(s, &from);
    if (!s || *s != '-')
        return RANGE_ALL;
    bool open = s[1] == 0;
    if (!open) {
        s = digits(s + 1, &last);
        if (!s || *s || last < from)
            return RANGE_ALL;
    }
    if (from >= total)
        return RANGE_BAD;
    *ret_from = from;
    *ret_end = open || last >= total ? total : last + 1;
    return RANGE_PART;
}
