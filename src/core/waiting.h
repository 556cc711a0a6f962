#pragma once
/* Why does a job wait? The one thing that holds it back now, and when it will likely start. Pure. */
#include "core/job.h"

enum waiting {
    WAITING_RUNNING, /* it does not: it runs */
    WAITING_FINISHED,
    WAITING_FOR_JOBS,
    WAITING_SCHEDULED,
    WAITING_BACKING_OFF,
    WAITING_PAUSED,
    WAITING_NO_WORKER, /* none that is live runs its type */
    WAITING_DRAINED,   /* those that are live and run it are drained */
    WAITING_NO_SLOT,   /* those that do have no slot free */
    WAITING_BEHIND,    /* a slot is free, and others stand before it */
    WAITING_NEXT,      /* a slot is free, and nobody stands before it */
    WAITING_COUNT
};
const char *waiting_name(enum waiting w); /* "no_slot" */

#define WAITING_NAMES_MAX 3

struct waiting_facts {
    const struct job *job;
    usec now;               /* the store's */
    unsigned live, serving; /* workers: heard of lately; and of those, who run its type */
    unsigned drained;       /* of the live ones that run its type: those that are given none; not among `serving` */
    const char *drained_names[WAITING_NAMES_MAX]; /* of the first of them */
    unsigned slots, free_slots;                   /* of those that serve; at their last poll */
    int64_t before;                               /* jobs before it in its lane; -1: it stands in none */
    bool before_exact;                            /* false: there are more than `before` */
    usec paused_at;                               /* since when its queue is; 0: it is not */
    const char *paused_by, *paused_reason;        /* or NULL */
    usec run_mean_us;                             /* how long jobs of its type ran; -1: none ran yet */
};

struct waiting_verdict {
    enum waiting why;
    usec until;     /* when that is over by itself; 0: not by time */
    usec likely_at; /* when it will likely start; 0: that cannot be told, or it did */
    char words[JOB_WORDS_MAX];
};
void waiting_judge(const struct waiting_facts *f, struct waiting_verdict *ret);
