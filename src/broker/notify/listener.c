/* The thread: a connection on which it listens, and tells what others are to hear. What is told is a transaction of its own, never a batch's:
 * the database commits those that notify one after another, and these wait for no disk. */
#include "base/auto.h"
#include "broker/notify/driver.h"
#include <poll.h>

#define RETRY_LEAST_US  (250 * USEC_PER_MSEC)
#define RETRY_MOST_US   (5 * USEC_PER_SEC)
#define RETRY_POOLED_US (60 * USEC_PER_SEC)
#define ANSWER_US       (10 * USEC_PER_SEC)

static const char tell_sql[] = "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true),"
                               " current_setting('transaction_read_only')";

static int refused(PGconn *pg, const char *what, struct err *err)
{
    const char *text = pg ? PQerrorMessage(pg) : "out of memory"; /* lines; none when nothing went wrong */
    return err_set(err, ERR_UNAVAILABLE, 0, "servers do not hear of one another's jobs: %s%s%.*s", what,
                   *text ? ": " : "", (int)MIN(strcspn(text, "\n"), 150u), text);
}

/** A pooler gives a connection to another server's backend for each transaction, and tells the number of none of them. */
static int pooled(PGconn *pg, bool *ret, struct err *err)
{
    PGresult *res = PQexec(pg, "SELECT pg_backend_pid()");
    const bool ok = PQresultStatus(res) == PGRES_TUPLES_OK;
    *ret = ok && strtol(PQgetvalue(res, 0, 0), NULL, 10) != PQbackendPID(pg);
    PQclear(res);
    return ok ? ERR_OK : refused(pg, "asking the database", err);
}

static int listen_to(struct broker *b, PGconn *pg, struct err *err)
{
    char *channel = PQescapeIdentifier(pg, b->name, strlen(b->name));
    AUTO_FREE char *sql = NULL;
    if (!channel || asprintf(&sql, "LISTEN %s", channel) < 0)
        sql = NULL;
    PQfreemem(channel);
    if (!sql)
        return err_set(err, ERR_NO_MEMORY, 0, "broker");
    PGresult *res = PQexec(pg, sql);
    const bool ok = PQresultStatus(res) == PGRES_COMMAND_OK;
    PQclear(res);
    return ok ? ERR_OK : refused(pg, "LISTEN", err);
}

static void ignore(void *arg, const PGresult *res) {}

int listener_connect(struct broker *b, struct err *err)
{
    /* As the store's own connections; those before dbname may be overridden by the URL. */
    static const char *const keys[] = {
        "connect_timeout",  "target_session_attrs", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "application_name",     "dbname",          "client_encoding",     NULL};
    const char *values[] = {"5", "read-write", "10", "5", "3", "15000", "haul hints", b->url, "UTF8", NULL};
    PGconn *pg = PQconnectdbParams(keys, values, 1);
    bool between = false;
    int rc = PQstatus(pg) == CONNECTION_OK ? pooled(pg, &between, err) : refused(pg, "connecting", err);
    if (rc == ERR_OK && between)
        rc = err_set(err, ERR_UNSUPPORTED, 0,
                     "servers do not hear of one another's jobs, but look twice a second: a pooler is between them and "
                     "the database, where LISTEN does not work");
    if (rc == ERR_OK)
        rc = listen_to(b, pg, err);
    if (rc != ERR_OK) {
        b->retry_us = notify_now() + (between ? RETRY_POOLED_US : RETRY_LEAST_US);
        PQfinish(pg);
        return rc;
    }
    PQsetNoticeReceiver(pg, ignore, NULL);
    b->pg = pg;
    b->hello = true;
    b->busy = false;
    b->failures = 0;
    return ERR_OK;
}

static void connect_again(struct broker *b)
{
    struct err err = {0};
    const int rc = listener_connect(b, &err);
    if (rc == ERR_OK) {
        notify_is(b, NULL);
        return;
    }
    if (rc != ERR_UNSUPPORTED) {
        const usec most_us = MIN(RETRY_LEAST_US << MIN(b->failures, 8u), RETRY_MOST_US);
        b->retry_us = notify_now() + most_us / 2 + (usec)(rng_u64(b->rng) % (uint64_t)(most_us / 2));
        b->failures++;
    }
    notify_is(b, &err);
}

