/* GET /v1/stats. */
#include "api/read.h"
#include "api/routes.h"

static int render(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err)
{
    struct stat_row *rows = NULL;
    size_t n = 0;
    int rc = r->api->store_driver->stats(r->api->store, arena, &rows, &n, err);
    if (rc)
        return rc;
    jw_object(w, NULL);
    jw_array(w, "queues");
    for (size_t i = 0; i < n; i++) {
        jw_object(w, NULL);
        jw_string(w, "project", rows[i].project);
        jw_string(w, "queue", rows[i].queue);
        jw_string(w, "task_type", rows[i].task_type);
        for (unsigned s = 0; s < JOB_STATUS_COUNT; s++)
            jw_int(w, job_status_name((enum job_status)s), rows[i].by_status[s]);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object(w, "server");
    jw_string(w, "version", HAUL_VERSION);
    jw_duration_s(w, "uptime_s", r->api->clock.boot_us(r->api->clock.self) - r->api->started_boot_us);
    jw_object_end(w);
    jw_object_end(w);
    return ERR_OK;
}

void stats_get(struct http_request *req)
{
    read_start(req, false, render);
}
