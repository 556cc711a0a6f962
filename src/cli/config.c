/* Which server to talk to. */
#include "cli/config.h"
#include "base/auto.h"
#include "base/config.h"

#define SERVER_DEFAULT "http://127.0.0.1:8420"

struct client_options {
    char *server;
};

static const struct option_row rows[] = {
    {"server", OPTION_STRING, offsetof(struct client_options, server), 1, 2048, NULL,
     "URL of the server, or a list of them with commas between"},
};

static int file_server(const char *path, bool must_exist, char **ret, struct err *err)
{
    struct config *c = NULL;
    int rc = config_load(path, &c, err);
    if (rc == ERR_NOT_FOUND && !must_exist) {
        err_clear(err);
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return rc;
    struct client_options o = {0};
    rc = config_check_sections(c, err);
    const struct config_node *section = config_find(c->root, "client");
    if (rc == ERR_OK && section)
        rc = options_bind(rows, ARRAY_LEN(rows), &o, c, section, err);
    if (rc == ERR_OK && o.server && !(*ret = strdup(o.server)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    options_release(rows, ARRAY_LEN(rows), &o);
    config_free(c);
    return rc;
}

int config_server(const char *flag, const char *config_flag, char **ret, struct err *err)
{
    const char *env = getenv("HAUL_SERVER"), *named = config_flag ? config_flag : getenv("HAUL_CONFIG");
    *ret = NULL;
    if (named && !*named)
        named = NULL;
    if (flag || (env && *env)) {
        *ret = strdup(flag ? flag : env);
        return *ret ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    }
    int rc = ERR_OK;
    if (named) {
        rc = file_server(named, true, ret, err);
    } else {
        AUTO_FREE char *own = NULL;
        const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        int n = 0;
        if (xdg && *xdg)
            n = asprintf(&own, "%s/haul/haul.yaml", xdg);
        else if (home && *home)
            n = asprintf(&own, "%s/.config/haul/haul.yaml", home);
        if (n < 0)
            own = NULL;
        if (own)
            rc = file_server(own, false, ret, err);
        if (rc == ERR_OK && !*ret)
            rc = file_server("/etc/haul/haul.yaml", false, ret, err);
    }
    if (rc == ERR_OK && !*ret && !(*ret = strdup(SERVER_DEFAULT)))
        rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    return rc;
}
