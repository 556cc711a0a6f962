/* A read: on one of a few connections, in one snapshot and under a deadline that the database keeps. */
#include "store/postgres/driver.h"

/* A read here holds nobody up: the deadlines that are SQLite's, whose log grows meanwhile, are too short for a database beyond a network. */
#define LEAST_US (5 * USEC_PER_SEC)

int pg_read_limit_ms(usec deadline_us)
{
    return (int)(MAX(deadline_us, LEAST_US) / USEC_PER_MSEC);
}

int pg_begin_read(struct pg_conn *c, usec deadline_us, struct err *err)
{
    char limit[32];

    snprintf(limit, sizeof(limit), "%d", pg_read_limit_ms(deadline_us));
    int rc = q_run(&c->conn, NULL, err, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "");
    if (rc == ERR_OK)
        rc = q_run(&c->conn, NULL, err,
                   "SELECT set_config('statement_timeout', ?1, true), set_config('jit', 'off', true),"
                   " set_config('enable_bitmapscan', 'off', true)",
                   "t", limit);
    return rc == ERR_OK ? pg_settle(c, err) : rc;
}

int pg_read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err)
{
    struct pg_store *own = pg_of(s);
    size_t i = 0;
    int rc = read_pool_take(&own->pool, &i, err);

    if (rc != ERR_OK)
        return rc;
    struct pg_conn *c = &own->readers[i];
    const unsigned writers = atomic_load(&own->opened);
    c->lost = c->lost || c->writers != writers;
    rc = c->pg && !c->lost ? pg_begin_read(c, deadline_us, err) : ERR_UNAVAILABLE;
    if (rc != ERR_OK && (!c->pg || c->lost)) { /* new, ended since its last use, or to a host that writes left */
        if (err)
            err_clear(err);
        pg_conn_close(c);
        rc = pg_conn_open(c, own->url, err);
        c->writers = writers;
        if (rc == ERR_OK)
            rc = pg_begin_read(c, deadline_us, err);
    }
    if (rc != ERR_OK) {
        pg_forget(c);
        read_pool_give(&own->pool, i);
        return rc;
    }
    *ret = (struct reading){s, &c->conn};
    return ERR_OK;
}

void pg_read_end(struct reading *r)
{
    struct pg_conn *c = pg_conn_of(r->c);
    struct pg_store *own = pg_of(r->s);

    pg_forget(c);
    q_run(r->c, NULL, NULL, "ROLLBACK", "");
    pg_forget(c);
    read_pool_give(&own->pool, (size_t)(c - own->readers));
}

void pg_sizes(struct store *s, struct store_sizes *ret)
{
    struct pg_store *own = pg_of(s);

    pthread_mutex_lock(&own->mu);
    *ret = own->sizes;
    pthread_mutex_unlock(&own->mu);
    ret->blobs = s->blobs;
    ret->blob_bytes = s->blob_bytes;
}
