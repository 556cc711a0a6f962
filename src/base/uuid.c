#include "base/uuid.h"

#include "base/sha256.h"

struct uuid uuid_v7(usec wall_us, struct rng rng)
{
    struct uuid u;
    rng.fill(rng.self, u.b, sizeof(u.b));
    if (wall_us < 0)
        wall_us = 0;
    uint64_t ms = (uint64_t)(wall_us / USEC_PER_MSEC);
    for (unsigned i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    /* RFC 9562 section 6.2, method 3: rand_a carries the fraction of the millisecond, so ids of one clock sort by
     * microsecond. */
    unsigned fraction = (unsigned)(wall_us % USEC_PER_MSEC) * 4096u / 1000u;
    u.b[6] = (uint8_t)(0x70u | fraction >> 8);
    u.b[7] = (uint8_t)fraction;
    u.b[8] = (uint8_t)(0x80u | (u.b[8] & 0x3fu));
    return u;
}

usec uuid_v7_us(const struct uuid *u)
{
    int64_t ms = 0;
    for (unsigned i = 0; i < 6; i++)
        ms = ms << 8 | u->b[i];
    return ms * USEC_PER_MSEC;
}

bool uuid_parse(const char *s, struct uuid *ret)
{
    char hex[33];
    size_t n = 0;
    if (!s || strnlen(s, UUID_STR_MAX) != UUID_STR_MAX - 1)
        return false;
    for (size_t i = 0; i < UUID_STR_MAX - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash != (s[i] == '-'))
            return false;
        if (!dash)
            hex[n++] = s[i];
    }
    hex[n] = '\0';
    struct uuid u;
    if (hex_parse(hex, u.b, sizeof(u.b)) != 0)
        return false;
    *ret = u;
    return true;
}

void uuid_format(const struct uuid *u, char ret[UUID_STR_MAX])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < sizeof(u->b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret[n++] = '-';
        ret[n++] = digits[u->b[i] >> 4];
        ret[n++] = digits[u->b[i] & 15];
    }
    ret[n] = '\0';
}

bool uuid_is_nil(const struct uuid *u)
{
    static const struct uuid nil;
    return uuid_equal(u, &nil);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return uuid_compare(a, b) == 0;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof(a->b));
}
