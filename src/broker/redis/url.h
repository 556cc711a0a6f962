#pragma once
/* Where a Redis is, and as whom. Pure. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>

struct redis_url {
    bool tls;
    char host[256];     /* empty: `path` */
    char port[8];       /* "6379" */
    char path[108];     /* of a Unix socket */
    char user[128];     /* empty: the default one */
    char password[512]; /* empty: none */
    char ca[256];       /* PEM file of certificates to trust; empty: the system's */
    int db;             /* 0..65535 */
    usec reclaim_us;    /* a message that was read and not acknowledged for so long is taken over */
};

/** redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], rediss://..., redis+unix:///PATH[?db=N]; ?ca=FILE, ?reclaim=DURATION. USER and PASSWORD with
 * %XX where needed. ERR_INVALID says what is wrong, and never what stands there: a password may. */
int redis_url_parse(const char *text, struct redis_url *ret, struct err *err);
