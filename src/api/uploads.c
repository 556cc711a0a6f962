/* /v1/uploads: the tus protocol besides PATCH. An upload is a row until its last byte makes a blob of the same id in one transaction: so
 * there is always one place that knows it, and the blob's row still answers a client whose last answer was lost. */
#include "api/render.h"
#include "api/resumable.h"
#include "api/routes.h"
#include "api/upload.h"
#include "base/log.h"
#include "base/sha256.h"
#include "http/condition.h"
#include <inttypes.h>

int upload_check_version(struct http_request *req, struct err *err)
{
    const char *version = http_header(req, "Tus-Resumable");
    if (version && strcmp(version, TUS_VERSION) == 0)
        return ERR_OK;
    http_set_header(req, "Tus-Version", TUS_VERSION);
    return err_set(err, ERR_VERSION, 0, "Tus-Resumable must be " TUS_VERSION "%s%.32s", version ? ", not " : "",
                   version ? version : "");
}

int upload_id_of(struct http_request *req, struct uuid *ret, struct err *err)
{
    const char *text = http_param(req, "upload_id");
    return uuid_parse(text, ret) ? ERR_OK : err_set(err, ERR_NOT_FOUND, 0, "no upload '%.64s'", text);
}

int upload_find(struct api *api, const struct uuid *id, struct arena *arena, struct found *ret, struct err *err)
{
    const struct store_driver *d = api->store_driver;
    int rc = d->upload_get(api->store, API_PROJECT, id, false, arena, &ret->row, err);
    ret->finished = false;
    if (rc != ERR_NOT_FOUND)
        return rc;
    /* in this order: between the two reads it may become a blob, but never an upload again */
    struct err none;
    err_clear(&none);
    rc = d->blob_get(api->store, API_PROJECT, id, arena, &ret->blob, &none);
    ret->finished = rc == ERR_OK;
    if (rc != ERR_NOT_FOUND)
        *err = none;
    return rc;
}

void upload_say_bytes(struct http_request *req, const char *name, int64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, n);
    http_set_header(req, name, text);
}

void upload_say_parts(struct http_request *req, int64_t size)
{
    const struct api *api = http_app(req);
    int64_t part = api->blob_driver->part_size ? api->blob_driver->part_size(api->blobs, size) : 0;
    if (part > 0)
        upload_say_bytes(req, "Haul-Part-Size", part);
}

void upload_say_expires(struct http_request *req, usec at)
{
    char text[HTTP_DATE_MAX];
    http_date_format(at / USEC_PER_SEC, text);
    http_set_header(req, "Upload-Expires", text);
}

void upload_say_blob(struct http_request *req, const struct uuid *id, const uint8_t sha256[32])
{
    char ref[5 + UUID_STR_MAX] = "blob:", hex[SHA256_HEX_MAX];
    uuid_format(id, ref + 5);
    hex_format(sha256, 32, hex);
    http_set_header(req, "Haul-Blob-Ref", ref);
    http_set_header(req, "Haul-Sha256", hex);
}

/** ERR_OK: the upload's row went because it is a blob now, by another server's hand, say. */
static int became_blob(struct api *api, const struct uuid *id, struct err *err)
{
    struct arena *arena = arena_new(64 << 10);
    struct blob_row row;
    int rc = arena ? api->store_driver->blob_get(api->store, API_PROJECT, id, arena, &row, err) : no_memory(err);
    arena_free(arena);
    return rc;
}

void upload_remove_bytes(struct api *api, const struct uuid *id)
{
    struct err err;
    err_clear(&err);
    int rc = api->blob_driver->discard(api->blobs, id, &err);
    if (!rc && (rc = became_blob(api, id, &err)) == ERR_NOT_FOUND)
        rc = api->blob_driver->remove(api->blobs, id, &err);
    if (rc)
        log_err("remove bytes of an upload", &err);
}

static void say_location(struct http_request *req, const struct uuid *id)
{
    char location[16 + UUID_STR_MAX] = "/v1/uploads/";
    uuid_format(id, location + strlen(location));
    http_set_header(req, "Location", location);
}

void uploads_options(struct http_request *req)
{
    if (!api_enter(req))
        return;
    http_set_header(req, "Tus-Version", TUS_VERSION);
    http_set_header(req, "Tus-Extension", TUS_EXTENSIONS);
    upload_say_parts(req, 1);
    reply_empty(req, 204);
}

/* Creation */

static void created(struct call *c)
{
    const struct upload_row *row = &c->op.u.upload.row;
    say_location(c->req, &row->upload_id);
    upload_say_expires(c->req, row->expires_at);
    upload_say_parts(c->req, row->size);
    reply_empty(c->req, 201);
}

static void empty_stored(struct call *c)
{
    const struct upload *u = c->data;
    say_location(c->req, &u->blob_id);
    upload_say_bytes(c->req, "Upload-Offset", 0);
    upload_say_blob(c->req, &u->blob_id, u->sha256);
    reply_empty(c->req, 201);
}

/* Nothing will follow: it is whole, and a blob like any other. */
static void empty_task(void *arg)
{
    const struct call *c = arg;
    const struct upload_row *row = &c->op.u.upload.row;
    struct upload *u = NULL;
    struct err err;
    err_clear(&err);
    if (upload_begin(c->req, &u, &err) != ERR_OK) {
        reply_err(c->req, &err);
        return;
    }
    u->check = row->hashed;
    u->check_field = "Upload-Metadata";
    memcpy(u->expected, row->sha256, sizeof(u->expected));
    upload_finish(u, empty_stored);
}

