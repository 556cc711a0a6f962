#pragma once
/* A disk in memory under SQLite (its default VFS, once disk_init was called). It knows what was synced: a power cut loses any part of the
 * rest. One machine, one thread. */
#include "base/clock.h"
#include "base/rng.h"
#include <stdbool.h>

void disk_init(struct rng dice, void (*slept)(usec us)); /* `slept` is told how long a sync took */
/** Forgets everything: as a new disk, or, once disk_keep was called, as it was then. */
void disk_reset(struct rng dice);
void disk_keep(void);
void disk_end(void); /* frees all */
/** A folder of this machine that is there, for whoever wants one: nothing of ours is ever in it. */
const char *disk_dir(void);

/** The server ends here and now; whatever holds files gets errors from now on, and finds out only then. Whoever opens files afterwards
 * finds what is there. @param power  what was not synced is lost in part or as a whole; else the kernel has it still */
void disk_cut(bool power);
/** How often it was cut. */
unsigned disk_cuts(void);

enum disk_fault {
    DISK_CUT,   /* as disk_cut(true) */
    DISK_KILL,  /* as disk_cut(false) */
    DISK_SYNC,  /* a sync fails */
    DISK_WRITE, /* a write fails */
};
/** After so many more writes and syncs (1..). 0: not at all. */
void disk_plan(enum disk_fault fault, unsigned after);
void disk_full(bool full); /* writes fail for want of room */
void disk_slow(usec us);   /* each sync takes as long as that */