static void lose(struct broker *b, const char *what)
{
    struct err err = {0};
    refused(b->pg, what, &err);
    PQfinish(b->pg);
    b->pg = NULL;
    b->retry_us = notify_now() + RETRY_LEAST_US;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->n_notices; i++)
        notice_free(&b->notices[i]);
    b->n_notices = 0;
    b->said_us = 0;
    pthread_mutex_unlock(&b->lock);
    notify_is(b, &err);
}

/* --- telling --- */

/** What is to be told now. @return when there may be more, on the boot clock */
static usec compose(struct broker *b, struct buf *out, usec now)
{
    size_t n = 0;
    message_begin(out, b->self);
    const size_t empty = out->len;
    if (b->hello)
        message_hello(out);
    pthread_mutex_lock(&b->lock);
    if (b->waiting > 0 && (!b->said_us || now >= b->said_us + AGAIN_US)) {
        message_waits(out);
        b->said_us = now;
    }
    while (n < b->n_notices &&
           message_ready(out, b->notices[n].queue, b->notices[n].task_type, b->notices[n].priority, b->notices[n].jobs))
        notice_free(&b->notices[n++]);
    b->n_notices -= n;
    memmove(b->notices, b->notices + n, b->n_notices * sizeof(b->notices[0]));
    const usec next_us = b->waiting > 0 ? b->said_us + AGAIN_US : USEC_NEVER;
    pthread_mutex_unlock(&b->lock);
    b->hello = false;
    if (out->len == empty)
        buf_release(out);
    return next_us;
}

/** @return when to come again, unless something happens */
static usec tell(struct broker *b)
{
    struct buf text;
    const usec now = notify_now();
    if (b->busy)
        return b->sent_us + ANSWER_US;
    if (now < b->sent_us + GAP_US)
        return b->sent_us + GAP_US;
    const usec next_us = compose(b, &text, now);
    if (text.len == 0)
        return next_us;
    const char *values[] = {b->name, buf_str(&text)};
    const bool sent = !text.failed && PQsendQueryParams(b->pg, tell_sql, 2, NULL, values, NULL, NULL, 0);
    buf_release(&text);
    b->busy = sent;
    b->sent_us = now;
    if (sent)
        return now + ANSWER_US;
    lose(b, "telling others");
    return b->retry_us;
}

/* --- listening --- */

static void hear(struct broker *b, char *text)
{
    char *rest;
    struct line line;
    const char *speaker = message_speaker(text, &rest);
    if (!speaker || strcmp(speaker, b->self) == 0)
        return;
    while (message_next(&rest, &line))
        notify_heard(b, &line);
}

/** Was it told, by a host that takes writes? Another one may do so by now, where the other servers went. */
static bool told(const PGresult *res)
{
    return PQresultStatus(res) == PGRES_TUPLES_OK && strcmp(PQgetvalue(res, 0, 2), "off") == 0;
}

/** Reads what is there. False: the connection is of no use any more */
static bool take(struct broker *b)
{
    PGnotify *n;
    bool good = PQconsumeInput(b->pg);
    while (good && b->busy && !PQisBusy(b->pg)) {
        PGresult *res = PQgetResult(b->pg);
        b->busy = res != NULL;
        good = !res || told(res);
        PQclear(res);
    }
    if (!good)
        return false;
    while ((n = PQnotifies(b->pg)) != NULL) {
        hear(b, n->extra);
        PQfreemem(n);
    }
    return PQstatus(b->pg) == CONNECTION_OK;
}

static bool stops(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    const bool s = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return s;
}

static void wait_for(struct broker *b, usec until_us)
{
    uint64_t n;
    const usec left_us = until_us == USEC_NEVER ? USEC_NEVER : MAX(until_us - notify_now(), 0);
    struct pollfd p[2] = {{.fd = b->wake_fd, .events = POLLIN}, {.fd = b->pg ? PQsocket(b->pg) : -1, .events = POLLIN}};
    (void)poll(p, 2, left_us > 3600 * USEC_PER_SEC ? -1 : (int)((left_us + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
    (void)!read(b->wake_fd, &n, sizeof(n));
}

void *listener_run(void *arg)
{
    struct broker *b = arg;
    while (!stops(b)) {
        if (!b->pg && notify_now() >= b->retry_us)
            connect_again(b);
        wait_for(b, b->pg ? tell(b) : b->retry_us);
        if (b->pg && !take(b))
            lose(b, "the connection ended, or its host takes no writes any more");
        else if (b->pg && b->busy && notify_now() >= b->sent_us + ANSWER_US)
            lose(b, "the database does not answer");
    }
    return NULL;
}
