#pragma once
/* Carries checkpoint/ to the server: when the handler says so, at an interval, and when it was told to stop. A thread and a connection of
 * its own: an upload takes as long as it takes, and must not hold up lease, log or limits. Nothing here fails the attempt: what cannot be
 * a checkpoint is said in the job's log, and the one before stays. */
#include "worker/logs.h"
#include "worker/reports.h"
#include "worker/restore.h"

struct checkpoints;
/** Borrows `a`, `reports` and `log`. @param restored  what the server has; taken over */
int checkpoints_start(const struct attempt *a, struct reports *reports, struct logs *log, struct restored *restored,
                      struct checkpoints **ret, struct err *err);
/** The handler said so: as soon as can be, and until a server took it. @param percent  how far it was then; below 0: it never said */
void checkpoints_ask(struct checkpoints *c, double percent);
/** The handler has ended: what was asked for is still seen to. @param anyway  also what was not asked for, if anything changed */
void checkpoints_finish(struct checkpoints *c, bool anyway);
/** Readable when, after checkpoints_finish, there is nothing more to do. */
int checkpoints_done_fd(const struct checkpoints *c);
/** Ends the thread, in the midst of what it does, and frees. What it still owed after checkpoints_finish is said in the log. NULL accepted. */
void checkpoints_stop(struct checkpoints *c);
