/* Lists from standbys (ADR 33). What a standby shows is judged in the very snapshot that is read, by rows that the servers write anyway:
 * `batches` has the number of each writer's last one, and when it was, `servers` when each was seen last. WAL is replayed in its
 * order, so who has a row has all that was committed before it:
 *   - this server's own row, by id and by when it joined: it is the same database;
 *   - of each of its writers the last batch that was acknowledged here: a client sees what it wrote at this server;
 *   - the latest time of all: nothing that others wrote is missing that is older than OLDEST_US, or that this server has told of. */
#include "store/postgres/replicas.h"
#include "store/sql/read.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_US   (2 * USEC_PER_SEC)
#define OLDEST_US (5 * USEC_PER_SEC)
#define TRIES     5 /* of a standby that has not come as far yet, in pauses of 2, 4, 8, 16 ms */
#define FIRST_NS  2000000L
#define GRACE_MS  1000 /* beyond its own deadline a read is waited for so long */

struct replica {
    struct replica_host host;
    struct pg_conn readers[READERS];
    struct pg_conn looker; /* the thread's */
    /* under mu */
    enum replica_status status;
    usec age_us; /* at the last look; below 0: not known */
    char why[160];
    uint64_t reads;
};
struct replicas {
    struct store s; /* reads through this one go to standbys */
    struct pg_store *of;
    struct read_pool pool;
    struct replica all[REPLICAS_MAX];
    size_t n;
    struct pg_conn *reading[READERS]; /* whose snapshot is read */
    pthread_t thread;
    bool started;
    pthread_mutex_t mu; /* guards what follows, and what replica says */
    pthread_cond_t cond;
    bool stopping;
    size_t turn;
    uint64_t primary; /* reads that no standby answered */
};

static struct replicas *replicas_of(struct store *s)
{
    return (struct replicas *)s; /* which it begins with */
}

/** What a standby must have. */
struct floor {
    int64_t batch[PG_WRITERS]; /* 0: whatever it has */
    int64_t writers;           /* that must have come to a batch */
    usec seen;
};

static struct floor floor_now(struct pg_store *s)
{
    struct floor least = {.seen = MAX(s->learnt, store_now(&s->s) - OLDEST_US)};

    for (size_t i = 0; i < PG_WRITERS; i++) {
        least.batch[i] = s->writers[i].acknowledged;
        least.writers += least.batch[i] > 0;
    }
    return least;
}

/** In the snapshot of the transaction that is open. */
static int judge(const struct replicas *r, struct pg_conn *c, const struct floor *least, enum replica_status *ret,
                 usec *ret_seen, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    int rc = q_open(
        &c->conn, &st, err,
        "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END,"
        " (SELECT 1 FROM servers WHERE server_id = ?1 AND CAST(extract(epoch FROM started) * 1000000 AS bigint) = ?2),"
        " (SELECT count(*) FROM batches WHERE (writer_id = ?1 AND ?3 > 0 AND batch >= ?3)"
        " OR (writer_id = ?1 + 1 AND ?4 > 0 AND batch >= ?4) OR (writer_id = ?1 + 2 AND ?5 > 0 AND batch >= ?5)"
        " OR (writer_id = ?1 + 3 AND ?6 > 0 AND batch >= ?6)),"
        " CAST(extract(epoch FROM greatest((SELECT max(seen) FROM servers), (SELECT max(at) FROM batches))) * 1000000"
        " AS bigint)",
        "iiiiii", r->of->s.writer_id, atomic_load(&r->of->joined), least->batch[0], least->batch[1], least->batch[2],
        least->batch[3]);
    _Static_assert(PG_WRITERS == 4, "as the statement says");

    if (rc == ERR_OK)
        rc = q_step(&c->conn, st, &row, err);
    if (rc != ERR_OK)
        return rc;
    *ret_seen = row ? col_int(st, 3) : 0;
    *ret = !row || col_int(st, 0) == 0                                       ? REPLICA_PRIMARY
           : col_null(st, 1)                                                 ? REPLICA_FOREIGN
           : col_int(st, 2) < least->writers || col_int(st, 3) < least->seen ? REPLICA_BEHIND
                                                                             : REPLICA_OK;
    return ERR_OK;
}

static const char *say(enum replica_status status)
{
    static const char *const texts[] = {
        [REPLICA_OK] = "",
        [REPLICA_BEHIND] = "it is more than 5 s behind",
        [REPLICA_PRIMARY] = "it takes writes: it is no standby (any more)",
        [REPLICA_FOREIGN] = "it does not know this server: another database, or it is far behind",
        [REPLICA_LOST] = "it cannot be reached",
    };

    return texts[status];
}

