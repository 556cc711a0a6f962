#pragma once
/* The broker: tells the servers of a deployment where work may be, and takes submissions in from outside. It wakes and never decides: a
 * message that is lost or repeated costs time only. A driver is a table of functions (struct broker_driver); every driver passes
 * test/contract/broker. Called by engine (announcements, wants), api (submissions), wired by app. */
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/uuid.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;
struct findings;

/** A job that became ready: what a message says. All borrowed. */
struct broker_job {
    struct uuid job_id;
    const char *queue, *task_type;
    const char *payload_ref; /* or NULL */
    int priority;            /* 0..9 */
    uint32_t retries;
};

/** Announcements that came in together, of one lane. The receiver's until it is settled; then the driver's, which frees it. */
struct broker_told {
    const char *queue, *task_type;
    int priority;
    unsigned jobs; /* how many, 1.. */
};
enum broker_outcome {
    BROKER_CLAIMED, /* the store was asked, and gave jobs of that lane */
    BROKER_NOTHING, /* the store was asked, and had none: it did not know them, or they were taken */
    BROKER_NOBODY,  /* no worker waits for them here: they go to another server */
    BROKER_LATER    /* the store did not answer: they come again */
};

/** A submission from outside. The receiver's until it is settled. */
struct broker_submission {
    const char *message_id; /* the broker's; unique in its stream */
    const char *
        json; /* an object: members of POST /v1/jobs, and job_id and retries. NULL: it is none, and `reason` says why */
    size_t json_bytes;
    const char *reason;
    usec at; /* when it was published, by the broker's wall clock */
};
enum broker_admission {
    BROKER_ADMITTED, /* durable, or known: gone from the stream */
    BROKER_REFUSED,  /* to the dead stream, with the reason */
    BROKER_DEFERRED  /* it stays, and comes again */
};

struct broker_config {
    const char *url;        /* may hold a password */
    const char *deployment; /* the same for all servers over one store, and for no other: 1..64 characters */
    const char *intake;     /* stream of submissions, or NULL */
    struct rng rng;
};

/** What a driver calls, on threads of its own. */
struct broker_calls {
    void (*told)(void *self, struct broker_told *t);
    void (*submitted)(void *self, struct broker_submission *s);
    /** It was lost (err says why) or is there again (NULL). */
    void (*changed)(void *self, const struct err *err);
    void *self;
};

struct broker_state {
    bool reached;      /* false: lost, or it refuses what it is given. Servers claim from the store alone */
    char why[256];     /* then: the reason */
    char warning[256]; /* what is wrong with its configuration, or empty */
    char about[192];   /* what it is, as found when it was opened, or empty */
    uint64_t announced, unannounced; /* jobs; unannounced: it was lost or full */
    uint64_t received, dropped,
        returned; /* of messages: dropped: the store had no such job ready; returned: for another server */
    uint64_t admitted, refused, deferred; /* submissions */
    uint64_t lost;                        /* times it was lost */
};

struct broker_driver {
    const char *name;
    /** Looks once, for at most a few seconds, whether it can be used. Out of reach is no error, it may come back: what only a person can
     * put right is (ERR_INVALID, ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_UNSUPPORTED). Messages never repeat the URL. */
    int (*open)(const struct broker_config *config, struct broker **ret, struct err *err);
    /** From now on calls are made. */
    int (*start)(struct broker *b, const struct broker_calls *calls, struct err *err);

    /* Any thread; none of them waits. After stop() they do nothing but free. */
    void (*announce)(struct broker *b, const struct broker_job *job);
    /** Workers wait here for `slots` more (fewer when negative) jobs of that type. @param queue  NULL: of any queue. Only what is wanted is
     * read. */
    void (*want)(struct broker *b, const char *queue, const char *task_type, int slots);
    void (*settle)(struct broker *b, struct broker_told *t, enum broker_outcome outcome);
    void (*settle_submission)(struct broker *b, struct broker_submission *s, enum broker_admission admission,
                              const char *reason);
    void (*state)(struct broker *b, struct broker_state *ret);

    /** Optional, before start(): what else can be looked at (rights). Leaves nothing for longer than some seconds. */
    void (*examine)(struct broker *b, struct findings *f);

    /** Sends what was settled, a second at most, and makes no more calls. */
    void (*stop)(struct broker *b);
    void (*close)(struct broker *b); /* all that was handed out is settled. NULL accepted */
};
