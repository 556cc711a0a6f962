#pragma once
/* Within the room: what one receiver is to be told of one alert. Pure: what is wanted, what came of a try and the time go in.
 *
 * There is room for the newest news only. An alert that is over before anybody tried to tell that it fires is not told at all; where a try
 * was made, the receiver may know, and is told that it is over. So it never hears of an end before its beginning, or of a beginning last
 * that has ended. */
#include "base/clock.h"
#include <stdbool.h>
#include <stdint.h>

#define OUTBOX_WAIT_MIN  (1 * USEC_PER_SEC)
#define OUTBOX_WAIT_MAX  (300 * USEC_PER_SEC)
#define OUTBOX_LATER_MAX (3600 * USEC_PER_SEC) /* as a receiver asks for (Retry-After) */

enum outbox_told {
    TOLD_NOTHING, /* or that it is over */
    TOLD_FIRING,
    TOLD_REFUSED, /* it was given up to tell that it fires; nor will its end be told */
};

struct outbox {
    enum outbox_told told;
    bool waiting; /* there is news, and it is: */
    bool firing;  /* or that it is over */
    bool tried;   /* since `told` was certain */
    unsigned tries;
    usec since, due; /* when it became news; when to try next; on the clock that the calls are given */
    uint64_t serial; /* of the news */
};

/** The alert fires, or does not. @return whether that is news to tell
 * @param tell_end  whether it is told when it is over */
bool outbox_want(struct outbox *o, bool firing, bool tell_end, usec now);
/** A try begins. @return the serial that its outcome is to name */
uint64_t outbox_try(struct outbox *o);
void outbox_sent(struct outbox *o, uint64_t serial, bool firing, usec now);
/** It will never be taken. */
void outbox_refused(struct outbox *o, uint64_t serial, usec now);
/** Not now. @param later_us  what the receiver asks for; 0: nothing @param dice  any random number
 * @return false: it has been tried for `patience_us`, and is given up */
bool outbox_failed(struct outbox *o, uint64_t serial, usec later_us, usec patience_us, uint64_t dice, usec now);
