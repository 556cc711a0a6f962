/* POST /v1/uploads/{upload_id}/complete: the parts become one object, which is read once and hashed; then it is a blob as any other.
 *
 * Reading takes as long as it takes. A client that heard no answer asks again: while the first request is at work it is told so (503, with how
 * far it came), afterwards what the upload became. Two servers may read the same one: the row is added once, and both say the same. */
#include "api/resumable.h"
#include "api/routes.h"
#include "api/upload.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/sha256.h"

#define READ_BACK_MAX 4 /* at once: each holds a thread and a window of S3's */
#define PIECE_BYTES   ((size_t)256 << 10)

struct completion {
    struct api *api;
    struct http_request *req;
    struct open_upload *up;
    struct uuid id;
    struct upload_row row; /* without its strings */
    uint8_t sha256[32];
};

static void answer(const struct completion *k, const struct blob_row *blob)
{
    struct upload u = {.blob_id = k->id, .size = blob->size};
    memcpy(u.sha256, blob->sha256, sizeof(u.sha256));
    upload_say_blob(k->req, &k->id, blob->sha256);
    upload_reply(k->req, 200, &u);
}

static void leave(struct completion *k)
{
    upload_leave(k->api, TAKE_PTR(k->up), k->req);
}

/* The end: on the bytes pool */

static void done_task(void *arg)
{
    const struct call *c = arg;
    struct completion *k = c->data;
    k->api->blob_driver->discard(k->api->blobs, &k->id, NULL); /* its state; the next start would find it, too */
    leave(k);
    answer(k, &c->op.u.blob_add.row);
}

static void done(struct call *c)
{
    req_run(c->req, c->api->bytes, done_task, c);
}

/* The upload's row is gone: another server made it a blob, or somebody ended it, and then these are nobody's bytes. */
static void not_done_task(void *arg)
{
    struct call *c = arg;
    struct completion *k = c->data;
    struct found found = {.finished = false};
    struct err err;
    err_clear(&err);
    if (c->op.err.code == ERR_NOT_FOUND) {
        const int rc = upload_find(k->api, &k->id, http_arena(k->req), &found, &err);
        if (rc == ERR_NOT_FOUND)
            upload_remove_bytes(k->api, &k->id);
    }
    leave(k);
    if (found.finished)
        answer(k, &found.blob);
    else
        reply_err(k->req, &c->op.err);
}

static void not_done(struct call *c)
{
    req_run(c->req, c->api->bytes, not_done_task, c);
}

static void wrong_task(void *arg)
{
    const struct call *c = arg;
    struct completion *k = c->data;
    struct err err;
    err_clear(&err);
    upload_remove_bytes(k->api, &k->id);
    leave(k);
    err_field(&err, "Upload-Metadata",
              "sha256 is not that of the %lld bytes that arrived: the upload is gone, begin again",
              (long long)k->row.size);
    reply_err(k->req, &err);
}

/* Whether its row is gone or could not be removed: nothing is left to go on with. */
static void wrong(struct call *c)
{
    req_run(c->req, c->api->bytes, wrong_task, c);
}

static void offer_end(struct completion *k, bool good)
{
    struct call *c = arena_alloc(http_arena(k->req), sizeof(*c));
    if (!c) {
        struct err err;
        no_memory(&err);
        leave(k);
        reply_err(k->req, &err);
        return;
    }
    *c = (struct call){.api = k->api, .req = k->req};
    call_reuse(c, good ? OP_BLOB_ADD : OP_UPLOAD_END, good ? done : wrong);
    c->refused = good ? not_done : wrong;
    c->data = k;
    if (good) {
        c->op.u.blob_add.uploaded = true;
        c->op.u.blob_add.row = (struct blob_row){.blob_id = k->id, .project = API_PROJECT, .size = k->row.size};
        memcpy(c->op.u.blob_add.row.sha256, k->sha256, sizeof(k->sha256));
    } else {
        c->op.u.upload.row.upload_id = k->id;
    }
    call_offer(c);
}

/* Reading back */

static bool stopping(struct api *api)
{
    pthread_mutex_lock(&api->lock);
    const bool is = api->stopping;
    pthread_mutex_unlock(&api->lock);
    return is;
}

static int hash_all(struct completion *k, struct blob_reader *r, struct sha256 *hash, char *piece, struct err *err)
{
    struct api *api = k->api;
    int64_t at = 0;
    while (at < r->size) {
        const int64_t n = r->read(r, at, piece, PIECE_BYTES, err);
        if (n < 0)
            return (int)err->code;
        if (n == 0)
            return err_set(err, ERR_UNAVAILABLE, 0, "the upload's bytes end at %lld of %lld", (long long)at,
                           (long long)r->size);
        sha256_add(hash, piece, (size_t)n);
        at += n;
        writers_moved(&api->writers, k->up, at, api->clock.boot_us(api->clock.self));
        if (at < r->size && stopping(api))
            return err_set(err, ERR_UNAVAILABLE, 0, "the server is stopping: complete the upload again");
    }
    return ERR_OK;
}

