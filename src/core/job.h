#pragma once
/* A job: the whole data model on one page, and the rules of its life. Pure: values in, values out.
 *
 *            submit            claim                complete
 *   (none) ---------> pending --------> running -----------------> success
 *                     ^  |  ^            |  | |
 *     retry           |  |  +- fail, interrupted, lost, unconfirmed (budget left)
 *   failed/cancelled -+  |               |  +--- permanent, or a budget spent ---> failed (dead-letter queue)
 *                        +-- cancel ---> cancelled <--- cancel, reported by the worker or lapsed
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/uuid.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds (DESIGN "Outside", issue "HTTP API"). Bytes unless said. */
#define JOB_NAME_MAX        128   /* task_type, queue, project */
#define JOB_PAYLOAD_MAX     65536 /* inline payload, JSON text */
#define JOB_LABELS_MAX      64    /* labels a job */
#define JOB_LABEL_KEY_MAX   63
#define JOB_LABEL_VALUE_MAX 255
#define JOB_INPUTS_MAX      64
#define JOB_OUTPUTS_MAX     1000
#define JOB_CHECKPOINT_MAX  1000 /* files of one */
#define JOB_KEY_MAX         255  /* dedup key */
#define JOB_ERROR_LOG_MAX   16384
#define JOB_MESSAGE_MAX     256 /* progress message */
#define JOB_WORDS_MAX       256 /* what an attempt ended of, where we say it */
#define JOB_PRIORITY_MAX    9
#define JOB_LOG_HEAD_MAX    (8 * 1024 * 1024) /* of a log its beginning is kept */
#define JOB_LOG_TAIL_MAX    (8 * 1024 * 1024) /* and its end, however long it grew */
#define JOB_LOG_CHUNK_MAX   65536

enum job_status { JOB_PENDING, JOB_RUNNING, JOB_SUCCESS, JOB_FAILED, JOB_CANCELLED, JOB_STATUS_COUNT };
enum outcome { /* of an attempt */
               OUTCOME_NONE,
               OUTCOME_SUCCESS,
               OUTCOME_ERROR,
               OUTCOME_TIMEOUT,
               OUTCOME_STALLED,
               OUTCOME_OOM,
               OUTCOME_SIGNAL,
               OUTCOME_LOST,
               OUTCOME_INTERRUPTED,
               OUTCOME_CANCELLED,
               OUTCOME_UNCONFIRMED,
               OUTCOME_EXPIRED,
               OUTCOME_COUNT
};

const char *job_status_name(enum job_status s); /* "pending" */
bool job_status_parse(const char *s, enum job_status *ret);
const char *outcome_name(enum outcome o); /* "error"; "" for NONE */
bool outcome_parse(const char *s, enum outcome *ret);

/** Fencing token: minted by every claim. On the wire "ATTEMPT.32hex". */
#define TOKEN_STR_MAX 48
struct token {
    uint32_t attempt; /* 1.. */
    uint8_t secret[16];
};
struct token token_mint(uint32_t attempt, struct rng rng);
void token_format(const struct token *t, char ret[TOKEN_STR_MAX]);
bool token_parse(const char *s, struct token *ret);
bool token_equal(const struct token *a, const struct token *b); /* constant time */

struct job_input {
    const char *name; /* file name under in/ */
    const char *ref;  /* "blob:<uuid>" */
};

struct job {
    /* what was asked; fixed at submission */
    struct uuid job_id;
    const char *project, *queue, *task_type;
    int priority;            /* 0..9, high first */
    const char *payload;     /* JSON text as submitted, never NULL ("{}") */
    const char *payload_ref; /* URI or NULL */
    const struct job_input *inputs;
    size_t n_inputs;
    const char *labels;    /* JSON object text, never NULL ("{}") */
    const char *dedup_key; /* or NULL */
    uint32_t max_attempts; /* 1.. */
    usec timeout_us;       /* run time limit; 0 = none */
    usec no_progress_us;   /* how long its handler may be silent; 0 = as the worker says */
    usec created_at;
    usec start_deadline_at;               /* 0 = none */
    const char *traceparent, *tracestate; /* the trace that it is part of (W3C Trace Context), or NULL */

    /* its life */
    enum job_status status;
    usec run_at;         /* not before; the store's time */
    uint32_t waiting_on; /* jobs it waits for */
    uint32_t attempt;    /* latest attempt's number; 0 before the first; never falls */
    uint32_t retries, interruptions, losses;
    struct token token;       /* of the latest attempt */
    struct uuid owner_id;     /* worker of the latest attempt; nil when none */
    usec lease_until;         /* 0 unless running */
    bool confirmed;           /* a heartbeat came since the claim */
    bool loss_charged;        /* pending only, and for job_heartbeat only: the latest attempt's lapse was charged */
    usec cancel_requested_at; /* 0 = no */
    usec started_at;          /* first claim of the current attempt */
    usec finished_at;
    enum outcome last_outcome;    /* of the latest ended attempt */
    const char *error_log;        /* or NULL */
    uint64_t fingerprint;         /* of a dead letter (fingerprint.h); 0: none, or not worked out yet */
    double progress;              /* percent 0..100; -1 = never reported */
    const char *progress_message; /* or NULL */
    usec progress_at;
    int64_t version; /* rises with every visible change */
};

