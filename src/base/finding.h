#pragma once
/* What a look at some part of an installation found: for `haul doctor`. */

enum finding_level { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct finding {
    enum finding_level level;
    const char *check;  /* "database" */
    const char *said;   /* what was seen */
    const char *remedy; /* what to do; "" where nothing is to be done */
};
/** Whoever takes findings, one by one; what they point to is gone behind the call. */
struct findings {
    void (*take)(struct findings *f, const struct finding *what);
};
/** @param remedy  may be NULL */
void finding_add(struct findings *f, enum finding_level level, const char *check, const char *remedy, const char *fmt,
                 ...) __attribute__((format(printf, 5, 6)));
