#include "core/waiting.h"
#include "base/auto.h"
#include "base/timefmt.h"
#include "core/words.h"
#include <sys/param.h>

static const char *const names[WAITING_COUNT] = {
    "running",   "finished",        "waits_for_jobs", "scheduled",     "backing_off", "queue_paused",
    "no_worker", "workers_drained", "no_free_slot",   "behind_others", "next"};

const char *waiting_name(enum waiting w)
{
    return names[w];
}

static enum waiting why(const struct waiting_facts *f)
{
    const struct job *job = f->job;
    if (job->status == JOB_RUNNING)
        return WAITING_RUNNING;
    if (job->status != JOB_PENDING)
        return WAITING_FINISHED;
    if (job->waiting_on > 0)
        return WAITING_FOR_JOBS;
    if (job->run_at > f->now)
        return job->retries > 0 ? WAITING_BACKING_OFF : WAITING_SCHEDULED;
    if (f->paused_at)
        return WAITING_PAUSED;
    if (f->serving == 0)
        return f->drained > 0 ? WAITING_DRAINED : WAITING_NO_WORKER;
    if (f->free_slots == 0)
        return WAITING_NO_SLOT;
    return f->before > 0 ? WAITING_BEHIND : WAITING_NEXT;
}

/* The slots that serve its type end a job each in `run_mean`, in turn. Who is due later finds, for all we know, today's queue gone. Other
 * types may share the slots: likely, not promised. */
static usec likely_start(const struct waiting_facts *f, enum waiting w)
{
    if (f->serving == 0 || f->slots == 0)
        return 0;
    if (w == WAITING_SCHEDULED || w == WAITING_BACKING_OFF)
        return f->job->run_at;
    if (w == WAITING_NEXT)
        return f->now;
    if ((w != WAITING_BEHIND && w != WAITING_NO_SLOT) || f->run_mean_us < 0)
        return 0;
    double turns = (double)(MAX(f->before, 0) + 1 - (int64_t)f->free_slots) / f->slots;
    double wait_us = MAX(turns, 0.0) * (double)f->run_mean_us;
    return wait_us < 1e17 ? f->now + (usec)wait_us : 0;
}

void waiting_judge(const struct waiting_facts *f, struct waiting_verdict *ret)
{
    enum waiting w = why(f);
    bool timed = w == WAITING_SCHEDULED || w == WAITING_BACKING_OFF;
    *ret = (struct waiting_verdict){.why = w, .until = timed ? f->job->run_at : 0, .likely_at = likely_start(f, w)};
    words_waiting(f, w, ret->words);
}
