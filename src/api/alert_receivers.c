/* How alerts get to those who want to hear of them: what GET /v1/alerts says of receivers, and POST /v1/alerts/receivers/{receiver}/test. */
#include "api/alerts.h"
#include "api/request.h"
#include "api/routes.h"
#include "base/auto.h"

static void render_one(struct json_writer *w, const struct notify_view *v)
{
    jw_object(w, NULL);
    jw_string(w, "receiver", v->name);
    jw_string(w, "kind", v->webhook ? "webhook" : "command");
    jw_string(w, "to", v->to);
    jw_int(w, "waiting", v->waiting);
    jw_int(w, "sent", (int64_t)v->sent);
    jw_int(w, "failed", (int64_t)v->failed);
    jw_int(w, "given_up", (int64_t)v->given_up);
    jw_time(w, "sent_at", v->sent_at);
    jw_time(w, "failed_at", v->failed_at);
    jw_string(w, "error", v->why);
    jw_time(w, "next_try_at", v->next_at);
    jw_object_end(w);
}

int render_receivers(struct json_writer *w, struct notify *notify, struct arena *arena, struct err *err)
{
    struct notify_view *views = NULL;
    size_t n = 0;
    int rc = notify_look(notify, arena, &views, &n, err);

    jw_array(w, "receivers");
    for (size_t i = 0; !rc && i < n; i++)
        render_one(w, &views[i]);
    jw_array_end(w);
    return rc;
}

/* --- a test --- */

struct trial {
    struct notify_test test;
    struct http_request *req;
    const char *receiver; /* the request's */
    struct clock clock;
    usec began_us;
};

static void tried(struct notify_test *test, const char *why)
{
    struct trial *t = (struct trial *)(void *)test;
    struct json_writer w;
    struct buf body;

    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_string(&w, "receiver", t->receiver);
    jw_bool(&w, "sent", !why);
    jw_string(&w, "error", why);
    jw_duration_s(&w, "took_s", t->clock.boot_us(t->clock.self) - t->began_us);
    jw_object_end(&w);
    reply_json(t->req, 200, &body);
}

static int try(struct api *api, struct http_request *req, struct err *err)
{
    int rc = req_query_none(req, err);

    if (!rc)
        rc = req_no_json(req, err);
    if (rc)
        return rc;
    struct trial *t = arena_alloc(http_arena(req), sizeof(*t));
    if (!t)
        return no_memory(err);
    *t = (struct trial){.test = {.done = tried},
                        .req = req,
                        .receiver = http_param(req, "receiver"),
                        .clock = api->clock,
                        .began_us = api->clock.boot_us(api->clock.self)};
    return notify_try(api->notify, t->receiver, &t->test, err);
}

void receiver_test_post(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;

    if (!api)
        return;
    err_clear(&err);
    if (try(api, req, &err) != ERR_OK)
        reply_err(req, &err);
}
