#include "broker/redis/link.h"
#include "base/auto.h"
#include <poll.h>
#include <stdarg.h>

#define VERSION_MIN   7
#define PAUSE_US      (100 * USEC_PER_MSEC)
#define PAUSE_MAX_US  (5 * USEC_PER_SEC)
#define PAUSE_DOUBLES 6

usec link_now(void)
{
    const struct clock clock = clock_real();
    return clock.boot_us(clock.self);
}

bool reply_is_error(const redisReply *r, const char *begins)
{
    return r->type == REDIS_REPLY_ERROR && (!begins || strncmp(r->str, begins, strlen(begins)) == 0);
}

int redis_err(const redisReply *r, struct err *err)
{
    static const struct {
        const char *begins;
        enum err_code code;
        const char *says;
    } known[] = {
        {"NOAUTH", ERR_FORBIDDEN, "Redis wants a password"},
        {"WRONGPASS", ERR_FORBIDDEN, "Redis does not let haul in"},
        {"ERR AUTH", ERR_FORBIDDEN, "Redis does not let haul in"},
        {"NOPERM", ERR_FORBIDDEN, "Redis does not allow what haul needs"},
        {"DENIED", ERR_FORBIDDEN, "Redis does not let haul in"},
        {"ERR DB index", ERR_NOT_FOUND, "there is no such database in Redis"},
        {"ERR SELECT is not allowed", ERR_UNSUPPORTED, "this Redis is a cluster, haul needs a single one"},
        {"OOM", ERR_NO_SPACE, "Redis' memory is full"},
        {"WRONGTYPE", ERR_CONFLICT, "a key of haul's name is no stream"},
        {"READONLY", ERR_UNAVAILABLE, "this Redis is a replica"},
    };
    if (r->type != REDIS_REPLY_ERROR)
        return err_set(err, ERR_UNSUPPORTED, 0, "what answers is not a Redis");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (reply_is_error(r, known[i].begins))
            return err_set(err, known[i].code, 0, "%s: %.160s", known[i].says, r->str);
    return err_set(err, ERR_UNAVAILABLE, 0, "Redis: %.200s", r->str);
}

static int ask(struct link *l, usec until_us, redisReply **ret, va_list words, struct err *err)
{
    va_list again;
    size_t n = 0;
    va_copy(again, words);
    while (va_arg(again, const char *))
        n++;
    va_end(again);
    resp_command(rwire_out(l->wire), n);
    for (size_t i = 0; i < n; i++)
        resp_text(rwire_out(l->wire), va_arg(words, const char *));
    int rc = rwire_send(l->wire, until_us, err);
    return rc ? rc : rwire_reply(l->wire, until_us, ret, err);
}

int link_ask(struct link *l, usec until_us, redisReply **ret, struct err *err, ...)
{
    va_list words;
    va_start(words, err);
    int rc = ask(l, until_us, ret, words, err);
    va_end(words);
    return rc;
}

/* As link_ask; any error of Redis is one. @param ret_int  may be NULL */
static int demand(struct link *l, usec until_us, int64_t *ret_int, struct err *err, ...)
{
    va_list words;
    redisReply *reply = NULL;
    va_start(words, err);
    int rc = ask(l, until_us, &reply, words, err);
    va_end(words);
    if (rc)
        return rc;
    if (reply_is_error(reply, NULL))
        rc = redis_err(reply, err);
    else if (ret_int)
        *ret_int = reply->integer;
    freeReplyObject(reply);
    return rc;
}

static int log_in(struct link *l, usec until_us, struct err *err)
{
    const struct redis_url *url = l->url;
    int rc = ERR_OK;
    if (url->password[0] && url->user[0])
        rc = demand(l, until_us, NULL, err, "AUTH", url->user, url->password, NULL);
    else if (url->password[0])
        rc = demand(l, until_us, NULL, err, "AUTH", url->password, NULL);
    if (!rc && url->db) {
        char db[16];
        snprintf(db, sizeof(db), "%d", url->db);
        rc = demand(l, until_us, NULL, err, "SELECT", db, NULL);
    }
    if (!rc)
        rc = demand(l, until_us, NULL, err, "CLIENT", "SETNAME", "haul", NULL);
    return rc ? rc : demand(l, until_us, &l->client_id, err, "CLIENT", "ID", NULL);
}

/* "name:value\r\n" */
static const char *info_value(const char *info, const char *name, char ret[64])
{
    const size_t n = strlen(name);
    ret[0] = 0;
    for (const char *p = info; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, name, n) == 0 && p[n] == ':') {
            snprintf(ret, 64, "%.*s", (int)strcspn(p + n + 1, "\r\n"), p + n + 1);
            break;
        }
    }
    return ret;
}

static int judge(struct link *l, const char *info, struct err *err)
{
    char value[64], version[64];
    const long major = strtol(info_value(info, "redis_version", version), NULL, 10);
    if (!version[0])
        return err_set(err, ERR_UNSUPPORTED, 0, "what answers is not a Redis: it does not tell its version");
    if (major < VERSION_MIN)
        return err_set(err, ERR_UNSUPPORTED, 0, "Redis %s is too old, haul needs %d.0 or newer", version, VERSION_MIN);
    if (strcmp(info_value(info, "role", value), "slave") == 0)
        return err_set(err, ERR_UNSUPPORTED, 0, "this Redis is a replica, which takes no writes: name its primary");
    if (strcmp(info_value(info, "cluster_enabled", value), "1") == 0)
        return err_set(err, ERR_UNSUPPORTED, 0, "this Redis is a cluster, haul needs a single one");
    info_value(info, "maxmemory_policy", value);
    snprintf(l->about, sizeof(l->about), "Redis %s, a primary, maxmemory-policy %s", version,
             value[0] ? value : "not told");
    l->warning[0] = 0;
    if (value[0] && strcmp(value, "noeviction") != 0 && strncmp(value, "volatile-", 9) != 0)
        snprintf(l->warning, sizeof(l->warning),
                 "Redis' maxmemory-policy is %s: it may throw submissions of the intake stream away; set noeviction",
                 value);
    return ERR_OK;
}

static int look(struct link *l, usec until_us, struct err *err)
{
    redisReply *reply = NULL;
    int rc = link_ask(l, until_us, &reply, err, "INFO", NULL);
    if (rc)
        return rc;
    rc = reply->type == REDIS_REPLY_STRING ? judge(l, reply->str, err) : redis_err(reply, err);
    freeReplyObject(reply);
    return rc;
}

int link_ready(struct link *l, usec until_us, struct err *err)
{
    if (l->wire)
        return ERR_OK;
    int rc = rwire_open(l->url, l->stop_fd, until_us, &l->wire, err);
    if (!rc)
        rc = log_in(l, until_us, err);
    if (!rc)
        rc = look(l, until_us, err);
    if (rc)
        link_drop(l);
    else
        l->failures = 0;
    return rc;
}

void link_drop(struct link *l)
{
    rwire_close(l->wire);
    l->wire = NULL;
}

bool link_pause(struct link *l)
{
    struct pollfd stop = {.fd = l->stop_fd, .events = POLLIN};
    usec most_us = MIN(PAUSE_US << MIN(l->failures, PAUSE_DOUBLES), PAUSE_MAX_US);
    l->failures++;
    usec pause_us = most_us / 2 + (usec)(rng_u64(l->rng) % (uint64_t)(most_us / 2 + 1));
    return poll(&stop, 1, (int)(pause_us / 1000)) == 0;
}
