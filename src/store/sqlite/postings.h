#pragma once
/* Which jobs are of a task type, or carry a label: `postings`, whose rows name many jobs each (ADR 41). Within a row all ids begin with the same
 * bytes: they were made in the same 256 ms. So what lies next to an id by time lies in a few rows, however many there are. */
#include "store/sqlite/driver.h"

#define POSTING_IDS_SHARED 5 /* bytes that a row's ids have in common */
#define POSTING_IDS_MAX    84
#define POSTINGS_MAX       256 /* that are added or removed at once */

/** What a posting is about. Kept in databases: never reused. */
enum posting_of {
    POSTING_TYPE = 1, /* name: the task type */
    POSTING_KEY = 2,  /* name: a label's key, whatever its value */
    POSTING_LABEL = 3 /* name and value */
};

struct posting {
    const char *project, *name, *value; /* value: looked at in those of labels only */
    struct uuid job_id;
};

/** @param all  n of them (0..POSTINGS_MAX), each only once, in any order; left in another one */
int postings_add(struct conn *c, enum posting_of of, const struct posting **all, size_t n, struct err *err);
/** Likewise. What is not there is none the more. */
int postings_remove(struct conn *c, enum posting_of of, const struct posting **all, size_t n, struct err *err);
/** How many jobs? @param max  not counted beyond it */
int postings_count(struct conn *c, enum posting_of of, const struct posting *p, int64_t max, int64_t *ret,
                   struct err *err);

typedef int postings_fn(struct conn *c, enum posting_of of, const struct posting **all, size_t n, struct err *err);

struct posting_ids {
    struct uuid id[POSTING_IDS_MAX]; /* in their order */
    size_t n;                        /* 1..POSTING_IDS_MAX */
};
/** Of a row's `last` and `others`. ERR_CORRUPT: they cannot be that. */
int posting_ids_of(const uint8_t *last, size_t n_last, const uint8_t *others, size_t n_others, struct posting_ids *ret,
                   struct err *err);
/** Columns `i` and `i` + 1. Likewise. */
int posting_ids_read(struct query *row, int i, struct posting_ids *ret, struct err *err);
/** As `value` is written. */
static inline const char *posting_value(enum posting_of of, const char *value)
{
    return of == POSTING_LABEL ? value : "";
}
