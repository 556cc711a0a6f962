#pragma once
/* The worker's state folder: whose it is, what lies in it, and how much room there is. */
#include "base/clock.h"
#include "base/err.h"
#include "base/uuid.h"
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define STATE_FORMAT 1 /* of everything below the folder; a newer one is refused, an older one is taken over */

struct state {
    char path[PATH_MAX], attempts[PATH_MAX];
    char worker_id[UUID_STR_MAX];
    int lock_fd;
};
/** Makes or takes over the folder, under its lock, and removes half-written files of a crash. Refused with what to do: locked by another
 * worker (ERR_LOCKED), of another machine (ERR_CONFLICT), of a newer haul (ERR_UNSUPPORTED), not writable (ERR_IO), full (ERR_NO_SPACE).
 * A refusal changes nothing. */
int state_open(const char *path, struct state *ret, struct err *err);
/** Only looks: fills path and attempts. For `haul worker status`. */
int state_find(const char *path, struct state *ret, struct err *err);
void state_close(struct state *s);

/** The folders of attempts; anything else there is none of ours. */
typedef void (*state_each)(void *arg, const char *dir, const char *name);
void state_attempts(const struct state *s, state_each each, void *arg);
/** Has the attempt in `dir` a supervisor, by its lock? */
bool state_attempt_runs(const char *dir);
/** "JOB_ID-N", as attempts are named. */
bool attempt_name_valid(const char *name);

/** Room for another job? `ret_free` bytes, 0 when the folder has become read-only. */
bool state_has_room(const struct state *s, uint64_t min_free, uint64_t *ret_free);
