/* A URL names several hosts; libpq takes the first that answers. Here each is spoken to, so each gets a connection string of its own. */
#include "store/postgres/replicas.h"
#include "base/buf.h"
#include <stdlib.h>

#define CONNINFO_MAX 8192

/** What is set for each host, whatever the URL says. */
static bool ours(const char *keyword)
{
    static const char *const keywords[] = {"host", "hostaddr", "port", "target_session_attrs"};

    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (strcmp(keyword, keywords[i]) == 0)
            return true;
    return false;
}

static const char *option(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val && *options->val ? options->val : NULL;
    return NULL;
}

/** Between commas; NULL: none. */
static size_t items(const char *list)
{
    size_t n = list ? 1 : 0;

    for (; list && *list; list++)
        n += *list == ',';
    return n;
}

/** The i-th, or the only one. */
static void item(const char *list, size_t i, char *ret, size_t size)
{
    for (; list && i > 0 && strchr(list, ','); i--)
        list = strchr(list, ',') + 1;
    snprintf(ret, size, "%.*s", list ? (int)strcspn(list, ",") : 0, list ? list : "");
}

static void add(struct buf *b, const char *keyword, const char *value)
{
    if (!*value)
        return;
    buf_printf(b, "%s='", keyword);
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *value);
    }
    buf_adds(b, "' ");
}

static int make(const PQconninfoOption *options, size_t i, struct replica_host *ret, struct err *err)
{
    static const char *const lists[] = {"host", "hostaddr", "port"};
    char values[ARRAY_LEN(lists)][REPLICA_NAME_MAX - 8];
    struct buf b;

    buf_init(&b, CONNINFO_MAX);
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        item(option(options, lists[k]), i, values[k], sizeof(values[k]));
        add(&b, lists[k], values[k]);
    }
    if (!option(options, "connect_timeout"))
        add(&b, "connect_timeout", "2"); /* somebody waits, and the primary is there */
    for (; options->keyword; options++)
        if (options->val && !ours(options->keyword))
            add(&b, options->keyword, options->val);
    add(&b, "target_session_attrs", "any");
    const char *host = *values[0] ? values[0] : *values[1] ? values[1] : "this machine";
    snprintf(ret->name, sizeof(ret->name), *values[2] ? "%s:%.7s" : "%s", host, values[2]);
    ret->conninfo = buf_take(&b);
    return ret->conninfo ? ERR_OK : err_field(err, "store_read", "is too long");
}

static int make_all(const PQconninfoOption *options, struct replica_host *ret, size_t *ret_n, struct err *err)
{
    const char *port = option(options, "port");
    size_t n = MAX(items(option(options, "host")), items(option(options, "hostaddr")));
    int rc = ERR_OK;

    n = n == 0 ? 1 : n;
    if (n > REPLICAS_MAX)
        return err_field(err, "store_read", "names %zu hosts, at most %d are asked", n, REPLICAS_MAX);
    if (items(port) > 1 && items(port) != n)
        return err_field(err, "store_read", "names %zu hosts and %zu ports", n, items(port));
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        rc = make(options, i, &ret[i], err);
        *ret_n += rc == ERR_OK;
    }
    return rc;
}

int replica_hosts(const char *url, struct replica_host ret[REPLICAS_MAX], size_t *ret_n, struct err *err)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &why);
    int rc;

    *ret_n = 0;
    if (options)
        rc = make_all(options, ret, ret_n, err);
    else
        rc = err_field(err, "store_read", "%.*s", why ? (int)strcspn(why, "\n") : 0, why ? why : "");
    PQconninfoFree(options);
    PQfreemem(why);
    if (rc != ERR_OK) {
        replica_hosts_release(ret, *ret_n);
        *ret_n = 0;
    }
    return rc;
}

void replica_hosts_release(struct replica_host *hosts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(hosts[i].conninfo);
}
