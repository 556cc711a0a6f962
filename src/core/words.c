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
