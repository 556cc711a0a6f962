/* Defaults are spliced into the text: a payload reaches the handler as it was written (large numbers, order of members). */
#include "cli/batch_line.h"
#include "base/auto.h"
#include "base/json.h"

static bool has(const json_t *obj, const char *key)
{
    return json_object_get(obj, key) != NULL;
}

static void add_member(struct buf *out, const char *key, const json_t *value, const char **comma)
{
    AUTO_FREE char *text = json_text(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (!text) {
        out->failed = true;
        return;
    }
    struct json_writer w;
    buf_adds(out, *comma);
    jw_init(&w, out);
    jw_raw(&w, key, text, strlen(text));
    *comma = ",";
}

/* The members of `defaults` that `obj` has not, with a comma behind the last when anything follows. */
static void add_missing(struct buf *out, const json_t *defaults, const json_t *obj)
{
    const char *key, *comma = "";
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)defaults, key, value)
        if (!has(obj, key))
            add_member(out, key, value, &comma);
    if (*comma && json_object_size(obj) > 0)
        buf_addc(out, ',');
}

static void splice(const char *line, size_t n, const json_t *obj, const json_t *defaults, struct buf *out)
{
    const char *rest = memchr(line, '{', n), *labels = NULL;
    size_t n_labels = 0;
    const json_t *own = json_object_get(obj, "labels"), *more = json_object_get(defaults, "labels");
    buf_addc(out, '{');
    add_missing(out, defaults, obj);
    rest++;
    if (json_is_object(own) && more && json_raw_member(line, n, "labels", &labels, &n_labels)) {
        labels++; /* behind its '{' */
        buf_add(out, rest, (size_t)(labels - rest));
        add_missing(out, more, own);
        rest = labels;
    }
    buf_add(out, rest, (size_t)(line + n - rest));
}

int batch_line(const char *line, size_t n, const json_t *defaults, struct buf *out, bool *ret_own_key, struct err *err)
{
    json_t *obj = NULL;
    int rc = json_parse(line, n, &obj, err);
    if (rc == ERR_OK && !json_is_object(obj))
        rc = err_set(err, ERR_INVALID, 0, "must be a JSON object, like {\"task_type\": \"...\"}");
    if (rc == ERR_OK) {
        json_t *given = json_copy((json_t *)(uintptr_t)defaults);
        if (has(obj, "delay") || has(obj, "run_at")) {
            json_object_del(given, "delay");
            json_object_del(given, "run_at");
        }
        *ret_own_key = json_is_string(json_object_get(obj, "dedup_key"));
        splice(line, n, obj, given, out);
        json_decref(given);
    }
    json_decref(obj);
    return rc;
}
