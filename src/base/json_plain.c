/* Jansson reads a byte at a time through five functions: 200 instructions each. Nearly all that clients send is plainer than JSON may
 * be, and is read here, into jansson's own trees. Whatever is unusual makes this give up: so it decides nothing, and neither words an
 * error nor has a case that is hard to get right (ADR 11). */
#include "base/json_plain.h"
#include "base/json.h"
#include "base/json_pull.h"
#include "base/text.h"

#include <string.h>

#define INTEGER_DIGITS_MAX 18 /* below INT64_MAX */
#define REAL_DIGITS_MAX    15 /* both parts of the quotient are exact, so that it is rounded once, as strtod does */

struct reader {
    const char *at, *end;
    unsigned depth;
    const char *apart; /* a member of the outermost object that is only looked at: `text` is where it stands */
    size_t apart_n;
    const char *text;
    size_t text_n;
};

/* What a byte is in a string: 1 stands for itself, 2 belongs to a longer character, 0 ends what is plain. */
static const unsigned char in_string[256] = {
    [' ' ... '!'] = 1, ['#' ... '['] = 1, [']' ... 0x7f] = 1, [0x80 ... 0xff] = 2};

static json_t *read_value(struct reader *r);
static json_t *read_apart(struct reader *r);

/* '\0' at the end: as unusual as a NUL in the text. */
static char here(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

/* The next character that is no space */
static char next(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
    return here(r);
}

static bool take(struct reader *r, char c)
{
    if (next(r) != c)
        return false;
    r->at++;
    return true;
}

/* At the opening quote; borrowed from the text. */
static bool take_string(struct reader *r, const char **ret, size_t *ret_n)
{
    const char *begin = ++r->at;
    unsigned seen = 0, is;
    for (; r->at < r->end && (is = in_string[(unsigned char)*r->at]); r->at++)
        seen |= is;
    if (r->at == r->end || *r->at != '"')
        return false;
    *ret = begin;
    *ret_n = (size_t)(r->at++ - begin);
    return !(seen & 2) || utf8_valid(begin, *ret_n);
}

static unsigned take_digits(struct reader *r, unsigned most, int64_t *value)
{
    unsigned n = 0;
    for (; n < most && r->at < r->end && *r->at >= '0' && *r->at <= '9'; n++)
        *value = *value * 10 + (*r->at++ - '0');
    return n;
}

static bool is_exponent(char c)
{
    return c == 'e' || c == 'E';
}

/* A digit too many is left behind, where nothing takes it. @return how many were taken; 0: it is no plain number */
static unsigned take_whole(struct reader *r, int64_t *value)
{
    bool zero = here(r) == '0';
    unsigned n = take_digits(r, INTEGER_DIGITS_MAX, value);
    return (zero && n > 1) || is_exponent(here(r)) ? 0 : n;
}

static json_t *read_number(struct reader *r)
{
    static const double power[REAL_DIGITS_MAX + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                      1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = *r->at == '-';
    r->at += negative;
    int64_t value = 0;
    unsigned n = take_whole(r, &value);
    if (n == 0)
        return NULL;
    if (here(r) != '.')
        return json_integer(negative ? -value : value);
    r->at++;
    unsigned behind = n < REAL_DIGITS_MAX ? take_digits(r, REAL_DIGITS_MAX - n, &value) : 0;
    if (behind == 0 || is_exponent(here(r)))
        return NULL;
    double real = (double)value / power[behind];
    return json_real(negative ? -real : real);
}

static json_t *read_word(struct reader *r, const char *word, json_t *value)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return NULL;
    r->at += n;
    return value;
}

static bool read_members(struct reader *r, json_t *object)
{
    size_t count = 0;
    if (take(r, '}'))
        return true;
    do {
        const char *key;
        size_t n;
        if (next(r) != '"' || !take_string(r, &key, &n) || !take(r, ':'))
            return false;
        bool apart = r->depth == 1 && r->apart && n == r->apart_n && memcmp(key, r->apart, n) == 0;
        json_t *value = apart ? read_apart(r) : read_value(r);
        if (!value || json_object_setn_new_nocheck(object, key, n, value) < 0)
            return false;
        if (json_object_size(object) != ++count) /* a key twice */
            return false;
    } while (take(r, ','));
    return take(r, '}');
}

static bool read_items(struct reader *r, json_t *array)
{
    if (take(r, ']'))
        return true;
    do {
        json_t *value = read_value(r);
        if (!value || json_array_append_new(array, value) < 0)
            return false;
    } while (take(r, ','));
    return take(r, ']');
}

static json_t *read_nested(struct reader *r, bool is_object)
{
    if (r->depth == JSON_DEPTH_MAX)
        return NULL;
    json_t *value = is_object ? json_object() : json_array();
    r->at++;
    r->depth++;
    if (value && (is_object ? read_members(r, value) : read_items(r, value))) {
        r->depth--;
        return value;
    }
    json_decref(value);
    return NULL;
}

static json_t *read_value(struct reader *r)
{
    const char *s;
    size_t n;
    switch (next(r)) {
    case '"':
        return take_string(r, &s, &n) ? json_stringn_nocheck(s, n) : NULL;
    case '{':
        return read_nested(r, true);
    case '[':
        return read_nested(r, false);
    case 't':
        return read_word(r, "true", json_true());
    case 'f':
        return read_word(r, "false", json_false());
    case 'n':
        return read_word(r, "null", json_null());
    case '-':
    case '0' ... '9':
        return read_number(r);
    default:
        return NULL;
    }
}

/* --- what is only looked at --- */

#define PASS_KEYS 16 /* each is held against each */

static bool pass_value(struct reader *r);

static bool pass_built(struct reader *r)
{
    json_t *value = read_value(r);

    json_decref(value);
    return value;
}

/* @return false too when there are more keys than that */
static bool pass_members(struct reader *r)
{
    struct {
        const char *s;
        size_t n;
    } keys[PASS_KEYS];
    size_t n = 0;

    if (take(r, '}'))
        return true;
    do {
        if (n == PASS_KEYS || next(r) != '"' || !take_string(r, &keys[n].s, &keys[n].n) || !take(r, ':'))
            return false;
        for (size_t i = 0; i < n; i++)
            if (keys[i].n == keys[n].n && memcmp(keys[i].s, keys[n].s, keys[n].n) == 0)
                return false;
        n++;
        if (!pass_value(r))
            return false;
    } while (take(r, ','));
    return take(r, '}');
}

static bool pass_items(struct reader *r)
{
    if (take(r, ']'))
        return true;
    do {
        if (!pass_value(r))
            return false;
    } while (take(r, ','));
    return take(r, ']');
}

static bool pass_nested(struct reader *r, bool is_object)
{
    if (r->depth == JSON_DEPTH_MAX)
        return false;
    r->at++;
    r->depth++;
    bool passed = is_object ? pass_members(r) : pass_items(r);
    r->depth--;
    return passed;
}

static bool pass_value(struct reader *r)
{
    const char *s;
    size_t n;
    switch (next(r)) {
    case '"':
        return take_string(r, &s, &n);
    case '{':
        return pass_nested(r, true);
    case '[':
        return pass_nested(r, false);
    default:
        return pass_built(r);
    }
}

/* What pass_value gives up may be plain, but for its keys' number. */
static bool pass_text(struct reader *r, const char **ret, size_t *ret_n)
{
    (void)next(r);
    const char *begin = r->at;
    if (!pass_value(r)) {
        r->at = begin;
        if (!pass_built(r))
            return false;
    }
    *ret = begin;
    *ret_n = (size_t)(r->at - begin);
    return true;
}

static json_t *read_apart(struct reader *r)
{
    return pass_text(r, &r->text, &r->text_n) ? json_true() : NULL;
}

json_t *json_plain_apart(const char *text, size_t n, const char *apart, const char **ret_text, size_t *ret_n)
{
    struct reader r = {.at = text, .end = text + n, .apart = apart, .apart_n = apart ? strlen(apart) : 0};
    json_t *value = read_value(&r);
    (void)next(&r);
    if (value && r.at != r.end) {
        json_decref(value);
        value = NULL;
    }
    *ret_text = value ? r.text : NULL;
    *ret_n = value ? r.text_n : 0;
    return value;
}

json_t *json_plain(const char *text, size_t n)
{
    const char *none;
    size_t none_n;
    return json_plain_apart(text, n, NULL, &none, &none_n);
}

/* --- without a tree: json_pull.h --- */

struct json_pull json_pull(const char *text, size_t n)
{
    return (struct json_pull){.at = text, .end = text + n};
}

static struct reader reader_of(const struct json_pull *p)
{
    return (struct reader){.at = p->at, .end = p->end, .depth = p->depth};
}

bool json_pull_object(struct json_pull *p)
{
    struct reader r = reader_of(p);
    if (p->depth == JSON_DEPTH_MAX || !take(&r, '{'))
        return false;
    p->at = r.at;
    p->depth++;
    p->first = true;
    return true;
}

int json_pull_member(struct json_pull *p, const char **ret_key, size_t *ret_key_n)
{
    struct reader r = reader_of(p);
    bool over = take(&r, '}'), first = p->first;
    p->first = false;
    if (over) {
        p->at = r.at;
        p->depth--;
        return 0;
    }
    if ((!first && !take(&r, ',')) || next(&r) != '"' || !take_string(&r, ret_key, ret_key_n) || !take(&r, ':'))
        return -1;
    p->at = r.at;
    return 1;
}

bool json_pull_string(struct json_pull *p, const char **ret, size_t *ret_n)
{
    struct reader r = reader_of(p);
    bool is = next(&r) == '"' && take_string(&r, ret, ret_n);
    p->at = r.at;
    return is;
}

bool json_pull_integer(struct json_pull *p, int64_t *ret)
{
    struct reader r = reader_of(p);
    bool negative = next(&r) == '-';
    int64_t value = 0;
    r.at += negative;
    unsigned n = take_whole(&r, &value);
    p->at = r.at;
    *ret = negative ? -value : value;
    return n > 0 && here(&r) != '.';
}

bool json_pull_text(struct json_pull *p, const char **ret, size_t *ret_n)
{
    struct reader r = reader_of(p);
    bool is = pass_text(&r, ret, ret_n);
    p->at = r.at;
    return is;
}

bool json_pull_end(struct json_pull *p)
{
    struct reader r = reader_of(p);
    (void)next(&r);
    return r.at == r.end;
}
