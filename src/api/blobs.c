/* POST /v1/blobs, GET and HEAD /v1/blobs/{blob_id}; pieces of streamed bodies of outputs too. */
#include "api/render.h"
#include "api/routes.h"
#include "api/upload.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"

int blob_begin(struct http_request *req, struct err *err)
{
    struct upload *u = NULL;
    int rc = req_query_none(req, err);
    return rc ? rc : upload_begin(req, &u, err);
}

int blob_body(struct http_request *req, struct buf *piece, struct err *err)
{
    const struct upload *u = http_data(req);
    return upload_take(u->api, u->blob, piece, err);
}

static void stored(struct call *c)
{
    const struct upload *u = c->data;
    char id[UUID_STR_MAX], location[64];
    uuid_format(&u->blob_id, id);
    snprintf(location, sizeof(location), "/v1/blobs/%s", id);
    http_set_header(c->req, "Location", location);
    upload_created(c);
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
    const char *name; /* as which it is saved */
};

static int64_t bytes_read(void *arg, int64_t at, void *buf, size_t max)
{
    struct blob_reader *r = arg;
    struct err err;
    err_clear(&err);
    const int64_t n = r->read(r, at, buf, max, &err);
    if (n < 0)
        log_err("send a blob", &err);
    return n;
}

static void bytes_close(void *arg)
{
    blob_reader_close(arg);
}

/** Whoever asks holds the bytes against the ETag. To hash them twice would be the larger half of a download's cost. */
static bool client_verifies(struct http_request *req)
{
    const char *who = http_header(req, "Haul-Verify");
    return who && strcmp(who, "client") == 0;
}

/** Haul-Xxh128: of all bytes. */
static void say_sum(struct http_request *req, const struct blob_row *row)
{
    char hex[XXH128_HEX_MAX];
    hex_format(row->xxh128, sizeof(row->xxh128), hex);
    http_set_header(req, "Haul-Xxh128", hex);
}

/* Bytes pool: the row said it is there. */
static void open_task(void *arg)
{
    struct blob_call *b = arg;
    struct blob_reader *r = NULL;
    char hex[SHA256_HEX_MAX], etag[SHA256_HEX_MAX + 2], id[UUID_STR_MAX];
    struct err err;
    err_clear(&err);
    if (b->api->blob_driver->open_read(b->api->blobs, &b->blob_id, &r, &err) != ERR_OK) {
        reply_err(b->req, &err);
        return;
    }
    struct http_file_check check = {0};
    const bool ours = !client_verifies(b->req); /* to be looked at here */
    int rc = ERR_OK;
    if (r->size != b->row.size || (ours && (r->size <= BLOB_CHECK_FIRST_MAX || http_header(b->req, "Range"))))
        rc = blob_check_all(&b->api->blob_checks, r, &b->row, &err);
    if (!rc && ours && r->size > BLOB_CHECK_FIRST_MAX) {
        check = blob_check_sent(&b->api->blob_checks, r, &b->row);
        rc = check.add ? ERR_OK : no_memory(&err);
    }
    if (rc) {
        blob_reader_close(r);
        reply_err(b->req, &err);
        return;
    }
    hex_format(b->row.sha256, 32, hex);
    snprintf(etag, sizeof(etag), "\"%s\"", hex);
    uuid_format(&b->blob_id, id);
    if (blob_sum_counts(r, &b->row))
        say_sum(b->req, &b->row);
    reply_file(b->req,
               (struct http_file){.size = r->size, .read = bytes_read, .close = bytes_close, .arg = r, .fd = r->fd},
               "application/octet-stream", etag, b->row.created_at / USEC_PER_SEC,
               b->name ? b->name : arena_strdup(http_arena(b->req), id), check);
}

/** May whoever asks be sent to where the bytes are? Conditions speak of our ETag, and HEAD has no bytes. */
static bool may_redirect(struct http_request *req)
{
    static const char *const conditions[] = {"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
                                             "If-Range"};
    const char *direct = http_header(req, "Haul-Direct");
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
        if (http_header(req, conditions[i]))
            return false;
    return !http_is_head(req) && !(direct && strcmp(direct, "no") == 0);
}

/* Signed now: what was signed when the job was claimed may be too old. */
static bool redirect(struct blob_call *b)
{
    char hex[SHA256_HEX_MAX], etag[SHA256_HEX_MAX + 2];
    struct err err;
    struct buf url;
    err_clear(&err);
    if (!b->api->blob_driver->url || !may_redirect(b->req))
        return false;
    buf_init(&url, 16384);
    const bool made = b->api->blob_driver->url(b->api->blobs, &b->blob_id, b->name, &url, &err) == ERR_OK;
    if (made) {
        hex_format(b->row.sha256, 32, hex);
        snprintf(etag, sizeof(etag), "\"%s\"", hex);
        http_set_header(b->req, "ETag", etag);
        http_set_header(b->req, "Location", buf_str(&url));
        http_set_header(b->req, "Cache-Control", "no-store");
        reply_empty(b->req, 307);
    }
    buf_release(&url);
    return made;
}

static void find_task(void *arg)
{
    struct blob_call *b = arg;
    if (!redirect(b))
        open_task(b);
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
        req_run(b->req, b->api->bytes, find_task, b);
}

static int read_name(struct http_request *req, const char **ret, struct err *err)
{
    static const char *const known[] = {"name", NULL};
    int rc = req_query_only(req, known, err);
    *ret = http_query(req, "name");
    if (!rc && *ret && !filename_valid(*ret))
        rc = err_field(err, "name", "must be a file's name of 1 to 255 bytes, without a slash, and not '.' or '..'");
    return rc;
}

void blob_get(struct http_request *req)
{
    struct err err;
    struct api *api = api_enter(req);
    if (!api)
        return;
    err_clear(&err);
    struct blob_call *b = arena_alloc(http_arena(req), sizeof(*b));
    int rc = b ? read_name(req, &b->name, &err) : no_memory(&err);
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
