/* A look at the database in a data folder, which changes nothing. Nobody else has it open. */
#include "base/finding.h"
#include "base/fs.h"
#include "store/move.h"
#include "store/snapshot.h"
#include "store/sqlite/driver.h"
#include "store/sqlite/schema.h"
#include <limits.h>

static int text_of(struct sqlite_conn *c, const char *key, char *ret, size_t size, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    int rc = q_open(&c->conn, &st, err, "SELECT value FROM meta WHERE key = ?1", "t", key);

    if (rc == ERR_OK)
        rc = q_step(&c->conn, st, &row, err);
    snprintf(ret, size, "%s", rc == ERR_OK && row ? col_borrow(st, 0) : "");
    return rc;
}

static int look(struct sqlite_conn *c, struct findings *f, char ret_folder[UUID_STR_MAX], struct err *err)
{
    char mark[MOVE_MARK_MAX], moved[MOVE_MOVED_MAX];
    unsigned version = 0;
    int rc = schema_version(c->db, &version, err);

    if (rc == ERR_OK && version > 0)
        rc = text_of(c, STORE_META_MOVE, mark, sizeof(mark), err);
    if (rc == ERR_OK && version > 0)
        rc = text_of(c, STORE_META_MOVED, moved, sizeof(moved), err);
    if (rc == ERR_OK && version > 0)
        rc = text_of(c, STORE_META_BLOB_FOLDER, ret_folder, UUID_STR_MAX, err);
    if (rc != ERR_OK)
        return rc;
    if (version < sqlite_n_migrations)
        finding_add(f, FINDING_OK, "database", NULL, "schema %u, which the next start brings to %u", version,
                    sqlite_n_migrations);
    else
        finding_add(f, FINDING_OK, "database", NULL, "SQLite, schema %u", version);
    if (version > 0 && mark[0])
        finding_add(f, FINDING_FAIL, "move", "run 'haul migrate' again, to its end",
                    "the database is the target of a move that was not finished");
    else if (version > 0 && moved[0])
        finding_add(f, FINDING_FAIL, "move", MOVED_REMEDY, "what the database holds was moved %s", moved);
    return ERR_OK;
}

void sqlite_examine(const struct store_config *config, struct findings *f, char ret_folder[UUID_STR_MAX])
{
    char path[PATH_MAX];
    struct err err = {0};
    struct sqlite_conn c = {0};
    int rc = fs_join(path, sizeof(path), config->dir, sqlite_snapshots.file, &err);

    ret_folder[0] = '\0';
    if (rc == ERR_OK && fs_size(path) == 0) {
        finding_add(f, FINDING_OK, "database", NULL, "none yet: the first start makes it in the data folder");
        return;
    }
    if (rc == ERR_OK)
        rc = inspect(path, clock_real(), &err);
    if (rc == ERR_OK && (rc = conn_open(&c, path, false, clock_real(), &err)) == ERR_OK) {
        rc = look(&c, f, ret_folder, &err);
        conn_close(&c);
    }
    if (rc == ERR_CORRUPT)
        finding_add(f, FINDING_FAIL, "database", "keep a copy of the folder, then restore a backup (haul restore)",
                    "%s", err.msg);
    else if (rc == ERR_UNSUPPORTED)
        finding_add(f, FINDING_FAIL, "database", "use the haul that wrote it, or a newer one", "%s", err.msg);
    else if (rc != ERR_OK)
        finding_add(f, FINDING_FAIL, "database", "give the server's user the right to read and write it", "%s",
                    err.msg);
}
