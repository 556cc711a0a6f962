/* Option tables: text to typed members of a struct. */
#include "base/auto.h"
#include "base/buf.h"
#include "base/config.h"
#include "base/timefmt.h"

#include <errno.h>
#include <inttypes.h>

static void *member(const struct option_row *row, void *target)
{
    return (char *)target + row->offset;
}

static bool bounded(const struct option_row *row)
{
    return row->min != 0 || row->max != 0;
}

static int no_memory(struct err *err, const char *name)
{
    return err_set(err, ERR_NO_MEMORY, 0, "option '%s'", name);
}

int size_parse(const char *s, const char *field, uint64_t *ret, struct err *err)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {"kB", UINT64_C(1000)},
        {"MB", UINT64_C(1000000)},
        {"GB", UINT64_C(1000000000)},
    };
    uint64_t v = 0;
    size_t n = strspn(s, "0123456789");
    bool fits = n > 0;
    for (size_t i = 0; i < n && fits; i++)
        fits = !__builtin_mul_overflow(v, 10, &v) && !__builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v);
    for (size_t i = 0; i < ARRAY_LEN(units) && fits; i++) {
        if (strcmp(s + n, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(v, units[i].bytes, &v))
            break;
        *ret = v;
        return ERR_OK;
    }
    return err_field(err, field, "not a size: '%.40s' (digits, then B, KiB, MiB, GiB, TiB, kB, MB, GB or nothing)", s);
}

static int parse_int(const struct option_row *row, const char *s, int64_t *ret, struct err *err)
{
    char *end;
    const char *first = *s == '-' ? s + 1 : s;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (*first < '0' || *first > '9' || *end || errno)
        return err_field(err, row->name, "not an integer: '%.40s'", s);
    if (bounded(row) && (v < row->min || v > row->max))
        return err_field(err, row->name, "must be %" PRId64 " to %" PRId64 ", got %lld", row->min, row->max, v);
    *ret = v;
    return ERR_OK;
}

static int parse_size(const struct option_row *row, const char *s, uint64_t *ret, struct err *err)
{
    uint64_t v;
    int rc = size_parse(s, row->name, &v, err);
    if (rc != ERR_OK)
        return rc;
    if (bounded(row) && (v > INT64_MAX || (int64_t)v < row->min || (int64_t)v > row->max))
        return err_field(err, row->name, "must be %" PRId64 " to %" PRId64 " bytes, got %" PRIu64, row->min, row->max,
                         v);
    *ret = v;
    return ERR_OK;
}

static int parse_duration(const struct option_row *row, const char *s, usec *ret, struct err *err)
{
    usec v;
    int rc = duration_parse(s, row->name, &v, err);
    if (rc != ERR_OK)
        return rc;
    if (bounded(row) && (v < row->min || v > row->max)) {
        char lo[48], hi[48], got[48];
        duration_format(row->min, lo);
        duration_format(row->max, hi);
        duration_format(v, got);
        return err_field(err, row->name, "must be %s to %s, got %s", lo, hi, got);
    }
    *ret = v;
    return ERR_OK;
}

static int parse_bool(const struct option_row *row, const char *s, bool *ret, struct err *err)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(s, yes[i]) != 0 && strcmp(s, no[i]) != 0)
            continue;
        *ret = strcmp(s, yes[i]) == 0;
        return ERR_OK;
    }
    return err_field(err, row->name, "must be true or false, got '%.40s'", s);
}

static int parse_string(const struct option_row *row, const char *s, size_t n, char **ret, struct err *err)
{
    if (bounded(row) && (n > INT64_MAX || (int64_t)n < row->min || (int64_t)n > row->max))
        return err_field(err, row->name, "must be %" PRId64 " to %" PRId64 " bytes, got %zu", row->min, row->max, n);
    *ret = strndup(s, n);
    return *ret ? ERR_OK : no_memory(err, row->name);
}

static void list_release(struct string_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct string_list){.n = 0};
}

static int list_add(const struct option_row *row, struct string_list *list, const char *s, size_t n, struct err *err)
{
    char *item;
    int rc = parse_string(row, s, n, &item, err);
    if (rc != ERR_OK)
        return rc;
    char **items = realloc(list->items, sizeof(*items) * (list->n + 2));
    if (!items) {
        free(item);
        return no_memory(err, row->name);
    }
    list->items = items;
    items[list->n++] = item;
    items[list->n] = NULL;
    return ERR_OK;
}

static void list_replace(struct string_list *list, struct string_list *with)
{
    list_release(list);
    *list = *with;
}

/* "a,b,c"; "" is the empty list. */
static int set_list(const struct option_row *row, struct string_list *list, const char *s, struct err *err)
{
    struct string_list made = {.n = 0};
    for (bool more = *s != '\0'; more;) {
        size_t n = strcspn(s, ",");
        int rc = list_add(row, &made, s, n, err);
        if (rc != ERR_OK) {
            list_release(&made);
            return rc;
        }
        s += n;
        more = *s == ',';
        s += more;
    }
    list_replace(list, &made);
    return ERR_OK;
}

