#pragma once
/* Within the room: what many look at and nobody should make twice: one text that all event streams send, made anew when somebody
 * looks and it is old. So a hundred dashboards cost what one costs. */
#include "base/buf.h"
#include "base/clock.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct api;
struct board;

enum board_id { BOARD_COUNTS, BOARD_WORKERS, BOARD_SLIS, BOARD_ALERTS, BOARD_COUNT };

/** The text of a board, kept as long as somebody holds it. */
struct board_text {
    unsigned holders; /* under the boards' lock */
    uint64_t version; /* 1.. */
    size_t n;
    char data[];
};

struct boards {
    struct api *api;
    pthread_mutex_t lock;
    struct board {
        struct boards *all;
        struct board_text *text; /* NULL: not made yet */
        uint64_t version;
        usec due_boot_us;
        bool busy;  /* being made */
        void *work; /* of whoever makes it */
    } boards[BOARD_COUNT];
};

void boards_init(struct boards *b, struct api *api);
/** After the engine and the pools have ended. */
void boards_release(struct boards *b);
/** The newest text, or NULL when there is none above version `seen`. Starts a new one when it is time; never waits. Any thread.
 * @return to be given to board_put */
struct board_text *board_get(struct boards *b, enum board_id id, uint64_t seen);
void board_put(struct boards *b, struct board_text *text); /* NULL accepted */

/* For who makes one: `make` is called on the reads pool, and ends in one of these, on any thread. */
void board_made(struct board *board, struct buf *text); /* takes the bytes. The same text as before is no news */
void board_failed(struct board *board);                 /* the old one stays until the next try */
