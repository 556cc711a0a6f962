#pragma once
/* JSON: jansson to parse, a strict field reader on top, and a small writer. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32

/** Parses one JSON value and nothing after it. Refuses duplicate keys, bad UTF-8, depth over JSON_DEPTH_MAX, U+0000 in
 * keys (in strings it may stand: json_get_string refuses it). ERR_MALFORMED tells line and column. Caller: json_decref(*ret). */
int json_parse(const char *text, size_t n, json_t **ret, struct err *err);

/** As json_parse, for an object whose member `apart` (ASCII) is wanted as text: it is checked as all of it is, and something stands for
 * it in *ret. *ret_text, borrowed from `text`: NULL when there is no such member. */
int json_parse_apart(const char *text, size_t n, const char *apart, json_t **ret, const char **ret_text, size_t *ret_n,
                     struct err *err);

/** The raw text of member `key` (ASCII) of the top-level object in `text`, which json_parse accepted. Borrowed from `text`.
 * false when there is no such member. (Payloads are stored as the text that was validated: jansson re-serialises.) */
bool json_raw_member(const char *text, size_t n, const char *key, const char **ret_text, size_t *ret_n);

/** The raw items of the array in `text`, one a call: begin with *pos = 0. Only brackets, quotes and commas are looked at: an item may
 * still be no JSON, and when every item is JSON the whole array is.
 * @return 1: an item, borrowed from `text`; 0: that was all, and nothing but space follows; -1: no such array */
int json_raw_item(const char *text, size_t n, size_t *pos, const char **ret_text, size_t *ret_n);

/** The members of an object like {"k":"v"} whose strings need no escapes, and no space stands between them, one a call: begin with
 * *pos = 0. For texts of our own making that are read often; what is not of that kind json_parse reads.
 * @return 1: a member, borrowed from `text`, without quotes; 0: that was all; -1: not of that kind */
int json_plain_member(const char *text, size_t *pos, const char **ret_key, size_t *ret_key_n, const char **ret_value,
                      size_t *ret_value_n);

/** Is this JSON by its grammar? What json_parse refuses beyond it (a key twice, depth, numbers out of range) may be in it. */
bool json_well_formed(const char *text, size_t n);

/** As json_dumps, which may leave characters out where memory is short: NULL then. Caller: free(). */
char *json_text(const json_t *value, size_t flags);

/** The text that json_dumps(JSON_COMPACT | JSON_SORT_KEYS) makes of an object of strings. NULL: memory is short. */
char *json_map_text(json_t *map, struct arena *arena);

/** Reads the members of one object strictly. The first error sticks in `err`; later reads do nothing. Example:
 *      struct json_reader r;
 *      json_reader_init(&r, obj, "", err);
 *      const char *type = json_get_string(&r, "task_type", true, 1, 128);
 *      int64_t prio = json_get_int(&r, "priority", 5, 0, 9);
 *      if (json_reader_end(&r) != ERR_OK) return err->code;      <- refuses members nobody asked for */
struct json_reader {
    json_t *object; /* borrowed */
    char where[48]; /* prefix for field names in errors: "", "inputs[2]." */
    const char *seen[48];
    size_t n_seen;
    struct err *err;
    int code;
};
/** `value` not an object -> error sticks. */
void json_reader_init(struct json_reader *r, json_t *value, const char *where, struct err *err);
/** String of min..max bytes, valid UTF-8, no control characters below U+0020 nor DEL when max <= 1024 (names).
 * NULL when absent (and not `required`) or on error. JSON null counts as absent. Borrowed from the object. */
const char *json_get_string(struct json_reader *r, const char *key, bool required, size_t min, size_t max);
int64_t json_get_int(struct json_reader *r, const char *key, int64_t absent, int64_t min, int64_t max);
double json_get_real(struct json_reader *r, const char *key, double absent, double min, double max); /* ints too */
bool json_get_bool(struct json_reader *r, const char *key, bool absent);
/** Duration: a string as duration_parse takes it, or a number of seconds. */
usec json_get_duration(struct json_reader *r, const char *key, usec absent, usec min_us, usec max_us);
/** RFC 3339 instant. */
usec json_get_time(struct json_reader *r, const char *key, usec absent);
/** Any value of the given kind (JSON_OBJECT, JSON_ARRAY) or NULL when absent. Borrowed. */
json_t *json_get_value(struct json_reader *r, const char *key, bool required, json_type type);
/** Any value whatever. NULL when absent. Borrowed. */
json_t *json_get_any(struct json_reader *r, const char *key);
/** ERR_OK, the error that stuck, or ERR_INVALID for the first unknown member (naming it and the known ones). */
int json_reader_end(struct json_reader *r);

/** Writes JSON into a buf; commas are its business. Keys are NULL inside arrays. */
struct json_writer {
    struct buf *buf; /* borrowed */
    bool need_comma;
};
void jw_init(struct json_writer *w, struct buf *buf);
void jw_object(struct json_writer *w, const char *key);
void jw_object_end(struct json_writer *w);
void jw_array(struct json_writer *w, const char *key);
void jw_array_end(struct json_writer *w);
/** NULL writes null. Bytes that are not UTF-8 become U+FFFD; control characters are escaped. */
void jw_string(struct json_writer *w, const char *key, const char *s);
void jw_stringn(struct json_writer *w, const char *key, const char *s, size_t n);
void jw_int(struct json_writer *w, const char *key, int64_t v);
void jw_real(struct json_writer *w, const char *key, double v); /* shortest of %.15g/%.17g; NaN, Inf -> null */
void jw_bool(struct json_writer *w, const char *key, bool v);
void jw_null(struct json_writer *w, const char *key);
void jw_time(struct json_writer *w, const char *key, usec t_us);                 /* 0 or USEC_NEVER -> null */
void jw_duration_s(struct json_writer *w, const char *key, usec d_us);           /* seconds as a number */
void jw_raw(struct json_writer *w, const char *key, const char *json, size_t n); /* already JSON */
