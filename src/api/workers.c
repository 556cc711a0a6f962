/* GET /v1/workers. */
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"

static int render(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct worker_row *rows = NULL;
    size_t n = 0;
    int rc = r->api->store_driver->workers(r->api->store, arena, &rows, &n, err);
    if (rc)
        return rc;
    usec now = r->api->store_driver->now(r->api->store);
    jw_object(w, NULL);
    jw_array(w, "workers");
    for (size_t i = 0; i < n; i++)
        render_worker(w, &rows[i], now, 3 * r->api->policy.poll_us);
    jw_array_end(w);
    jw_object_end(w);
    return ERR_OK;
}

void workers_get(struct http_request *req)
{
    read_start(req, false, render);
}
