/* Small texts of the wire and the command line: ids (cursors too), tokens, times, durations, sizes, names, ranges. */
#include "fuzz.h"
#include "http/range.h"
#include "api/request.h"
#include "api/submission.h"
#include "base/config.h"
#include "base/text.h"
#include "base/timefmt.h"

static void ids(const char *s)
{
    struct uuid id, again;
    struct token token, same;
    struct err err = {0};
    char text[TOKEN_STR_MAX];
    if (uuid_parse(s, &id)) {
        char form[UUID_STR_MAX];
        uuid_format(&id, form);
        MUST(uuid_parse(form, &again) && memcmp(&id, &again, sizeof(id)) == 0);
    }
    if (token_parse(s, &token)) {
        token_format(&token, text);
        MUST(token_parse(text, &same) && same.attempt == token.attempt &&
             memcmp(same.secret, token.secret, sizeof(same.secret)) == 0); /* zeros are never token_equal */
    }
    must_explain(ref_parse(s, "payload_ref", &id, &err), &err);
}

static void times(const char *s)
{
    struct err err = {0};
    usec t = 0, again = -1;
    if (rfc3339_parse(s, &t)) {
        char form[RFC3339_MAX];
        rfc3339_format(t, form);
        MUST(rfc3339_parse(form, &again) && again == t);
    }
    int rc = duration_parse(s, "wait", &t, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK) {
        char form[48];
        MUST(t >= 0);
        duration_format(t, form);
        MUST(duration_parse(form, "wait", &again, &err) == ERR_OK && again == t);
    }
}

static void numbers(const char *s)
{
    struct err err = {0};
    uint64_t size;
    int64_t n = 0;
    must_explain(size_parse(s, "size", &size, &err), &err);
    err_clear(&err);
    int rc = query_int(s, "limit", 1, 1000, &n, &err);
    must_explain(rc, &err);
    MUST(rc != ERR_OK || (n >= 1 && n <= 1000));
}

static void ranges(const char *s)
{
    for (int64_t total = 0; total < 3000; total = total * 3 + 1) {
        int64_t from = -1, end = -1;
        switch (http_range_parse(s, total, &from, &end)) {
        case HTTP_RANGE_PART:
            MUST(from >= 0 && from < end && end <= total);
            break;
        case HTTP_RANGE_ALL:
            MUST(from == 0 && end == total);
            break;
        case HTTP_RANGE_BAD:
            break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(4u << 20);
    MUST(arena);
    const char *s = arena_strndup(arena, (const char *)data, size < 4096 ? size : 4096);
    MUST(s);
    ids(s);
    times(s);
    numbers(s);
    ranges(s);
    if (name_valid(s, JOB_NAME_MAX))
        MUST(strlen(s) <= JOB_NAME_MAX && !strpbrk(s, "/ \t\n%"));
    if (filename_valid(s))
        MUST(*s && strlen(s) <= 255 && !strchr(s, '/') && strcmp(s, "..") != 0);
    arena_free(arena);
    return 0;
}
