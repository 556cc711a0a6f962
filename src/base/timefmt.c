#include "base/timefmt.h"

#include "base/auto.h"

#include <inttypes.h>
#include <stddef.h>

#define SEC_PER_DAY  86400
#define YEAR_0_S     INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define YEAR_10000_S INT64_C(253402300800)

/* Days since 1970-01-01 of a proleptic Gregorian date, and back (Howard Hinnant, "chrono-compatible low-level date
 * algorithms"): no time zone tables, no limits of time_t's friends. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static void civil_from_days(int64_t z, int64_t *ret_y, int *ret_m, int *ret_d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *ret_d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *ret_y = yoe + era * 400 + (*ret_m <= 2);
}

/* The last `digits` digits of v, and what comes behind them. Many of these are in each answer: printf is slow. */
static char *number(char *at, int64_t v, int digits, char end)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        at[i] = (char)('0' + v % 10);
    at[digits] = end;
    return at + digits + 1;
}

void rfc3339_format(usec t_us, char ret[RFC3339_MAX])
{
    int64_t sec = t_us / USEC_PER_SEC, frac = t_us % USEC_PER_SEC;
    if (frac < 0) {
        frac += USEC_PER_SEC;
        sec--;
    }
    int64_t days = sec / SEC_PER_DAY, rest = sec % SEC_PER_DAY;
    if (rest < 0) {
        rest += SEC_PER_DAY;
        days--;
    }
    int64_t y;
    int m, d;
    civil_from_days(days, &y, &m, &d);
    char *at = number(ret, MIN(MAX(y, 0), 9999), 4, '-');
    at = number(at, m, 2, '-');
    at = number(at, d, 2, 'T');
    at = number(at, rest / 3600, 2, ':');
    at = number(at, rest / 60 % 60, 2, ':');
    at = number(at, rest % 60, 2, frac ? '.' : 'Z');
    if (frac)
        at = frac % 1000 ? number(at, frac, 6, 'Z') : number(at, frac / 1000, 3, 'Z');
    *at = '\0';
}

/* Exactly n digits at *s, which moves on; -1 otherwise. */
static int digits(const char **s, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return -1;
        v = v * 10 + (**s - '0');
    }
    return v;
}

static bool skip(const char **s, const char *any)
{
    if (!**s || !strchr(any, **s))
        return false;
    (*s)++;
    return true;
}

static int days_in_month(int y, int m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

static bool parse_date(const char **s, int64_t *ret_days)
{
    int y = digits(s, 4);
    if (y < 0 || !skip(s, "-"))
        return false;
    int m = digits(s, 2);
    if (m < 1 || m > 12 || !skip(s, "-"))
        return false;
    int d = digits(s, 2);
    if (d < 1 || d > days_in_month(y, m))
        return false;
    *ret_days = days_from_civil(y, m, d);
    return true;
}

static bool parse_clock(const char **s, bool need_seconds, int64_t *ret_sec)
{
    int h = digits(s, 2);
    if (h < 0 || h > 23 || !skip(s, ":"))
        return false;
    int m = digits(s, 2);
    if (m < 0 || m > 59)
        return false;
    if (!skip(s, ":")) {
        *ret_sec = h * 3600 + m * 60;
        return !need_seconds;
    }
    int sec = digits(s, 2);
    if (sec < 0 || sec > 60)
        return false;
    *ret_sec = h * 3600 + m * 60 + (sec == 60 ? 59 : sec);
    return true;
}

static bool parse_fraction(const char **s, int64_t *ret_us)
{
    *ret_us = 0;
    if (!skip(s, "."))
        return true;
    int64_t unit = 100000;
    int n = 0;
    for (; **s >= '0' && **s <= '9'; (*s)++, n++, unit /= 10)
        *ret_us += (**s - '0') * unit;
    return n >= 1 && n <= 9;
}

static bool parse_offset(const char **s, int64_t *ret_sec)
{
    *ret_sec = 0;
    if (skip(s, "Zz"))
        return true;
    bool minus = **s == '-';
    if (!skip(s, "+-"))
        return false;
    int h = digits(s, 2);
    if (h < 0 || h > 23 || !skip(s, ":"))
        return false;
    int m = digits(s, 2);
    if (m < 0 || m > 59)
        return false;
    *ret_sec = (h * 3600 + m * 60) * (minus ? -1 : 1);
    return true;
}

bool rfc3339_parse(const char *s, usec *ret_us)
{
    int64_t days, sec, us, offset;
    if (!s || !parse_date(&s, &days) || !skip(&s, "Tt") || !parse_clock(&s, true, &sec) || !parse_fraction(&s, &us) ||
        !parse_offset(&s, &offset) || *s)
        return false;
    int64_t utc = days * SEC_PER_DAY + sec - offset;
    if (utc < YEAR_0_S || utc >= YEAR_10000_S) /* the offset leads out of the years that four digits can name */
        return false;
    *ret_us = utc * USEC_PER_SEC + us;
    return true;
}

static const struct unit {
    const char *name;
    usec us;
} units[] = {
    {"w", 7 * SEC_PER_DAY *USEC_PER_SEC},
    {"d", SEC_PER_DAY *USEC_PER_SEC},
    {"h", 3600 * USEC_PER_SEC},
    {"m", 60 * USEC_PER_SEC},
    {"s", USEC_PER_SEC},
    {"ms", USEC_PER_MSEC},
    {"us", 1},
};
#define N_UNITS (sizeof(units) / sizeof(units[0]))

/* The unit of n letters at s, at or below `from`; N_UNITS when there is none. */
static size_t find_unit(const char *s, size_t n, size_t from)
{
    while (from < N_UNITS && (strlen(units[from].name) != n || strncmp(units[from].name, s, n) != 0))
        from++;
    return from;
}

static bool duration_scan(const char *s, usec *ret_us)
{
    usec total = 0;
    size_t from = 0;
    bool first = true;
    do {
        int64_t v = 0;
        size_t n = strspn(s, "0123456789");
        if (n == 0)
            return false;
        for (size_t i = 0; i < n; i++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, s[i] - '0', &v))
                return false;
        s += n;
        n = strcspn(s, "0123456789");
        usec unit_us = USEC_PER_SEC;
        if (n > 0 || !first) {
            size_t i = find_unit(s, n, from);
            if (i == N_UNITS)
                return false;
            unit_us = units[i].us;
            from = i + 1;
        }
        if (__builtin_mul_overflow(v, unit_us, &v) || __builtin_add_overflow(total, v, &total))
            return false;
        s += n;
        first = false;
    } while (*s);
    *ret_us = total;
    return true;
}

