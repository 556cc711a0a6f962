#pragma once
/* One attempt as the supervisor knows it: job.json, written by the agent before the supervisor starts. */
#include "base/clock.h"
#include "base/err.h"
#include "client/haul.h"
#include "sandbox/sandbox.h"
#include "worker/handlers.h"
#include <jansson.h>
#include <limits.h>

struct input {
    const char *name, *ref; /* borrowed from the attempt's document */
    int64_t size;
};

struct attempt {
    json_t *doc;         /* what the borrowed strings below live in */
    char *text;          /* job.json */
    const char *payload; /* raw JSON, not NUL-terminated */
    size_t payload_n;
    char dir[PATH_MAX - 64], scratch[PATH_MAX - 32]; /* absolute */
    const char *server, *job_id, *token, *task_type, *queue;
    const char *traceparent, *tracestate; /* of what the handler does; "": none */
    unsigned number;
    int64_t retries, max_attempts;
    struct input *inputs;
    size_t n_inputs;
    usec claim_sent_us; /* CLOCK_BOOTTIME, before the poll that brought it was sent */
    usec claimed_us;    /* and when its answer was there */
    usec lease_us, heartbeat_us, grace_us, timeout_us, orphan_us;
    usec no_progress_us, verify_timeout_us; /* 0: none */
    enum sandbox_level level;
    struct string_list command, verify, read_only, env; /* arrays owned, strings borrowed */
    int64_t permanent[PERMANENT_CODES_MAX];
    size_t n_permanent;
    uint64_t file_size_max;
    usec checkpoint_us;     /* 0: only when asked and when told to stop */
    int64_t checkpoint_max; /* bytes; 0: none is stored */
};

/** job.json's text for a claimed job. @param job  one element of the lease answer, raw */
struct attempt_origin {
    const char *server;
    enum sandbox_level level; /* of the host */
    usec claim_sent_us, claimed_us, orphan_us;
};
int attempt_write(const char *dir, const char *job, size_t job_n, const struct handler *h,
                  const struct attempt_origin *o, struct err *err);
int attempt_read(const char *dir, struct attempt **ret, struct err *err);
void attempt_free(struct attempt *a);

/** "/v1/jobs/ID/attempts/N/WHAT" */
void attempt_path(const struct attempt *a, const char *what, char *ret, size_t size);
struct haul_client *attempt_client(const struct attempt *a, struct err *err);
usec boot_now(void);
/** Sleeps with full jitter around an exponential back-off; `round` counts from 0, `cap_us` bounds it. Wakes early when fd is readable (-1: none). */
void backoff_wait(unsigned round, usec cap_us, int wake_fd);
