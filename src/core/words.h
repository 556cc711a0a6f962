#pragma once
/* Within the room: what ended an attempt, in words, where no worker has said it. Pure. */
#include "base/arena.h"
#include "core/job.h"
#include "core/waiting.h"

/** The lease lapsed. @param dead  the budget of losses is spent, job->losses of them */
void words_lost(const struct job *job, const struct policy *p, bool dead, char ret[JOB_WORDS_MAX]);
void words_unconfirmed(const struct policy *p, char ret[JOB_WORDS_MAX]);
void words_cancelled(char ret[JOB_WORDS_MAX]);
void words_expired(const struct job *job, char ret[JOB_WORDS_MAX]);
/** For a report that came without a word. @param arena  NULL: without the limit's length. Static, or in the arena; never NULL */
const char *words_silent(const struct job *job, enum outcome o, struct arena *arena);
/** The budget of interruptions is spent. @param error_log  of the last one @param arena  NULL: without it */
const char *words_interrupted(const struct job *job, const char *error_log, struct arena *arena);
/** Why a job waits. */
void words_waiting(const struct waiting_facts *f, enum waiting why, char ret[JOB_WORDS_MAX]);
