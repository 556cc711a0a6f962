#include "store/sql/pool.h"
#include <time.h>

#define WAIT_SECONDS 2 /* for a free connection, or for a checkpoint that reads must let through */

int read_pool_init(struct read_pool *p, struct err *err)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc != 0)
        return err_set(err, ERR_NO_MEMORY, rc, "condition");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&p->cond, &attr);
    pthread_condattr_destroy(&attr);
    if (rc != 0)
        return err_set(err, ERR_NO_MEMORY, rc, "condition");
    pthread_mutex_init(&p->mu, NULL);
    return ERR_OK;
}

void read_pool_release(struct read_pool *p)
{
    pthread_cond_destroy(&p->cond);
    pthread_mutex_destroy(&p->mu);
}

int read_pool_take(struct read_pool *p, size_t *ret, struct err *err)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&p->mu);
    while (rc == 0 && (p->gate || p->n_busy == READERS))
        rc = pthread_cond_timedwait(&p->cond, &p->mu, &until);
    if (p->gate || p->n_busy == READERS) {
        pthread_mutex_unlock(&p->mu);
        return err_set(err, ERR_BUSY, 0, "too many reads at once");
    }
    size_t i = 0;
    while (p->busy[i])
        i++;
    p->busy[i] = true;
    p->n_busy++;
    pthread_mutex_unlock(&p->mu);
    *ret = i;
    return ERR_OK;
}

void read_pool_give(struct read_pool *p, size_t i)
{
    pthread_mutex_lock(&p->mu);
    p->busy[i] = false;
    p->n_busy--;
    pthread_cond_broadcast(&p->cond); /* readers and the checkpoint wait on it */
    pthread_mutex_unlock(&p->mu);
}

void read_pool_shut(struct read_pool *p)
{
    pthread_mutex_lock(&p->mu);
    p->gate = true;
    while (p->n_busy > 0) /* bounded: they have deadlines */
        pthread_cond_wait(&p->cond, &p->mu);
    pthread_mutex_unlock(&p->mu);
}

void read_pool_open(struct read_pool *p)
{
    pthread_mutex_lock(&p->mu);
    p->gate = false;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->mu);
}
