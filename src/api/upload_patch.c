/* PATCH /v1/uploads/{upload_id}: bytes that go on where the last ones ended.
 *
 * What is acknowledged (204) was synced. In between it is synced every so often, so that a crash costs little; and when the connection
 * breaks, so that all that came is kept. But never the last byte: it is believed only with the blob's row. So an upload that any HEAD
 * tells of either lacks bytes or is a blob, and a client in doubt has one thing to do: ask, and go on from there. */
#include "api/resumable.h"
#include "api/routes.h"
#include "api/upload.h"
#include "base/auto.h"
#include "base/log.h"

#define SYNC_BYTES (INT64_C(256) << 20)
#define SYNC_US    (10 * USEC_PER_SEC)

struct patch {
    struct api *api;
    struct http_request *req;
    struct open_upload *up; /* NULL once it gave it up */
    struct uuid id;
    struct upload_row row; /* without its strings */
    int64_t offset;        /* as the request says */
    int64_t passed_over;   /* so many of its bytes are still to be */
    bool summed;           /* all of its body is stored, and this is its sum */
    uint8_t xxh128[XXH128_BYTES];
    /* of a finished one */
    int64_t size;
    uint8_t sha256[32];
};

static usec boot_now(const struct api *api)
{
    return api->clock.boot_us(api->clock.self);
}

/* Expiry is put off, in the background */

struct keep {
    struct op op;
    struct loop_letter letter;
};

static void kept(struct op *op)
{
    arena_free(op->arena);
    free(op->owner);
}

void upload_keep_longer(struct api *api, const struct uuid *id)
{
    struct keep *k = calloc(1, sizeof(*k));
    struct arena *arena = k ? arena_new(64 << 10) : NULL;
    if (!arena) { /* the next one will */
        free(k);
        return;
    }
    k->op = (struct op){.kind = OP_UPLOAD_TOUCH, .project = API_PROJECT, .arena = arena, .done = kept, .owner = k};
    k->op.u.upload.row.upload_id = *id;
    loop_offer(api->loop, &k->letter, &k->op);
}

/* Giving up: the connection broke, or was taken over */

static bool row_gone(struct api *api, const struct uuid *id)
{
    struct arena *arena = arena_new(64 << 10);
    struct upload_row row;
    struct err none;
    bool gone =
        arena && api->store_driver->upload_get(api->store, API_PROJECT, id, true, arena, &row, &none) == ERR_NOT_FOUND;
    arena_free(arena);
    return gone;
}

/* On the bytes pool; nobody may write it any more, or another one does. */
static void put_away(void *arg)
{
    struct open_upload *up = arg;
    struct api *api = up->api;
    struct err err;
    bool idle = false;
    err_clear(&err);
    pthread_mutex_lock(&up->io);
    if (up->blob && writers_none(&api->writers, up)) {
        int64_t offset = 0;
        idle = true;
        if (writers_offset(&api->writers, &up->id, &offset) && offset < up->size &&
            api->blob_driver->sync(up->blob, &err) != ERR_OK)
            log_err("keep what came of an upload", &err);
        api->blob_driver->leave(up->blob);
        up->blob = NULL;
    }
    pthread_mutex_unlock(&up->io);
    if (idle && row_gone(api, &up->id)) /* it was ended under our hands */
        api->blob_driver->discard(api->blobs, &up->id, NULL);
    else if (idle)
        upload_keep_longer(api, &up->id);
    writers_put(&api->writers, up);
}

void upload_leave(struct api *api, struct open_upload *up, const struct http_request *req)
{
    writers_leave(&api->writers, up, req);
    put_away(up);
}

static void give_up(struct patch *p)
{
    struct open_upload *up = TAKE_PTR(p->up);
    if (!up)
        return;
    writers_leave(&p->api->writers, up, p->req);
    if (pool_run(p->api->bytes, put_away, up, NULL) != ERR_OK)
        put_away(up); /* the pool is full: rather here than not */
}

