#pragma once
/* The jobs about which something was decided lately, in order: what an event stream is made of. One writer, the engine's thread; any
 * number of readers, each with a place of his own. Bounded: who is too slow misses the oldest, and is told. */
#include "base/uuid.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEED_KEPT 4096 /* a power of two */

struct feed {
    pthread_mutex_t lock;
    uint64_t head; /* how many were ever noted */
    struct uuid jobs[FEED_KEPT];
};

void feed_init(struct feed *f);
void feed_release(struct feed *f);
/** @param job_id  NULL: jobs that nobody has named, perhaps many */
void feed_note(struct feed *f, const struct uuid *job_id);
/** Where the next one will stand. */
uint64_t feed_head(struct feed *f);
/** What was noted from place `*at` on, which moves behind it. A nil id stands for jobs that nobody has named.
 * @return how many, at most `max`  @param ret_missed  some were no longer kept, or `*at` never was a place; then it goes on at the head */
size_t feed_read(struct feed *f, uint64_t *at, struct uuid *ret, size_t max, bool *ret_missed);
