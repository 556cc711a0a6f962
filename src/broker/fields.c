#include "broker/fields.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/text.h"

static bool is(const struct broker_field *f, const char *name)
{
    return f->name_bytes == strlen(name) && memcmp(f->name, name, f->name_bytes) == 0;
}

static bool holds_json(const struct broker_field *f)
{
    static const char *const names[] = {"payload", "inputs", "labels", "priority", "max_attempts", "retries"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (is(f, names[i]))
            return true;
    return false;
}

static int add(struct json_writer *w, const struct broker_field *f, struct err *err)
{
    char name[64];
    if (!f->name_bytes || f->name_bytes >= sizeof(name) || memchr(f->name, 0, f->name_bytes) ||
        !utf8_valid(f->name, f->name_bytes))
        return err_set(err, ERR_MALFORMED, 0, "a field has a name that is none");
    memcpy(name, f->name, f->name_bytes);
    name[f->name_bytes] = 0;
    if (memchr(f->value, 0, f->value_bytes) || !utf8_valid(f->value, f->value_bytes))
        return err_set(err, ERR_MALFORMED, 0, "%s: is not UTF-8 text", name);
    if (is(f, "payload_ref") && !f->value_bytes)
        return ERR_OK; /* "if applicable" */
    if (!holds_json(f)) {
        jw_stringn(w, name, f->value, f->value_bytes);
        return ERR_OK;
    }
    if (!json_well_formed(f->value, f->value_bytes))
        return err_set(err, ERR_MALFORMED, 0, "%s: is not JSON", name);
    jw_raw(w, name, f->value, f->value_bytes);
    return ERR_OK;
}

int broker_fields_json(const struct broker_field *fields, size_t n, struct buf *ret, struct err *err)
{
    struct json_writer w;
    int rc = ERR_OK;
    if (n == 1 && is(&fields[0], "json")) {
        buf_add(ret, fields[0].value, fields[0].value_bytes);
    } else {
        jw_init(&w, ret);
        jw_object(&w, NULL);
        for (size_t i = 0; !rc && i < n; i++)
            rc = add(&w, &fields[i], err);
        jw_object_end(&w);
    }
    if (!rc && ret->failed)
        rc = err_set(err, ERR_TOO_LARGE, 0, "the message has more than %zu bytes", ret->max);
    return rc;
}
