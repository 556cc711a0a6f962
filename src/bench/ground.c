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
    if (!rc)
        snprintf(g->url, sizeof(g->url), "%s", line + sizeof(READY) - 1);
    return rc;
}

int ground_open(struct ground *g, const char *data, const char *server, unsigned batch, struct err *err)
{
    char bare[PATH_MAX];
    *g = (struct ground){.server.out = -1, .bare.fd = -1, .own = server == NULL};
    int rc = server ? address_parse(server, &g->address, err) : ERR_OK;
    if (!rc)
        rc = folder(g, data, err);
    if (!rc && !server)
        rc = own_server(g, err);
    if (!rc && server)
        snprintf(g->url, sizeof(g->url), "%s", server);
    if (!rc && !server)
        rc = address_parse(g->url, &g->address, err);
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
