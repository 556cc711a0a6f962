#pragma once
/* Alerts: a number, a bound and for how long. Pure: a sample and the time in, the state out. */
#include "core/objective.h"

#define ALERT_NAME_MAX    160
#define ALERTS_MAX        (4 + 2 * OBJECTIVES_MAX)
#define ALERT_RESOLVED_US (INT64_C(3600) * USEC_PER_SEC) /* so long it is told that one was resolved */

enum alert_kind {
    ALERT_QUEUE_DEPTH,  /* jobs that a worker could take now */
    ALERT_FAILURE_RATE, /* of the jobs that ended in success or as dead letters within the window, the share of these */
    ALERT_DLQ_GROWTH,   /* jobs that became dead letters within the window */
    ALERT_OLDEST_READY, /* for how many seconds the oldest ready job has waited */
    ALERT_FAST_BURN,    /* of an objective: the lower of its burn rates over 5 minutes and an hour */
    ALERT_SLOW_BURN,    /* over 30 minutes and six hours */
    ALERT_KIND_COUNT
};

struct alert_rule {
    char name[ALERT_NAME_MAX]; /* "queue_depth", "NAME:fast_burn" */
    enum alert_kind kind;
    double above;    /* pending while the number is above this, and firing after for_us of it */
    double clear_at; /* firing until it is at most this; at most `above` */
    usec for_us;
    usec window_us;       /* FAILURE_RATE, DLQ_GROWTH */
    const char *severity; /* "critical", "warning" */
    size_t objective;     /* FAST_BURN, SLOW_BURN: which one */
};

enum alert_state { ALERT_OK, ALERT_PENDING, ALERT_FIRING, ALERT_RESOLVED };
struct alert {
    enum alert_state state;
    usec since;                 /* of the state; 0: since the start */
    usec fired_at, resolved_at; /* the latest time; 0: never */
    double value;               /* the latest sample; NaN: there was nothing to measure */
};

struct alert_facts {
    usec now_us; /* the store's time */
    uint64_t ready;
    usec oldest_ready_us;     /* how old; 0: none is ready */
    const struct tally *jobs; /* all jobs: success is good, a dead letter is bad */
    const struct objective_report *objectives;
};

/** What a rule looks at. NaN: nothing to measure. */
double alert_value(const struct alert_rule *rule, const struct alert_facts *facts);
/** The next state. A sample of NaN is below every bound. @return whether it is another one */
bool alert_step(const struct alert_rule *rule, struct alert *alert, double value, usec now_us);
const char *alert_kind_name(enum alert_kind kind);    /* "queue_depth" */
const char *alert_state_name(enum alert_state state); /* "ok", "pending", "firing", "resolved" */
/** What it means, in one line for people. */
void alert_text(const struct alert_rule *rule, char *ret, size_t size);
