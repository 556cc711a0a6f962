#include "http/range.h"
#include <errno.h>
#include <strings.h>

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

enum http_range http_range_parse(const char *header, int64_t total, int64_t *ret_from, int64_t *ret_end)
{
    int64_t from = 0, last = 0;
    *ret_from = 0;
    *ret_end = total;
    if (!header || strncasecmp(header, "bytes=", 6) != 0)
        return HTTP_RANGE_ALL;
    const char *s = header + 6;
    if (*s == '-') {
        s = digits(s + 1, &last);
        if (!s || *s)
            return HTTP_RANGE_ALL;
        if (last == 0)
            return HTTP_RANGE_BAD;
        if (total == 0) /* satisfiable, but no Content-Range can say so */
            return HTTP_RANGE_ALL;
        *ret_from = last < total ? total - last : 0;
        return HTTP_RANGE_PART;
    }
    s = digits(s, &from);
    if (!s || *s != '-')
        return HTTP_RANGE_ALL;
    bool open = s[1] == 0;
    if (!open) {
        s = digits(s + 1, &last);
        if (!s || *s || last < from)
            return HTTP_RANGE_ALL;
    }
    if (from >= total)
        return HTTP_RANGE_BAD;
    *ret_from = from;
    *ret_end = open || last >= total ? total : last + 1;
    return HTTP_RANGE_PART;
}
