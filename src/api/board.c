#include "api/board.h"
#include "api/boards_made.h"
#include "api/request.h"
#include "base/auto.h"

static const struct {
    usec every_us;
    void (*make)(struct board *board);
} kinds[BOARD_COUNT] = {
    [BOARD_COUNTS] = {USEC_PER_SEC, board_counts_make},
    [BOARD_WORKERS] = {2 * USEC_PER_SEC, board_workers_make},
    [BOARD_SLIS] = {2 * USEC_PER_SEC, board_slis_make},
    [BOARD_ALERTS] = {2 * USEC_PER_SEC, board_alerts_make},
};

void boards_init(struct boards *b, struct api *api)
{
    *b = (struct boards){.api = api};
    pthread_mutex_init(&b->lock, NULL);
    for (size_t i = 0; i < BOARD_COUNT; i++)
        b->boards[i].all = b;
}

void boards_release(struct boards *b)
{
    for (size_t i = 0; i < BOARD_COUNT; i++)
        free(b->boards[i].text);
    pthread_mutex_destroy(&b->lock);
}

static void make_task(void *arg)
{
    struct board *board = arg;
    kinds[board - board->all->boards].make(board);
}

struct board_text *board_get(struct boards *b, enum board_id id, uint64_t seen)
{
    struct board *board = &b->boards[id];
    usec now = b->api->clock.boot_us(b->api->clock.self);
    bool start = false;
    pthread_mutex_lock(&b->lock);
    struct board_text *text = board->text && board->text->version > seen ? board->text : NULL;
    if (text)
        text->holders++;
    if (!board->busy && now >= board->due_boot_us) {
        board->due_boot_us = now + kinds[id].every_us;
        start = board->busy = true;
    }
    pthread_mutex_unlock(&b->lock);
    if (start && pool_run(b->api->reads, make_task, board, NULL) != ERR_OK)
        board_failed(board);
    return text;
}

/* Lock held. */
static void let_go(struct board_text *text)
{
    if (text && --text->holders == 0)
        free(text);
}

void board_put(struct boards *b, struct board_text *text)
{
    pthread_mutex_lock(&b->lock);
    let_go(text);
    pthread_mutex_unlock(&b->lock);
}

void board_failed(struct board *board)
{
    pthread_mutex_lock(&board->all->lock);
    board->busy = false;
    pthread_mutex_unlock(&board->all->lock);
}

static bool is_news(const struct board *board, const struct buf *text)
{
    return !board->text || board->text->n != text->len || memcmp(board->text->data, text->data, text->len) != 0;
}

void board_made(struct board *board, struct buf *text)
{
    struct board_text *made = NULL;
    pthread_mutex_lock(&board->all->lock);
    if (!text->failed && is_news(board, text) && (made = malloc(sizeof(*made) + text->len)) != NULL) {
        *made = (struct board_text){.holders = 1, .version = ++board->version, .n = text->len};
        memcpy(made->data, text->data, text->len);
        let_go(board->text);
        board->text = made;
    }
    board->busy = false;
    pthread_mutex_unlock(&board->all->lock);
    buf_release(text);
}
