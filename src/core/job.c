/* The life of a job (diagram in job.h). One table says which event may happen where and where it may lead; every function
 * below asks it first (`allowed`) and every change of status goes through it (`enter`). */
#include "core/job.h"
#include "base/auto.h"
#include "base/bug.h"
#include "core/fingerprint.h"
#include "core/words.h"
#include <assert.h>
#include <inttypes.h>

enum event { EV_CLAIM, EV_HEARTBEAT, EV_COMPLETE, EV_FAIL, EV_CANCEL, EV_RETRY, EV_EXPIRE, EV_DEADLINE, EV_COUNT };

#define TO(status) (1u << JOB_##status)

/* [event][from] -> set of statuses it may lead to; 0: cannot happen there. */
static const unsigned moves[EV_COUNT][JOB_STATUS_COUNT] = {
    [EV_CLAIM] = {[JOB_PENDING] = TO(RUNNING)},
    [EV_HEARTBEAT] = {[JOB_RUNNING] = TO(RUNNING), [JOB_PENDING] = TO(RUNNING)},
    [EV_COMPLETE] = {[JOB_RUNNING] = TO(SUCCESS) | TO(CANCELLED), [JOB_PENDING] = TO(SUCCESS) | TO(CANCELLED)},
    [EV_FAIL] = {[JOB_RUNNING] = TO(PENDING) | TO(FAILED) | TO(CANCELLED)},
    [EV_CANCEL] = {[JOB_RUNNING] = TO(RUNNING), [JOB_PENDING] = TO(CANCELLED), [JOB_CANCELLED] = TO(CANCELLED)},
    [EV_RETRY] = {[JOB_FAILED] = TO(PENDING), [JOB_CANCELLED] = TO(PENDING)},
    [EV_EXPIRE] = {[JOB_RUNNING] = TO(PENDING) | TO(FAILED) | TO(CANCELLED)},
    [EV_DEADLINE] = {[JOB_PENDING] = TO(FAILED)},
};

static const char *const event_names[EV_COUNT] = {
    [EV_CLAIM] = "claimed",  [EV_HEARTBEAT] = "kept alive",    [EV_COMPLETE] = "completed",
    [EV_FAIL] = "failed",    [EV_CANCEL] = "cancelled",        [EV_RETRY] = "retried",
    [EV_EXPIRE] = "expired", [EV_DEADLINE] = "called overdue",
};

static const char *const status_names[JOB_STATUS_COUNT] = {
    [JOB_PENDING] = "pending", [JOB_RUNNING] = "running",     [JOB_SUCCESS] = "success",
    [JOB_FAILED] = "failed",   [JOB_CANCELLED] = "cancelled",
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_NONE] = "",
    [OUTCOME_SUCCESS] = "success",
    [OUTCOME_ERROR] = "error",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_STALLED] = "stalled",
    [OUTCOME_OOM] = "oom",
    [OUTCOME_SIGNAL] = "signal",
    [OUTCOME_LOST] = "lost",
    [OUTCOME_INTERRUPTED] = "interrupted",
    [OUTCOME_CANCELLED] = "cancelled",
    [OUTCOME_UNCONFIRMED] = "unconfirmed",
    [OUTCOME_EXPIRED] = "expired",
};

const char *job_status_name(enum job_status s)
{
    return (unsigned)s < JOB_STATUS_COUNT ? status_names[s] : "unknown";
}

bool job_status_parse(const char *s, enum job_status *ret)
{
    for (unsigned i = 0; i < JOB_STATUS_COUNT; i++)
        if (strcmp(s, status_names[i]) == 0) {
            *ret = (enum job_status)i;
            return true;
        }
    return false;
}

const char *outcome_name(enum outcome o)
{
    return (unsigned)o < OUTCOME_COUNT ? outcome_names[o] : "unknown";
}

bool outcome_parse(const char *s, enum outcome *ret)
{
    for (unsigned i = 0; i < OUTCOME_COUNT; i++)
        if (strcmp(s, outcome_names[i]) == 0) {
            *ret = (enum outcome)i;
            return true;
        }
    return false;
}

