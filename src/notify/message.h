#pragma once
/* Within the room: one message to one receiver, and what became of a try to bring it. */
#include "base/buf.h"
#include "base/uuid.h"
#include "notify/notify.h"

#define WHY_MAX 256

enum delivery { DELIVERY_SENT, DELIVERY_FAILED /* worth another try */, DELIVERY_REFUSED };
struct outcome {
    enum delivery what;
    usec later_us;     /* FAILED: the receiver asks for so much; 0: for nothing */
    char why[WHY_MAX]; /* FAILED, REFUSED; for people, without the URL's path or a secret */
};

enum message_kind { MESSAGE_FIRING, MESSAGE_RESOLVED, MESSAGE_TEST };
struct message {
    char id[UUID_STR_MAX]; /* the same for each try */
    enum message_kind kind;
    const char *receiver, *server;
    struct notify_topic topic;
    struct notify_state state;
    usec at; /* when it became news */
};

/** The JSON that a webhook gets, and a command on its standard input. */
void message_write(const struct message *m, struct buf *ret);
const char *message_state(const struct message *m); /* "firing", "resolved"; a test fires */
void outcome_set(struct outcome *ret, enum delivery what, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
