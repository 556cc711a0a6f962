#include "base/config.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"

#include <stdarg.h>
#include <yaml.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define DEPTH_MAX      16
#define MAP_ITEMS_MAX  1024 /* duplicate keys are looked for one by one */

struct loader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the current one, when have_event */
    bool have_event;
    const char *name, *text;
    size_t n;
    struct err *err;
};

static void node_free(struct config_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n_items; i++)
        node_free(node->items[i]); /* DEPTH_MAX bounds the recursion */
    free(node->items);
    free(node->key);
    free(node->scalar);
    free(node);
}

static void auto_node(struct config_node **node)
{
    node_free(*node);
}

#define AUTO_NODE __attribute__((cleanup(auto_node)))

void config_free(struct config *c)
{
    if (!c)
        return;
    node_free(c->root);
    free(c->path);
    free(c);
}

static int no_memory(struct loader *l)
{
    return err_set(l->err, ERR_NO_MEMORY, 0, "%s: parse", l->name);
}

static int refuse_at(struct loader *l, const yaml_mark_t *at, const char *what)
{
    return err_set(l->err, ERR_INVALID, 0, "%s:%zu:%zu: %s", l->name, at->line + 1, at->column + 1, what);
}

/* At the current event. */
static int refuse(struct loader *l, const char *what)
{
    return refuse_at(l, &l->event.start_mark, what);
}

static int parser_error(struct loader *l)
{
    if (l->yaml.error == YAML_MEMORY_ERROR)
        return no_memory(l);
    /* a reader error (bad UTF-8) has no mark of its own: the parser stands near it */
    const yaml_mark_t *at = l->yaml.error == YAML_READER_ERROR ? &l->yaml.mark : &l->yaml.problem_mark;
    if (l->yaml.error == YAML_SCANNER_ERROR && at->index < l->n && l->text[at->index] == '\t')
        return refuse_at(l, at, "a tab: YAML is indented with spaces");
    return refuse_at(l, at, l->yaml.problem ? l->yaml.problem : "not YAML");
}

static int next(struct loader *l)
{
    if (l->have_event)
        yaml_event_delete(&l->event);
    l->have_event = false;
    if (!yaml_parser_parse(&l->yaml, &l->event))
        return parser_error(l);
    l->have_event = true;
    if (l->event.type == YAML_ALIAS_EVENT)
        return refuse(l, "aliases are not allowed: write the value out");
    return ERR_OK;
}

static int check_decoration(struct loader *l, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor)
        return refuse(l, "anchors are not allowed: write the value out where it is needed");
    if (tag)
        return refuse(l, "tags are not allowed: the option knows its type");
    return ERR_OK;
}

static int push(struct loader *l, struct config_node *parent, struct config_node **item)
{
    size_t n = parent->n_items;
    if ((n & (n - 1)) == 0) { /* grown at powers of two */
        struct config_node **items = realloc(parent->items, sizeof(*items) * (n ? n * 2 : 1));
        if (!items)
            return no_memory(l);
        parent->items = items;
    }
    parent->items[parent->n_items++] = TAKE_PTR(*item);
    return ERR_OK;
}

static void mark(struct config_node *node, const yaml_mark_t *at)
{
    node->line = (unsigned)at->line + 1;
    node->column = (unsigned)at->column + 1;
}

static int read_node(struct loader *l, unsigned depth, struct config_node **ret);

static int read_scalar_text(struct loader *l, char **ret)
{
    const char *text = (const char *)l->event.data.scalar.value;
    size_t n = l->event.data.scalar.length;
    if (memchr(text, '\0', n))
        return refuse(l, "NUL characters are not allowed");
    *ret = strndup(text, n);
    return *ret ? ERR_OK : no_memory(l);
}

static int read_scalar(struct loader *l, struct config_node *node)
{
    node->kind = CONFIG_SCALAR;
    int rc = check_decoration(l, l->event.data.scalar.anchor, l->event.data.scalar.tag);
    return rc != ERR_OK ? rc : read_scalar_text(l, &node->scalar);
}

static int read_list(struct loader *l, unsigned depth, struct config_node *node)
{
    node->kind = CONFIG_LIST;
    int rc = check_decoration(l, l->event.data.sequence_start.anchor, l->event.data.sequence_start.tag);
    if (rc != ERR_OK)
        return rc;
    for (;;) {
        AUTO_NODE struct config_node *item = NULL;
        if ((rc = next(l)) != ERR_OK)
            return rc;
        if (l->event.type == YAML_SEQUENCE_END_EVENT)
            return ERR_OK;
        if ((rc = read_node(l, depth + 1, &item)) != ERR_OK || (rc = push(l, node, &item)) != ERR_OK)
            return rc;
    }
}

static int read_key(struct loader *l, const struct config_node *map, char **ret)
{
    if (l->event.type != YAML_SCALAR_EVENT)
        return refuse(l, "a key must be a plain name");
    int rc = check_decoration(l, l->event.data.scalar.anchor, l->event.data.scalar.tag);
    if (rc != ERR_OK || (rc = read_scalar_text(l, ret)) != ERR_OK)
        return rc;
    if (map->n_items >= MAP_ITEMS_MAX)
        return refuse(l, "too many keys in one map");
    const struct config_node *first = config_find(map, *ret);
    if (first)
        return err_set(l->err, ERR_INVALID, 0, "%s:%zu:%zu: key '%.60s' is given twice (first in line %u): remove one",
                       l->name, l->event.start_mark.line + 1, l->event.start_mark.column + 1, *ret, first->line);
    return ERR_OK;
}

