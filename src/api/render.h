#pragma once
/* Within the room: how things look on the wire. Pure, besides reply_job. */
#include "api/request.h"

/** What a job's answer needs beyond its row. */
struct job_view {
    bool brief;                          /* in a list: no payload, no waiting_reason, no checkpoint */
    const char *result_url;              /* or NULL */
    const char *waiting_reason;          /* or NULL */
    const struct checkpoint *checkpoint; /* or NULL */
};
void render_job(struct json_writer *w, const char *key, const struct job *job, const struct job_view *view);
/** As in a list; reads the outputs of a success. Pool thread. */
int render_job_brief(struct api *api, struct arena *arena, struct json_writer *w, const char *key,
                     const struct job *job, struct err *err);
/** NULL without outputs. */
const char *render_result_url(struct arena *arena, const struct job *job, const struct output *outputs, size_t n);
/** Who could run a job, of the workers that are heard of. */
enum serving {
    SERVING_NOBODY,
    SERVING_DRAINED, /* all who could are */
    SERVING_SOMEBODY,
    SERVING_UNKNOWN /* no memory to find out */
};
/** Why a pending job does not run. */
const char *render_waiting_reason(struct arena *arena, const struct job *job, enum serving serving, usec now);
void render_limits(struct json_writer *w, const struct job *job); /* "timeout_s", "no_progress_timeout_s"; none: null */
void render_trace(struct json_writer *w, const char *traceparent, const char *tracestate);
/** Inputs as a JSON array of {name, ref}. */
void render_inputs(struct json_writer *w, const char *key, const struct job *job);
void render_attempt(struct json_writer *w, const struct attempt *a);
void render_output(struct json_writer *w, const struct output *o);
void render_worker(struct json_writer *w, const struct worker_row *row, usec now, usec gone_after_us);
void render_fingerprint(struct json_writer *w, const char *key, uint64_t fingerprint); /* 0: null */
void render_uuid(struct json_writer *w, const char *key, const struct uuid *u);        /* nil: null */
void render_ref(struct json_writer *w, const char *key, const struct uuid *blob_id);   /* "blob:..." */
void render_sha256(struct json_writer *w, const char *key, const uint8_t sha256[32]);
/** Is `task_type` a key of the JSON object `handlers` (NULL: has none)? */
enum knowledge { NO, YES, UNKNOWN /* no memory to find out */ };
enum knowledge handlers_have(const char *handlers, const char *task_type);

/** Reads what the answer needs (pool thread) and answers with the job. */
void reply_job_read(struct api *api, struct http_request *req, int status, const struct job *job);
/** From any thread: the same after a write, going to the reads pool only when something must be read (a success's result_url). Why a
 * job that is due waits is not looked for: GET tells. `job` lives in the request's arena. */
void reply_job(struct api *api, struct http_request *req, int status, const struct job *job);
