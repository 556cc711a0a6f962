#pragma once
/* Within the room: bytes on their way into a blob; for POST /v1/blobs and PUT .../outputs/{name}. */
#include "api/request.h"

struct upload {
    struct api *api;
    struct http_request *req;
    struct blob_upload *blob; /* NULL once committed or aborted */
    struct uuid blob_id;
    int64_t size;
    uint8_t sha256[32];
    bool summed; /* all of it came as the request's body, of which the sum is: */
    uint8_t xxh128[XXH128_BYTES];
    bool check;              /* `expected` was sent along */
    const char *check_field; /* where it was */
    uint8_t expected[32];
    void (*stored)(struct call *c); /* a server thread: the row is there; c->data is the upload */
    struct uuid job_id;             /* of an output */
    struct token token;
};

/** Mints the blob, remembers it with the request (the bytes vanish with it). Refuses a bad Haul-Sha256. */
int upload_begin(struct http_request *req, struct upload **ret, struct err *err);
/** A piece of a body that came, as of blob_driver->take. */
int upload_take(struct api *api, struct blob_upload *blob, struct buf *piece, struct err *err);
/** Haul-Body-Xxh128: what the request's body was when it arrived. Of an answer that it was stored. */
void upload_say_body(struct http_request *req, const uint8_t xxh128[XXH128_BYTES]);
/** After the last byte: makes it durable, checks the hash, adds the row, then calls `stored`. Answers on failure. */
void upload_finish(struct upload *u, void (*stored)(struct call *c));
/** What it is now: a blob. */
void upload_reply(struct http_request *req, int status, const struct upload *u);
void upload_created(struct call *c); /* upload_reply with 201; c->data is the upload */