bool job_finished(enum job_status s)
{
    return s == JOB_SUCCESS || s == JOB_CANCELLED;
}

static bool overdue(const struct job *job, usec now)
{
    return job->start_deadline_at > 0 && job->start_deadline_at <= now;
}

bool job_ready(const struct job *job, usec now)
{
    return job->status == JOB_PENDING && job->waiting_on == 0 && job->run_at <= now && !overdue(job, now);
}

static int illegal(const struct job *job, enum event ev, const char *why, struct err *err)
{
    return err_set(err, ERR_ILLEGAL_STATE, 0, "a job that is %s cannot be %s%s", job_status_name(job->status),
                   event_names[ev], why);
}

static int allowed(const struct job *job, enum event ev, struct err *err)
{
    if ((unsigned)job->status >= JOB_STATUS_COUNT || moves[ev][job->status] == 0)
        return illegal(job, ev, "", err);
    return ERR_OK;
}

static void enter(struct job *job, enum event ev, enum job_status to)
{
    assert(moves[ev][job->status] & (1u << to));
    job->status = to;
    job->version += BUG("version-stands") ? 0 : 1;
}

/** A decided attempt's token opens nothing any more. The number stays: it must never fall, and it names the attempt. */
static void void_token(struct job *job)
{
    memset(job->token.secret, 0, sizeof(job->token.secret));
}

/** Nobody holds the job: what every move out of `running` has in common. */
static void release(struct job *job, enum outcome o)
{
    job->lease_until = 0;
    job->confirmed = false;
    job->last_outcome = o;
}

/** A dead letter, with its error_log: equal causes are known by their fingerprint from now on. */
static void bury(struct job *job, usec now)
{
    job->finished_at = now;
    job->fingerprint = fingerprint_make(job->task_type, job->last_outcome, job->error_log);
}

static usec later(usec now, usec by_us)
{
    return by_us > USEC_NEVER - now ? USEC_NEVER : now + by_us;
}

/** Before `allowed`, so that a worker that was overtaken hears the same answer wherever the job went meanwhile. */
static int holds(const struct job *job, const struct token *token, struct err *err)
{
    if (token_equal(&job->token, token) || BUG("skip-token-check"))
        return ERR_OK;
    if (token->attempt != job->attempt)
        return err_set(err, ERR_STALE_TOKEN, 0, "the token is of attempt %" PRIu32 ", the latest is %" PRIu32,
                       token->attempt, job->attempt);
    return err_set(err, ERR_STALE_TOKEN, 0,
                   "the token does not hold attempt %" PRIu32 ": it was decided, or is another's", job->attempt);
}

int job_claim(struct job *job, const struct policy *p, struct uuid owner, const struct token *token, usec now,
              struct err *err)
{
    int rc = allowed(job, EV_CLAIM, err);

    if (rc != ERR_OK)
        return rc;
    if (job->waiting_on > 0)
        return illegal(job, EV_CLAIM, ": it waits for other jobs", err);
    if (overdue(job, now))
        return illegal(job, EV_CLAIM, ": its start deadline has passed", err);
    if (!job_ready(job, now))
        return illegal(job, EV_CLAIM, ": it is not due yet", err);
    if (job->attempt == UINT32_MAX)
        return illegal(job, EV_CLAIM, ": attempt numbers are used up", err);

    struct token minted = *token;

    minted.attempt = job->attempt + 1;
    if (!token_equal(&minted, &minted))
        return err_set(err, ERR_INTERNAL, 0, "claim with a token that was never minted");

    enter(job, EV_CLAIM, JOB_RUNNING);
    job->attempt++;
    job->token = minted;
    job->owner_id = owner;
    job->lease_until = later(now, p->confirm_us);
    job->confirmed = false;
    job->cancel_requested_at = 0;
    job->started_at = now;
    job->finished_at = 0;
    job->progress = -1;
    job->progress_message = NULL;
    job->progress_at = 0;
    return ERR_OK;
}

