#pragma once
/* A server of one thread that gives scripted answers, one connection each, and keeps what it was asked. */
#include <stdbool.h>
#include <stddef.h>

#define STEPS_MAX 16

struct step {
    const char *answer; /* head and body as they go out; NULL: close without a word */
    size_t n;           /* bytes of it; 0: strlen */
};

struct scripted;
struct scripted *scripted_start(const struct step *steps, size_t n);
/** Answers before all of the body came. @param lingers  takes the rest, until its client hangs up; else it closes at once */
struct scripted *scripted_start_hasty(const struct step *steps, size_t n, bool lingers);
const char *scripted_url(const struct scripted *s);
/** Waits until all steps were asked for. */
void scripted_join(struct scripted *s);
/** Request number i: head and body, their first MiB; after scripted_join. */
const char *scripted_request(const struct scripted *s, size_t i);
void scripted_free(struct scripted *s);
