/* GET /healthz: the process serves. GET /readyz: it takes new work. */
#include "api/request.h"
#include "api/routes.h"

static void answer(struct http_request *req, int status, const char *word)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, 256);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_string(&w, "status", word);
    jw_object_end(&w);
    reply_json(req, status, &body);
}

void health_get(struct http_request *req)
{
    if (api_enter(req))
        answer(req, 200, "ok");
}

void ready_get(struct http_request *req)
{
    struct api *api = api_enter(req);
    if (!api)
        return;
    if (!atomic_load(&api->draining)) {
        answer(req, 200, "ok");
        return;
    }
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "the server is draining");
    reply_err(req, &err);
}
