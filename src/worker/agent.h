#pragma once
/* What the agent's parts share: agent.c (signals, draining, status), poll.c (asks for jobs), slots.c (what runs here). */
#include "client/haul.h"
#include "worker/handlers.h"
#include "worker/host.h"
#include "worker/presence.h"
#include "worker/settings.h"
#include "worker/state.h"
#include <pthread.h>

#define SETTLE_MS 3000 /* how long a worker that stops asks for claims it has not heard of */

struct agent {
    struct settings set;
    struct handlers *handlers;
    enum sandbox_level level;
    char host[256];
    struct state state;
    struct presence *presence;
    struct host_meter meter;    /* the poll thread's; and */
    struct haul_client *client; /* of the poll thread; interrupted from the main one */
    usec wall_us, boot_us;      /* when this agent began */
    int wake_fd, signal_fd;     /* wake: a slot may be free, or stop */
    pthread_mutex_t lock;       /* over spawning and counting, and all below */
    bool stopping, no_room;
    bool drained; /* the server gives it nothing, as somebody decided there */
    bool settled; /* the poll thread has ended */
    bool closed;  /* no supervisor is started any more */
    unsigned busy;
    usec reported_us; /* when left-over completions were last taken up */
    usec answered_us; /* CLOCK_BOOTTIME of the last successful poll; 0: none yet */
    usec complained_us;
    uint64_t free_bytes;
};

/** The poll thread: asks for jobs and starts them until `stopping`, then sets `settled`. @param arg  the agent */
void *poll_run(void *arg);

/** Counts the attempts that run, and takes up what dead ones left. @param first  says what an earlier agent left running */
void attempts_look(struct agent *g, bool first);
/** Sees whether the disk has room for another job. */
void room_look(struct agent *g);
/** A folder, its lock, job.json and a supervisor for one element of the lease answer, raw. Called under the lock.
 * @param sent_us  CLOCK_BOOTTIME from before the poll was sent. ERR_OK also when it runs already, as after a repeated poll. */
int job_start(struct agent *g, const char *text, size_t n, usec sent_us, struct err *err);
unsigned busy_now(struct agent *g);
/** Ends the poll thread's rest: a slot may be free, or it is time to stop. */
void wake(int fd);
