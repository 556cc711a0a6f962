#pragma once
/* The loop that drives many connections from one thread: who may ask next, what is due, what is to be asked again. What is asked, and what
 * an answer means, is the workload's business. */
#include "bench/latency.h"
#include "bench/wire.h"

/** What became of an answer. */
enum taken {
    TAKEN,       /* acknowledged: the connection is free */
    TAKEN_AGAIN, /* the server is busy or out of space: the same request once more, after a pause */
    TAKEN_WRONG  /* err is set: the run ends */
};

struct workload {
    /** Chooses what connection i asks next. false: nothing for it at the moment. `ending`: the time is over; only what brings begun
     * work to its end. */
    bool (*next)(void *self, unsigned i, bool ending);
    /** Builds what next chose for connection i; called again for each repeat of it. Borrowed until the next call of any. */
    int (*build)(void *self, unsigned i, const char **ret, size_t *ret_n, struct err *err);
    /** @param ns  from when it was due (first sent, without a rate) */
    enum taken (*take)(void *self, unsigned i, const struct answer *a, int64_t ns, struct err *err);
    void *self;
};

struct load_plan {
    const struct address *to; /* servers: connection i goes to to[i % n_to] */
    unsigned n_to;            /* 1..connections */
    unsigned connections;
    double rate;    /* requests a second that become due, answered or not; 0: each connection asks when it is free */
    int64_t for_ns; /* then it ends; 0: when next has no more */
    bool (*stop)(void); /* asked between; NULL: never */
};

struct load_result {
    uint64_t requests, repeats; /* answered well; sent once more */
    uint64_t broken;            /* connections that broke before their answer */
    int64_t elapsed_ns;         /* from the first request to the last answer that was well */
    uint64_t unsent;  /* with a rate: requests that were due and found no free connection before the time was over */
    struct err first; /* the first refusal or broken connection, when there was one */
};

/** Runs it. On an error `ret` tells of what was answered before. ERR_CANCELLED when it was stopped. */
int load_run(const struct load_plan *plan, const struct workload *work, struct load_result *ret, struct err *err);
