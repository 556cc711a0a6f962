#include "base/json.h"

#include "base/json_plain.h"
#include "base/text.h"
#include "base/timefmt.h"

#include <assert.h>
#include <inttypes.h>

/* ---- parsing ---- */

/* Jansson recurses to 2048 levels; ours is refused before it starts. It also passes over a NUL byte behind a number, and whoever
 * then takes the text as a string has half of it. Strings are skipped by quotes and backslashes alone: what else is wrong with them
 * is jansson's to say. */
static int check_text(const char *text, size_t n, struct err *err)
{
    unsigned depth = 0, line = 1;
    size_t line_start = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '\0')
            return err_set(err, ERR_MALFORMED, 0, "JSON, line %u, column %zu: a NUL byte", line, i - line_start + 1);
        if (c == '\n') {
            line++;
            line_start = i + 1;
        } else if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return err_set(err, ERR_MALFORMED, 0, "JSON, line %u, column %zu: nested deeper than %d", line,
                               i - line_start + 1, JSON_DEPTH_MAX);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return ERR_OK;
}

/* Where memory is short, jansson 2.14 calls valid text malformed, or drops a character of a string and goes on. So whether an
 * allocation failed is watched from outside. */
static _Thread_local bool memory_failed;

static void *watched_malloc(size_t n)
{
    void *p = malloc(n);
    memory_failed = memory_failed || !p;
    return p;
}