static int read_creation(struct http_request *req, struct upload_row *ret, struct err *err)
{
    int rc = upload_check_version(req, err);
    if (!rc)
        rc = req_query_none(req, err);
    if (!rc && http_header(req, "Upload-Defer-Length"))
        return err_field(err, "Upload-Defer-Length",
                         "is not supported: give Upload-Length, or send bytes of unknown length to POST /v1/blobs");
    if (!rc)
        rc = tus_bytes_parse(http_header(req, "Upload-Length"), "Upload-Length", &ret->size, err);
    if (!rc)
        rc = tus_metadata_parse(http_header(req, "Upload-Metadata"), &ret->hashed, ret->sha256, err);
    ret->metadata = http_header(req, "Upload-Metadata");
    return rc;
}

void uploads_post(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct upload_row row = {.size = 0};
    struct err err;
    err_clear(&err);
    if (!api)
        return;
    if (read_creation(req, &row, &err) != ERR_OK) {
        reply_err(req, &err);
        return;
    }
    struct call *c = call_new(api, req, OP_UPLOAD_ADD, created);
    if (!c)
        return;
    row.upload_id = uuid_v7(api->clock.wall_us(api->clock.self), api->rng);
    c->op.u.upload.row = row;
    if (row.size == 0)
        req_run(req, api->bytes, empty_task, c);
    else
        call_offer(c);
}

/* HEAD */

struct id_call {
    struct api *api;
    struct http_request *req;
    struct uuid id;
};

/** Where it stands. ERR_BUSY while its end is not decided: what is not durable is not called whole. */
static int offset_of(struct api *api, const struct uuid *id, int64_t size, int64_t *ret, struct err *err)
{
    int rc = ERR_OK;
    if (!writers_offset(&api->writers, id, ret))
        rc = api->blob_driver->offset(api->blobs, id, ret, err);
    if (rc == ERR_OK && (*ret < 0 || *ret >= size))
        rc = err_set(err, ERR_BUSY, 0, "the upload's last byte is there and is being stored: ask again");
    return rc;
}

static int look(const struct id_call *h, struct found *found, int64_t *ret_offset, struct err *err)
{
    struct arena *arena = http_arena(h->req);
    int rc = upload_find(h->api, &h->id, arena, found, err);
    *ret_offset = 0;
    if (rc == ERR_OK && !found->finished) {
        rc = offset_of(h->api, &h->id, found->row.size, ret_offset, err);
        if (rc == ERR_NOT_FOUND) { /* never begun; or it became a blob just now */
            *ret_offset = 0;
            err_clear(err);
            rc = upload_find(h->api, &h->id, arena, found, err);
        }
    }
    return rc;
}

static void head_task(void *arg)
{
    const struct id_call *h = arg;
    struct http_request *req = h->req;
    struct found found;
    int64_t offset;
    struct err err;
    err_clear(&err);
    http_set_header(req, "Cache-Control", "no-store");
    if (look(h, &found, &offset, &err) != ERR_OK) {
        int64_t at = -1;
        if (err.code == ERR_BUSY && writers_finishing(&h->api->writers, &h->id, &at) && at >= 0)
            upload_say_bytes(req, "Haul-Read-Back", at);
        reply_err(req, &err);
        return;
    }
    upload_say_bytes(req, "Upload-Offset", found.finished ? found.blob.size : offset);
    upload_say_bytes(req, "Upload-Length", found.finished ? found.blob.size : found.row.size);
    if (found.finished) {
        upload_say_blob(req, &h->id, found.blob.sha256);
    } else {
        upload_say_expires(req, found.row.expires_at);
        if (offset == 0) /* else it goes by PATCH */
            upload_say_parts(req, found.row.size);
        if (found.row.metadata)
            http_set_header(req, "Upload-Metadata", found.row.metadata);
    }
    reply_empty(req, 200);
}

/** NULL: answered already. */
static struct id_call *id_call_new(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;
    err_clear(&err);
    if (!api)
        return NULL;
    struct id_call *h = arena_alloc(http_arena(req), sizeof(*h));
    int rc = h ? upload_check_version(req, &err) : no_memory(&err);
    if (!rc)
        rc = req_query_none(req, &err);
    if (!rc)
        rc = upload_id_of(req, &h->id, &err);
    if (rc) {
        reply_err(req, &err);
        return NULL;
    }
    h->api = api;
    h->req = req;
    return h;
}

void upload_head(struct http_request *req)
{
    struct id_call *h = id_call_new(req);
    if (h)
        req_run(req, h->api->bytes, head_task, h);
}

/* DELETE */

static void end_task(void *arg)
{
    struct id_call *h = arg;
    upload_remove_bytes(h->api, &h->id);
    reply_empty(h->req, 204);
}

static void ended(struct call *c)
{
    struct id_call *h = c->data;
    writers_evict(&h->api->writers, &h->id);
    req_run(c->req, h->api->bytes, end_task, h);
}

static void not_ended_task(void *arg)
{
    struct call *c = arg;
    const struct id_call *h = c->data;
    struct found found;
    struct err none;
    err_clear(&none);
    if (c->op.err.code == ERR_NOT_FOUND && upload_find(h->api, &h->id, http_arena(h->req), &found, &none) == ERR_OK &&
        found.finished) {
        upload_say_blob(h->req, &h->id, found.blob.sha256);
        err_set(&c->op.err, ERR_CONFLICT, 0, "the upload is finished: what it made expires when no job refers to it");
    }
    reply_err(h->req, &c->op.err);
}

static void not_ended(struct call *c)
{
    req_run(c->req, c->api->bytes, not_ended_task, c);
}

void upload_delete(struct http_request *req)
{
    struct id_call *h = id_call_new(req);
    struct call *c = h ? call_new(h->api, req, OP_UPLOAD_END, ended) : NULL;
    if (!c)
        return;
    c->data = h;
    c->refused = not_ended;
    c->op.u.upload.row.upload_id = h->id;
    call_offer(c);
}
