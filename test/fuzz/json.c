/* The strict parser, the raw members, and the writer: whatever goes in, what comes out is JSON. */
#include "fuzz.h"
#include "base/json.h"
#include "base/json_plain.h"
#include <string.h>

/* Any bytes as a string: valid JSON again. */
static void written(const char *text, size_t n)
{
    struct buf out;
    struct json_writer w;
    struct err err = {0};
    json_t *doc = NULL;
    buf_init(&out, 16u << 20);
    jw_init(&w, &out);
    jw_object(&w, NULL);
    jw_stringn(&w, "text", text, n);
    jw_object_end(&w);
    MUST(json_parse(buf_str(&out), out.len, &doc, &err) == ERR_OK);
    json_decref(doc);
    buf_release(&out);
}

static bool ascii(const char *s)
{
    while (*s && (unsigned char)*s < 0x80)
        s++;
    return !*s;
}

/* The raw text of a member parses to what the parser saw there. */
static void raw(const char *text, size_t n, json_t *doc)
{
    const char *key;
    json_t *value;
    json_object_foreach (doc, key, value) {
        if (!ascii(key))
            continue;
        const char *part;
        size_t n_part;
        struct err err = {0};
        json_t *again = NULL;
        MUST(json_raw_member(text, n, key, &part, &n_part));
        MUST(part >= text && part + n_part <= text + n);
        if (json_is_object(value) || json_is_array(value)) {
            MUST(json_parse(part, n_part, &again, &err) == ERR_OK);
            MUST(json_equal(again, value));
            json_decref(again);
        }
    }
}

/* A member set apart is accepted and refused as all of it is, and its text is what stands there. */
static void apart(const char *text, size_t n)
{
    struct err err = {0};
    json_t *whole = NULL, *rest = NULL;
    const char *part, *same;
    size_t n_part, n_same;
    int rc = json_parse(text, n, &whole, &err);
    MUST(json_parse_apart(text, n, "a", &rest, &part, &n_part, &err) == rc);
    if (rc == ERR_OK && json_is_object(whole)) {
        MUST((part != NULL) == json_raw_member(text, n, "a", &same, &n_same));
        MUST(!part || (part == same && n_part == n_same));
        json_object_del(whole, "a");
        json_object_del(rest, "a");
        MUST(json_equal(whole, rest));
    }
    json_decref(whole);
    json_decref(rest);
}

/* What is read fast is what jansson, and our own bounds, read: the same values in the same order. */
static void plain(const char *text, size_t n)
{
    struct err err = {0};
    json_t *fast = json_plain(text, n), *strict = NULL;
    if (!fast)
        return;
    MUST(json_parse_strict(text, n, &strict, &err) == ERR_OK);
    char *one = json_dumps(fast, JSON_ENCODE_ANY), *other = json_dumps(strict, JSON_ENCODE_ANY);
    MUST(one && other && strcmp(one, other) == 0);
    free(one);
    free(other);
    json_decref(fast);
    json_decref(strict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct err err = {0};
    json_t *doc = NULL;
    int rc = json_parse(text, size, &doc, &err);
    must_explain(rc, &err);
    written(text, size);
    if (size > 0)
        plain(text, size);
    apart(text, size);
    if (rc == ERR_OK && json_is_object(doc))
        raw(text, size, doc);
    json_decref(doc);
    return 0;
}