int job_heartbeat(struct job *job, const struct policy *p, const struct token *token, usec now, struct err *err)
{
    int rc = holds(job, token, err);

    if (rc == ERR_OK)
        rc = allowed(job, EV_HEARTBEAT, err);
    if (rc != ERR_OK)
        return rc;

    if (job->status ==
        JOB_PENDING) { /* its lease had lapsed, nobody claimed since: the attempt goes on, so has no outcome */
        enter(job, EV_HEARTBEAT, JOB_RUNNING);
        job->last_outcome = OUTCOME_NONE;
        if (job->loss_charged && job->losses > 0)
            job->losses--;
        job->loss_charged = false;
    }
    job->lease_until = MAX(job->lease_until, later(now, p->lease_us));
    job->confirmed = true;
    return ERR_OK;
}

int job_complete(struct job *job, const struct token *token, usec now, struct err *err)
{
    int rc = BUG("late-completion") && token->attempt < job->attempt ? ERR_OK : holds(job, token, err);

    if (rc == ERR_OK)
        rc = allowed(job, EV_COMPLETE, err);
    if (rc != ERR_OK)
        return rc;

    bool cancelled = job->cancel_requested_at != 0;

    enter(job, EV_COMPLETE, cancelled ? JOB_CANCELLED : JOB_SUCCESS);
    release(job, cancelled ? OUTCOME_CANCELLED : OUTCOME_SUCCESS);
    void_token(job);
    job->finished_at = now;
    job->error_log = NULL; /* an earlier attempt's; its own row keeps it */
    if (!cancelled && job->progress >= 0)
        job->progress = 100; /* the last report came a moment before the end */
    return ERR_OK;
}

static int check_failure(const struct job_failure *f, struct err *err)
{
    switch (f->outcome) {
    case OUTCOME_ERROR:
    case OUTCOME_TIMEOUT:
    case OUTCOME_STALLED:
    case OUTCOME_OOM:
    case OUTCOME_SIGNAL:
    case OUTCOME_INTERRUPTED:
    case OUTCOME_CANCELLED:
        break;
    default:
        return err_field(err, "outcome", "'%s' is not for a worker to report", outcome_name(f->outcome));
    }
    if (f->error_log && strnlen(f->error_log, JOB_ERROR_LOG_MAX + 1) > JOB_ERROR_LOG_MAX)
        return err_field(err, "error_log", "longer than %d bytes", JOB_ERROR_LOG_MAX);
    if (f->retry_after_us < 0)
        return err_field(err, "retry_after", "must not be negative");
    return ERR_OK;
}

int job_fail(struct job *job, const struct policy *p, const struct token *token, const struct job_failure *f, usec now,
             struct err *err)
{
    int rc = holds(job, token, err);

    if (rc == ERR_OK)
        rc = check_failure(f, err);
    if (rc == ERR_OK)
        rc = allowed(job, EV_FAIL, err);
    if (rc != ERR_OK)
        return rc;

    enum outcome o = f->outcome;
    enum job_status to;
    usec wait_us = f->retry_after_us;

    if (job->cancel_requested_at != 0 && !BUG("forget-cancel")) { /* whatever it died of: someone wanted it to end */
        o = OUTCOME_CANCELLED;
        to = JOB_CANCELLED;
    } else if (o == OUTCOME_INTERRUPTED) { /* says nothing about the job, so `permanent` means nothing here */
        job->interruptions++;
        to = job->interruptions < p->max_interruptions ? JOB_PENDING : JOB_FAILED;
    } else {
        if (o == OUTCOME_CANCELLED) /* nobody asked: the handler's own doing */
            o = OUTCOME_ERROR;
        to = !f->permanent && (uint64_t)job->retries + 1 < job->max_attempts ? JOB_PENDING : JOB_FAILED;
        if (to == JOB_PENDING) {
            if (wait_us == 0)
                wait_us = backoff_us(p, job->retries, f->dice);
            job->retries += BUG("retry-for-free") ? 0 : 1;
        }
    }

