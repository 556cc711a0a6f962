#include "http/condition.h"

static bool ends_item(const char *s)
{
    s += strspn(s, " \t");
    return *s == ',' || *s == '\0';
}

/* A weak comparison takes W/"x" for "x" (If-None-Match), a strong one does not (If-Match). What is no list of tags matches nothing from
 * there on: then If-None-Match gets the bytes, and If-Match is refused. */
static bool listed(const char *list, const char *etag, bool weak_too)
{
    if (list[0] == '*' && list[1] == '\0')
        return true;
    size_t n = etag ? strlen(etag) : 0;
    for (const char *s = list + strspn(list, " \t,"); etag && *s; s += strspn(s, " \t,")) {
        bool weak = strncmp(s, "W/", 2) == 0;
        if (weak)
            s += 2;
        const char *end = *s == '"' ? strchr(s + 1, '"') : NULL;
        if (!end || !ends_item(end + 1))
            return false;
        end++;
        if ((weak_too || !weak) && (size_t)(end - s) == n && memcmp(s, etag, n) == 0)
            return true;
        s = end;
    }
    return false;
}

/* The order is the RFC's (13.2.2). A date that is none is as good as absent; tags count before dates. */
enum http_condition http_condition(const struct http_conditions *asked, const struct http_validators *is)
{
    int64_t date;
    bool dated = is->modified_s > 0;
    if (asked->if_match) {
        if (!listed(asked->if_match, is->etag, false))
            return HTTP_FAILED;
    } else if (dated && http_date_parse(asked->if_unmodified_since, &date) && is->modified_s > date) {
        return HTTP_FAILED;
    }
    if (asked->if_none_match)
        return listed(asked->if_none_match, is->etag, true) ? HTTP_NOT_MODIFIED : HTTP_HOLDS;
    if (dated && http_date_parse(asked->if_modified_since, &date) && is->modified_s <= date)
        return HTTP_NOT_MODIFIED;
    return HTTP_HOLDS;
}

/* A date must be the very one that we gave; a weak tag cannot vouch for bytes. */
bool http_condition_range(const struct http_conditions *asked, const struct http_validators *is)
{
    int64_t date;
    const char *s = asked->if_range;
    if (!s)
        return true;
    if (*s == '"' || strncmp(s, "W/", 2) == 0)
        return is->etag && strcmp(s, is->etag) == 0;
    return is->modified_s > 0 && http_date_parse(s, &date) && date == is->modified_s;
}

/* Names by hand: strftime and strptime would speak the language of the locale. */
static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void http_date_format(int64_t s, char ret[HTTP_DATE_MAX])
{
    time_t t = (time_t)s;
    struct tm tm;
    if (!gmtime_r(&t, &tm))
        tm = (struct tm){.tm_mday = 1, .tm_year = 70, .tm_wday = 4};
    char clock[16];
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    snprintf(ret, HTTP_DATE_MAX, "%.3s, %02u %.3s %04u %s GMT", days[tm.tm_wday], (unsigned)tm.tm_mday % 100,
             months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000, clock);
}

static bool real(struct tm *tm, const char *month, int64_t *ret_s)
{
    tm->tm_mon = -1;
    for (int i = 0; i < 12; i++)
        if (strcmp(month, months[i]) == 0)
            tm->tm_mon = i;
    /* a leap second is as good as the one before it */
    if (tm->tm_mon < 0 || tm->tm_mday < 1 || tm->tm_hour < 0 || tm->tm_hour > 23 || tm->tm_min < 0 || tm->tm_min > 59 ||
        tm->tm_sec < 0 || tm->tm_sec > 60)
        return false;
    struct tm copy = *tm;
    copy.tm_sec = copy.tm_sec == 60 ? 59 : copy.tm_sec;
    *ret_s = timegm(&copy);
    return copy.tm_mday == tm->tm_mday; /* else there is no such day in that month */
}

bool http_date_parse(const char *s, int64_t *ret_s)
{
    struct tm tm = {0};
    char month[4];
    int n = 0;
    if (!s)
        return false;
    /* Sun, 06 Nov 1994 08:49:37 GMT */
    if (sscanf(s, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &n) == 6 &&
        n > 0 && s[n] == '\0') {
        tm.tm_year -= 1900;
        return real(&tm, month, ret_s);
    }
    /* Sunday, 06-Nov-94 08:49:37 GMT: two digits of a year mean the one that is at most 50 years ahead, for us 1970 to 2069 */
    if (sscanf(s, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &n) == 6 &&
        n > 0 && s[n] == '\0') {
        tm.tm_year += tm.tm_year < 70 ? 100 : 0;
        return real(&tm, month, ret_s);
    }
    /* Sun Nov  6 08:49:37 1994 */
    if (sscanf(s, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &tm.tm_year, &n) == 6 &&
        n > 0 && s[n] == '\0') {
        tm.tm_year -= 1900;
        return real(&tm, month, ret_s);
    }
    return false;
}