static int set_string(const struct option_row *row, char **at, const char *s, struct err *err)
{
    char *made;
    int rc = parse_string(row, s, strlen(s), &made, err);
    if (rc != ERR_OK)
        return rc;
    free(*at);
    *at = made;
    return ERR_OK;
}

static int set_member(const struct option_row *row, void *target, const char *s, struct err *err)
{
    void *at = member(row, target);
    switch (row->type) {
    case OPTION_STRING:
        return set_string(row, at, s, err);
    case OPTION_INT:
        return parse_int(row, s, at, err);
    case OPTION_SIZE:
        return parse_size(row, s, at, err);
    case OPTION_DURATION:
        return parse_duration(row, s, at, err);
    case OPTION_BOOL:
        return parse_bool(row, s, at, err);
    case OPTION_STRING_LIST:
        return set_list(row, at, s, err);
    }
    return err_set(err, ERR_INTERNAL, 0, "option '%s' has no type", row->name);
}

static void zero_member(const struct option_row *row, void *target)
{
    static const size_t sizes[] = {
        [OPTION_STRING] = sizeof(char *), [OPTION_INT] = sizeof(int64_t),
        [OPTION_SIZE] = sizeof(uint64_t), [OPTION_DURATION] = sizeof(usec),
        [OPTION_BOOL] = sizeof(bool),     [OPTION_STRING_LIST] = sizeof(struct string_list),
    };
    memset(member(row, target), 0, sizes[row->type]);
}

int options_defaults(const struct option_row *rows, size_t n, void *target, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        zero_member(&rows[i], target);
    for (size_t i = 0; i < n; i++) {
        int rc = rows[i].fallback ? set_member(&rows[i], target, rows[i].fallback, err) : ERR_OK;
        if (rc != ERR_OK)
            return err_wrap(err, rc, "default");
    }
    return ERR_OK;
}

static int unknown(const struct option_row *rows, size_t n, const char *name, struct err *err)
{
    struct buf known;
    buf_init(&known, 4096);
    for (size_t i = 0; i < n; i++)
        buf_printf(&known, "%s%s", i ? ", " : "", rows[i].name);
    int rc = err_field(err, name, "unknown; known: %s", buf_str(&known));
    buf_release(&known);
    return rc;
}

static const struct option_row *find_row(const struct option_row *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

int options_set(const struct option_row *rows, size_t n, void *target, const char *name, const char *value,
                const char *where, struct err *err)
{
    const struct option_row *row = find_row(rows, n, name);
    int rc = row ? set_member(row, target, value, err) : unknown(rows, n, name, err);
    return rc != ERR_OK && where && *where ? err_wrap(err, rc, "%s", where) : rc;
}

static int bind_list(const struct option_row *row, void *target, const struct config_node *node, struct err *err)
{
    struct string_list made = {.n = 0};
    int rc = ERR_OK;
    if (row->type != OPTION_STRING_LIST)
        return err_field(err, row->name, "must be one value, not a list");
    for (size_t i = 0; i < node->n_items && rc == ERR_OK; i++) {
        const struct config_node *item = node->items[i];
        rc = item->kind == CONFIG_SCALAR ? list_add(row, &made, item->scalar, strlen(item->scalar), err)
                                         : err_field(err, row->name, "must be a list of strings");
    }
    if (rc != ERR_OK) {
        list_release(&made);
        return rc;
    }
    list_replace(member(row, target), &made);
    return ERR_OK;
}

static int bind_node(const struct option_row *rows, size_t n, void *target, const struct config_node *node,
                     struct err *err)
{
    const struct option_row *row = find_row(rows, n, node->key);
    if (!row)
        return unknown(rows, n, node->key, err);
    if (node->kind == CONFIG_MAP)
        return err_field(err, row->name, "must be a value, not a map");
    return node->kind == CONFIG_LIST ? bind_list(row, target, node, err) : set_member(row, target, node->scalar, err);
}

int options_bind(const struct option_row *rows, size_t n, void *target, const struct config *c,
                 const struct config_node *map, struct err *err)
{
    bool nothing = !map || (map->kind == CONFIG_SCALAR && map->scalar[0] == '\0'); /* "section:" and no more */
    if (nothing)
        return ERR_OK;
    if (map->kind != CONFIG_MAP)
        return config_refuse(c, map, err, "must be a map of keys to values");
    for (size_t i = 0; i < map->n_items; i++) {
        int rc = bind_node(rows, n, target, map->items[i], err);
        if (rc != ERR_OK)
            return config_wrap(c, map->items[i], rc, err);
    }
    return ERR_OK;
}

void options_release(const struct option_row *rows, size_t n, void *target)
{
    for (size_t i = 0; i < n; i++) {
        void *at = member(&rows[i], target);
        if (rows[i].type == OPTION_STRING)
            free(*(char **)at);
        else if (rows[i].type == OPTION_STRING_LIST)
            list_release(at);
        zero_member(&rows[i], target);
    }
}