/** Leaves what others may go on with; its bytes were left or made a blob. */
static void leave(struct patch *p)
{
    struct open_upload *up = TAKE_PTR(p->up);
    writers_leave(&p->api->writers, up, p->req);
    writers_put(&p->api->writers, up);
}

static void patch_free(void *data)
{
    struct patch *p = data;
    give_up(p);
    free(p);
}

/* The beginning: on the bytes pool */

static int refuse_finished(const struct patch *p, const struct blob_row *blob, struct err *err)
{
    upload_say_bytes(p->req, "Upload-Offset", blob->size);
    upload_say_blob(p->req, &p->id, blob->sha256);
    return err_set(err, ERR_CONFLICT, 0, "the upload is finished: Haul-Blob-Ref names what it made");
}

static int fit(struct patch *p, struct err *err)
{
    int64_t left = p->row.size - p->offset, length = http_content_length(p->req);
    if (length > left)
        return err_set(err, ERR_TOO_LARGE, 0, "the upload has %lld bytes in all: %lld more than those are not taken",
                       (long long)p->row.size, (long long)(length - left));
    return ERR_OK;
}

static int take_over(struct patch *p, int64_t at, struct err *err)
{
    const struct blob_driver *d = p->api->blob_driver;
    d->sum(p->up->blob, p->xxh128); /* it begins anew */
    return at < p->row.size ? d->sync(p->up->blob, err) : ERR_OK;
}

static int wind(struct patch *p, struct err *err)
{
    struct api *api = p->api;
    struct open_upload *up = p->up;
    int64_t at = -1;
    int rc = ERR_OK;
    pthread_mutex_lock(&up->io);
    if (up->blob && writers_offset(&api->writers, &p->id, &at)) /* taken over as it stands, before it was put away */
        rc = take_over(p, at, err);
    else
        rc = api->blob_driver->resume(api->blobs, &p->id, &up->blob, &at, err);
    if (rc == ERR_OK) {
        writers_moved(&api->writers, up, at, boot_now(api));
        up->size = p->row.size;
        up->synced = at;
        up->synced_at = boot_now(api);
        up->kept_at = api->store_driver->now(api->store);
    }
    pthread_mutex_unlock(&up->io);
    if (rc == ERR_OK && at == p->row.size && p->offset < at) { /* whole, but for its row: what comes is there already */
        p->passed_over = at - p->offset;
        p->summed = false;
    } else if (rc == ERR_OK && at != p->offset) {
        upload_say_bytes(p->req, "Upload-Offset", at);
        err_field(err, "Upload-Offset", "is %lld, but the upload stands at %lld: go on from there",
                  (long long)p->offset, (long long)at);
        rc = err->code = ERR_CONFLICT;
    }
    return rc;
}

/* Who writes is settled before the row is read: else it might be finished, and its bytes be begun again, in between. */
static int enter(struct patch *p, struct err *err)
{
    struct api *api = p->api;
    struct found found;
    int rc = writers_enter(&api->writers, &p->id, p->req, boot_now(api), &p->up, err);
    if (rc == ERR_LOCKED)
        http_set_header(p->req, "Retry-After", "1");
    if (rc)
        return rc;
    rc = upload_find(api, &p->id, http_arena(p->req), &found, err);
    if (!rc && found.finished)
        rc = refuse_finished(p, &found.blob, err);
    if (rc)
        return rc;
    p->row = found.row;
    rc = wind(p, err);
    return rc ? rc : fit(p, err);
}

static int read_head(struct http_request *req, struct patch *p, struct err *err)
{
    int rc = upload_check_version(req, err);
    if (!rc)
        rc = req_query_none(req, err);
    if (!rc)
        rc = upload_id_of(req, &p->id, err);
    return rc ? rc : tus_bytes_parse(http_header(req, "Upload-Offset"), "Upload-Offset", &p->offset, err);
}

int patch_begin(struct http_request *req, struct err *err)
{
    struct patch *p = calloc(1, sizeof(*p));
    if (!p)
        return no_memory(err);
    p->summed = true;
    p->api = http_app(req);
    p->req = req;
    http_set_data(req, p, patch_free);
    int rc = read_head(req, p, err);
    if (!rc)
        rc = enter(p, err);
    if (rc)
        give_up(p); /* not only when the client has hung up */
    return rc;
}

