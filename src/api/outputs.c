/* GET /v1/jobs/{job_id}/outputs: what the winning attempt published. */
#include "api/read.h"
#include "api/render.h"
#include "api/routes.h"

static int render(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct output *outputs = NULL;
    size_t n = 0;
    int rc = r->api->store_driver->outputs(r->api->store, &r->job_id, arena, &outputs, &n, err);
    if (rc)
        return rc;
    jw_object(w, NULL);
    jw_array(w, "outputs");
    for (size_t i = 0; i < n; i++)
        render_output(w, &outputs[i]);
    jw_array_end(w);
    jw_object_end(w);
    return ERR_OK;
}

void outputs_get(struct http_request *req)
{
    read_start(req, true, render);
}
