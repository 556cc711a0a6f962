#pragma once
/* The workload "life": jobs are submitted, leased and completed, by workers that live in this process. Any connection does what is most
 * wanted: what is claimed is completed first, what waits is leased next, and then more is submitted, so that a job waits for little. */
#include "bench/submit.h"

#define LIFE_SLOTS   64 /* the most that a poll may ask for */
#define LIFE_WORKERS 64
#define LIFE_CLAIMS  (LIFE_SLOTS * LIFE_WORKERS)

struct life {
    struct submit submit;
    const struct names *names; /* one for each server, borrowed */
    unsigned workers, chunk, backlog;
    uint64_t waiting;           /* acknowledged and not leased, as far as we know */
    unsigned asked;             /* slots of polls on their way */
    bool foreign;               /* the queue holds jobs that are not of this run */
    uint64_t lost;              /* polls came back empty though jobs waited: another worker takes them */
    uint64_t completed, living; /* done; asked for and not done */
    struct claim *claims;       /* a ring of those that nobody completes yet */
    size_t claims_at, n_claims;
    struct life_conn *conns;
    struct worker {
        char id[37];
        uint64_t polls;
        bool busy;
    } worker[LIFE_WORKERS];
    struct buf request;
    struct latency lease, complete, whole; /* whole: submission sent to completion acknowledged */
};

/** @param workers  1..LIFE_WORKERS: polls that may be on their way at once. The others: as submit_init's */
int life_init(struct life *l, const struct names *names, unsigned servers, unsigned connections, unsigned batch,
              unsigned workers, uint64_t most, struct err *err);
void life_release(struct life *l);
struct workload life_workload(struct life *l);
