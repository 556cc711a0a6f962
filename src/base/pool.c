#include "base/pool.h"

#include <pthread.h>
#include <signal.h>

#define THREADS_MAX 64

struct task {
    struct task *next;
    void (*fn)(void *arg);
    void *arg;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct task *head, **tail;
    size_t n_waiting, n_idle, queue_max;
    bool stopping;
    unsigned n_threads;
    pthread_t threads[THREADS_MAX];
};

static void *thread_main(void *arg)
{
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->head && !pool->stopping) {
            pool->n_idle++;
            pthread_cond_wait(&pool->wake, &pool->lock);
            pool->n_idle--;
        }
        struct task *task = pool->head;
        if (!task)
            break;
        pool->head = task->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->n_waiting--;
        pthread_mutex_unlock(&pool->lock);
        task->fn(task->arg);
        free(task);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals belong to the thread that made the pool. */
static int start_thread(struct pool *pool, const char *name)
{
    sigset_t all, old;
    char short_name[16]; /* the kernel's limit */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&pool->threads[pool->n_threads], NULL, thread_main, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return rc;
    snprintf(short_name, sizeof(short_name), "%.15s", name);
    pthread_setname_np(pool->threads[pool->n_threads], short_name);
    pool->n_threads++;
    return 0;
}

int pool_new(const char *name, unsigned n_threads, size_t queue_max, struct pool **ret, struct err *err)
{
    if (n_threads < 1 || n_threads > THREADS_MAX)
        return err_set(err, ERR_INVALID, 0, "pool '%s': 1 to %d threads, got %u", name, THREADS_MAX, n_threads);
    struct pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return err_set(err, ERR_NO_MEMORY, 0, "pool '%s'", name);
    pool->tail = &pool->head;
    pool->queue_max = queue_max;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    while (pool->n_threads < n_threads) {
        int sys = start_thread(pool, name);
        if (sys) {
            pool_free(pool);
            return err_set(err, ERR_BUSY, sys, "pool '%s': start thread", name);
        }
    }
    *ret = pool;
    return ERR_OK;
}

void pool_stop(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pool->n_threads = 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pool_stop(pool);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pool_run(struct pool *pool, void (*fn)(void *arg), void *arg, struct err *err)
{
    struct task *task = calloc(1, sizeof(*task));
    if (!task)
        return err_set(err, ERR_NO_MEMORY, 0, "pool task");
    task->fn = fn;
    task->arg = arg;
    pthread_mutex_lock(&pool->lock);
    /* What idle threads are about to take does not wait. Before a thread first runs it is not idle yet. */
    bool room =
        !pool->stopping && (pool->n_waiting < pool->queue_max || pool->n_waiting - pool->queue_max < pool->n_idle);
    if (room) {
        *pool->tail = task;
        pool->tail = &task->next;
        pool->n_waiting++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    if (room)
        return ERR_OK;
    free(task);
    return err_set(err, ERR_BUSY, 0, "pool: %zu tasks wait already", pool->queue_max);
}

bool pool_idle(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool idle = pool->n_waiting == 0;
    pthread_mutex_unlock(&pool->lock);
    return idle;
}
