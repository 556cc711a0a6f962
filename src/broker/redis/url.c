#include "broker/redis/url.h"
#include "base/auto.h"
#include "base/timefmt.h"

#define RECLAIM_US     (10 * USEC_PER_SEC)
#define RECLAIM_MAX_US (3600 * USEC_PER_SEC)

static int bad(struct err *err, const char *what)
{
    return err_field(err, "broker", "%s (redis://USER:PASSWORD@HOST:PORT/DB)", what);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @return false: too long, or a % that is none */
static bool decode(const char *p, size_t n, char *ret, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)p[i];
        if (c == '%') {
            if (i + 2 >= n || hex(p[i + 1]) < 0 || hex(p[i + 2]) < 0)
                return false;
            c = hex(p[i + 1]) * 16 + hex(p[i + 2]);
            i += 2;
        }
        if (!c || len + 1 >= size)
            return false;
        ret[len++] = (char)c;
    }
    ret[len] = 0;
    return true;
}

static bool number(const char *p, size_t n, long max, long *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || *ret > max)
            return false;
        *ret = *ret * 10 + (p[i] - '0');
    }
    return n > 0 && *ret <= max;
}

static int read_db(const char *p, size_t n, struct redis_url *u, struct err *err)
{
    long db;
    if (!number(p, n, 65535, &db))
        return bad(err, "the database must be a number of 0 to 65535");
    u->db = (int)db;
    return ERR_OK;
}

static int read_user(const char *p, size_t n, struct redis_url *u, struct err *err)
{
    const char *colon = memchr(p, ':', n);
    size_t user_n = colon ? (size_t)(colon - p) : n;
    if (!decode(p, user_n, u->user, sizeof(u->user)))
        return bad(err, "the user's name is too long, or has a % that is no %XX");
    if (colon && !decode(colon + 1, n - user_n - 1, u->password, sizeof(u->password)))
        return bad(err, "the password is too long, or has a % that is no %XX");
    if (!colon && n)
        return bad(err, "a user needs a password behind a colon");
    return ERR_OK;
}

static int read_host(const char *p, size_t n, struct redis_url *u, struct err *err)
{
    long port = 6379;
    const char *end = p + n, *host = p, *colon;
    size_t host_n;
    if (n && *p == '[') {
        const char *close = memchr(p, ']', n);
        if (!close)
            return bad(err, "a ] is missing behind the address");
        host = p + 1;
        host_n = (size_t)(close - host);
        colon = close + 1 < end ? close + 1 : NULL;
        if (colon && *colon != ':')
            return bad(err, "the port must stand behind a colon");
    } else {
        colon = memchr(p, ':', n);
        host_n = colon ? (size_t)(colon - p) : n;
    }
    if (!host_n || host_n >= sizeof(u->host) || memchr(host, '%', host_n))
        return bad(err, "a host is missing, or is none");
    memcpy(u->host, host, host_n);
    u->host[host_n] = 0;
    if (colon && (!number(colon + 1, (size_t)(end - colon - 1), 65535, &port) || !port))
        return bad(err, "the port must be a number of 1 to 65535");
    snprintf(u->port, sizeof(u->port), "%hu", (unsigned short)port);
    return ERR_OK;
}

static int read_option(const char *p, size_t n, struct redis_url *u, struct err *err)
{
    char value[256];
    const char *eq = memchr(p, '=', n);
    size_t name_n = eq ? (size_t)(eq - p) : n;
    if (!eq || !decode(eq + 1, n - name_n - 1, value, sizeof(value)))
        return bad(err, "an option must be NAME=VALUE");
    if (name_n == 2 && strncmp(p, "db", 2) == 0)
        return read_db(value, strlen(value), u, err);
    if (name_n == 2 && strncmp(p, "ca", 2) == 0) {
        snprintf(u->ca, sizeof(u->ca), "%s", value);
        return u->tls ? ERR_OK : bad(err, "ca is for rediss:// only");
    }
    if (name_n == 7 && strncmp(p, "reclaim", 7) == 0) {
        if (duration_parse(value, "broker", &u->reclaim_us, err) || u->reclaim_us < 100 * USEC_PER_MSEC ||
            u->reclaim_us > RECLAIM_MAX_US)
            return bad(err, "reclaim must be a duration of 100ms to 1h");
        return ERR_OK;
    }
    return bad(err, "the options are db, ca and reclaim");
}

static int read_options(const char *p, struct redis_url *u, struct err *err)
{
    while (p && *p) {
        size_t n = strcspn(p, "&");
        int rc = read_option(p, n, u, err);
        if (rc)
            return rc;
        p += n + (p[n] == '&');
    }
    return ERR_OK;
}

int redis_url_parse(const char *text, struct redis_url *ret, struct err *err)
{
    static const char plain[] = "redis://", tls[] = "rediss://", local[] = "redis+unix://";
    *ret = (struct redis_url){.reclaim_us = RECLAIM_US};
    const size_t all = strcspn(text, "?");
    const char *options = text[all] ? text + all + 1 : NULL, *p = text, *end = text + all;
    int rc = ERR_OK;
    if (strncmp(text, local, sizeof(local) - 1) == 0) {
        p += sizeof(local) - 1;
        if (*p != '/' || !decode(p, (size_t)(end - p), ret->path, sizeof(ret->path)))
            return bad(err, "redis+unix:// needs the absolute path of a socket, of at most 107 bytes");
        return read_options(options, ret, err);
    }
    ret->tls = strncmp(text, tls, sizeof(tls) - 1) == 0;
    if (!ret->tls && strncmp(text, plain, sizeof(plain) - 1) != 0)
        return err_field(err, "broker", "must begin with redis://, rediss:// or redis+unix://");
    p += ret->tls ? sizeof(tls) - 1 : sizeof(plain) - 1;
    const char *slash = memchr(p, '/', (size_t)(end - p)), *authority_end = slash ? slash : end;
    const char *at = memrchr(p, '@', (size_t)(authority_end - p));
    if (at) {
        rc = read_user(p, (size_t)(at - p), ret, err);
        p = at + 1;
    }
    if (!rc)
        rc = read_host(p, (size_t)(authority_end - p), ret, err);
    if (!rc && slash && slash + 1 < end)
        rc = read_db(slash + 1, (size_t)(end - slash - 1), ret, err);
    return rc ? rc : read_options(options, ret, err);
}