static void note(struct replicas *r, struct replica *one, enum replica_status status, usec seen, const char *why)
{
    pthread_mutex_lock(&r->mu);
    one->status = status;
    one->age_us = seen ? MAX(store_now(&r->of->s) - seen, 0) : -1;
    snprintf(one->why, sizeof(one->why), "%.*s", (int)sizeof(one->why) - 1, why);
    pthread_mutex_unlock(&r->mu);
}

/** A transaction on a connection that is opened first where it has to be, and its snapshot judged. */
static int look(const struct replicas *r, struct replica *one, struct pg_conn *c, usec deadline_us,
                const struct floor *least, enum replica_status *ret, usec *ret_seen, struct err *err)
{
    int rc = ERR_OK;

    if (!c->pg || c->lost) {
        pg_conn_close(c);
        rc = pg_conn_open(c, one->host.conninfo, err);
    }
    c->wait_ms = REPLICA_PATIENCE_MS;
    if (rc == ERR_OK)
        rc = pg_begin_read(c, deadline_us, err);
    return rc == ERR_OK ? judge(r, c, least, ret, ret_seen, err) : rc;
}

static void look_end(struct pg_conn *c)
{
    pg_forget(c);
    q_run(&c->conn, NULL, NULL, "ROLLBACK", "");
    pg_forget(c);
}

/** One that lacks our tables is another database. */
static enum replica_status failed(const struct pg_conn *c)
{
    return strcmp(c->state, "42P01") == 0 ? REPLICA_FOREIGN : REPLICA_LOST;
}

/* --- the thread --- */

static void look_at(struct replicas *r, struct replica *one)
{
    struct err err = {0};
    enum replica_status status = REPLICA_LOST;
    usec seen = 0;
    const struct floor least = {.seen = store_now(&r->of->s) - OLDEST_US};

    if (look(r, one, &one->looker, LOOK_US, &least, &status, &seen, &err) == ERR_OK) {
        note(r, one, status, seen, say(status));
    } else {
        status = failed(&one->looker);
        note(r, one, status, 0, status == REPLICA_LOST && err.msg[0] ? err.msg : say(status));
    }
    look_end(&one->looker);
}

