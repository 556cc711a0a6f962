/* The small writer of json.h: commas and escapes are its business. Every answer goes through it. */
#include "base/json.h"

#include "base/text.h"
#include "base/timefmt.h"

#include <inttypes.h>

void jw_init(struct json_writer *w, struct buf *buf)
{
    *w = (struct json_writer){.buf = buf};
}

/* Bytes that need no escape. */
static const bool is_plain[256] = {[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... '~'] = true};

/* How many of them there are from the start. */
static size_t plain_n(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && is_plain[(unsigned char)s[i]])
        i++;
    return i;
}

#define STEP 16 /* bytes looked at together: any compiler has something for that */
typedef uint8_t step_bytes __attribute__((vector_size(STEP)));

/* Is each of them plain? Of `n` bytes, a multiple of STEP. */
static bool all_plain(const char *s, size_t n)
{
    step_bytes odd = {0};
    for (size_t i = 0; i < n; i += STEP) {
        step_bytes c;
        memcpy(&c, s + i, STEP);
        odd |= (step_bytes)((c < ' ') | (c > '~') | (c == '"') | (c == '\\'));
    }
    uint64_t halves[2];
    memcpy(halves, &odd, STEP);
    return (halves[0] | halves[1]) == 0;
}

/* The text between quotes, and the one character that follows them, when no byte needs an escape. Nearly all is so: it is copied in
 * one go, and looked at where it lies then, with spaces behind it. */
static bool quote_plain(struct buf *buf, const char *s, size_t n, char after)
{
    if (!buf_reserve(buf, n + STEP + 3))
        return buf->failed = true; /* for good */
    char *at = buf->data + buf->len + 1;
    at[-1] = '"';
    if (n)
        memcpy(at, s, n);
    memset(at + n, ' ', STEP);
    if (!all_plain(at, (n + STEP - 1) / STEP * STEP)) {
        at[-1] = '\0';
        return false;
    }
    at += n;
    *at++ = '"';
    if (after)
        *at++ = after;
    *at = '\0';
    buf->len = (size_t)(at - buf->data);
    return true;
}

static void quote(struct buf *buf, const char *s, size_t n)
{
    if (quote_plain(buf, s, n, '\0'))
        return;
    buf_addc(buf, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t plain = plain_n(s + i, n - i);
        if (plain > 0) {
            buf_add(buf, s + i, plain);
            i += plain;
            continue;
        }
        size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (c == '"' || c == '\\')
            buf_printf(buf, "\\%c", c);
        else if (c == '\n')
            buf_adds(buf, "\\n");
        else if (c == '\t')
            buf_adds(buf, "\\t");
        else if (c == '\r')
            buf_adds(buf, "\\r");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(buf, "\\u%04x", c);
        else if (len <= n - i && utf8_valid(s + i, len))
            buf_add(buf, s + i, len);
        else {
            buf_adds(buf, "\xef\xbf\xbd");
            len = 1;
        }
        i += len;
    }
    buf_addc(buf, '"');
}

/* Comma and key before a value. */
static void begin(struct json_writer *w, const char *key)
{
    struct buf *buf = w->buf;
    if (w->need_comma)
        buf_addc(buf, ',');
    w->need_comma = true;
    if (!key)
        return;
    size_t n = strlen(key);
    if (quote_plain(buf, key, n, ':'))
        return;
    quote(buf, key, n);
    buf_addc(buf, ':');
}

void jw_object(struct json_writer *w, const char *key)
{
    begin(w, key);
    buf_addc(w->buf, '{');
    w->need_comma = false;
}

void jw_object_end(struct json_writer *w)
{
    buf_addc(w->buf, '}');
    w->need_comma = true;
}

void jw_array(struct json_writer *w, const char *key)
{
    begin(w, key);
    buf_addc(w->buf, '[');
    w->need_comma = false;
}

void jw_array_end(struct json_writer *w)
{
    buf_addc(w->buf, ']');
    w->need_comma = true;
}

void jw_stringn(struct json_writer *w, const char *key, const char *s, size_t n)
{
    if (!s) {
        jw_null(w, key);
        return;
    }
    begin(w, key);
    quote(w->buf, s, n);
}

void jw_string(struct json_writer *w, const char *key, const char *s)
{
    jw_stringn(w, key, s, s ? strlen(s) : 0);
}

