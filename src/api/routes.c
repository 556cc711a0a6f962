/* Every route of the API on one page. */
#include "api/routes.h"
#include "api/request.h"
#include "api/tus.h"
#include "base/auto.h"

#define JSON_MAX API_JSON_MAX
#define JOB      "/v1/jobs/{job_id}"
#define ATTEMPT  JOB "/attempts/{n}"
/* Of the dashboard: its query is the page's own, and read in the browser. */
#define PAGE(at)                                                                                                       \
    {                                                                                                                  \
        .method = "GET", .path = (at), .handle = dashboard_page, .repeatable = list_repeatable                         \
    }

static const char *const list_repeatable[] = {"label", NULL};
static const char *const events_repeatable[] = {"label", "job", NULL};
static const char *const tus[] = {"Tus-Resumable", TUS_VERSION, NULL};

const struct http_route api_routes[] = {
    {.method = "POST", .path = "/v1/jobs", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = jobs_submit},
    {.method = "GET", .path = "/v1/jobs", .handle = jobs_list, .repeatable = list_repeatable},
    {.method = "POST",
     .path = "/v1/jobs:batch",
     .flags = HTTP_JSON_BODY,
     .body_max = API_BATCH_MAX,
     .handle = jobs_batch},
    {.method = "POST", .path = "/v1/jobs:cancel", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = jobs_cancel},
    {.method = "POST", .path = "/v1/jobs:retry", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = jobs_retry},
    {.method = "POST",
     .path = "/v1/jobs:discard",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = jobs_discard},
    {.method = "GET", .path = "/v1/dlq", .handle = dead_groups_get},
    {.method = "POST", .path = "/v1/redrives", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = redrives_post},
    {.method = "GET", .path = "/v1/redrives", .handle = redrives_get},
    {.method = "GET", .path = "/v1/redrives/{redrive_id}", .handle = redrive_get},
    {.method = "POST",
     .path = "/v1/redrives/{redrive_id}/cancel",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = redrive_cancel_post},
    {.method = "GET", .path = JOB, .handle = jobs_get},
    {.method = "DELETE", .path = JOB, .handle = job_discard},
    {.method = "POST", .path = JOB "/cancel", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = job_cancel_post},
    {.method = "POST", .path = JOB "/retry", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = job_retry_post},
    {.method = "GET", .path = JOB "/attempts", .handle = attempts_get},
    {.method = "GET", .path = JOB "/outputs", .handle = outputs_get},
    {.method = "GET", .path = JOB "/checkpoint", .handle = checkpoint_get},
    {.method = "GET", .path = JOB "/explain", .handle = job_explain},
    {.method = "GET", .path = JOB "/log", .handle = log_get},

    {.method = "POST",
     .path = "/v1/blobs",
     .flags = HTTP_BYTES_BODY | HTTP_STREAM_BODY,
     .handle = blob_post,
     .begin = blob_begin,
     .on_body = blob_body},
    {.method = "GET", .path = "/v1/blobs/{blob_id}", .handle = blob_get},

    {.method = "OPTIONS", .path = "/v1/uploads", .handle = uploads_options, .headers = tus},
    {.method = "POST", .path = "/v1/uploads", .handle = uploads_post, .headers = tus},
    {.method = "HEAD", .path = "/v1/uploads/{upload_id}", .handle = upload_head, .headers = tus},
    {.method = "PATCH",
     .path = "/v1/uploads/{upload_id}",
     .flags = HTTP_OFFSET_BODY | HTTP_STREAM_BODY | HTTP_OVERRIDE,
     .headers = tus,
     .handle = upload_patch,
     .begin = patch_begin,
     .on_body = patch_body},
    {.method = "DELETE",
     .path = "/v1/uploads/{upload_id}",
     .flags = HTTP_OVERRIDE,
     .handle = upload_delete,
     .headers = tus},

    {.method = "POST", .path = "/v1/lease", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = lease_post},
    {.method = "POST",
     .path = ATTEMPT "/heartbeat",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = worker_heartbeat},
    {.method = "POST",
     .path = ATTEMPT "/progress",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = worker_progress},
    {.method = "POST",
     .path = ATTEMPT "/log",
     .flags = HTTP_BYTES_BODY,
     .body_max = JOB_LOG_CHUNK_MAX,
     .handle = worker_log},
    {.method = "PUT",
     .path = ATTEMPT "/outputs/{name}",
     .flags = HTTP_BYTES_BODY | HTTP_STREAM_BODY,
     .handle = output_put,
     .begin = output_begin,
     .on_body = blob_body},
    {.method = "PUT",
     .path = ATTEMPT "/checkpoint",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = checkpoint_put},
    {.method = "POST",
     .path = ATTEMPT "/complete",
     .flags = HTTP_JSON_BODY,
     .body_max = JSON_MAX,
     .handle = worker_complete},
    {.method = "POST", .path = ATTEMPT "/fail", .flags = HTTP_JSON_BODY, .body_max = JSON_MAX, .handle = worker_fail},

    {.method = "GET", .path = "/v1/events", .handle = events_get, .repeatable = events_repeatable},
    {.method = "GET", .path = "/v1/workers", .handle = workers_get},
    {.method = "GET", .path = "/v1/slis", .handle = slis_get},
    {.method = "GET", .path = "/v1/alerts", .handle = alerts_get},
    {.method = "GET", .path = "/v1/stats", .handle = stats_get},
    {.method = "GET", .path = "/v1/openapi.yaml", .handle = openapi_get},
    {.method = "GET", .path = "/metrics", .handle = metrics_get},
    {.method = "GET", .path = "/v1/backup", .handle = backup_get},
    PAGE("/"),
    PAGE("/queues"),
    PAGE("/jobs"),
    PAGE("/jobs/{job_id}"),
    PAGE("/dead-letters"),
    PAGE("/workers"),
    PAGE("/alerts"),
    {.method = "GET", .path = "/assets/{name}", .handle = dashboard_asset},
    {.method = "GET", .path = "/healthz", .handle = health_get},
    {.method = "GET", .path = "/readyz", .handle = ready_get},
};
const size_t api_n_routes = ARRAY_LEN(api_routes);