/** What jobs of one type have when their submission does not say; each 0 = nothing of its own. */
struct type_policy {
    const char *task_type;
    usec start_deadline_us; /* longest wait for the first start, from run_at on */
    usec timeout_us, no_progress_us;
    uint32_t max_attempts;
};

/** Every default of DESIGN "The life of a job"; the server's configuration overrides. */
struct policy {
    usec lease_us, heartbeat_us, confirm_us, poll_us, term_grace_us;
    uint32_t max_attempts, max_interruptions, max_losses;
    usec backoff_base_us, backoff_cap_us;
    usec retention_us, dedup_us;
    usec upload_keep_us;             /* how long an unfinished upload may rest */
    int64_t uploads_max;             /* unfinished ones */
    usec blob_unreferenced_us;       /* how long an upload may wait for its submission */
    const struct type_policy *types; /* borrowed; sorted by task_type, each there once */
    size_t n_types;
};
struct policy policy_default(void);
/** Fills what a submission left at 0 from its type's policy, else the server's. `task_type` and `run_at` are set. */
void policy_fill(const struct policy *p, struct job *job);

/** Exponential with full jitter: uniform in [0, min(cap, base * 2^retries)].
 * @param retries  retries already made, 0..  @param dice  64 random bits */
usec backoff_us(const struct policy *p, uint32_t retries, uint64_t dice);

/* Moves. Each changes `job` and returns ERR_OK, or returns a refusal and changes nothing.
 * `now` is the store's time. ERR_STALE_TOKEN: the token is not of the latest attempt, or that attempt was decided.
 * ERR_ILLEGAL_STATE: the job is not where this can happen; the message says where it is. */

/** pending and due -> running; attempt + 1; lease_until = now + confirm_us, unconfirmed. */
int job_claim(struct job *job, const struct policy *p, struct uuid owner, const struct token *token, usec now,
              struct err *err);
/** running -> running, lease extended; pending with the latest token (lease had lapsed) -> running again, and if the loss was
 * charged it is given back: the attempt was not lost. */
int job_heartbeat(struct job *job, const struct policy *p, const struct token *token, usec now, struct err *err);
/** running, or pending with the latest token -> success; cancelled when a cancel was requested. */
int job_complete(struct job *job, const struct token *token, usec now, struct err *err);

struct job_failure {
    enum outcome outcome; /* ERROR, TIMEOUT, STALLED, OOM, SIGNAL, INTERRUPTED, CANCELLED */
    bool permanent;
    const char *error_log; /* borrowed; at most JOB_ERROR_LOG_MAX */
    usec retry_after_us;   /* 0 = by back-off */
    uint64_t dice;
    struct arena *arena; /* where longer words live, as long as the job does; NULL: shorter ones */
};
/** job->error_log is never empty afterwards: what the report left out is said here. */
int job_fail(struct job *job, const struct policy *p, const struct token *token, const struct job_failure *f, usec now,
             struct err *err);
/** running: asks (cancel_requested_at); pending -> cancelled. Cancelled already: ERR_OK, nothing changes. */
int job_cancel(struct job *job, usec now, struct err *err);
/** failed or cancelled -> pending; budgets start again. */
int job_retry(struct job *job, usec now, struct err *err);
/** How an attempt ended that nobody reported. */
struct job_end {
    enum outcome outcome;
    char words[JOB_WORDS_MAX]; /* a dead letter's error_log points here */
};
/** Lease over (lease_until <= now): cancel requested -> cancelled; unconfirmed -> pending free of charge; else losses + 1 and
 * pending or failed. @param charge  false: this loss counts for no budget. */
int job_expire(struct job *job, const struct policy *p, bool charge, usec now, struct job_end *ret, struct err *err);
/** A lease that lapsed, as far as the job's own row does not tell. */
struct loss {
    usec lease_until;
    usec grace_until; /* the latest grace written */
    bool others;      /* another worker, with another job, was lost or falls silent within loss_window_us of it */
    uint32_t before;  /* attempts of this job that were lost before, charged or not */
};
/** Does it count against the job? Not around an outage of ours, nor when it was not the only worker to go; but a job that was lost
 * `max_interruptions` times pays for every further loss: two poison jobs that run side by side must end, too. */
bool loss_charged(const struct policy *p, const struct loss *loss);
/** How far apart the ends of leases are that one event ended. */
usec loss_window_us(const struct policy *p);
/** Start deadline passed while pending -> failed, outcome EXPIRED. */
int job_miss_deadline(struct job *job, usec now, struct job_end *ret, struct err *err);

/** May it be claimed at `now`? */
bool job_ready(const struct job *job, usec now);
/** success or cancelled: the row belongs to history. */
bool job_finished(enum job_status s);
