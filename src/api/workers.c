/* GET /v1/workers, and the same for event streams; POST /v1/workers/{worker_id}/drain and /resume. */
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

/* --- drain, resume --- */

static void decided(struct call *c)
{
    const struct op_drain *op = &c->op.u.drain;
    const bool drained = c->op.kind == OP_DRAIN;
    struct json_writer w;
    struct buf body;

    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    render_uuid(&w, "worker_id", &op->worker_id);
    jw_time(&w, "drained_at", drained ? op->at : 0);
    jw_string(&w, "drained_by", drained ? op->by : NULL);
    jw_bool(&w, "changed", op->changed);
    jw_object_end(&w);
    reply_json(c->req, 200, &body);
}

static int read_worker_id(struct http_request *req, struct uuid *ret, struct err *err)
{
    const char *text = http_param(req, "worker_id");

    if (uuid_parse(text, ret) && !uuid_is_nil(ret))
        return ERR_OK;
    return err_set(err, ERR_NOT_FOUND, 0, "there is no worker '%.64s': its id is the worker_id of GET /v1/workers",
                   text ? text : "");
}

static int read_drain(struct http_request *req, struct op_drain *op, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, false, &root, err);

    if (rc || !root)
        return rc;
    json_reader_init(&r, root, "", err);
    (void)read_words(&r, "by", DRAIN_BY_MAX, http_arena(req), &op->by); /* the first error sticks */
    rc = json_reader_end(&r);
    json_decref(root);
    return rc;
}

static void turn(struct http_request *req, enum op_kind kind)
{
    struct err err;
    struct call *c = call_enter(req, kind, decided);

    if (!c)
        return;
    err_clear(&err);
    struct op_drain *op = &c->op.u.drain;
    op->gone_after_us = 3 * c->api->policy.poll_us;
    if (req_query_none(req, &err) || read_worker_id(req, &op->worker_id, &err) ||
        (kind == OP_DRAIN ? read_drain(req, op, &err) : req_no_json(req, &err)))
        reply_err(req, &err);
    else
        call_offer(c);
}

void worker_drain_post(struct http_request *req)
{
    turn(req, OP_DRAIN);
}

void worker_resume_post(struct http_request *req)
{
    turn(req, OP_UNDRAIN);
}
