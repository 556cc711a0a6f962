#include "base/base64.h"
#include "base/buf.h"
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int64_t base64_read(const char *s, size_t n, void *ret, size_t max)
{
    uint8_t *bytes = ret;
    size_t out = 0, padding = 0;
    unsigned bits = 0, have = 0;
    while (padding < 2 && n > padding && s[n - 1 - padding] == '=')
        padding++;
    if (n % 4 != 0)
        return -1;
    for (size_t i = 0; i < n - padding; i++) {
        int v = digit(s[i]);
        if (v < 0)
            return -1;
        bits = (bits << 6 | (unsigned)v) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (out < max)
                bytes[out] = (uint8_t)(bits >> have & 0xff);
            out++;
        }
    }
    return (int64_t)out;
}

void base64_write(struct buf *buf, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        unsigned bits = (unsigned)p[i] << 16;
        bits |= i + 1 < n ? (unsigned)p[i + 1] << 8 : 0;
        bits |= i + 2 < n ? (unsigned)p[i + 2] : 0;
        buf_addc(buf, digits[bits >> 18]);
        buf_addc(buf, digits[bits >> 12 & 63]);
        buf_addc(buf, i + 1 < n ? digits[bits >> 6 & 63] : '=');
        buf_addc(buf, i + 2 < n ? digits[bits & 63] : '=');
    }
}
