/* SQLite's memory. Each run of a statement takes a block for every cursor and many a value, and gives them back at its end: 85 in a job's life. SQLite
 * has a stock of its own for that (lookaside), which Debian builds it without; malloc's, seven of a size in each thread, is not
 * enough. So each thread keeps what it gives back, as malloc made it, until it wants that size again. */
#include "store/sqlite/memory.h"
#include <pthread.h>
#include <sqlite3.h>

#define STEP     64
#define SIZES    32 /* up to 2 KiB */
#define KEPT_MAX 32 /* of each size */

struct stock {
    struct block *first[SIZES];
    unsigned n[SIZES];
};

struct block {
    struct block *next;
};

static sqlite3_mem_methods platform;
static pthread_key_t of_thread;
static _Thread_local struct stock *stock; /* NULL: none, or no more */

static void stock_free(void *arg)
{
    struct stock *s = arg;

    stock = NULL;
    for (size_t i = 0; i < SIZES; i++)
        for (struct block *b = s->first[i], *next; b; b = next) {
            next = b->next;
            platform.xFree(b);
        }
    platform.xFree(s);
}

static struct stock *stock_new(void)
{
    struct stock *s = platform.xMalloc(sizeof(*s));

    if (!s)
        return NULL;
    *s = (struct stock){0};
    if (pthread_setspecific(of_thread, s) != 0) {
        platform.xFree(s);
        return NULL;
    }
    return stock = s;
}

static void *take(int n)
{
    size_t i = (size_t)(n - 1) / STEP;

    if (i >= SIZES)
        return platform.xMalloc(n);
    if (stock && stock->first[i]) {
        struct block *b = stock->first[i];
        stock->first[i] = b->next;
        stock->n[i]--;
        return b;
    }
    return platform.xMalloc((int)(i + 1) * STEP);
}

static void give(void *p)
{
    size_t i = p ? (size_t)platform.xSize(p) / STEP - 1 : SIZES; /* what is smaller than a step is beyond any */
    struct stock *s = stock ? stock : stock_new();

    if (!s || i >= SIZES || s->n[i] == KEPT_MAX) {
        platform.xFree(p);
        return;
    }
    struct block *b = p;
    b->next = s->first[i];
    s->first[i] = b;
    s->n[i]++;
}

void sqlite_memory_set_up(void)
{
#ifdef HAUL_ASAN /* which is to see each block come and go */
    return;
#endif
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &platform) != SQLITE_OK ||
        pthread_key_create(&of_thread, stock_free) != 0)
        return;
    sqlite3_mem_methods ours = platform;
    ours.xMalloc = take;
    ours.xFree = give;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &ours);
}
