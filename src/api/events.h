#pragma once
/* Within the room: one reader's event stream. Nothing is queued for him: what he is told is made when he can take it, so a slow one
 * costs his place in the feed and one look's worth of text. */
#include "api/event_id.h"
#include "api/log_text.h"
#include "api/request.h"
#include "engine/feed.h"

#define EVENTS_JOBS_MAX    20                /* single jobs a stream */
#define EVENTS_OUT_MAX     ((size_t)4 << 20) /* of text at a time: jobs stop far below, a board is smaller */
#define EVENTS_LOOK_MAX    50                /* jobs told one by one at a time; more are a reset */
#define EVENTS_PENDING_MAX (EVENTS_LOOK_MAX + EVENTS_JOBS_MAX)

struct event_log {
    bool on, fixed; /* fixed: one attempt was asked for */
    bool between;   /* its attempt ended: the next one is waited for */
    bool done;      /* nothing will come */
    struct log_text text;
    struct log_look look;
    char carry[4]; /* the beginning of a character whose end is yet to come */
    size_t n_carry;
};

struct events {
    struct api *api;
    bool jobs;
    struct job_filter filter;
    struct events_job {
        struct uuid id;
        int64_t version; /* as told last; -1: not yet; -2: that it is not there */
    } job[EVENTS_JOBS_MAX];
    size_t n_job;
    struct event_log log;
    bool board[BOARD_COUNT];
    uint64_t board_seen[BOARD_COUNT];

    const char *reset; /* to be said next; NULL: nothing was missed */
    bool begun;
    uint64_t at, told;                       /* places in the feed: read so far, and told of so far */
    usec look_at, beat_at;                   /* on the boot clock */
    usec elsewhere_at;                       /* likewise; 0: not yet */
    int64_t elsewhere;                       /* elsewhere_mark() as it was then */
    struct uuid pending[EVENTS_PENDING_MAX]; /* changed, each there once */
    size_t n_pending, next_pending;
    struct buf out;
    size_t sent;
};

/** Adds an event; `data` is JSON. */
void events_emit(struct events *ev, const char *name, const struct buf *data);
/** What is new of the log, at most some KiB. */
void event_log_fill(struct events *ev);
/** Where the log goes on. */
int64_t event_log_offset(const struct event_log *log);
void event_log_release(struct event_log *log);
/** What is new of the jobs asked for. */
void event_jobs_fill(struct events *ev);
