/* -p key=value... as a JSON object. */
#include "cli/payload.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/text.h"

static json_t *value_from_text(const char *s)
{
    if (strcmp(s, "true") == 0)
        return json_true();
    if (strcmp(s, "false") == 0)
        return json_false();
    if (strcmp(s, "null") == 0)
        return json_null();
    json_t *v = NULL;
    /* "1e3" and "-2" are numbers; "007", "1.2.3", "0x10" and " 1" are not JSON's, so they stay text. */
    size_t n = strlen(s);
    if (n > 0 && (s[0] == '-' || (s[0] >= '0' && s[0] <= '9')) && s[n - 1] >= '0' && s[n - 1] <= '9' &&
        json_parse(s, n, &v, NULL) == ERR_OK && json_is_number(v))
        return v;
    json_decref(v);
    return json_string(s);
}

int payload_from_pairs(char *const *pairs, size_t n, json_t **ret, struct err *err)
{
    json_t *obj = json_object();
    int rc = obj ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        const char *eq = strchr(pairs[i], '=');
        if (!eq || eq == pairs[i]) {
            rc = err_set(err, ERR_USAGE, 0, "-p takes key=value, got '%.100s'", pairs[i]);
            break;
        }
        AUTO_FREE char *key = strndup(pairs[i], (size_t)(eq - pairs[i]));
        if (!key)
            rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
        else if (!utf8_valid(pairs[i], strlen(pairs[i])))
            rc = err_set(err, ERR_USAGE, 0, "-p key=value: the text is not UTF-8");
        else if (json_object_get(obj, key))
            rc = err_set(err, ERR_USAGE, 0, "-p gives '%.100s' twice", key);
        else if (json_object_set_new(obj, key, value_from_text(eq + 1)) != 0)
            rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (rc != ERR_OK) {
        json_decref(obj);
        return rc;
    }
    *ret = obj;
    return ERR_OK;
}