static int read_back(struct completion *k, struct err *err)
{
    struct blob_reader *r = NULL;
    AUTO_FREE char *piece = malloc(PIECE_BYTES);
    struct sha256 *hash = sha256_new();
    int rc = piece && hash ? k->api->blob_driver->open_read(k->api->blobs, &k->id, &r, err) : no_memory(err);
    if (!rc && r->size != k->row.size)
        rc = err_set(err, ERR_CORRUPT, 0, "the upload became %lld bytes in place of %lld", (long long)r->size,
                     (long long)k->row.size);
    if (!rc)
        rc = hash_all(k, r, hash, piece, err);
    if (!rc)
        sha256_end(hash, k->sha256);
    blob_reader_close(r);
    sha256_free(hash);
    return rc;
}

static int make_whole(struct completion *k, struct err *err)
{
    struct api *api = k->api;
    int rc = ERR_OK;
    if (atomic_fetch_add(&api->reading_back, 1) >= READ_BACK_MAX)
        rc = err_set(err, ERR_BUSY, 0, "%d uploads are being completed: ask again", READ_BACK_MAX);
    if (!rc)
        rc = api->blob_driver->assemble(api->blobs, &k->id, k->row.size, err);
    if (!rc)
        rc = read_back(k, err);
    atomic_fetch_sub(&api->reading_back, 1);
    return rc;
}

/* The beginning */

/** Nobody writes it, and from here on nobody will, until it is left. */
static int take(struct completion *k, struct err *err)
{
    struct api *api = k->api;
    int rc = ERR_OK;
    pthread_mutex_lock(&k->up->io);
    if (k->up->blob)
        rc = err_set(err, ERR_CONFLICT, 0, "the upload's bytes come by PATCH: the last one makes it a blob");
    else if (!writers_finish(&api->writers, k->up, k->req))
        rc = err_set(err, ERR_LOCKED, 0, "another request goes on with this upload, or it was ended");
    pthread_mutex_unlock(&k->up->io);
    if (!rc) {
        writers_moved(&api->writers, k->up, 0, api->clock.boot_us(api->clock.self));
        upload_keep_longer(api, &k->id);
    }
    return rc;
}

static int enter(struct completion *k, struct found *found, struct err *err)
{
    struct api *api = k->api;
    int64_t at = 0;
    int rc = writers_enter(&api->writers, &k->id, k->req, api->clock.boot_us(api->clock.self), &k->up, err);
    if (rc == ERR_LOCKED)
        http_set_header(k->req, "Retry-After", "1");
    if (rc == ERR_BUSY && writers_finishing(&api->writers, &k->id, &at))
        upload_say_bytes(k->req, "Haul-Read-Back", at);
    if (!rc)
        rc = upload_find(api, &k->id, http_arena(k->req), found, err);
    if (rc || found->finished)
        return rc;
    k->row = found->row;
    if (!api->blob_driver->assemble)
        return err_set(err, ERR_UNSUPPORTED, 0, "this server takes an upload's bytes by PATCH only");
    rc = take(k, err);
    return rc ? rc : make_whole(k, err);
}

static void complete_task(void *arg)
{
    struct completion *k = arg;
    struct found found = {.finished = false};
    struct err err;
    err_clear(&err);
    const int rc = enter(k, &found, &err);
    if (!rc && !found.finished) {
        offer_end(k, !k->row.hashed || memcmp(k->sha256, k->row.sha256, sizeof(k->sha256)) == 0);
        return;
    }
    if (k->up)
        leave(k);
    if (rc)
        reply_err(k->req, &err);
    else
        answer(k, &found.blob);
}

void upload_complete_post(struct http_request *req)
{
    struct api *api = api_enter(req);
    struct err err;
    err_clear(&err);
    if (!api)
        return;
    struct completion *k = arena_alloc(http_arena(req), sizeof(*k));
    int rc = k ? req_query_none(req, &err) : no_memory(&err);
    if (!rc) {
        *k = (struct completion){.api = api, .req = req};
        rc = upload_id_of(req, &k->id, &err);
    }
    if (!rc)
        rc = req_no_json(req, &err);
    if (rc)
        reply_err(req, &err);
    else
        req_run(req, api->bytes, complete_task, k);
}
