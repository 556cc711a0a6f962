/* A configuration file, bound to a table with an option of every type. */
#include "fuzz.h"
#include "base/config.h"

struct bound {
    char *text;
    int64_t number;
    uint64_t size;
    usec duration;
    bool flag;
    struct string_list list;
};

static const struct option_row rows[] = {
    {"text", OPTION_STRING, offsetof(struct bound, text), 1, 100, NULL, ""},
    {"number", OPTION_INT, offsetof(struct bound, number), -5, 100, "7", ""},
    {"size", OPTION_SIZE, offsetof(struct bound, size), 0, INT64_MAX, "64MiB", ""},
    {"duration", OPTION_DURATION, offsetof(struct bound, duration), 0, 3600 * USEC_PER_SEC, "10s", ""},
    {"flag", OPTION_BOOL, offsetof(struct bound, flag), 0, 0, "false", ""},
    {"list", OPTION_STRING_LIST, offsetof(struct bound, list), 0, 0, NULL, ""},
};
#define N_ROWS (sizeof(rows) / sizeof(*rows))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bound b = {0};
    struct config *c = NULL;
    struct err err = {0};
    MUST(options_defaults(rows, N_ROWS, &b, &err) == ERR_OK);
    int rc = config_parse((const char *)data, size, "haul.yaml", &c, &err);
    if (rc == ERR_OK)
        rc = options_bind(rows, N_ROWS, &b, c, config_find(c->root, "server"), &err);
    must_explain(rc, &err);
    MUST(rc == ERR_OK || rc == ERR_NO_MEMORY || strstr(err.msg, "haul.yaml")); /* whose line it is */
    if (rc == ERR_OK)
        MUST(b.number >= -5 && b.number <= 100 && b.duration >= 0 && b.duration <= 3600 * USEC_PER_SEC &&
             (!b.text || (*b.text && strlen(b.text) <= 100)));
    config_free(c);
    options_release(rows, N_ROWS, &b);
    return 0;
}