/* The bytes */

static int not_ours(struct err *err)
{
    return err_set(err, ERR_LOCKED, 0, "another request goes on with this upload, or it was ended");
}

static int sync_sometimes(struct patch *p, int64_t offset, struct err *err)
{
    struct open_upload *up = p->up;
    usec now = boot_now(p->api), store_now = p->api->store_driver->now(p->api->store);
    int rc = ERR_OK;
    if (offset < p->row.size && (offset - up->synced >= SYNC_BYTES || now - up->synced_at >= SYNC_US)) {
        rc = p->api->blob_driver->sync(up->blob, err);
        up->synced = offset;
        up->synced_at = now;
    }
    if (store_now - up->kept_at >= p->api->policy.upload_keep_us / 2) {
        upload_keep_longer(p->api, &p->id);
        up->kept_at = store_now;
    }
    return rc;
}

static int write_piece(struct patch *p, struct buf *piece, struct err *err)
{
    struct api *api = p->api;
    struct open_upload *up = p->up;
    int64_t at = 0;
    if (p->passed_over > 0) {
        const size_t there = (size_t)MIN(p->passed_over, (int64_t)piece->len);
        p->passed_over -= (int64_t)there;
        buf_drop_front(piece, there);
    }
    if (!writers_has(&api->writers, up, p->req) || !writers_offset(&api->writers, &p->id, &at))
        return not_ours(err);
    if ((int64_t)piece->len > p->row.size - at)
        return err_set(err, ERR_TOO_LARGE, 0, "the upload has %lld bytes in all: what is more than those is not taken",
                       (long long)p->row.size);
    at += (int64_t)piece->len;
    int rc = upload_take(api, up->blob, piece, err);
    if (rc)
        return rc;
    rc = sync_sometimes(p, at, err);
    writers_moved(&api->writers, up, at, boot_now(api));
    return rc;
}

int patch_body(struct http_request *req, struct buf *piece, struct err *err)
{
    struct patch *p = http_data(req);
    pthread_mutex_lock(&p->up->io);
    int rc = write_piece(p, piece, err);
    pthread_mutex_unlock(&p->up->io);
    if (rc)
        give_up(p);
    return rc;
}

/* The end: more will come */

/** What its bytes are now, all or some. */
static void reply_stored(const struct patch *p)
{
    upload_say_bytes(p->req, "Upload-Offset", p->size);
    if (p->summed)
        upload_say_body(p->req, p->xxh128);
    reply_empty(p->req, 204);
}

static void touched(struct call *c)
{
    upload_say_expires(c->req, c->op.u.upload.row.expires_at);
    reply_stored(c->data);
}

static void untouched_task(void *arg)
{
    struct call *c = arg;
    if (c->op.err.code == ERR_NOT_FOUND)
        upload_remove_bytes(c->api, &c->op.u.upload.row.upload_id);
    reply_err(c->req, &c->op.err);
}

void upload_untouched(struct call *c)
{
    req_run(c->req, c->api->bytes, untouched_task, c);
}

static void rest(struct patch *p)
{
    struct http_request *req = p->req;
    leave(p);
    struct call *c = call_new(p->api, req, OP_UPLOAD_TOUCH, touched);
    if (!c)
        return;
    c->data = p;
    c->refused = upload_untouched;
    c->op.u.upload.row.upload_id = p->id;
    call_offer(c);
}

/* The end: it is whole */

static void finished_task(void *arg)
{
    struct call *c = arg;
    struct patch *p = c->data;
    p->api->blob_driver->discard(p->api->blobs, &p->id, NULL); /* its mark; the next start would find it, too */
    leave(p);
    upload_say_blob(c->req, &p->id, p->sha256);
    reply_stored(p);
}

static void finished(struct call *c)
{
    req_run(c->req, c->api->bytes, finished_task, c);
}

