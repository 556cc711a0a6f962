#pragma once
/* What the driver's files share. One thread with a connection of its own tells and listens (listener.c); whoever calls the driver takes `lock`
 * for a moment. */
#include "base/rng.h"
#include "broker/broker.h"
#include "broker/notify/message.h"
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define NOTICES_MAX 256                 /* lanes with news; the news of more are dropped, and counted */
#define GAP_US      (5 * USEC_PER_MSEC) /* between two messages of a server, at least */
#define AGAIN_US    (5 * USEC_PER_SEC)  /* that workers wait is said again */
#define BELIEVED_US (12 * USEC_PER_SEC) /* and believed for so long */

struct want {
    char *task_type;
    int slots;
    UT_hash_handle hh;
};

/** Jobs that became ready in a lane and are to be told of. */
struct notice {
    char *queue, *task_type;
    int priority;
    unsigned jobs;
};

struct broker {
    char *url, *channel; /* the latter quoted for LISTEN */
    char name[64];       /* of the channel */
    char self[SPEAKER_MAX];
    struct rng rng;
    struct broker_calls calls;
    int wake_fd;
    pthread_t thread;
    bool runs;
    atomic_int_fast64_t awaited_until; /* boot clock: until then somebody waits at another server */
    pthread_mutex_t lock;
    /* lock */
    bool stopping;
    struct want *wants;
    unsigned waiting; /* wants with slots */
    usec said_us;     /* when it was said that workers wait, boot clock; 0: never */
    struct notice notices[NOTICES_MAX];
    size_t n_notices;
    struct broker_state state;
    /* the thread's, before it open()'s */
    PGconn *pg;
    bool hello, busy; /* to be said; a message is on its way */
    usec sent_us;     /* the latest message, boot clock */
    unsigned failures;
    usec retry_us; /* boot clock */
};

usec notify_now(void);
void notify_wake(struct broker *b);
/** It works (NULL), or does not. */
void notify_is(struct broker *b, const struct err *err);
void notice_free(struct notice *n);
/** A line of another server's message. */
void notify_heard(struct broker *b, const struct line *line);

/* listener.c */
int listener_connect(struct broker *b, struct err *err);
void *listener_run(void *arg);
