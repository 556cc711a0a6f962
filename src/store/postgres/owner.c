/* One server at a time: it holds the row of `servers`, and renews it by the database's clock. Each batch writes that row too (apply.c), so
 * a server that lost it, however late it notices, commits nothing. A server that starts waits for a lease that is not renewed to lapse:
 * so one that was killed starts again within seconds, and one that would be a second one is refused. */
#include "store/postgres/driver.h"
#include <errno.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 200
#define LEASE   "interval '6 seconds'"

static int try_take(struct pg_store *s, bool *ret_taken, struct err *err)
{
    int64_t taken = 0;
    int rc = q_int(
        s->s.w, 0, &taken, err,
        "INSERT INTO servers AS s (one, owner, name, until, batch) VALUES (true, ?1, ?2, clock_timestamp() + " LEASE
        ", 0) ON CONFLICT (one) DO UPDATE SET owner = excluded.owner, name = excluded.name,"
        " until = excluded.until, batch = 0 WHERE s.owner = excluded.owner OR s.until < clock_timestamp()"
        " RETURNING 1",
        "ut", &s->owner, s->name);

    *ret_taken = taken == 1;
    return rc;
}

/** When the lease of whoever has it ends, as text; and who that is. */
static int look(struct pg_store *s, char until[64], char name[96], struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    int rc = q_open(s->s.w, &st, err, "SELECT CAST(until AS text), name FROM servers", "");

    if (rc == ERR_OK)
        rc = q_step(s->s.w, st, &row, err);
    snprintf(until, 64, "%s", rc == ERR_OK && row ? col_borrow(st, 0) : "");
    snprintf(name, 96, "%s", rc == ERR_OK && row ? col_borrow(st, 1) : "");
    return rc;
}

static int wait_for(struct pg_store *s, struct err *err)
{
    char first[64] = "", now[64], name[96];
    bool taken = false;
    int rc = try_take(s, &taken, err);

    while (rc == ERR_OK && !taken) {
        rc = look(s, now, name, err);
        if (rc == ERR_OK && first[0] && strcmp(first, now) != 0)
            return err_set(err, ERR_LOCKED, 0, "another server uses the database: %.90s; one at a time may", name);
        if (!first[0])
            snprintf(first, sizeof(first), "%s", now);
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        if (rc == ERR_OK)
            rc = try_take(s, &taken, err);
    }
    return rc;
}

static void renew(struct pg_store *s, struct pg_conn *c)
{
    int64_t changed = 0;

    if (!c->pg || c->lost) {
        pg_conn_close(c);
        if (pg_conn_open(c, s->url, NULL) != ERR_OK)
            return;
    }
    q_run(&c->conn, &changed, NULL, "UPDATE servers SET until = clock_timestamp() + " LEASE " WHERE owner = ?1", "u",
          &s->owner);
    pg_forget(c);
}

static void sizes_ask(struct pg_store *s, struct pg_conn *c)
{
    int64_t bytes = 0;

    if (c->lost || !c->pg ||
        q_int(&c->conn, 0, &bytes, NULL, "SELECT pg_database_size(current_database())", "") != ERR_OK)
        return;
    pthread_mutex_lock(&s->mu);
    s->sizes.database_bytes = bytes;
    pthread_mutex_unlock(&s->mu);
}

static void *renewer_main(void *arg)
{
    struct pg_store *s = arg;
    struct pg_conn c = {0};
    struct timespec until;
    unsigned rounds = 0;

    pthread_mutex_lock(&s->mu);
    while (!s->stopping) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += OWNER_RENEW_US / USEC_PER_SEC;
        if (pthread_cond_timedwait(&s->stop_cond, &s->mu, &until) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&s->mu);
        renew(s, &c);
        if (rounds++ % 15 == 0)
            sizes_ask(s, &c);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
    pg_conn_close(&c);
    return NULL;
}

int owner_take(struct pg_store *s, struct err *err)
{
    char host[64] = "";

    gethostname(host, sizeof(host) - 1);
    snprintf(s->name, sizeof(s->name), "%s, process %ld", host, (long)getpid());
    int rc = wait_for(s, err);
    if (rc != ERR_OK)
        return rc;
    sizes_ask(s, &s->w);
    int sys = pthread_create(&s->renewer, NULL, renewer_main, s);
    if (sys != 0)
        return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
    s->renewing = true;
    return ERR_OK;
}

void owner_leave(struct pg_store *s)
{
    if (!s->renewing)
        return;
    pthread_mutex_lock(&s->mu);
    s->stopping = true;
    pthread_cond_signal(&s->stop_cond);
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->renewer, NULL);
    s->renewing = false;
    q_run(s->s.w, NULL, NULL, "DELETE FROM servers WHERE owner = ?1", "u", &s->owner);
    pg_forget(&s->w);
}
