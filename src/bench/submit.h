#pragma once
/* The workload "submit": jobs and nothing else. */
#include "bench/form.h"
#include "bench/load.h"

struct submit {
    struct form *forms; /* one for each server */
    unsigned servers, batch;
    uint64_t most;  /* jobs to submit; 0: no end but the time's */
    uint64_t asked; /* handed out to connections */
    uint64_t acknowledged;
    struct latency latency; /* of a request */
    struct submit_conn {
        uint64_t first;
        int64_t at_ns;
        unsigned counted; /* of its batch, acknowledged by an earlier answer that refused the others */
    } * conns;
};

/** @param names  one for each server, borrowed: connection i goes to i % servers */
int submit_init(struct submit *s, const struct names *names, unsigned servers, unsigned connections, unsigned batch,
                uint64_t most, struct err *err);
void submit_release(struct submit *s);
struct workload submit_workload(struct submit *s); /* borrows */

/* What life shares. */
bool submit_next(struct submit *s, unsigned i, int64_t at_ns);
void submit_build(struct submit *s, unsigned i, const char **ret, size_t *ret_n);
enum taken submit_take(struct submit *s, unsigned i, const struct answer *a, int64_t ns, struct err *err);

/** What an answer that is no success means. err is set. */
enum taken refused(const struct answer *a, struct err *err);
