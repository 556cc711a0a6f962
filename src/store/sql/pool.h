#pragma once
/* Which of a store's reading connections are free. Any thread. */
#include "base/err.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define READERS 4

struct read_pool {
    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t cond;
    bool busy[READERS];
    unsigned n_busy;
    bool gate; /* new reads wait */
};
int read_pool_init(struct read_pool *p, struct err *err);
void read_pool_release(struct read_pool *p);
/** Waits a while for one. ERR_BUSY. */
int read_pool_take(struct read_pool *p, size_t *ret, struct err *err);
void read_pool_give(struct read_pool *p, size_t i);
/** New reads wait, and those at work have ended when it returns; until it is opened again. */
void read_pool_shut(struct read_pool *p);
void read_pool_open(struct read_pool *p);
