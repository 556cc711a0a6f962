/* GET /healthz: the process serves. GET /readyz: it takes new work. Both say how it stands with the broker and with the store's
 * standbys, without which all goes on. */
#include "api/request.h"
#include "api/routes.h"

static void write_broker(struct json_writer *w, const struct api *api)
{
    struct broker_state state;
    if (!api->broker || strcmp(api->broker_driver->name, "none") == 0)
        return;
    api->broker_driver->state(api->broker, &state);
    jw_object(w, "broker");
    jw_string(w, "driver", api->broker_driver->name);
    jw_string(w, "status", state.reached ? "ok" : "lost");
    if (!state.reached)
        jw_string(w, "detail", state.why);
    if (state.warning[0])
        jw_string(w, "warning", state.warning);
    jw_object_end(w);
}

static void write_replicas(struct json_writer *w, const struct api *api)
{
    static const char *const names[] = {[REPLICA_OK] = "ok",
                                        [REPLICA_BEHIND] = "behind",
                                        [REPLICA_PRIMARY] = "primary",
                                        [REPLICA_FOREIGN] = "foreign",
                                        [REPLICA_LOST] = "lost"};
    struct replica_state states[REPLICAS_MAX];
    uint64_t primary;
    size_t n = api->store_driver->replicas ? api->store_driver->replicas(api->store, states, &primary) : 0;
    if (n == 0)
        return;
    jw_array(w, "standbys");
    for (size_t i = 0; i < n; i++) {
        jw_object(w, NULL);
        jw_string(w, "host", states[i].name);
        jw_string(w, "status", names[states[i].status]);
        if (states[i].age_us < 0)
            jw_null(w, "age_s");
        else
            jw_duration_s(w, "age_s", states[i].age_us);
        if (states[i].status != REPLICA_OK)
            jw_string(w, "detail", states[i].why);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static void answer(struct http_request *req, const struct api *api)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, 8192);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_string(&w, "status", "ok");
    write_broker(&w, api);
    write_replicas(&w, api);
    jw_object_end(&w);
    reply_json(req, 200, &body);
}

void health_get(struct http_request *req)
{
    struct api *api = api_enter(req);
    if (api)
        answer(req, api);
}

void ready_get(struct http_request *req)
{
    struct api *api = api_enter(req);
    if (!api)
        return;
    if (!atomic_load(&api->draining)) {
        answer(req, api);
        return;
    }
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "the server is draining");
    reply_err(req, &err);
}