/* Gone meanwhile: nobody's bytes. Else the upload is there as before, and can go on from what was synced. */
static void unfinished_task(void *arg)
{
    struct call *c = arg;
    struct patch *p = c->data;
    if (c->op.err.code == ERR_NOT_FOUND)
        upload_remove_bytes(p->api, &p->id);
    leave(p);
    reply_err(c->req, &c->op.err);
}

static void unfinished(struct call *c)
{
    req_run(c->req, c->api->bytes, unfinished_task, c);
}

static void wrong_task(void *arg)
{
    struct call *c = arg;
    struct patch *p = c->data;
    struct err err;
    err_clear(&err);
    upload_remove_bytes(p->api, &p->id);
    leave(p);
    err_field(&err, "Upload-Metadata",
              "sha256 is not that of the %lld bytes that arrived: the upload is gone, begin again", (long long)p->size);
    reply_err(c->req, &err);
}

/* Whether its row is gone or could not be removed: nothing is left to go on with. */
static void wrong(struct call *c)
{
    req_run(c->req, c->api->bytes, wrong_task, c);
}

static void offer_end(struct patch *p, bool good)
{
    struct http_request *req = p->req;
    struct call *c = arena_alloc(http_arena(req), sizeof(*c));
    if (!c) {
        struct err err;
        no_memory(&err);
        leave(p);
        reply_err(req, &err);
        return;
    }
    c->api = p->api;
    c->req = req;
    call_reuse(c, good ? OP_BLOB_ADD : OP_UPLOAD_END, good ? finished : wrong);
    c->refused = good ? unfinished : wrong;
    c->data = p;
    if (good) {
        c->op.u.blob_add.uploaded = true;
        c->op.u.blob_add.row = (struct blob_row){.blob_id = p->id, .project = API_PROJECT, .size = p->size};
        struct blob_row *row = &c->op.u.blob_add.row;
        memcpy(row->sha256, p->sha256, sizeof(row->sha256));
        memcpy(row->xxh128, p->xxh128, sizeof(row->xxh128));
        row->summed = p->summed && p->offset == 0;
    } else {
        c->op.u.upload.row.upload_id = p->id;
    }
    call_offer(c);
}

static void finish(struct patch *p, struct blob_upload *blob)
{
    struct http_request *req = p->req;
    struct err err;
    err_clear(&err);
    if (p->api->blob_driver->commit(blob, &p->size, p->sha256, &err) != ERR_OK) {
        leave(p);
        reply_err(req, &err);
        return;
    }
    offer_end(p, !p->row.hashed || memcmp(p->sha256, p->row.sha256, sizeof(p->sha256)) == 0);
}

/** What came is durable; or all is there, and nobody else writes: then it is handed over. Under the lock of `up`. */
static int settle(struct patch *p, struct blob_upload **ret_whole, struct err *err)
{
    struct api *api = p->api;
    struct open_upload *up = p->up;
    int rc = ERR_OK;
    if (!writers_has(&api->writers, up, p->req) || !writers_offset(&api->writers, &p->id, &p->size))
        return not_ours(err);
    api->blob_driver->sum(up->blob, p->xxh128);
    if (p->size < p->row.size) {
        rc = api->blob_driver->sync(up->blob, err);
        if (!rc)
            api->blob_driver->leave(TAKE_PTR(up->blob));
    } else if (writers_finish(&api->writers, up, p->req)) {
        *ret_whole = TAKE_PTR(up->blob);
    } else {
        rc = not_ours(err);
    }
    return rc;
}

static void end_task(void *arg)
{
    struct patch *p = arg;
    struct open_upload *up = p->up;
    struct http_request *req = p->req;
    struct blob_upload *whole = NULL;
    struct err err;
    err_clear(&err);
    pthread_mutex_lock(&up->io);
    const int rc = settle(p, &whole, &err);
    pthread_mutex_unlock(&up->io);
    if (rc) {
        give_up(p);
        reply_err(req, &err);
    } else if (whole) {
        finish(p, whole);
    } else {
        rest(p);
    }
}

void upload_patch(struct http_request *req)
{
    struct api *api = api_enter(req);
    if (api)
        req_run(req, api->bytes, end_task, http_data(req));
}
