#include "base/text.h"

/* Length of the valid sequence at s (at most n bytes), or 0. Overlong forms, surrogates and values above U+10FFFF are
 * not valid (RFC 3629). */
static size_t sequence(const unsigned char *s, size_t n)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t len;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        len = 2;
    else if ((s[0] & 0xf0) == 0xe0)
        len = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        len = 4;
    else
        return 0;
    switch (s[0]) {
    case 0xe0:
        lo = 0xa0;
        break;
    case 0xed:
        hi = 0x9f;
        break;
    case 0xf0:
        lo = 0x90;
        break;
    case 0xf4:
        hi = 0x8f;
        break;
    default:
        break;
    }
    if (n < len || s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    for (const unsigned char *p = (const unsigned char *)s; n > 0;) {
        size_t len = sequence(p, n);
        if (len == 0)
            return false;
        p += len;
        n -= len;
    }
    return true;
}

void utf8_mend(char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = sequence((const unsigned char *)s + i, n - i);
        if (len == 0)
            s[i] = '?';
        i += len ? len : 1;
    }
}

size_t utf8_cut(const char *s, size_t n)
{
    for (size_t back = 1; back <= 4 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return len > back ? n - back : n;
    }
    return n;
}

bool name_valid(const char *s, size_t max)
{
    enum { FIRST = 1, LATER = 2 };
    static const unsigned char in_name[256] = {
        ['A' ... 'Z'] = FIRST, ['a' ... 'z'] = FIRST, ['0' ... '9'] = FIRST, ['_'] = FIRST,
        ['.'] = LATER,         [':'] = LATER,         ['-'] = LATER};
    if (!s || in_name[(unsigned char)*s] != FIRST)
        return false;
    size_t n = 1;
    while (n <= max && in_name[(unsigned char)s[n]])
        n++;
    return n <= max && !s[n];
}

bool filename_valid(const char *s)
{
    if (!s)
        return false;
    size_t n = strnlen(s, 256);
    if (n < 1 || n > 255 || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '/' || (unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return utf8_valid(s, n);
}
