#pragma once
/* What happened in a run, as clients, workers and an observer of the store saw it: one event a line of JSON (README.md has the format).
 * The simulator writes it; so can whoever watches real processes. check.h judges it. */
#include "base/buf.h"
#include "core/job.h"

enum event_kind {
    EV_RUN,        /* the first: what the run was set to. lease_us, heartbeat_us, retention_us */
    EV_SERVER,     /* what: "start", "resume" (it was paused), "crash" */
    EV_WORKER,     /* of a real one, who: what: "resume" (its processes were paused) */
    EV_HEAL,       /* the last fault is over */
    EV_SUBMIT,     /* an op of a client: key, max_attempts; answered: job */
    EV_CANCEL,     /* likewise: job; answered: status */
    EV_RETRY,      /* likewise */
    EV_CLAIM,      /* a worker was told: who, job, attempt, token */
    EV_BEAT,       /* ops of a worker: job, attempt, token; answered: cancel */
    EV_OUTPUT,     /* ..., outputs: the one that was sent */
    EV_COMPLETE,   /* ..., outputs: all; answered: status */
    EV_FAIL,       /* ..., outcome; answered: status */
    EV_CHECKPOINT, /* ..., outputs: its one file */
    EV_RESTORE, /* ... that begins: answered: outputs, the file that its handler finds; none when there is no checkpoint */
    EV_PROCESS, /* of a job, on a worker. what: "start", "freeze", "thaw", "alive", "end" */
    EV_STATE,   /* the store's row, when it is another one: status, attempt, outcome, budgets, version, due_us */
    EV_NEWS,    /* a client that follows a job was told: version, status */
    EV_GONE,    /* the store's row is there no more: age_us since it was finished, as the store says */
    EV_FINAL,   /* at the end, each job: as EV_STATE, and key, outputs (published, as their bytes verify) */
    EV_ATTEMPT, /* at the end, each attempt: job, attempt, outcome, who */
    EV_END,     /* the last: everything before it was told */
    EV_KIND_COUNT
};

/** Of an op: sent, or how it was answered. Unknown (a time-out, a cut connection, 503) is not refused: it may have been done. */
enum phase { PHASE_NONE, PHASE_INVOKE, PHASE_OK, PHASE_REFUSED, PHASE_UNKNOWN, PHASE_COUNT };

#define EVENT_OUTPUTS_MAX 4
struct event_output {
    char name[16];
    int64_t size;
    char sha256[17]; /* enough of it to compare: 16 digits */
};

/** What is zero was not said. */
struct event {
    usec t; /* of the run's one true clock */
    enum event_kind kind;
    enum phase phase;
    int64_t op; /* what ties an answer to its question; never used twice */
    char who[16], what[16], code[24], key[24], token[TOKEN_STR_MAX];
    struct uuid job;
    int64_t attempt, status /* + 1 */, outcome;
    int64_t max_attempts, retries, interruptions, losses, version;
    usec due_us, since_us, lease_us, heartbeat_us;
    usec retention_us, age_us;
    int64_t cancel, confirmed; /* 0 or 1 */
    struct event_output outputs[EVENT_OUTPUTS_MAX];
    size_t n_outputs;
};

struct history {
    struct event *events;
    size_t n, cap;
};

/** A new event at the end, zeroed but for these; borrowed until the next call. Ends the process when there is no memory. */
struct event *history_add(struct history *h, usec t, enum event_kind kind);
/** By time; what happened at the same time stays in order. */
void history_sort(struct history *h);
void history_free(struct history *h);

void event_write(const struct event *e, struct buf *ret); /* a line, without its end */
int event_read(const char *line, size_t n, struct event *ret, struct err *err);
/** JSON lines of every event, or of those that concern `job` (NULL: all). */
void history_write(const struct history *h, const struct uuid *job, FILE *to);
int history_read(const char *path, struct history *ret, struct err *err);
/** Of its lines: two runs with the same hash were the same. */
uint64_t history_hash(const struct history *h);
