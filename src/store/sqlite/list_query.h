#pragma once
/* Within the driver: which jobs a page may hold. */
#include "store/sqlite/posting_walk.h"

/** Tells candidates, newest first: their id, and whether they are what the filter asks for. It goes along one index, the one with the least to
 * look at, and sorts nothing. */
struct list_walk {
    struct conn *c;
    struct posting_walk
        *walk; /* tells the ids, and `st` whether the job :id fits (NULL: each does); NULL: `st` tells both */
    sqlite3_stmt *st;
    int64_t
        left; /* so many may fit yet, by what is counted with every commit: within a batch at work it is not to be asked for pending jobs */
};
/** @param f  borrowed until it is closed, which it is to be in any case */
int list_walk_open(struct conn *c, const struct job_filter *f, struct list_walk *ret, struct err *err);
/** @param ret_more  false: that was all */
int list_walk_next(struct list_walk *w, bool *ret_more, struct uuid *ret, bool *ret_fits, struct err *err);
void list_walk_close(struct list_walk *w); /* one that is all zeros, too */
