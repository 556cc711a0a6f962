/* /v1/uploads/{upload_id}/parts: where the bytes are in S3 they go there straight, in parts, by URLs that are signed when they are asked for
 * (docs/adr/0024). What is there is the store of the bytes' own list, which GET shows to whoever goes on after a cut. */
#include "api/render.h"
#include "api/resumable.h"
#include "api/routes.h"
#include "base/auto.h"
#include "base/base64.h"
#include "base/sha256.h"

#define URLS_MAX   100 /* of a request */
#define NUMBER_MAX 10000
#define MD5_BYTES  16

static int unsupported(struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, 0, "this server takes an upload's bytes by PATCH only");
}

static int64_t part_size(struct api *api, int64_t size, struct err *err)
{
    const int64_t n = api->blob_driver->part_size ? api->blob_driver->part_size(api->blobs, size) : 0;
    if (n == 0)
        unsupported(err);
    return n;
}

static int refuse_finished(struct http_request *req, const struct uuid *id, const struct blob_row *blob,
                           struct err *err)
{
    upload_say_blob(req, id, blob->sha256);
    return err_set(err, ERR_CONFLICT, 0, "the upload is finished: Haul-Blob-Ref names what it made");
}

/* GET */

struct listing {
    struct api *api;
    struct http_request *req;
    struct uuid id;
    struct json_writer w;
};

static void list_part(void *arg, const struct blob_part *part)
{
    struct listing *l = arg;
    jw_object(&l->w, NULL);
    jw_int(&l->w, "number", part->number);
    jw_int(&l->w, "size", part->size);
    jw_string(&l->w, "md5", part->md5[0] ? part->md5 : NULL);
    jw_object_end(&l->w);
}

static int list(struct listing *l, struct buf *body, struct err *err)
{
    struct api *api = l->api;
    struct found found;
    bool assembled = false;
    int rc = upload_find(api, &l->id, http_arena(l->req), &found, err);
    if (!rc && found.finished)
        rc = refuse_finished(l->req, &l->id, &found.blob, err);
    const int64_t each = rc ? 0 : part_size(api, found.row.size, err);
    if (!rc && each == 0)
        rc = (int)err->code;
    if (rc)
        return rc;
    jw_init(&l->w, body);
    jw_object(&l->w, NULL);
    jw_int(&l->w, "size", found.row.size);
    jw_int(&l->w, "part_size", each);
    jw_array(&l->w, "parts");
    rc = api->blob_driver->parts(api->blobs, &l->id, list_part, l, &assembled, err);
    jw_array_end(&l->w);
    jw_bool(&l->w, "assembled", assembled);
    jw_object_end(&l->w);
    return rc;
}

static void list_task(void *arg)
{
    struct listing *l = arg;
    struct buf body;
    struct err err;
    err_clear(&err);
    buf_init(&body, API_ANSWER_MAX);
    http_set_header(l->req, "Cache-Control", "no-store");
    if (list(l, &body, &err) == ERR_OK) {
        reply_json(l->req, 200, &body);
        return;
    }
    buf_release(&body);
    reply_err(l->req, &err);
}

void upload_parts_get(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;
    err_clear(&err);
    if (!api)
        return;
    struct listing *l = arena_alloc(http_arena(req), sizeof(*l));
    int rc = l ? req_query_none(req, &err) : no_memory(&err);
    if (!rc)
        rc = upload_id_of(req, &l->id, &err);
    if (rc) {
        reply_err(req, &err);
        return;
    }
    l->api = api;
    l->req = req;
    req_run(req, api->bytes, list_task, l);
}

/* POST */

struct urls {
    struct api *api;
    struct http_request *req;
    struct uuid id;
    struct blob_part_url parts[URLS_MAX];
    size_t n;
};

static void urls_free(void *data)
{
    struct urls *u = data;
    for (size_t i = 0; i < u->n; i++)
        buf_release(&u->parts[i].url);
    free(u);
}

