#pragma once
/* Within the room: the handlers that routes.c lists. */
#include "http/http.h"

void jobs_submit(struct http_request *req);
void jobs_list(struct http_request *req);
void jobs_batch(struct http_request *req);
void jobs_cancel(struct http_request *req);
void jobs_retry(struct http_request *req);
void jobs_discard(struct http_request *req);
void dead_groups_get(struct http_request *req);
void jobs_get(struct http_request *req);
void job_cancel_post(struct http_request *req);
void job_retry_post(struct http_request *req);
void job_discard(struct http_request *req);
void attempts_get(struct http_request *req);
void outputs_get(struct http_request *req);
void checkpoint_get(struct http_request *req);
void checkpoint_put(struct http_request *req);
void log_get(struct http_request *req);
int blob_begin(struct http_request *req, struct err *err);
int blob_body(struct http_request *req, const void *p, size_t n, struct err *err);
void blob_post(struct http_request *req);
void blob_get(struct http_request *req);
int output_begin(struct http_request *req, struct err *err);
void output_put(struct http_request *req);
void uploads_options(struct http_request *req);
void uploads_post(struct http_request *req);
void upload_head(struct http_request *req);
void upload_delete(struct http_request *req);
int patch_begin(struct http_request *req, struct err *err);
int patch_body(struct http_request *req, const void *p, size_t n, struct err *err);
void upload_patch(struct http_request *req);
void lease_post(struct http_request *req);
void worker_heartbeat(struct http_request *req);
void worker_progress(struct http_request *req);
void worker_log(struct http_request *req);
void worker_complete(struct http_request *req);
void worker_fail(struct http_request *req);
void workers_get(struct http_request *req);
void stats_get(struct http_request *req);
void openapi_get(struct http_request *req);
void metrics_get(struct http_request *req);
void health_get(struct http_request *req);
void ready_get(struct http_request *req);
void backup_get(struct http_request *req);
