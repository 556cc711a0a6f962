#pragma once
/* Within the room: what every handler needs to read a request and to answer it. */
#include "api/api.h"
#include "base/json.h"

#define API_PROJECT         "default"      /* until keys name one */
#define API_JSON_MAX        (1024u * 1024) /* a request's JSON; an item of a batch */
#define API_ANSWER_MAX      (8u * 1024 * 1024)
#define API_BATCH_MAX       (16u * 1024 * 1024)  /* a batch's JSON */
#define API_LIST_MAX        (128u * 1024 * 1024) /* 1000 jobs at their largest */
#define API_WAIT_MAX_US     (INT64_C(60) * USEC_PER_SEC)
#define API_DURATION_MAX_US (INT64_C(3650) * 24 * 3600 * USEC_PER_SEC)

/** First line of every handler: NULL when it was answered already (the server stops). Pairs with one reply_*. */
struct api *api_enter(struct http_request *req);

/* Each answers the request; it must not be touched afterwards. */
void reply_err(struct http_request *req, const struct err *err);
/** Takes the bytes of `body`; an incomplete body is a 500. */
void reply_json(struct http_request *req, int status, struct buf *body);
void reply_empty(struct http_request *req, int status);
void reply_text(struct http_request *req, int status, const char *content_type, const void *p, size_t n);
void reply_bytes(struct http_request *req, const char *content_type, const char *etag, const void *p, size_t n);
void reply_file(struct http_request *req, struct http_file file, const char *content_type, const char *etag,
                int64_t modified_s, const char *filename, struct http_file_check check);
void reply_stream(struct http_request *req, int status, const char *content_type, struct http_stream stream);

/** Refuses query parameters that are not in `known` (NULL-terminated). */
int req_query_only(struct http_request *req, const char *const *known, struct err *err);
int req_query_none(struct http_request *req, struct err *err);
int query_int(const char *text, const char *field, int64_t min, int64_t max, int64_t *ret, struct err *err);
int req_query_int(struct http_request *req, const char *key, int64_t absent, int64_t min, int64_t max, int64_t *ret,
                  struct err *err);
int req_query_duration(struct http_request *req, const char *key, usec absent, usec max_us, usec *ret, struct err *err);
/** {job_id} of the path; what is no id is an unknown job. */
int req_job_id(struct http_request *req, struct uuid *ret, struct err *err);
/** {job_id}, {n} and Haul-Token, which must agree. */
int req_token(struct http_request *req, struct uuid *ret_job_id, struct token *ret, struct err *err);
int token_of(const char *header, const char *path_attempt, struct token *ret, struct err *err);
/** The body as JSON; absent: *ret = NULL and ERR_OK unless `required`. Caller: json_decref. */
int req_json(struct http_request *req, bool required, json_t **ret, struct err *err);
/** Does the caller speak a newer protocol than this server (Haul-Protocol)? Then members of its body that are not known are no mistake. */
bool req_newer(struct http_request *req);
/** Ends the reading of a worker's body: as json_reader_end, but of a newer one members that nobody asked for are passed over. */
int worker_json_end(struct json_reader *r, bool newer);
/** The body must be absent or {}. */
int req_no_json(struct http_request *req, struct err *err);
/** A member of 1 to `max` bytes that may be missing: then *ret stays as it is. @param ret  copied into the arena */
int read_words(struct json_reader *r, const char *key, size_t max, struct arena *arena, const char **ret);
/** Array of strings below `key`, copied to the arena. */
int read_strings(struct json_reader *r, const char *key, size_t max_n, bool (*valid)(const char *s), const char *what,
                 struct arena *arena, const char *const **ret, size_t *ret_n);
bool plain_name_valid(const char *s);
/** Object of string to string below `key` as JSON text with sorted keys; NULL when absent. */
int read_string_map(struct json_reader *r, const char *key, size_t max_n, size_t key_max, size_t value_max, bool names,
                    struct arena *arena, const char **ret);
static inline int no_memory(struct err *err)
{
    return err_set(err, ERR_NO_MEMORY, 0, "out of memory for this request");
}

/** A request that became an op. Lives in the request's arena. */
struct call {
    struct api *api;
    struct http_request *req;
    struct op op;
    struct loop_letter letter;
    void (*answer)(struct call *c);  /* called on a server thread when the op went well; must reply */
    void (*refused)(struct call *c); /* instead of reply_err, when set */
    void *data;                      /* the handler's */
};
/** NULL: answered already. */
struct call *call_new(struct api *api, struct http_request *req, enum op_kind kind, void (*answer)(struct call *c));
/** api_enter and call_new, for a request that is one op. NULL: answered already. */
struct call *call_enter(struct http_request *req, enum op_kind kind, void (*answer)(struct call *c));
void call_offer(struct call *c);
/** Fills an op of `kind` for use in `c`. */
void call_reuse(struct call *c, enum op_kind kind, void (*answer)(struct call *c));

/** Runs `fn(arg)` on the pool, or answers 503. */
void req_run(struct http_request *req, struct pool *pool, void (*fn)(void *arg), void *arg);