static void urls_made(struct call *c)
{
    const struct urls *u = c->data;
    struct buf body;
    struct json_writer w;
    buf_init(&body, API_ANSWER_MAX);
    jw_init(&w, &body);
    jw_object(&w, NULL);
    jw_int(&w, "valid_s", BLOB_URL_S);
    jw_array(&w, "parts");
    for (size_t i = 0; i < u->n; i++) {
        jw_object(&w, NULL);
        jw_int(&w, "number", u->parts[i].number);
        jw_int(&w, "size", u->parts[i].size);
        jw_string(&w, "url", buf_str(&u->parts[i].url));
        jw_object(&w, "headers");
        jw_string(&w, "Content-MD5", u->parts[i].md5);
        jw_object_end(&w);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    http_set_header(c->req, "Cache-Control", "no-store");
    upload_say_expires(c->req, c->op.u.upload.row.expires_at);
    reply_json(c->req, 200, &body);
}

/** The numbers must be those of parts that it has; then each part's size is known. */
static int sizes_fill(struct urls *u, int64_t size, struct err *err)
{
    const int64_t each = part_size(u->api, size, err);
    if (each == 0)
        return (int)err->code;
    const int64_t count = (size + each - 1) / each;
    for (size_t i = 0; i < u->n; i++) {
        const int64_t at = (u->parts[i].number - 1) * each;
        char field[48];
        snprintf(field, sizeof(field), "parts[%zu].number", i);
        if (u->parts[i].number > count)
            return err_field(err, field, "must be from 1 to %lld: %lld bytes in parts of %lld", (long long)count,
                             (long long)size, (long long)each);
        u->parts[i].size = MIN(each, size - at);
    }
    return ERR_OK;
}

/** Nobody else begins it meanwhile: each would begin an upload of its own in S3. */
static int sign(struct urls *u, struct open_upload *up, struct err *err)
{
    struct api *api = u->api;
    struct found found;
    int rc = upload_find(api, &u->id, http_arena(u->req), &found, err);
    if (!rc && found.finished)
        rc = refuse_finished(u->req, &u->id, &found.blob, err);
    if (!rc)
        rc = sizes_fill(u, found.row.size, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&up->io);
    rc = up->blob ? err_set(err, ERR_CONFLICT, 0, "the upload's bytes come by PATCH: go on with that")
                  : api->blob_driver->part_urls(api->blobs, &u->id, u->parts, u->n, err);
    pthread_mutex_unlock(&up->io);
    return rc;
}

static void urls_task(void *arg)
{
    struct urls *u = arg;
    struct api *api = u->api;
    struct open_upload *up = NULL;
    struct err err;
    err_clear(&err);
    int rc = writers_enter(&api->writers, &u->id, u->req, api->clock.boot_us(api->clock.self), &up, &err);
    if (rc == ERR_LOCKED)
        http_set_header(u->req, "Retry-After", "1");
    if (!rc) {
        rc = sign(u, up, &err);
        upload_leave(api, up, u->req);
    }
    if (rc) {
        reply_err(u->req, &err);
        return;
    }
    struct call *c = call_new(api, u->req, OP_UPLOAD_TOUCH, urls_made);
    if (!c)
        return;
    c->data = u;
    c->refused = upload_untouched;
    c->op.u.upload.row.upload_id = u->id;
    call_offer(c);
}

static int part_read(struct urls *u, json_t *value, struct err *err)
{
    struct json_reader r;
    char where[32];
    uint8_t md5[MD5_BYTES];
    struct buf text;
    struct blob_part_url *part = &u->parts[u->n];
    snprintf(where, sizeof(where), "parts[%zu].", u->n);
    json_reader_init(&r, value, where, err);
    part->number = (unsigned)json_get_int(&r, "number", 0, 1, NUMBER_MAX);
    const char *hex = json_get_string(&r, "md5", true, 2 * MD5_BYTES, 2 * MD5_BYTES);
    int rc = json_reader_end(&r);
    char field[48];
    snprintf(field, sizeof(field), "%snumber", where);
    if (!rc && part->number == 0)
        rc = err_field(err, field, "is required");
    for (size_t i = 0; !rc && i < u->n; i++)
        if (u->parts[i].number == part->number)
            rc = err_field(err, field, "is there twice");
    snprintf(field, sizeof(field), "%smd5", where);
    if (!rc && hex_parse(hex, md5, sizeof(md5)) != 0)
        rc = err_field(err, field, "must be 32 hexadecimal digits: the MD5 of the part's bytes");
    if (rc)
        return rc;
    buf_init(&text, sizeof(part->md5));
    base64_write(&text, md5, sizeof(md5));
    snprintf(part->md5, sizeof(part->md5), "%s", buf_str(&text));
    rc = text.failed ? no_memory(err) : ERR_OK;
    buf_release(&text);
    buf_init(&part->url, 16384);
    u->n++;
    return rc;
}

static int urls_read(struct http_request *req, struct urls *u, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = req_json(req, true, &root, err);
    if (rc)
        return rc;
    json_reader_init(&r, root, "", err);
    json_t *array = json_get_value(&r, "parts", true, JSON_ARRAY);
    rc = json_reader_end(&r);
    const size_t n = json_array_size(array);
    if (!rc && (n < 1 || n > URLS_MAX))
        rc = err_field(err, "parts", "must have 1 to %d items", URLS_MAX);
    for (size_t i = 0; !rc && i < n; i++)
        rc = part_read(u, json_array_get(array, i), err);
    json_decref(root);
    return rc;
}

void upload_parts_post(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;
    err_clear(&err);
    if (!api)
        return;
    struct urls *u = calloc(1, sizeof(*u));
    int rc = u ? req_query_none(req, &err) : no_memory(&err);
    if (u) {
        u->api = api;
        u->req = req;
        http_set_data(req, u, urls_free);
    }
    if (!rc)
        rc = upload_id_of(req, &u->id, &err);
    if (!rc)
        rc = urls_read(req, u, &err);
    if (rc)
        reply_err(req, &err);
    else
        req_run(req, api->bytes, urls_task, u);
}
