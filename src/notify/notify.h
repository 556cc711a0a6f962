#pragma once
/* Tells receivers that alerts fire and that they are over: each has a thread of its own, so that one that hangs holds up nobody else.
 * Who calls says, as often as he likes, how all alerts stand; what is news to a receiver, and what to do when it does not take it, is
 * decided here (outbox.h). */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>

struct notify;
struct receiver;

#define NOTIFY_TOPICS_MAX 256
#define NOTIFY_NOTES_MAX  ((size_t)1 << 19)

/** An alert, as it is declared. */
struct notify_topic {
    const char *name, *severity, *what, *objective, *text; /* objective: or NULL */
    double above, clear_at;
};
enum notify_is { NOTIFY_QUIET, NOTIFY_FIRING, NOTIFY_UNDECIDED /* says nothing: what was said stays */ };
/** And how it stands. */
struct notify_state {
    enum notify_is is;
    double value;               /* NaN: nothing to measure */
    usec fired_at, resolved_at; /* 0: never */
};

struct notify_config {
    const struct receiver *receivers; /* borrowed; at most RECEIVERS_MAX, each checked */
    size_t n_receivers;
    const struct notify_topic *topics; /* borrowed, and what it points to; at most NOTIFY_TOPICS_MAX */
    size_t n_topics;
    const char *server; /* this one's name, for people; borrowed */
};

/** Starts the threads. Nothing is told before notify_begin. */
int notify_new(const struct notify_config *config, struct notify **ret, struct err *err);
/** It is this server that tells from now on. @param notes  what notify_notes wrote before a restart, or at the server that told until now; what
 * it cannot make out counts as nothing */
void notify_begin(struct notify *n, const char *notes);
/** Another one tells from now on: what waits is forgotten. */
void notify_rest(struct notify *n);
/** What receivers were told, for notify_begin: at most NOTIFY_NOTES_MAX bytes. @return a number that changes with it */
uint64_t notify_notes(struct notify *n, struct buf *ret);
/** That number alone; cheap. */
uint64_t notify_noted(struct notify *n);
bool notify_tells(struct notify *n);
/** Any thread, never waits for a receiver; does nothing between notify_rest and notify_begin. @param states  one a topic, in their order */
void notify_tell(struct notify *n, const struct notify_state *states);
/** Ends what is under way, and the threads; what waits is not sent any more. NULL accepted. */
void notify_stop(struct notify *n);
/** Stops it, if that was not done. NULL accepted. */
void notify_free(struct notify *n);

/** A message that only tries a receiver. */
struct notify_test {
    /** Once, on a thread of notify's. @param why  NULL: it was sent. Borrowed for the call */
    void (*done)(struct notify_test *test, const char *why);
    struct notify_test *next; /* notify's */
};
/** One try, before whatever waits. `test` is notify's until `done` was called. ERR_NOT_FOUND: no such receiver; ERR_BUSY: many are being tried;
 * ERR_UNAVAILABLE: stopped. */
int notify_try(struct notify *n, const char *receiver, struct notify_test *test, struct err *err);

struct notify_view {
    const char *name;                /* borrowed from the receiver */
    bool webhook;                    /* or a command */
    const char *to;                  /* "https://host", the program */
    uint64_t sent, failed, given_up; /* messages; tries; messages */
    unsigned waiting;
    usec sent_at, failed_at; /* wall clock; the latest; 0: never */
    const char *why;         /* of failed_at; or NULL */
    usec next_at;            /* wall clock; when it is tried again; 0: nothing waits */
};
/** One a receiver, in the arena. n NULL: none. */
int notify_look(struct notify *n, struct arena *arena, struct notify_view **ret, size_t *ret_n, struct err *err);
