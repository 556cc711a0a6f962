#include "core/fingerprint.h"
#include "base/sha256.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RULE        "1" /* another rule gives other fingerprints: then this rises */
#define DIGITS_KEPT 3

/* A folded message that grows; what does not fit is cut. `word` is where the word before begins. */
struct folded {
    char *to;
    size_t len, word, word_len;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_quote(char c)
{
    return c == '\'' || c == '"' || c == '`';
}

static void put(struct folded *f, const char *p, size_t n)
{
    const size_t room = FINGERPRINT_CAUSE_MAX - 1 - f->len;
    n = n < room ? n : room;
    memcpy(f->to + f->len, p, n);
    f->len += n;
}

static void put_word(struct folded *f, const char *p, size_t n)
{
    f->word = f->len;
    put(f, p, n);
    f->word_len = f->len - f->word;
}

static bool after(const struct folded *f, const char *word)
{
    return f->word_len == strlen(word) && !memcmp(f->to + f->word, word, f->word_len);
}

/* "exit status 3" and "exit status 4" are two causes. */
static bool number_tells(const struct folded *f, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_digit(p[i]))
            return false;
    return n <= DIGITS_KEPT && (after(f, "status") || after(f, "signal") || after(f, "code"));
}

/* Where the word at p ends: brackets, quotes and what lists end it, and in a path or URL only those that cannot be of it. */
static size_t word_length(const char *p, const char *end)
{
    bool path = false;
    const char *q = p;
    for (; q < end && !is_space(*q) && !is_quote(*q) && !strchr("()[]{}<>,;", *q) && (path || *q != '='); q++)
        path = path || *q == '/';
    while (q > p && strchr(".:!?", q[-1]))
        q--;
    return (size_t)(q - p);
}

static void fold_word(struct folded *f, const char *p, size_t n)
{
    bool digit = false, hex = n >= 8;
    for (size_t i = 0; i < n; i++) {
        digit = digit || is_digit(p[i]);
        hex = hex && is_hex(p[i]);
    }
    if (memchr(p, '/', n))
        put_word(f, "*", 1);
    else if ((digit || hex) && !number_tells(f, p, n))
        put_word(f, "#", 1);
    else
        put_word(f, p, n);
}

/* The length of the quoted string at p, with both quotes; 0 when it has no end on its line. */
static size_t quoted_length(const char *p, const char *end)
{
    const char close = *p == '`' ? '\'' : *p;
    for (const char *q = p + 1; q < end && *q != '\n'; q++)
        if (*q == *p || *q == close)
            return (size_t)(q + 1 - p);
    return 0;
}

static const char *message_end(const char *text)
{
    const char *empty = strstr(text, "\n\n");
    return empty ? empty : text + strlen(text);
}

void fingerprint_cause(const char *error_log, char ret[FINGERPRINT_CAUSE_MAX])
{
    struct folded f = {.to = ret};
    const char *p = error_log ? error_log : "", *end = message_end(p);
    bool in_word = false; /* then a quote is an apostrophe */
    while (p < end && f.len < FINGERPRINT_CAUSE_MAX - 1) {
        size_t n;
        if (is_space(*p)) {
            for (n = 1; p + n < end && is_space(p[n]); n++)
                ;
            if (f.len && p + n < end)
                put(&f, " ", 1);
            in_word = false;
        } else if (is_quote(*p) && !in_word && (n = quoted_length(p, end))) {
            put_word(&f, "'*'", 3);
        } else if ((n = word_length(p, end))) {
            fold_word(&f, p, n);
            in_word = true;
        } else {
            put(&f, p, n = 1);
            in_word = false;
        }
        p += n;
    }
    f.to[f.len] = 0;
}

uint64_t fingerprint_make(const char *task_type, enum outcome outcome, const char *error_log)
{
    char cause[FINGERPRINT_CAUSE_MAX], text[sizeof(RULE) + JOB_NAME_MAX + 32 + FINGERPRINT_CAUSE_MAX];
    uint8_t digest[32];
    uint64_t ret = 0;
    fingerprint_cause(error_log, cause);
    const int n =
        snprintf(text, sizeof(text), RULE "\n%.*s\n%s\n%s", JOB_NAME_MAX, task_type, outcome_name(outcome), cause);
    sha256_once(text, (size_t)n, digest);
    for (size_t i = 0; i < sizeof(ret); i++)
        ret = ret << 8 | digest[i];
    return ret ? ret : 1;
}

void fingerprint_format(uint64_t fingerprint, char ret[FINGERPRINT_MAX])
{
    snprintf(ret, FINGERPRINT_MAX, "%016" PRIx64, fingerprint);
}

bool fingerprint_parse(const char *s, uint64_t *ret)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; s[n] && is_hex(s[n]) && !(s[n] >= 'A' && s[n] <= 'F') && n < FINGERPRINT_MAX; n++)
        v = v << 4 | (uint64_t)(is_digit(s[n]) ? s[n] - '0' : s[n] - 'a' + 10);
    if (s[n] || n != FINGERPRINT_MAX - 1 || v == 0)
        return false;
    *ret = v;
    return true;
}
