#pragma once
/* Within the room: what the handlers of /v1/uploads share. */
#include "api/request.h"
#include "api/tus.h"

/** An upload by its id: on its way, or a blob by now. */
struct found {
    bool finished;
    struct upload_row row; /* unless it is finished */
    struct blob_row blob;  /* if it is */
};

/** The request speaks our version of the protocol: else 412. */
int upload_check_version(struct http_request *req, struct err *err);
/** {upload_id} of the path; what is no id is an unknown upload. */
int upload_id_of(struct http_request *req, struct uuid *ret, struct err *err);
/** Reads the store. ERR_NOT_FOUND: neither. */
int upload_find(struct api *api, const struct uuid *id, struct arena *arena, struct found *ret, struct err *err);

/* Headers of the answer. */
void upload_say_bytes(struct http_request *req, const char *name, int64_t n);
void upload_say_expires(struct http_request *req, usec at);
void upload_say_blob(struct http_request *req, const struct uuid *id, const uint8_t sha256[32]);

/** Haul-Part-Size, where parts of it may be sent straight to where the bytes are. */
void upload_say_parts(struct http_request *req, int64_t size);
/** Its expiry is put off, in the background. */
void upload_keep_longer(struct api *api, const struct uuid *id);
/** OP_UPLOAD_TOUCH was refused: answers; of an upload that is gone no bytes stay. */
void upload_untouched(struct call *c);
/** On the bytes pool: `req`, which entered as a writer, writes it no more; bytes that came by PATCH are put away. */
void upload_leave(struct api *api, struct open_upload *up, const struct http_request *req);

/** The upload's row is gone: so are its bytes on their way, and those of a commit, unless a blob's row speaks of them. On the bytes pool. */
void upload_remove_bytes(struct api *api, const struct uuid *id);
