#pragma once
/* A bounded pool of threads for work that may block: reads, blob bytes. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct pool;

/** @param n_threads 1..64  @param queue_max  tasks that may wait; beyond it pool_run refuses */
int pool_new(const char *name, unsigned n_threads, size_t queue_max, struct pool **ret, struct err *err);
/** Runs what waits, and joins the threads. From then on pool_run refuses. NULL accepted. */
void pool_stop(struct pool *pool);
/** Stops it, if that was not done. NULL accepted. */
void pool_free(struct pool *pool);
/** Runs `fn(arg)` on a thread of the pool. ERR_BUSY when the queue is full: then fn is never called. */
int pool_run(struct pool *pool, void (*fn)(void *arg), void *arg, struct err *err);
/** Does no task wait for a thread? Then one that has more to do may as well go on: to queue the rest would wake another thread for it. */
bool pool_idle(struct pool *pool);