int duration_parse(const char *s, const char *field, usec *ret_us, struct err *err)
{
    usec v;
    if (!s || !duration_scan(s, &v))
        return err_field(err, field, "not a duration: '%.40s' (like 90, 250ms, 10m, 1h30m, 2d)", s ? s : "");
    *ret_us = v;
    return ERR_OK;
}

void duration_format(usec d_us, char ret[48])
{
    size_t at = 0;
    uint64_t left = d_us < 0 ? -(uint64_t)d_us : (uint64_t)d_us;
    if (d_us < 0)
        ret[at++] = '-';
    ret[at] = '\0';
    for (size_t i = 1; i < N_UNITS; i++) { /* days are the largest unit people read off: 14d, not 2w */
        uint64_t v = left / (uint64_t)units[i].us;
        left %= (uint64_t)units[i].us;
        if (v)
            at += (size_t)snprintf(ret + at, 48 - at, "%" PRIu64 "%s", v, units[i].name);
    }
    if (d_us == 0)
        snprintf(ret, 48, "0s");
}

/* ---- instants as people write them ---- */

/* The clock on the wall of this machine's user, as an instant; false when it was skipped. mktime alone would move it, and choose by
 * what it was asked before when it was there twice: so each reading is tried and read back. */
static bool local_instant(int64_t days, int64_t sec, usec *ret_us)
{
    int64_t y;
    int m, d;
    bool found = false;
    civil_from_days(days, &y, &m, &d);
    tzset();
    for (int dst = 1; dst >= 0; dst--) {
        struct tm tm = {.tm_year = (int)y - 1900,
                        .tm_mon = m - 1,
                        .tm_mday = d,
                        .tm_hour = (int)(sec / 3600),
                        .tm_min = (int)(sec / 60 % 60),
                        .tm_sec = (int)(sec % 60),
                        .tm_isdst = dst};
        const struct tm want = tm;
        struct tm back;
        time_t t = mktime(&tm);
        if (!localtime_r(&t, &back) || back.tm_year != want.tm_year || back.tm_mon != want.tm_mon ||
            back.tm_mday != want.tm_mday || back.tm_hour != want.tm_hour || back.tm_min != want.tm_min ||
            back.tm_sec != want.tm_sec)
            continue;
        if (!found || (usec)t * USEC_PER_SEC < *ret_us)
            *ret_us = (usec)t * USEC_PER_SEC;
        found = true;
    }
    return found;
}

/* 1: it is one; 0: it is none; -1: one that this time zone skipped. */
static int date_scan(const char *s, usec *ret_us)
{
    int64_t days, sec = 0, us = 0, offset;
    if (!parse_date(&s, &days))
        return 0;
    if (*s) {
        const char *clock = s + 1;
        if (!skip(&s, "Tt ") || !parse_clock(&s, false, &sec))
            return 0;
        if (s - clock == (ptrdiff_t)strlen("10:00:30") && !parse_fraction(&s, &us))
            return 0;
    }
    if (*s) {
        if (!parse_offset(&s, &offset) || *s)
            return 0;
        *ret_us = (days * SEC_PER_DAY + sec - offset) * USEC_PER_SEC + us;
        return 1;
    }
    if (!local_instant(days, sec, ret_us))
        return -1;
    *ret_us += us;
    return 1;
}

int when_parse(const char *s, const char *field, usec now_us, enum when way, usec *ret_us, struct err *err)
{
    usec v;
    if (!s)
        s = "";
    if (strcmp(s, "now") == 0) {
        *ret_us = now_us;
        return ERR_OK;
    }
    int date = date_scan(s, &v);
    if (date < 0)
        return err_field(err, field, "'%.40s' does not exist in your time zone: the clock was put forward past it", s);
    if (date > 0) {
        *ret_us = v;
        return ERR_OK;
    }
    bool bare = s[strspn(s, "0123456789")] == '\0'; /* "2026" is more likely half a date than 34 minutes */
    if (!bare && duration_scan(s, &v)) {
        if (way == WHEN_AGO ? __builtin_sub_overflow(now_us, v, &v) : __builtin_add_overflow(now_us, v, &v))
            return err_field(err, field, "'%.40s' is too long a time", s);
        *ret_us = v;
        return ERR_OK;
    }
    return err_field(err, field,
                     "not a time: '%.40s' (like 10m or 2d %s, 2026-12-01, 2026-12-01 10:00 in local time, "
                     "2026-12-01T10:00:00Z, now)",
                     s, way == WHEN_AGO ? "for so long ago" : "from now");
}
