#pragma once
/* Carries a log to the server, piece by piece; where it goes on after a refusal or a restart the server tells. */
#include "worker/attempt.h"
#include "worker/logs.h"

#define LOG_LIVE_RATE                                                                                                  \
    (1 << 20) /* bytes a second behind the head while the handler runs: what is faster is cut in the middle */

struct log_sender {
    struct logs *log; /* borrowed */
    int64_t sent;     /* the server has it, or was told that it will not come */
    int64_t budget;   /* bytes that may go now, behind the head */
    usec budget_at_us;
    bool asked; /* the last piece was refused for a gap, and the server asked what it has */
};

enum log_push { LOG_PUSH_NOTHING, LOG_PUSH_SENT, LOG_PUSH_LATER /* the budget is used up */ };
/** Sends the next piece. @param live  false: no budget, the end is near. ret: HAUL_OK only. @return a haul_rc */
int log_push(const struct attempt *a, struct haul_client *c, struct log_sender *s, bool live, enum log_push *ret,
             struct haul_error *he);
