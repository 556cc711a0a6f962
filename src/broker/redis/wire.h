#pragma once
/* A connection to a Redis: our own socket, TLS by OpenSSL, replies by hiredis' reader. One thread uses it. Every wait has an end, and ends
 * early when `stop_fd` becomes readable. */
#include "broker/redis/resp.h"
#include "broker/redis/url.h"
#include <hiredis/hiredis.h>

#define WIRE_REPLY_MAX ((size_t)64 << 20) /* of one reply; more ends the connection */
#define WIRE_SEND_MAX  ((size_t)64 << 20)

struct rwire;

/** ERR_UNAVAILABLE: not reached; ERR_FORBIDDEN: its certificate is not trusted; ERR_UNSUPPORTED: it speaks no TLS; ERR_CANCELLED: stop_fd.
 * @param until_us  on the boot clock */
int rwire_open(const struct redis_url *url, int stop_fd, usec until_us, struct rwire **ret, struct err *err);
void rwire_close(struct rwire *w); /* NULL accepted */

/** What is added here (resp.h) goes out with rwire_send. */
struct buf *rwire_out(struct rwire *w);
/** Sends what was written. After an error the wire is only good for rwire_close. */
int rwire_send(struct rwire *w, usec until_us, struct err *err);
/** The next reply, in order; an error of Redis is a reply, too. Caller: freeReplyObject. ERR_TIMEOUT, ERR_UNAVAILABLE (it hung up),
 * ERR_UNSUPPORTED (what it says is not Redis' protocol), ERR_CANCELLED. */
int rwire_reply(struct rwire *w, usec until_us, redisReply **ret, struct err *err);
