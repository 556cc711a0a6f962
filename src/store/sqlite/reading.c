/* A read: on one of a few read-only connections, in one snapshot and under a deadline. */
#include "store/sqlite/driver.h"
#include "base/bug.h"
#include <sys/stat.h>

static void snapshot_close(struct sqlite_conn *c)
{
    if (sqlite3_get_autocommit(c->db) == 0)
        q_run(&c->conn, NULL, NULL, "ROLLBACK", "");
}

/** What it shows is durable: a commit is seen as soon as it is written, so who sees it waits for its sync. */
static int snapshot_open(struct sqlite_store *s, struct sqlite_conn *c, struct err *err)
{
    int64_t any;
    int rc = q_run(&c->conn, NULL, err, "BEGIN", "");

    if (rc == ERR_OK) /* only now is it this moment's */
        rc = q_int(&c->conn, 0, &any, err, "PRAGMA schema_version", "");
    if (rc == ERR_OK && !BUG("show-before-sync"))
        rc = durable_upto(&s->durable, durable_seen(&s->durable), err);
    if (rc != ERR_OK)
        snapshot_close(c);
    return rc;
}

int sqlite_read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err)
{
    struct sqlite_store *own = sqlite_of(s);
    size_t i = 0;
    int rc = read_pool_take(&own->pool, &i, err);

    if (rc != ERR_OK)
        return rc;
    struct sqlite_conn *c = &own->readers[i];
    c->deadline = s->clock.boot_us(s->clock.self) + deadline_us;
    rc = snapshot_open(own, c, err);
    if (rc != ERR_OK) {
        read_pool_give(&own->pool, i);
        return rc;
    }
    *ret = (struct reading){s, &c->conn};
    return ERR_OK;
}

void sqlite_read_end(struct reading *r)
{
    struct sqlite_conn *c = (struct sqlite_conn *)r->c; /* which it begins with */
    struct sqlite_store *own = sqlite_of(r->s);

    c->deadline = 0;
    snapshot_close(c);
    read_pool_give(&own->pool, (size_t)(c - own->readers));
}

void sqlite_sizes(struct store *s, struct store_sizes *ret)
{
    const struct sqlite_store *own = sqlite_of(s);
    char wal[sizeof(own->path) + 8];
    struct stat db_file, wal_file;

    snprintf(wal, sizeof(wal), "%s-wal", own->path);
    *ret = (struct store_sizes){.blobs = s->blobs,
                                .blob_bytes = s->blob_bytes,
                                .database_bytes = stat(own->path, &db_file) == 0 ? db_file.st_size : 0,
                                .log_bytes = stat(wal, &wal_file) == 0 ? wal_file.st_size : 0};
}
