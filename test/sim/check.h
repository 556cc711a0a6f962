#pragma once
/* Judges a history: which of the invariants I1 to I10 (README.md) does it break? Pure: it looks at nothing else. */
#include "history.h"

#define FINDINGS_MAX 16
struct violation {
    char invariant[4]; /* "I3" */
    struct uuid job;   /* nil: none in particular */
    char text[160];
};

/** @param h  ordered by time. @return how many were found; the first FINDINGS_MAX are in `ret` */
size_t history_check(const struct history *h, struct violation ret[FINDINGS_MAX]);
