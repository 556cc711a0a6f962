#pragma once
/* A thread's connection: made when it is needed, looked at before it is used, made again with back-off. */
#include "base/rng.h"
#include "broker/redis/wire.h"

#define LINK_WAIT_US (5 * USEC_PER_SEC) /* an answer is there by then */

struct link {
    const struct redis_url *url;
    struct rng rng;
    int stop_fd;
    struct rwire *wire; /* NULL: lost, or never made */
    int64_t client_id;
    unsigned failures; /* in a row */
    char warning[256]; /* what is wrong with its configuration, or empty */
    char about[192];   /* its version, and how it evicts */
};

usec link_now(void); /* the boot clock */
/** Makes it when it is lost; no waiting between tries. Errors as rwire_open's, and ERR_FORBIDDEN (user, password, rights), ERR_NOT_FOUND (no
 * such database), ERR_UNSUPPORTED (too old, a replica, a cluster). */
int link_ready(struct link *l, usec until_us, struct err *err);
void link_drop(struct link *l);
/** After link_ready failed: waits, longer each time, from 0.1 s to 5 s with jitter. false: stop_fd. */
bool link_pause(struct link *l);
/** One word or more, each a string, ended by NULL: sends it. */
int link_ask(struct link *l, usec until_us, redisReply **ret, struct err *err, ...) __attribute__((sentinel));
bool reply_is_error(const redisReply *r, const char *begins); /* NULL: any */
/** An error of Redis as one of ours. */
int redis_err(const redisReply *r, struct err *err);