    enter(job, EV_FAIL, to);
    release(job, o);
    void_token(job);
    job->error_log = f->error_log && *f->error_log ? f->error_log : words_silent(job, o, f->arena);
    if (to == JOB_FAILED && o == OUTCOME_INTERRUPTED)
        job->error_log = words_interrupted(job, job->error_log, f->arena);
    if (to == JOB_PENDING)
        job->run_at = later(now, wait_us);
    else if (to == JOB_FAILED)
        bury(job, now);
    else
        job->finished_at = now;
    return ERR_OK;
}

int job_cancel(struct job *job, usec now, struct err *err)
{
    int rc = allowed(job, EV_CANCEL, err);

    if (rc != ERR_OK)
        return rc;
    switch (job->status) {
    case JOB_RUNNING:
        if (job->cancel_requested_at == 0) {
            enter(job, EV_CANCEL, JOB_RUNNING);
            job->cancel_requested_at = now;
        }
        break;
    case JOB_PENDING:
        enter(job, EV_CANCEL, JOB_CANCELLED);
        release(job, OUTCOME_CANCELLED);
        void_token(job); /* an attempt whose lease lapsed must not bring it back */
        job->cancel_requested_at = now;
        job->finished_at = now;
        break;
    default: /* cancelled already: asking twice is no error */
        break;
    }
    return ERR_OK;
}

int job_retry(struct job *job, usec now, struct err *err)
{
    int rc = allowed(job, EV_RETRY, err);

    if (rc != ERR_OK)
        return rc;
    enter(job, EV_RETRY, JOB_PENDING);
    void_token(job);
    job->retries = job->interruptions = job->losses = 0;
    job->fingerprint = 0;
    if (BUG("forget-attempt"))
        job->attempt = 0;
    job->run_at = now;
    job->cancel_requested_at = 0;
    job->finished_at = 0;
    job->progress = -1;
    job->progress_message = NULL;
    job->progress_at = 0;
    if (overdue(job, now)) /* or it would fail again before anybody could take it */
        job->start_deadline_at = 0;
    return ERR_OK;
}

int job_expire(struct job *job, const struct policy *p, bool charge, usec now, struct job_end *ret, struct err *err)
{
    int rc = allowed(job, EV_EXPIRE, err);

    if (rc != ERR_OK)
        return rc;
    if (job->lease_until > now)
        return illegal(job, EV_EXPIRE, ": its lease still holds", err);

    enum outcome o;
    enum job_status to = JOB_PENDING;

    if (job->cancel_requested_at != 0) { /* first: or an unconfirmed claim would bring a cancelled job back */
        o = OUTCOME_CANCELLED;
        to = JOB_CANCELLED;
        words_cancelled(ret->words);
    } else if (!job->confirmed) {
        o = OUTCOME_UNCONFIRMED;
        words_unconfirmed(p, ret->words);
        job->losses += BUG("unconfirmed-is-lost") ? 1 : 0;
    } else {
        o = OUTCOME_LOST;
        job->retries += BUG("lost-is-a-failure") ? 1 : 0;
        if (charge) {
            job->losses++;
            if (job->losses >= p->max_losses)
                to = JOB_FAILED;
        }
        words_lost(job, p, to == JOB_FAILED, ret->words);
    }

    enter(job, EV_EXPIRE, to);
    release(job, o);
    if (to == JOB_PENDING) { /* the token stays good: its worker may only have been cut off */
        job->run_at = now;
    } else {
        void_token(job);
        job->finished_at = now;
    }
    if (to == JOB_FAILED) {
        job->error_log = ret->words;
        bury(job, now);
    }
    ret->outcome = o;
    return ERR_OK;
}

int job_miss_deadline(struct job *job, usec now, struct job_end *ret, struct err *err)
{
    int rc = allowed(job, EV_DEADLINE, err);

    if (rc != ERR_OK)
        return rc;
    if (!overdue(job, now))
        return illegal(job, EV_DEADLINE, ": its start deadline has not passed", err);
    enter(job, EV_DEADLINE, JOB_FAILED);
    release(job, OUTCOME_EXPIRED);
    void_token(job);
    ret->outcome = OUTCOME_EXPIRED;
    words_expired(job, ret->words);
    job->error_log = ret->words;
    bury(job, now);
    return ERR_OK;
}