static int read_map(struct loader *l, unsigned depth, struct config_node *node)
{
    node->kind = CONFIG_MAP;
    int rc = check_decoration(l, l->event.data.mapping_start.anchor, l->event.data.mapping_start.tag);
    if (rc != ERR_OK)
        return rc;
    for (;;) {
        AUTO_NODE struct config_node *item = NULL;
        AUTO_FREE char *key = NULL;
        if ((rc = next(l)) != ERR_OK)
            return rc;
        if (l->event.type == YAML_MAPPING_END_EVENT)
            return ERR_OK;
        yaml_mark_t at = l->event.start_mark;
        if ((rc = read_key(l, node, &key)) != ERR_OK || (rc = next(l)) != ERR_OK ||
            (rc = read_node(l, depth + 1, &item)) != ERR_OK)
            return rc;
        mark(item, &at);
        item->key = TAKE_PTR(key);
        if ((rc = push(l, node, &item)) != ERR_OK)
            return rc;
    }
}

/* The node that the current event begins. */
static int read_node(struct loader *l, unsigned depth, struct config_node **ret)
{
    if (depth > DEPTH_MAX)
        return refuse(l, "nested too deeply");
    AUTO_NODE struct config_node *node = calloc(1, sizeof(*node));
    if (!node)
        return no_memory(l);
    mark(node, &l->event.start_mark);
    int rc = l->event.type == YAML_SCALAR_EVENT           ? read_scalar(l, node)
             : l->event.type == YAML_SEQUENCE_START_EVENT ? read_list(l, depth, node)
             : l->event.type == YAML_MAPPING_START_EVENT  ? read_map(l, depth, node)
                                                          : refuse(l, "a value was expected");
    if (rc == ERR_OK)
        *ret = TAKE_PTR(node);
    return rc;
}

/* Nothing, or "---" and nothing, is an empty map. */
static int as_root(struct loader *l, struct config_node *root)
{
    if (root->kind == CONFIG_SCALAR && root->scalar[0] == '\0') {
        free(TAKE_PTR(root->scalar));
        root->kind = CONFIG_MAP;
    }
    if (root->kind == CONFIG_MAP)
        return ERR_OK;
    return err_set(l->err, ERR_INVALID, 0, "%s:%u:%u: must be a map of keys to values", l->name, root->line,
                   root->column);
}

static int read_stream(struct loader *l, struct config_node **ret)
{
    int rc;
    if ((rc = next(l)) != ERR_OK || (rc = next(l)) != ERR_OK) /* stream start; document start or stream end */
        return rc;
    if (l->event.type == YAML_STREAM_END_EVENT) {
        *ret = calloc(1, sizeof(**ret));
        if (!*ret)
            return no_memory(l);
        (*ret)->kind = CONFIG_MAP;
        (*ret)->line = (*ret)->column = 1;
        return ERR_OK;
    }
    if ((rc = next(l)) != ERR_OK || (rc = read_node(l, 0, ret)) != ERR_OK || (rc = as_root(l, *ret)) != ERR_OK ||
        (rc = next(l)) != ERR_OK || (rc = next(l)) != ERR_OK) /* document end; stream end */
        return rc;
    if (l->event.type != YAML_STREAM_END_EVENT)
        return refuse(l, "more than one document: remove the line of dashes");
    return ERR_OK;
}

int config_parse(const char *text, size_t n, const char *name, struct config **ret, struct err *err)
{
    if (n > FILE_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, 0, "%s: more than %zu bytes", name, FILE_MAX_BYTES);
    struct loader l = {.name = name, .text = text, .n = n, .err = err};
    struct config *c = calloc(1, sizeof(*c));
    if (!c || !(c->path = strdup(name)) || !yaml_parser_initialize(&l.yaml)) {
        config_free(c);
        return no_memory(&l);
    }
    yaml_parser_set_encoding(&l.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.yaml, (const unsigned char *)(n ? text : ""), n);
    int rc = read_stream(&l, &c->root);
    if (l.have_event)
        yaml_event_delete(&l.event);
    yaml_parser_delete(&l.yaml);
    if (rc != ERR_OK) {
        config_free(c);
        return rc;
    }
    *ret = c;
    return ERR_OK;
}

int config_load(const char *path, struct config **ret, struct err *err)
{
    struct buf text;
    buf_init(&text, FILE_MAX_BYTES);
    int rc = fs_read(path, &text, err);
    if (rc == ERR_OK)
        rc = config_parse(buf_str(&text), text.len, path, ret, err);
    buf_release(&text);
    return rc;
}

const struct config_node *config_find(const struct config_node *map, const char *key)
{
    if (!map || map->kind != CONFIG_MAP)
        return NULL;
    for (size_t i = 0; i < map->n_items; i++)
        if (strcmp(map->items[i]->key, key) == 0)
            return map->items[i];
    return NULL;
}

int config_refuse(const struct config *c, const struct config_node *node, struct err *err, const char *fmt, ...)
{
    char what[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return err_set(err, ERR_INVALID, 0, "%s:%u:%u: %s", c->path, node->line, node->column, what);
}

int config_wrap(const struct config *c, const struct config_node *node, int rc, struct err *err)
{
    return err_wrap(err, rc, "%s:%u:%u", c->path, node->line, node->column);
}

int config_check_sections(const struct config *c, struct err *err)
{
    static const char *const known[] = {"server",          "task_types", "objectives", "alerts",
                                        "alert_receivers", "worker",     "client"};
    for (size_t i = 0; i < c->root->n_items; i++) {
        const struct config_node *node = c->root->items[i];
        size_t k = 0;
        while (k < ARRAY_LEN(known) && strcmp(node->key, known[k]) != 0)
            k++;
        if (k == ARRAY_LEN(known))
            return config_refuse(c, node, err,
                                 "unknown section '%.64s'; known: server, task_types, objectives, alerts, "
                                 "alert_receivers, worker, client",
                                 node->key);
    }
    return ERR_OK;
}
