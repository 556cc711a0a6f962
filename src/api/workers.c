/* GET /v1/workers, and the same for event streams. */
#include "api/boards_made.h"
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"
#include "base/auto.h"

#define WORKERS_ARENA_MAX (64u * 1024 * 1024)

static int render_workers(struct api *api, struct arena *arena, struct json_writer *w, size_t max, struct err *err)
{
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = api->store_driver->workers(api->store, arena, &rows, &n, err);
    if (rc)
        return rc;
    usec now = api->store_driver->now(api->store);
    jw_object(w, NULL);
    jw_array(w, "workers");
    for (size_t i = 0; i < MIN(n, max); i++)
        render_worker(w, &rows[i], now, 3 * api->policy.poll_us);
    jw_array_end(w);
    if (max != SIZE_MAX)
        jw_bool(w, "more", n > max);
    jw_object_end(w);
    return ERR_OK;
}

static int render(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err)
{
    return render_workers(r->api, arena, w, SIZE_MAX, err);
}

void workers_get(struct http_request *req)
{
    read_start(req, false, render);
}

void board_workers_make(struct board *board)
{
    struct arena *arena = arena_new(WORKERS_ARENA_MAX);
    struct json_writer w;
    struct buf text;

    buf_init(&text, BOARD_TEXT_MAX);
    jw_init(&w, &text);
    if (arena && render_workers(board->all->api, arena, &w, BOARD_ROWS_MAX, NULL) == ERR_OK) {
        board_made(board, &text);
    } else {
        buf_release(&text);
        board_failed(board);
    }
    arena_free(arena);
}