__attribute__((constructor)) static void watch_memory(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

int json_parse_strict(const char *text, size_t n, json_t **ret, struct err *err)
{
    json_error_t e;
    int rc = check_text(text, n, err);
    if (rc != ERR_OK)
        return rc;
    memory_failed = false;
    json_t *value = json_loadb(n ? text : "", n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (memory_failed) {
        json_decref(value);
        return err_set(err, ERR_NO_MEMORY, 0, "parse JSON");
    }
    if (!value)
        return err_set(err, ERR_MALFORMED, 0, "JSON, line %d, column %d: %s", e.line, e.column, e.text);
    *ret = value;
    return ERR_OK;
}

int json_parse(const char *text, size_t n, json_t **ret, struct err *err)
{
    json_t *value = n ? json_plain(text, n) : NULL;
    if (!value)
        return json_parse_strict(text, n, ret, err);
    *ret = value;
    return ERR_OK;
}

int json_parse_apart(const char *text, size_t n, const char *apart, json_t **ret, const char **ret_text, size_t *ret_n,
                     struct err *err)
{
    json_t *value = json_plain_apart(text, n, apart, ret_text, ret_n);
    int rc = value ? ERR_OK : json_parse_strict(text, n, &value, err);
    if (rc != ERR_OK)
        return rc;
    if (!*ret_text && json_is_object(value))
        (void)json_raw_member(text, n, apart, ret_text, ret_n);
    *ret = value;
    return ERR_OK;
}

char *json_text(const json_t *value, size_t flags)
{
    memory_failed = false;
    char *text = json_dumps(value, flags);
    if (!memory_failed)
        return text;
    free(text);
    return NULL;
}

/* ---- raw members: the text is known to be valid, so these only find where things end ---- */

static size_t skip_space(const char *s, size_t n, size_t i)
{
    while (i < n && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r'))
        i++;
    return i;
}

/* A quote ends its string unless an odd number of backslashes stands before it. */
static size_t skip_string(const char *s, size_t n, size_t i)
{
    const char *begin = s + i + 1, *at = begin, *quote;
    while ((quote = memchr(at, '"', (size_t)(s + n - at)))) {
        const char *escape = quote;
        while (escape > begin && escape[-1] == '\\')
            escape--;
        if ((quote - escape) % 2 == 0)
            return (size_t)(quote - s) + 1;
        at = quote + 1;
    }
    return n;
}

static size_t skip_value(const char *s, size_t n, size_t i)
{
    unsigned depth = 0;
    for (; i < n; i++) {
        switch (s[i]) {
        case '"':
            i = skip_string(s, n, i) - 1;
            if (depth == 0)
                return i + 1;
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return i;
            if (--depth == 0)
                return i + 1;
            break;
        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            if (depth == 0)
                return i;
            break;
        default:
            break;
        }
    }
    return n;
}

/* The next character of a quoted string, when it is ASCII; else -1, which no key of ours has. */
static int ascii_next(const char *s, size_t end, size_t *i)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    unsigned code = 0;
    unsigned char c = (unsigned char)s[(*i)++];
    if (c != '\\' || *i >= end)
        return c < 0x80 ? c : -1;
    c = (unsigned char)s[(*i)++];
    const char *simple = strchr(names, c);
    if (c != 'u')
        return simple && c ? values[simple - names] : -1;
    for (int k = 0; k < 4 && *i < end; k++, (*i)++)
        code = code << 4 | (unsigned)(s[*i] <= '9' ? s[*i] - '0' : (s[*i] | 0x20) - 'a' + 10);
    return code < 0x80 ? (int)code : -1;
}

/* Is the quoted string s (n bytes, with its quotes) the key, which is ASCII? Escapes count: "\u0061" is "a". */
static bool key_is(const char *s, size_t n, const char *key)
{
    size_t i = 1;
    while (i < n - 1 && *key)
        if (ascii_next(s, n - 1, &i) != *key++)
            return false;
    return i == n - 1 && !*key;
}

/* @return behind the closing quote; NULL when it is no string, or one with an escape */
static const char *plain_string(const char *at, const char **ret, size_t *ret_n)
{
    if (*at != '"')
        return NULL;
    *ret = ++at;
    *ret_n = strcspn(at, "\"\\");
    return at[*ret_n] == '"' ? at + *ret_n + 1 : NULL;
}

int json_plain_member(const char *text, size_t *pos, const char **ret_key, size_t *ret_key_n, const char **ret_value,
                      size_t *ret_value_n)
{
    const char *at = text + *pos;
    if (*at != (*pos ? ',' : '{'))
        return *pos && strcmp(at, "}") == 0 ? 0 : -1;
    if (*pos == 0 && strcmp(at, "{}") == 0)
        return 0;
    at = plain_string(at + 1, ret_key, ret_key_n);
    if (at)
        at = *at == ':' ? plain_string(at + 1, ret_value, ret_value_n) : NULL;
    if (!at)
        return -1;
    *pos = (size_t)(at - text);
    return 1;
}

bool json_raw_member(const char *text, size_t n, const char *key, const char **ret_text, size_t *ret_n)
{
    size_t i = skip_space(text, n, 0);
    if (i >= n || text[i] != '{')
        return false;
    for (i = skip_space(text, n, i + 1); i < n && text[i] == '"'; i = skip_space(text, n, i + 1)) {
        size_t name = i, name_end = skip_string(text, n, i);
        i = skip_space(text, n, name_end);
        if (i >= n || text[i] != ':' || name_end - name < 2)
            return false;
        size_t value = skip_space(text, n, i + 1), value_end = skip_value(text, n, value);
        if (key_is(text + name, name_end - name, key)) {
            *ret_text = text + value;
            *ret_n = value_end - value;
            return true;
        }
        i = skip_space(text, n, value_end);
        if (i >= n || text[i] != ',')
            return false;
    }
    return false;
}

int json_raw_item(const char *text, size_t n, size_t *pos, const char **ret_text, size_t *ret_n)
{
    size_t i = skip_space(text, n, *pos);
    bool first = *pos == 0;
    if (i >= n || (first && text[i] != '['))
        return -1;
    if (first)
        i = skip_space(text, n, i + 1);
    if (i < n && text[i] == ']')
        return skip_space(text, n, i + 1) == n ? 0 : -1;
    if (!first && (i >= n || text[i] != ','))
        return -1;
    if (!first)
        i = skip_space(text, n, i + 1);
    size_t end = skip_value(text, n, i);
    if (end == i || end >= n)
        return -1;
    *ret_text = text + i;
    *ret_n = end - i;
    *pos = end;
    return 1;
}

bool json_well_formed(const char *text, size_t n)
{
    json_error_t e;
    json_t *value = json_loadb(n ? text : "", n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (value) {
        json_decref(value);
        return true;
    }
    switch (json_error_code(&e)) {
    case json_error_duplicate_key:
    case json_error_numeric_overflow:
    case json_error_stack_overflow:
    case json_error_null_byte_in_key:
    case json_error_out_of_memory:
        return true;
    default:
        return false;
    }
}

/* ---- reading members ---- */

struct field {
    char s[ERR_FIELD_MAX];
};

static struct field field_of(const struct json_reader *r, const char *key)
{
    struct field f;
    int n = snprintf(f.s, sizeof(f.s), "%s%s", r->where, key);
    if (n < 0 || (size_t)n >= sizeof(f.s))
        f.s[utf8_cut(f.s, sizeof(f.s) - 1)] = '\0';
    return f;
}

#define FAIL(r, key, ...) ((void)((r)->code = err_field((r)->err, field_of((r), (key)).s, __VA_ARGS__)))

void json_reader_init(struct json_reader *r, json_t *value, const char *where, struct err *err)
{
    r->object = value;
    r->err = err;
    r->code = ERR_OK;
    r->n_seen = 0;
    size_t n_where = utf8_cut(where, strnlen(where, sizeof(r->where) - 1));
    memcpy(r->where, where, n_where);
    r->where[n_where] = '\0';
    if (json_is_object(value))
        return;
    struct field f = field_of(r, "");
    size_t n = strlen(f.s);
    if (n > 0 && f.s[n - 1] == '.')
        f.s[n - 1] = '\0';
    r->object = NULL;
    r->code = err_field(err, f.s, "must be an object");
}

static json_t *look_up(struct json_reader *r, const char *key)
{
    if (r->code != ERR_OK)
        return NULL;
    assert(r->n_seen < sizeof(r->seen) / sizeof(r->seen[0]));
    r->seen[r->n_seen++] = key;
    return json_object_get(r->object, key);
}

static json_t *look_up_value(struct json_reader *r, const char *key)
{
    json_t *v = look_up(r, key);
    return json_is_null(v) ? NULL : v;
}

static bool has_control(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return true;
    return false;
}

const char *json_get_string(struct json_reader *r, const char *key, bool required, size_t min, size_t max)
{
    json_t *v = look_up_value(r, key);
    if (r->code != ERR_OK)
        return NULL;
    if (!v) {
        if (required)
            FAIL(r, key, "required");
        return NULL;
    }
    if (!json_is_string(v)) {
        FAIL(r, key, "must be a string");
        return NULL;
    }
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (n < min || n > max)
        FAIL(r, key, "must be %zu to %zu bytes, got %zu", min, max, n);
    else if (!utf8_valid(s, n) || memchr(s, '\0', n))
        FAIL(r, key, "must be UTF-8 text");
    else if (max <= 1024 && has_control(s, n))
        FAIL(r, key, "must not contain control characters");
    return r->code == ERR_OK ? s : NULL;
}

int64_t json_get_int(struct json_reader *r, const char *key, int64_t absent, int64_t min, int64_t max)
{
    json_t *v = look_up_value(r, key);
    if (!v)
        return absent;
    int64_t i = json_integer_value(v);
    if (!json_is_integer(v))
        FAIL(r, key, "must be an integer");
    else if (i < min || i > max)
        FAIL(r, key, "must be %" PRId64 " to %" PRId64 ", got %" PRId64, min, max, i);
    else
        return i;
    return absent;
}

double json_get_real(struct json_reader *r, const char *key, double absent, double min, double max)
{
    json_t *v = look_up_value(r, key);
    if (!v)
        return absent;
    double d = json_number_value(v);
    if (!json_is_number(v))
        FAIL(r, key, "must be a number");
    else if (!(d >= min && d <= max))
        FAIL(r, key, "must be %g to %g, got %g", min, max, d);
    else
        return d;
    return absent;
}

bool json_get_bool(struct json_reader *r, const char *key, bool absent)
{
    json_t *v = look_up_value(r, key);
    if (!v)
        return absent;
    if (json_is_boolean(v))
        return json_is_true(v);
    FAIL(r, key, "must be true or false");
    return absent;
}

static bool seconds_to_us(const json_t *v, usec *ret)
{
    if (json_is_integer(v))
        return !__builtin_mul_overflow((int64_t)json_integer_value(v), USEC_PER_SEC, ret);
    double us = json_real_value(v) * 1e6;
    if (!(us > -9.2e18 && us < 9.2e18))
        return false;
    *ret = (usec)(us < 0 ? us - 0.5 : us + 0.5);
    return true;
}

usec json_get_duration(struct json_reader *r, const char *key, usec absent, usec min_us, usec max_us)
{
    json_t *v = look_up_value(r, key);
    usec d = 0;
    if (!v)
        return absent;
    if (json_is_string(v))
        r->code = duration_parse(json_string_value(v), field_of(r, key).s, &d, r->err);
    else if (!json_is_number(v))
        FAIL(r, key, "must be a duration (\"1h30m\") or a number of seconds");
    else if (!seconds_to_us(v, &d))
        FAIL(r, key, "out of range");
    if (r->code != ERR_OK)
        return absent;
    if (d >= min_us && d <= max_us)
        return d;
    char lo[48], hi[48], got[48];
    duration_format(min_us, lo);
    duration_format(max_us, hi);
    duration_format(d, got);
    FAIL(r, key, "must be %s to %s, got %s", lo, hi, got);
    return absent;
}

usec json_get_time(struct json_reader *r, const char *key, usec absent)
{
    json_t *v = look_up_value(r, key);
    usec t;
    if (!v)
        return absent;
    if (json_is_string(v) && rfc3339_parse(json_string_value(v), &t))
        return t;
    FAIL(r, key, "must be an RFC 3339 time (\"2026-11-25T04:50:55Z\")");
    return absent;
}

json_t *json_get_value(struct json_reader *r, const char *key, bool required, json_type type)
{
    json_t *v = look_up(r, key);
    if (r->code != ERR_OK)
        return NULL;
    if (json_is_null(v) && type != JSON_NULL)
        v = NULL;
    if (!v) {
        if (required)
            FAIL(r, key, "required");
        return NULL;
    }
    bool fits = json_typeof(v) == type || (json_is_boolean(v) && (type == JSON_TRUE || type == JSON_FALSE));
    if (fits)
        return v;
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",    [JSON_ARRAY] = "an array",     [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer",  [JSON_REAL] = "a real number", [JSON_TRUE] = "true or false",
        [JSON_FALSE] = "true or false", [JSON_NULL] = "null"};
    FAIL(r, key, "must be %s", names[type]);
    return NULL;
}

json_t *json_get_any(struct json_reader *r, const char *key)
{
    return look_up(r, key);
}

static bool was_seen(const struct json_reader *r, const char *key)
{
    for (size_t i = 0; i < r->n_seen; i++)
        if (strcmp(r->seen[i], key) == 0)
            return true;
    return false;
}

int json_reader_end(struct json_reader *r)
{
    const char *key;
    json_t *value;
    if (r->code != ERR_OK)
        return r->code;
    json_object_foreach (r->object, key, value) {
        if (was_seen(r, key))
            continue;
        struct buf known;
        buf_init(&known, 4096);
        for (size_t i = 0; i < r->n_seen; i++)
            buf_printf(&known, "%s%s", i ? ", " : "", r->seen[i]);
        FAIL(r, key, "unknown member; known: %s", buf_str(&known));
        buf_release(&known);
        break;
    }
    return r->code;
}
