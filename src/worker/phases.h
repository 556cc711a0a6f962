#pragma once
/* What an attempt's time was spent on, as its report says it when the job is part of a trace. */
#include "base/json.h"
#include "worker/attempt.h"

#define WORKER_PHASES_MAX 6

struct phase_time {
    const char *name; /* "download", "run", "verify", "checkpoint", "upload" */
    usec at_us, took_us;
};
struct phase_times {
    struct phase_time items[WORKER_PHASES_MAX];
    size_t n;
};

/** The one before it ends; name NULL: nothing begins. */
void phases_next(struct phase_times *p, const char *name);
/** "phases": [...]; nothing where the job is part of no trace. The last one has ended. */
void phases_write(const struct attempt *a, const struct phase_times *p, struct json_writer *w);
/** Puts one behind those of a report that has some. Times of before the machine's start are left out. */
void phases_append(const struct attempt *a, json_t *body, const struct phase_time *phase);
