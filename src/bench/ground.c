#include "bench/ground.h"
#include "base/auto.h"
#include "base/fs.h"
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define READY "haul server listening on "

/* Those that matter to who reads a figure: on tmpfs a sync costs nothing, and over a network it costs the network. */
static const struct {
    uint32_t magic;
    const char *name;
} kinds[] = {{0xEF53, "ext4"},        {0x01021994, "tmpfs"}, {0x9123683E, "btrfs"}, {0x58465342, "xfs"},
             {0x794C7630, "overlay"}, {0x6969, "nfs"},       {0x2FC12FC1, "zfs"}};

static const char *kind_name(uint32_t magic)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].magic == magic)
            return kinds[i].name;
    return "other";
}

static int folder(struct ground *g, const char *data, struct err *err)
{
    struct statfs fs;
    if (strlen(data) + 32 > sizeof(g->dir))
        return err_set(err, ERR_USAGE, 0, "--data: the folder's name is too long");
    snprintf(g->dir, sizeof(g->dir), "%s/haul-bench-XXXXXX", data);
    if (!mkdtemp(g->dir)) {
        int why = errno;
        g->dir[0] = '\0';
        return err_set(err, ERR_IO, why, "a temporary folder in '%s'", data);
    }
    snprintf(g->kind, sizeof(g->kind), "%s", statfs(g->dir, &fs) == 0 ? kind_name((uint32_t)fs.f_type) : "other");
    return ERR_OK;
}

/* ---- servers ---- */

/** @param n  bytes of the URL, without blanks around it */
static int server_add(struct ground *g, const char *url, size_t n, const char *list, struct err *err)
{
    char text[400];
    const bool alone = !strchr(list, ',');
    if (n == 0 && !alone)
        return err_set(err, ERR_USAGE, 0, "server %u of the list '%.120s' is empty: put one comma between two URLs",
                       g->n_servers + 1, list);
    if (g->n_servers == BENCH_SERVERS_MAX)
        return err_set(err, ERR_USAGE, 0, "more than %d servers in a list: name fewer", BENCH_SERVERS_MAX);
    if (n >= sizeof(text))
        return err_set(err, ERR_USAGE, 0, "'%.100s...' is not a server's URL: it is longer than %zu bytes", url,
                       sizeof(text) - 1);
    snprintf(text, sizeof(text), "%.*s", (int)n, url);
    struct address *at = &g->servers[g->n_servers];
    int rc = address_parse(text, at, err);
    for (unsigned i = 0; i < g->n_servers && !rc; i++)
        if (strcmp(g->servers[i].host, at->host) == 0)
            rc = err_set(err, ERR_USAGE, 0, "'%.200s' is twice in the list of servers: name it once", text);
    if (rc)
        return rc;
    const size_t used = strlen(g->url);
    snprintf(g->url + used, sizeof(g->url) - used, "%shttp://%s", used ? "," : "", at->host);
    g->n_servers++;
    return ERR_OK;
}

static int given_servers(struct ground *g, const char *list, struct err *err)
{
    int rc = ERR_OK;
    for (const char *p = list; !rc; p++) {
        const size_t n = strcspn(p, ",");
        const char *from = p + MIN(strspn(p, " "), n), *to = p + n;
        while (to > from && to[-1] == ' ')
            to--;
        rc = server_add(g, from, (size_t)(to - from), list, err);
        p += n;
        if (!*p)
            break;
    }
    return rc;
}

/* With an empty configuration: that of this machine is for its own server. */
static int own_server(struct ground *g, struct err *err)
{
    char data[PATH_MAX], config[PATH_MAX], log[PATH_MAX], line[400];
    static const char empty[] = "server: {}\n";
    int rc = fs_join(data, sizeof(data), g->dir, "data", err);
    if (!rc)
        rc = fs_join(config, sizeof(config), g->dir, "haul.yaml", err);
    if (!rc)
        rc = fs_join(log, sizeof(log), g->dir, "server.log", err);
    if (!rc)
        rc = fs_write_durable(config, empty, sizeof(empty) - 1, 0600, err);
    if (rc)
        return rc;
    const char *const argv[] = {"haul", "server", "--listen", "127.0.0.1:0", "--data", data, "--config", config, NULL};
    rc = child_start(&g->server, argv, log, err);
    if (!rc)
        rc = child_line(&g->server, line, sizeof(line), err);
    if (!rc && strncmp(line, READY, sizeof(READY) - 1) != 0)
        rc = err_set(err, ERR_INTERNAL, 0, "our own server says '%.100s' instead of where it listens", line);
    return rc ? rc : given_servers(g, line + sizeof(READY) - 1, err);
}

int ground_open(struct ground *g, const char *data, const char *server, unsigned batch, struct err *err)
{
    char bare[PATH_MAX];
    *g = (struct ground){.server.out = -1, .bare.fd = -1, .own = server == NULL};
    int rc = server ? given_servers(g, server, err) : ERR_OK;
    if (!rc)
        rc = folder(g, data, err);
    if (!rc && !server)
        rc = own_server(g, err);
    if (!rc)
        rc = fs_join(bare, sizeof(bare), g->dir, "bare", err);
    return rc ? rc : bare_open(&g->bare, bare, batch, err);
}

void ground_close(struct ground *g)
{
    struct err ignored = {0};
    child_stop(&g->server);
    bare_close(&g->bare);
    if (g->dir[0])
        fs_remove_tree(g->dir, &ignored);
    g->dir[0] = '\0';
}
