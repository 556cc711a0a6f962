/* POST /v1/blobs, GET and HEAD /v1/blobs/{blob_id}; pieces of streamed bodies of outputs too. */
#include "api/render.h"
#include "api/routes.h"
#include "api/upload.h"
#include "base/auto.h"
#include "base/sha256.h"

int blob_begin(struct http_request *req, struct err *err)
{
    struct upload *u = NULL;
    int rc = req_query_none(req, err);
    return rc ? rc : upload_begin(req, &u, err);
}

int blob_body(struct http_request *req, const void *p, size_t n, struct err *err)
{
    struct upload *u = http_data(req);
    return u->api->blob_driver->write(u->blob, p, n, err);
}

static void stored(struct call *c)
{
    const struct upload *u = c->data;
    struct buf body;
    struct json_writer w;
    char id[UUID_STR_MAX], location[64];
    uuid_format(&u->blob_id, id);
    snprintf(location, sizeof(location), "/v1/blobs/%s", id);
    http_set_header(c->req, "Location", location);
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    upload_render(&w, u);
    reply_json(c->req, 201, &body);
}

void blob_post(struct http_request *req)
{
    if (api_enter(req))
        upload_finish(http_data(req), stored);
}

struct blob_call {
    struct api *api;
    struct http_request *req;
    struct uuid blob_id;
    struct blob_row row;
};

/* Bytes pool: the row said it is there. */
static void open_task(void *arg)
{
    struct blob_call *b = arg;
    AUTO_FD int fd = -1;
    int64_t size = 0;
    char hex[SHA256_HEX_MAX], etag[SHA256_HEX_MAX + 2], id[UUID_STR_MAX];
    struct err err;
    err_clear(&err);
    if (b->api->blob_driver->open_read(b->api->blobs, &b->blob_id, &fd, &size, &err) != ERR_OK) {
        reply_err(b->req, &err);
        return;
    }
    struct http_file_check check = {0};
    int rc = ERR_OK;
    if (size != b->row.size || size <= BLOB_CHECK_FIRST_MAX || http_header(b->req, "Range"))
        rc = blob_check_all(&b->api->blob_checks, fd, size, &b->row, &err);
    if (!rc && size > BLOB_CHECK_FIRST_MAX) {
        check = blob_check_sent(&b->api->blob_checks, fd, &b->row);
        rc = check.add ? ERR_OK : no_memory(&err);
    }
    if (rc) {
        reply_err(b->req, &err);
        return;
    }
    hex_format(b->row.sha256, 32, hex);
    snprintf(etag, sizeof(etag), "\"%s\"", hex);
    uuid_format(&b->blob_id, id);
    reply_file(b->req, TAKE_FD(fd), size, "application/octet-stream", etag, b->row.created_at / USEC_PER_SEC,
               arena_strdup(http_arena(b->req), id), check);
}

static void row_task(void *arg)
{
    struct blob_call *b = arg;
    struct err err;
    err_clear(&err);
    if (b->api->store_driver->blob_get(b->api->store, API_PROJECT, &b->blob_id, http_arena(b->req), &b->row, &err) !=
        ERR_OK)
        reply_err(b->req, &err);
    else
        req_run(b->req, b->api->bytes, open_task, b);
}

void blob_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct blob_call *b = arena_alloc(http_arena(req), sizeof(*b));
    int rc = b ? req_query_none(req, &err) : no_memory(&err);
    if (!rc && !uuid_parse(http_param(req, "blob_id"), &b->blob_id))
        rc = err_set(&err, ERR_NOT_FOUND, 0, "no blob '%.64s'", http_param(req, "blob_id"));
    if (rc) {
        reply_err(req, &err);
        return;
    }
    b->api = api;
    b->req = req;
    req_run(req, api->reads, row_task, b);
}
