/* What ended an attempt, in words, where no worker has said it: every dead letter tells its cause, and the limit that was hit. What differs
 * between jobs of one cause are numbers, which a fingerprint folds. */
#include "core/words.h"
#include "base/text.h"
#include "base/timefmt.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPAN_MAX 48

void words_lost(const struct job *job, const struct policy *p, bool dead, char ret[JOB_WORDS_MAX])
{
    char lease[SPAN_MAX];
    duration_format(p->lease_us, lease);
    if (dead)
        snprintf(ret, JOB_WORDS_MAX,
                 "lost with its worker too often: the lease of %s lapsed, and %" PRIu32
                 " such losses are as many as a job "
                 "may have (max_losses)",
                 lease, job->losses);
    else
        snprintf(ret, JOB_WORDS_MAX, "its worker was lost: no heartbeat came before the lease of %s lapsed", lease);
}

void words_unconfirmed(const struct policy *p, char ret[JOB_WORDS_MAX])
{
    char confirm[SPAN_MAX];
    duration_format(p->confirm_us, confirm);
    snprintf(ret, JOB_WORDS_MAX, "its worker never said that it has the job: no heartbeat came within %s of the claim",
             confirm);
}

void words_cancelled(char ret[JOB_WORDS_MAX])
{
    snprintf(ret, JOB_WORDS_MAX, "cancelled on request; its worker was lost before it could say so");
}

void words_expired(const struct job *job, char ret[JOB_WORDS_MAX])
{
    char within[SPAN_MAX];
    duration_format(job->start_deadline_at - job->created_at, within);
    snprintf(
        ret, JOB_WORDS_MAX,
        "the start deadline passed before a worker took it: it had to start within %s of its submission (start_within)",
        within);
}

static const char *limit_words(const char *what, usec limit_us, const char *without, struct arena *arena)
{
    char limit[SPAN_MAX];
    if (limit_us <= 0 || !arena)
        return without;
    duration_format(limit_us, limit);
    const char *said = arena_printf(arena, "%s of %s", what, limit);
    return said ? said : without;
}

const char *words_silent(const struct job *job, enum outcome o, struct arena *arena)
{
    switch (o) {
    case OUTCOME_TIMEOUT:
        return limit_words("it reached its time limit", job->timeout_us, "it reached its time limit", arena);
    case OUTCOME_STALLED:
        return limit_words("no progress: it was silent for its no_progress_timeout", job->no_progress_us,
                           "no progress: it was silent for too long", arena);
    case OUTCOME_OOM:
        return "it ran out of memory";
    case OUTCOME_SIGNAL:
        return "it was killed by a signal";
    case OUTCOME_INTERRUPTED:
        return "its worker handed it back";
    case OUTCOME_CANCELLED:
        return "cancelled on request";
    default:
        return "it failed, and its worker did not say of what";
    }
}

const char *words_interrupted(const struct job *job, const char *error_log, struct arena *arena)
{
    static const char plain[] = "interrupted too often: as often as a job may be (max_interruptions)";
    char *said =
        arena ? arena_printf(arena, "%s, %" PRIu32 " times; at last: %s", plain, job->interruptions, error_log) : NULL;
    if (!said)
        return plain;
    if (strlen(said) > JOB_ERROR_LOG_MAX)
        said[utf8_cut(said, JOB_ERROR_LOG_MAX)] = '\0';
    return said;
}

/* "12 jobs stand before it, and " */
static void words_before(const struct waiting_facts *f, char ret[64])
{
    *ret = '\0';
    if (f->before > 0)
        snprintf(ret, 64, "%s%" PRId64 " job%s before it, and ", f->before_exact ? "" : "more than ", f->before,
                 f->before == 1 && f->before_exact ? " stands" : "s stand");
}

static void words_paused(const struct waiting_facts *f, char ret[JOB_WORDS_MAX])
{
    char since[RFC3339_MAX], before[64];
    rfc3339_format(f->paused_at, since);
    words_before(f, before);
    int n = snprintf(ret, JOB_WORDS_MAX, "%sits queue is paused since %s%s%s%s%s", before, since,
                     f->paused_by ? " by " : "", f->paused_by ? f->paused_by : "", f->paused_reason ? ": " : "",
                     f->paused_reason ? f->paused_reason : "");
    if (n >= JOB_WORDS_MAX)
        ret[utf8_cut(ret, JOB_WORDS_MAX - 1)] = '\0';
}

static void words_drained(const struct waiting_facts *f, char ret[JOB_WORDS_MAX])
{
    char who[32] = "the worker";
    if (f->drained > 1)
        snprintf(who, sizeof(who), "all %u workers", f->drained);
    snprintf(ret, JOB_WORDS_MAX, "%s that run%s '%.128s' %s drained; resume one or start another: ", who,
             f->drained > 1 ? "" : "s", f->job->task_type, f->drained > 1 ? "are" : "is");
    for (unsigned i = 0; i < f->drained && i <= WAITING_NAMES_MAX; i++) {
        const size_t at = strlen(ret);
        snprintf(ret + at, JOB_WORDS_MAX - at, "%s%s", i ? ", " : "",
                 i < WAITING_NAMES_MAX ? f->drained_names[i] : "...");
    }
    ret[utf8_cut(ret, strlen(ret))] = '\0';
}

void words_waiting(const struct waiting_facts *f, enum waiting why, char ret[JOB_WORDS_MAX])
{
    const struct job *job = f->job;
    char at[RFC3339_MAX], before[64];
    rfc3339_format(job->run_at, at);
    words_before(f, before);
    switch (why) {
    case WAITING_RUNNING:
        snprintf(ret, JOB_WORDS_MAX, "it runs: attempt %" PRIu32, job->attempt);
        break;
    case WAITING_FINISHED:
        snprintf(ret, JOB_WORDS_MAX, "it waits for nothing: it is %s", job_status_name(job->status));
        break;
    case WAITING_FOR_JOBS:
        snprintf(ret, JOB_WORDS_MAX, "it waits for %" PRIu32 " other job%s to end", job->waiting_on,
                 job->waiting_on == 1 ? "" : "s");
        break;
    case WAITING_SCHEDULED:
        snprintf(ret, JOB_WORDS_MAX, "it is not due until %s", at);
        break;
    case WAITING_BACKING_OFF:
        snprintf(ret, JOB_WORDS_MAX, "it failed, and is tried again after %s: retry %" PRIu32, at, job->retries);
        break;
    case WAITING_PAUSED:
        words_paused(f, ret);
        break;
    case WAITING_NO_WORKER:
        snprintf(ret, JOB_WORDS_MAX, "none of the %u live workers runs '%.128s': start one that does", f->live,
                 job->task_type);
        break;
    case WAITING_DRAINED:
        words_drained(f, ret);
        break;
    case WAITING_NO_SLOT:
        snprintf(ret, JOB_WORDS_MAX, "%sno slot is free: %u worker%s it, with %u slot%s in all", before, f->serving,
                 f->serving == 1 ? " runs" : "s run", f->slots, f->slots == 1 ? "" : "s");
        break;
    case WAITING_BEHIND:
        snprintf(ret, JOB_WORDS_MAX, "%sthe free slots take those first", before);
        break;
    default:
        snprintf(ret, JOB_WORDS_MAX,
                 "it is the next of its lane: a worker with a free slot takes it with its next poll");
        break;
    }
}
