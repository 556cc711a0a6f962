/* Bytes on their way into a blob. */
#include "api/upload.h"
#include "api/render.h"
#include "base/log.h"
#include "base/sha256.h"

static void upload_free(void *data)
{
    struct upload *u = data;
    u->api->blob_driver->abort(u->blob);
    free(u);
}

int upload_begin(struct http_request *req, struct upload **ret, struct err *err)
{
    struct api *api = http_app(req);
    const char *expected = http_header(req, "Haul-Sha256");
    struct upload *u = calloc(1, sizeof(*u));
    if (!u)
        return no_memory(err);
    u->api = api;
    u->req = req;
    u->check = expected != NULL;
    u->check_field = "Haul-Sha256";
    u->blob_id = uuid_v7(api->clock.wall_us(api->clock.self), api->rng);
    int rc = ERR_OK;
    if (expected && hex_parse(expected, u->expected, sizeof(u->expected)) != 0)
        rc = err_field(err, "Haul-Sha256", "must be 64 hexadecimal digits");
    if (!rc)
        rc = api->blob_driver->begin(api->blobs, &u->blob_id, &u->blob, err);
    if (rc) {
        upload_free(u);
        return rc;
    }
    http_set_data(req, u, upload_free);
    *ret = u;
    return ERR_OK;
}

int upload_take(struct api *api, struct blob_upload *blob, struct buf *piece, struct err *err)
{
    const struct blob_driver *d = api->blob_driver;
    return d->take ? d->take(blob, piece, err) : d->write(blob, piece->data, piece->len, err);
}

void upload_say_body(struct http_request *req, const uint8_t xxh128[XXH128_BYTES])
{
    char hex[XXH128_HEX_MAX];
    hex_format(xxh128, XXH128_BYTES, hex);
    http_set_header(req, "Haul-Body-Xxh128", hex);
}

void upload_reply(struct http_request *req, int status, const struct upload *u)
{
    struct buf body;
    struct json_writer w;
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    render_ref(&w, "ref", &u->blob_id);
    jw_int(&w, "size", u->size);
    render_sha256(&w, "sha256", u->sha256);
    jw_object_end(&w);
    if (u->summed)
        upload_say_body(req, u->xxh128);
    reply_json(req, status, &body);
}

void upload_created(struct call *c)
{
    upload_reply(c->req, 201, c->data);
}

static void bytes_remove(struct upload *u)
{
    struct err err;
    err_clear(&err);
    if (u->api->blob_driver->remove(u->api->blobs, &u->blob_id, &err) != ERR_OK)
        log_err("remove bytes of a refused upload", &err);
}

static void refused_task(void *arg)
{
    struct call *c = arg;
    bytes_remove(c->data);
    reply_err(c->req, &c->op.err);
}

/* Nothing refers to the bytes, unless the outcome is not known: then the row may exist, and its expiry will take care. */
static void row_refused(struct call *c)
{
    struct upload *u = c->data;
    if (c->op.err.code == ERR_UNKNOWN_OUTCOME)
        reply_err(c->req, &c->op.err);
    else
        req_run(c->req, u->api->bytes, refused_task, c);
}

static void finish_task(void *arg)
{
    struct upload *u = arg;
    struct http_request *req = u->req;
    struct err err;
    err_clear(&err);
    struct blob_upload *blob = u->blob;
    u->blob = NULL; /* commit frees it either way */
    u->api->blob_driver->sum(blob, u->xxh128);
    u->summed = true;
    if (u->api->blob_driver->commit(blob, &u->size, u->sha256, &err) != ERR_OK) {
        reply_err(req, &err);
        return;
    }
    if (u->check && memcmp(u->expected, u->sha256, sizeof(u->expected)) != 0) {
        bytes_remove(u);
        err_field(&err, u->check_field, "is not the SHA-256 of the %lld bytes that arrived", (long long)u->size);
        reply_err(req, &err);
        return;
    }
    struct call *c = call_new(u->api, req, OP_BLOB_ADD, u->stored);
    if (!c)
        return;
    usec now = u->api->store_driver->now(u->api->store);
    c->data = u;
    c->refused = row_refused;
    struct blob_row *row = &c->op.u.blob_add.row;
    *row = (struct blob_row){.blob_id = u->blob_id,
                             .project = API_PROJECT,
                             .size = u->size,
                             .summed = true,
                             .created_at = now,
                             .expires_at = now + u->api->policy.blob_unreferenced_us};
    memcpy(row->sha256, u->sha256, sizeof(row->sha256));
    memcpy(row->xxh128, u->xxh128, sizeof(row->xxh128));
    call_offer(c);
}

void upload_finish(struct upload *u, void (*stored)(struct call *c))
{
    u->stored = stored;
    req_run(u->req, u->api->bytes, finish_task, u);
}