/* Its digits end at `end`. @return where they begin */
static char *digits(char *end, uint64_t v)
{
    do
        *--end = (char)('0' + v % 10);
    while (v /= 10);
    return end;
}

void jw_int(struct json_writer *w, const char *key, int64_t v)
{
    char text[24], *at = digits(text + sizeof(text), v < 0 ? -(uint64_t)v : (uint64_t)v);
    begin(w, key);
    if (v < 0)
        *--at = '-';
    buf_add(w->buf, at, (size_t)(text + sizeof(text) - at));
}

void jw_real(struct json_writer *w, const char *key, double v)
{
    char text[40];
    if (!__builtin_isfinite(v)) {
        jw_null(w, key);
        return;
    }
    snprintf(text, sizeof(text), "%.15g", v);
    double back = strtod(text, NULL);
    if (memcmp(&back, &v, sizeof(v)) != 0)
        snprintf(text, sizeof(text), "%.17g", v);
    for (char *c = text; *c; c++)
        if (*c == ',') /* a locale's decimal comma */
            *c = '.';
    begin(w, key);
    buf_adds(w->buf, text);
}

void jw_bool(struct json_writer *w, const char *key, bool v)
{
    begin(w, key);
    buf_adds(w->buf, v ? "true" : "false");
}

void jw_null(struct json_writer *w, const char *key)
{
    begin(w, key);
    buf_adds(w->buf, "null");
}

void jw_time(struct json_writer *w, const char *key, usec t_us)
{
    char text[RFC3339_MAX];
    if (t_us == 0 || t_us == USEC_NEVER) {
        jw_null(w, key);
        return;
    }
    rfc3339_format(t_us, text);
    jw_string(w, key, text);
}

void jw_duration_s(struct json_writer *w, const char *key, usec d_us)
{
    uint64_t us = d_us < 0 ? -(uint64_t)d_us : (uint64_t)d_us, fraction = us % 1000000u;
    char text[32], *end = text + sizeof(text), *at = end;
    if (fraction) {
        at = digits(end, 1000000u + fraction); /* the one in front becomes the point */
        *at = '.';
        while (end[-1] == '0')
            end--;
    }
    at = digits(at, us / 1000000u);
    if (d_us < 0)
        *--at = '-';
    begin(w, key);
    buf_add(w->buf, at, (size_t)(end - at));
}

void jw_raw(struct json_writer *w, const char *key, const char *json, size_t n)
{
    if (!json || n == 0) {
        jw_null(w, key);
        return;
    }
    begin(w, key);
    buf_add(w->buf, json, n);
}

/* Text of maps, which are labels as a rule: a few, and plain. */

#define ENTRIES_MAX 16

struct entry {
    const char *key, *value;
    size_t value_n;
};

/* Sorted. @return false: more of them, or something has to be escaped */
static bool plain_entries(json_t *map, struct entry *ret)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    if (json_object_size(map) > ENTRIES_MAX)
        return false;
    json_object_foreach (map, key, value) {
        struct entry entry = {key, json_string_value(value), json_string_length(value)};
        size_t key_n = strlen(key), at = n++;
        if (!entry.value || plain_n(key, key_n) < key_n || plain_n(entry.value, entry.value_n) < entry.value_n)
            return false;
        for (; at > 0 && strcmp(ret[at - 1].key, key) > 0; at--)
            ret[at] = ret[at - 1];
        ret[at] = entry;
    }
    return true;
}

char *json_map_text(json_t *map, struct arena *arena)
{
    struct entry entries[ENTRIES_MAX];
    struct buf out;
    struct json_writer w;
    if (!plain_entries(map, entries)) {
        char *text = json_text(map, JSON_COMPACT | JSON_SORT_KEYS), *copy = arena_strdup(arena, text);
        free(text);
        return copy;
    }
    buf_init(&out, SIZE_MAX);
    jw_init(&w, &out);
    jw_object(&w, NULL);
    for (size_t i = 0; i < json_object_size(map); i++)
        jw_stringn(&w, entries[i].key, entries[i].value, entries[i].value_n);
    jw_object_end(&w);
    char *text = out.failed ? NULL : arena_strdup(arena, buf_str(&out));
    buf_release(&out);
    return text;
}