static void *look_main(void *arg)
{
    struct replicas *r = arg;
    struct timespec until;

    pthread_mutex_lock(&r->mu);
    while (!r->stopping) {
        pthread_mutex_unlock(&r->mu);
        for (size_t i = 0; i < r->n; i++)
            look_at(r, &r->all[i]);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_US / USEC_PER_SEC;
        pthread_mutex_lock(&r->mu);
        while (!r->stopping && pthread_cond_timedwait(&r->cond, &r->mu, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

/* --- reads --- */

static bool fit(struct replicas *r, const struct replica *one)
{
    pthread_mutex_lock(&r->mu);
    const bool ok = one->status == REPLICA_OK;
    pthread_mutex_unlock(&r->mu);
    return ok;
}

/** One that is a little behind is given the time that it takes to come up. @return whether its snapshot will do */
static bool begin_at(struct replicas *r, struct replica *one, struct pg_conn *c, usec deadline_us,
                     const struct floor *least)
{
    struct err err = {0};
    struct timespec pause = {.tv_nsec = FIRST_NS};
    enum replica_status status = REPLICA_LOST;
    usec seen = 0;

    for (int i = 0; i < TRIES; i++) {
        if (look(r, one, c, deadline_us, least, &status, &seen, &err) != ERR_OK) {
            status = failed(c);
            note(r, one, status, 0, status == REPLICA_LOST && err.msg[0] ? err.msg : say(status));
            break;
        }
        if (status == REPLICA_OK)
            return true;
        look_end(c);
        if (status != REPLICA_BEHIND)
            break;
        if (i + 1 < TRIES)
            nanosleep(&pause, NULL);
        pause.tv_nsec *= 2;
    }
    pg_forget(c);
    return false;
}

static int begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err)
{
    struct replicas *r = replicas_of(s);
    const struct floor least = floor_now(r->of);
    size_t slot = 0;
    int rc = read_pool_take(&r->pool, &slot, err);

    if (rc != ERR_OK)
        return rc;
    pthread_mutex_lock(&r->mu);
    const size_t first = r->turn++;
    pthread_mutex_unlock(&r->mu);
    for (size_t k = 0; k < r->n; k++) {
        struct replica *one = &r->all[(first + k) % r->n];
        struct pg_conn *c = &one->readers[slot];
        if (!fit(r, one) || !begin_at(r, one, c, deadline_us, &least))
            continue;
        c->wait_ms = pg_read_limit_ms(deadline_us) + GRACE_MS;
        r->reading[slot] = c;
        *ret = (struct reading){s, &c->conn};
        pthread_mutex_lock(&r->mu);
        one->reads++;
        pthread_mutex_unlock(&r->mu);
        return ERR_OK;
    }
    read_pool_give(&r->pool, slot);
    return err_set(err, ERR_UNAVAILABLE, 0, "no standby answers");
}

static void end(struct reading *reading)
{
    struct replicas *r = replicas_of(reading->s);
    struct pg_conn *c = pg_conn_of(reading->c);
    size_t slot = 0;

    look_end(c);
    while (r->reading[slot] != c)
        slot++;
    r->reading[slot] = NULL;
    read_pool_give(&r->pool, slot);
}

/** Where there are standbys, what they are asked through. */
static struct store *aside(struct store *s)
{
    return pg_of(s)->replicas ? &pg_of(s)->replicas->s : NULL;
}

/** Did a standby answer? If not, whatever the reason, the primary is asked. */
static bool answered(struct store *aside, int rc)
{
    struct replicas *r = replicas_of(aside);

    if (rc == ERR_OK)
        return true;
    pthread_mutex_lock(&r->mu);
    r->primary++;
    pthread_mutex_unlock(&r->mu);
    return false;
}

int replicas_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                      struct err *err)
{
    struct store *a = aside(s);

    return a && answered(a, pg_job_list(a, f, arena, ret, NULL)) ? ERR_OK : pg_job_list(s, f, arena, ret, err);
}

int replicas_dead_groups(struct store *s, const struct dead_filter *f, struct arena *arena, struct dead_page *ret,
                         struct err *err)
{
    struct store *a = aside(s);

    return a && answered(a, read_dead_groups(a, f, arena, ret, NULL)) ? ERR_OK
                                                                      : read_dead_groups(s, f, arena, ret, err);
}

int replicas_redrives(struct store *s, const struct redrive_filter *f, struct arena *arena, struct redrive_page *ret,
                      struct err *err)
{
    struct store *a = aside(s);

    return a && answered(a, read_redrives(a, f, arena, ret, NULL)) ? ERR_OK : read_redrives(s, f, arena, ret, err);
}

size_t pg_replicas(struct store *s, struct replica_state ret[REPLICAS_MAX], uint64_t *ret_primary)
{
    struct replicas *r = pg_of(s)->replicas;

    *ret_primary = 0;
    if (!r)
        return 0;
    pthread_mutex_lock(&r->mu);
    for (size_t i = 0; i < r->n; i++) {
        const struct replica *one = &r->all[i];
        ret[i] = (struct replica_state){.status = one->status, .age_us = one->age_us, .reads = one->reads};
        memcpy(ret[i].name, one->host.name, sizeof(ret[i].name));
        memcpy(ret[i].why, one->why, sizeof(ret[i].why));
    }
    *ret_primary = r->primary;
    pthread_mutex_unlock(&r->mu);
    return r->n;
}

/* --- start and end --- */

static int sync_init(struct replicas *r, struct err *err)
{
    pthread_condattr_t attr;

    if (pthread_condattr_init(&attr) != 0)
        return err_set(err, ERR_NO_MEMORY, 0, "condition");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->mu, NULL);
    return read_pool_init(&r->pool, err);
}

int replicas_new(struct pg_store *s, const char *url, struct replicas **ret, struct err *err)
{
    static const struct sql_own own = {.shared = true, .read_begin = begin, .read_end = end};
    struct replica_host hosts[REPLICAS_MAX];
    struct replicas *r = NULL;
    size_t n = 0;
    int rc = url ? replica_hosts(url, hosts, &n, err) : ERR_OK;

    *ret = NULL;
    if (rc != ERR_OK || !url)
        return rc;
    r = calloc(1, sizeof(*r));
    rc = r ? sync_init(r, err) : err_set(err, ERR_NO_MEMORY, 0, "standbys");
    if (rc != ERR_OK) {
        free(r);
        replica_hosts_release(hosts, n);
        return rc;
    }
    r->s = (struct store){.sql = &own, .clock = s->s.clock};
    r->of = s;
    r->n = n;
    for (size_t i = 0; i < n; i++) {
        r->all[i].host = hosts[i];
        note(r, &r->all[i], REPLICA_LOST, 0, "it was not looked at yet");
    }
    *ret = r;
    return ERR_OK;
}

int replicas_start(struct replicas *r, struct err *err)
{
    int sys = pthread_create(&r->thread, NULL, look_main, r);

    if (sys != 0)
        return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
    r->started = true;
    return ERR_OK;
}

void replicas_free(struct replicas *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->mu);
    r->stopping = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->mu);
    if (r->started)
        pthread_join(r->thread, NULL);
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < READERS; k++)
            pg_conn_close(&r->all[i].readers[k]);
        pg_conn_close(&r->all[i].looker);
        free(r->all[i].host.conninfo);
    }
    read_pool_release(&r->pool);
    pthread_cond_destroy(&r->cond);
    pthread_mutex_destroy(&r->mu);
    free(r);
}
