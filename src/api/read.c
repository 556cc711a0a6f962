/* A GET that reads the store on the pool and answers with JSON. */
#include "api/read.h"

#define READ_ARENA_MAX (64u * 1024 * 1024)

void read_answer(struct http_request *req, size_t arena_max,
                 int (*render)(void *arg, struct arena *arena, struct json_writer *w, struct err *err), void *arg)
{
    struct arena *arena = arena_new(arena_max);
    struct json_writer w;
    struct buf body;
    struct err err;
    err_clear(&err);
    buf_init(&body, API_LIST_MAX);
    jw_init(&w, &body);
    const int rc = arena ? render(arg, arena, &w, &err) : no_memory(&err);
    arena_free(arena);
    if (rc) {
        buf_release(&body);
        reply_err(req, &err);
        return;
    }
    reply_json(req, 200, &body);
}

static int read_render(void *arg, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct read_call *r = arg;
    if (!uuid_is_nil(&r->job_id)) {
        int rc = r->api->store_driver->job_get(r->api->store, API_PROJECT, &r->job_id, arena, &r->job, err);
        if (rc)
            return rc;
    }
    return r->render(r, arena, w, err);
}

static void read_task(void *arg)
{
    struct read_call *r = arg;
    read_answer(r->req, READ_ARENA_MAX, read_render, r);
}

void read_start(struct http_request *req, bool of_job,
                int (*render)(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err))
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct read_call *r = arena_alloc(http_arena(req), sizeof(*r));
    int rc = r ? req_query_none(req, &err) : no_memory(&err);
    if (!rc && of_job)
        rc = req_job_id(req, &r->job_id, &err);
    if (!rc && of_job && uuid_is_nil(&r->job_id))
        rc = err_set(&err, ERR_NOT_FOUND, 0, "no job has the nil id");
    if (rc) {
        reply_err(req, &err);
        return;
    }
    r->api = api;
    r->req = req;
    r->render = render;
    req_run(req, api->reads, read_task, r);
}
