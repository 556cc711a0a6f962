#include "trace/context.h"
#include "base/sha256.h"
#include <stdio.h>
#include <string.h>

#define TEXT_N   55 /* of version 00 */
#define TRACE_AT 3
#define SPAN_AT  36
#define FLAGS_AT 53

#define KEY_MAX   256
#define VALUE_MAX 256

/* Only lower-case digits are allowed here. */
static bool hex_read(const char *p, uint8_t *ret, size_t n)
{
    char text[33];

    if (strspn(p, "0123456789abcdef") < 2 * n)
        return false;
    memcpy(text, p, 2 * n);
    text[2 * n] = '\0';
    return hex_parse(text, ret, n) == 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

bool traceparent_parse(const char *text, struct trace_context *ret)
{
    uint8_t version;

    if (strnlen(text, TEXT_N) < TEXT_N || !hex_read(text, &version, 1) || version == 0xff || text[2] != '-' ||
        text[SPAN_AT - 1] != '-' || text[FLAGS_AT - 1] != '-')
        return false;
    if (text[TEXT_N] != '\0' && (version == 0 || text[TEXT_N] != '-'))
        return false;
    if (!hex_read(text + TRACE_AT, ret->trace_id, sizeof ret->trace_id) ||
        !hex_read(text + SPAN_AT, ret->span_id, sizeof ret->span_id) || !hex_read(text + FLAGS_AT, &ret->flags, 1))
        return false;
    ret->flags &= TRACE_SAMPLED | TRACE_RANDOM;
    return !all_zero(ret->trace_id, sizeof ret->trace_id) && !all_zero(ret->span_id, sizeof ret->span_id);
}

void traceparent_format(const struct trace_context *c, char ret[TRACEPARENT_MAX])
{
    char trace[33], span[17];

    hex_format(c->trace_id, sizeof c->trace_id, trace);
    hex_format(c->span_id, sizeof c->span_id, span);
    snprintf(ret, TRACEPARENT_MAX, "00-%s-%s-%02x", trace, span, c->flags);
}

/* Level 2 allows a digit where level 1 wants a letter, and any number of '@': what either allows. */
static bool key_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (!first && c && strchr("_-*/@", c));
}

static bool value_char(char c)
{
    return c >= 0x20 && c <= 0x7e && c != ',' && c != '=';
}

/* One member, blanks around it left out. */
static bool member_valid(const char *p, size_t n)
{
    const char *eq = memchr(p, '=', n);
    size_t key_n = eq ? (size_t)(eq - p) : 0, value_n = eq ? n - key_n - 1 : 0;

    if (key_n < 1 || key_n > KEY_MAX || value_n < 1 || value_n > VALUE_MAX)
        return false;
    for (size_t i = 0; i < key_n; i++)
        if (!key_char(p[i], i == 0))
            return false;
    for (size_t i = 0; i < value_n; i++)
        if (!value_char(eq[1 + i]))
            return false;
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

bool tracestate_valid(const char *text)
{
    size_t members = 0;

    if (strnlen(text, TRACESTATE_MAX + 1) > TRACESTATE_MAX)
        return false;
    for (const char *p = text;; p++) {
        const char *end = p + strcspn(p, ","), *last = end;
        while (p < last && blank(*p))
            p++;
        while (last > p && blank(last[-1]))
            last--;
        if (last > p && (++members > TRACESTATE_MEMBERS_MAX || !member_valid(p, (size_t)(last - p))))
            return false;
        p = end;
        if (!*p)
            return members > 0;
    }
}
