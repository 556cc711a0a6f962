#pragma once
/* Along the jobs of a type or label, newest first. */
#include "store/sqlite/postings.h"

/* Opaque. One at a time on a connection. */
struct posting_walk;

/** @param p  its texts are borrowed until the end  @param before  exclusive; NULL: from the newest on  @param from  NULL: to the oldest */
int posting_walk_open(struct conn *c, enum posting_of of, const struct posting *p, const struct uuid *before,
                      const struct uuid *from, struct posting_walk **ret, struct err *err);
/** @param ret_more  false: that was all */
int posting_walk_next(struct posting_walk *w, bool *ret_more, struct uuid *ret, struct err *err);
void posting_walk_close(struct posting_walk *w); /* NULL accepted */
