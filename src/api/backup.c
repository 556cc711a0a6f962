/* GET /v1/backup: the server makes the snapshot, because nobody else may open the database.
 *
 *   bytes pool       a folder in the data folder (the same file system), and is there room for the database?
 *   engine's thread  a copy of the database between batches (engine/snapshot.c); blobs are not swept from here on
 *   bytes pool       a second name for every blob that the copy names, some hundred at a time
 *   engine's thread  blobs are swept again
 *   bytes pool       the archive, as fast as the client takes it (backup_send.c); the folder goes before the last bytes do
 *
 * One at a time. A client that leaves, a drain, an error: the folder goes as well; after a crash the next start removes it. */
#include "api/backup.h"
#include "api/routes.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LINKS_A_TURN 256
#define SPARE_BYTES  ((int64_t)16 << 20) /* left to the server while the copy is there */
#define DAMAGE_NOTED 20
#define BLOBS_FOLDER "blobs"
#define HEADER_BYTES "Haul-Backup-Bytes"

static void link_task(void *arg);

/* --- one at a time --- */

static bool slot_take(struct api *api)
{
    pthread_mutex_lock(&api->lock);
    bool free_slot = !api->backing_up;
    api->backing_up = true;
    pthread_mutex_unlock(&api->lock);
    return free_slot;
}

static void slot_give(struct api *api)
{
    pthread_mutex_lock(&api->lock);
    api->backing_up = false;
    pthread_mutex_unlock(&api->lock);
}

void backup_clean(struct backup *b, bool remove)
{
    struct err err;

    if (b->cleaned)
        return;
    b->cleaned = true;
    if (b->copy)
        b->api->store_driver->snapshots->close(b->copy);
    b->copy = NULL;
    if (b->blobs_fd >= 0)
        close(TAKE_FD(b->blobs_fd));
    if (remove && fs_remove_tree(b->dir, &err) != ERR_OK)
        log_err("remove what a backup left", &err);
    slot_give(b->api);
}

void backup_free(struct backup *b)
{
    if (!b)
        return;
    backup_writer_free(b->writer);
    sha256_free(b->hash);
    if (b->fd >= 0)
        close(b->fd);
    free(b->piece);
    free(b);
}

void backup_note_damage(struct backup *b, const struct uuid *id, const char *what)
{
    char text[UUID_STR_MAX];

    uuid_format(id, text);
    if (++b->damaged <= DAMAGE_NOTED)
        log_event(LOG_ERROR, "a blob of the backup is not what the database says", "blob_id", text, "problem", what,
                  NULL);
}

/* --- the end that is none --- */

static void fail_now(struct backup *b, bool remove)
{
    struct http_request *req = b->req;
    struct err err = b->err;

    backup_clean(b, remove);
    backup_free(b);
    reply_err(req, &err);
}

static void fail_task(void *arg)
{
    fail_now(arg, true);
}

/** From any thread. */
static void fail(struct backup *b)
{
    if (pool_run(b->api->bytes, fail_task, b, NULL) != ERR_OK)
        fail_now(b, false);
}

/** On the pool, or fails. */
static void go_on(struct backup *b, void (*task)(void *arg))
{
    if (pool_run(b->api->bytes, task, b, &b->err) != ERR_OK)
        fail_now(b, false);
}

static bool wanted(struct snapshot *s)
{
    struct backup *b = s->owner;

    return http_alive(b->req) && !atomic_load(&b->api->draining);
}

/* --- links --- */

static void release_letter(struct engine *e, void *arg)
{
    struct backup *b = arg;

    engine_snapshot_end(e, &b->snapshot);
    if (b->err.code != ERR_OK) {
        fail(b);
        return;
    }
    char bytes[32];
    snprintf(bytes, sizeof(bytes), "%lld", (long long)b->manifest.archive_bytes);
    http_set_header(b->req, HEADER_BYTES, bytes);
    backup_send(b);
}

static int link_one(struct backup *b, const struct store_copy_blob *blob, struct err *err)
{
    int64_t size = 0;
    int rc = b->api->blob_driver->link(b->api->blobs, &blob->blob_id, b->blobs_fd, &size, err);

    if (rc == ERR_OK && size == blob->size) {
        b->manifest.blobs++;
        b->manifest.blob_bytes += size;
        b->manifest.archive_bytes += backup_entry_bytes(size);
        return ERR_OK;
    }
    if (rc != ERR_OK && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
        return rc;
    /* A backup of all the rest is worth more than none. */
    err_clear(err);
    b->manifest.missing_blobs++;
    backup_note_damage(b, &blob->blob_id, rc == ERR_OK ? "another size" : "not there");
    return ERR_OK;
}

static int link_some(struct backup *b, bool *ret_more, struct err *err)
{
    struct store_copy_blob blob;

    *ret_more = true;
    for (int i = 0; i < LINKS_A_TURN && *ret_more; i++) {
        int rc = b->api->store_driver->snapshots->next_blob(b->copy, &blob, ret_more, err);
        if (rc == ERR_OK && *ret_more)
            rc = link_one(b, &blob, err);
        if (rc != ERR_OK)
            return rc;
    }
    return wanted(&b->snapshot) ? ERR_OK : err_set(err, ERR_UNAVAILABLE, 0, "the server is stopping");
}

static void link_task(void *arg)
{
    struct backup *b = arg;
    bool more = true;

    while (more && link_some(b, &more, &b->err) == ERR_OK)
        if (more && pool_run(b->api->bytes, link_task, b, NULL) == ERR_OK)
            return; /* others wait for this thread; when the queue is full of them, so be it */
    loop_post(b->api->loop, &b->letter, release_letter, b);
}

/* --- the copy --- */

static int look_at_copy(struct backup *b, struct err *err)
{
    const struct store_snapshots *d = b->api->store_driver->snapshots;
    struct backup_manifest *m = &b->manifest;
    struct store_copy_info info;
    int rc = d->open(b->dir, &b->copy, &info, err);

    *m = (struct backup_manifest){.format = BACKUP_FORMAT, .haul_version = HAUL_VERSION};
    if (rc == ERR_OK)
        rc = d->meta(b->copy, STORE_META_BLOB_FOLDER, m->blob_folder_id, sizeof(m->blob_folder_id), err);
    if (rc != ERR_OK)
        return rc;
    snprintf(m->database, sizeof(m->database), "%s", d->file);
    m->created_at = b->api->clock.wall_us(b->api->clock.self);
    m->schema = info.schema;
    m->jobs = info.jobs;
    m->database_bytes = info.bytes;
    /* manifest.json and the folder's id take a block each */
    m->archive_bytes = 2 * backup_entry_bytes(1) + backup_entry_bytes(info.bytes) + BACKUP_TAIL_BYTES;
    return ERR_OK;
}

static void copied_task(void *arg)
{
    struct backup *b = arg;

    if (look_at_copy(b, &b->err) == ERR_OK)
        link_task(b);
    else
        loop_post(b->api->loop, &b->letter, release_letter, b);
}

static void copied(struct snapshot *s, const struct err *err)
{
    struct backup *b = s->owner;

    if (err) {
        b->err = *err;
        fail(b);
    } else if (pool_run(b->api->bytes, copied_task, b, &b->err) != ERR_OK) {
        loop_post(b->api->loop, &b->letter, release_letter, b);
    }
}

static void snapshot_letter(struct engine *e, void *arg)
{
    engine_snapshot(e, &((struct backup *)arg)->snapshot);
}

/* --- the beginning --- */

static int make_folder(struct backup *b, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_remove_tree(b->dir, err); /* what an earlier one could not remove */

    if (rc == ERR_OK)
        rc = fs_join(path, sizeof(path), b->dir, BLOBS_FOLDER, err);
    if (rc == ERR_OK)
        rc = fs_mkdirs(path, 0700, err);
    if (rc != ERR_OK)
        return err_wrap(err, rc, "backup");
    b->blobs_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return b->blobs_fd >= 0 ? ERR_OK : err_set(err, ERR_IO, errno, "open '%s'", path);
}

static int check_space(struct backup *b, struct err *err)
{
    struct statvfs st;
    int64_t needs = 0;
    int rc = b->api->store_driver->snapshots->bytes(b->api->store, &needs, err);

    if (rc != ERR_OK)
        return rc;
    if (statvfs(b->dir, &st) < 0)
        return err_set(err, ERR_IO, errno, "'%s'", b->dir);
    int64_t has = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    needs += SPARE_BYTES;
    if (has >= needs)
        return ERR_OK;
    return err_set(
        err, ERR_NO_SPACE, 0,
        "a backup needs %lld MiB free in the data folder while it is made (a copy of the database), there are "
        "%lld MiB: free some, or discard jobs",
        (long long)(needs >> 20) + 1, (long long)(has >> 20));
}

static void prepare_task(void *arg)
{
    struct backup *b = arg;
    int rc = make_folder(b, &b->err);

    if (rc == ERR_OK)
        rc = check_space(b, &b->err);
    if (rc == ERR_OK)
        loop_post(b->api->loop, &b->letter, snapshot_letter, b);
    else
        fail_now(b, true);
}

/* A page may make a browser fetch an image from here; it cannot read the answer, but the work would be done. */
static bool asked_by_a_page(struct http_request *req)
{
    const char *site = http_header(req, "Sec-Fetch-Site");

    return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
}

static int refusal(struct api *api, struct http_request *req, struct err *err)
{
    int rc = req_query_none(req, err);

    if (rc != ERR_OK)
        return rc;
    if (asked_by_a_page(req))
        return err_set(err, ERR_FORBIDDEN, 0, "a page of another site may not make backups");
    if (!api->store_driver->snapshots || !api->blob_driver->link || !api->backup_dir)
        return err_set(err, ERR_UNSUPPORTED, 0,
                       "this server's database or blobs are backed up by tools of their own, not by haul");
    if (http_is_head(req))
        return err_set(err, ERR_METHOD, 0, "only GET makes a backup");
    if (!slot_take(api))
        return err_set(err, ERR_CONFLICT, 0, "a backup is being made already: wait until it is finished");
    return ERR_OK;
}

void backup_get(struct http_request *req)
{
    struct err err = {0};
    struct api *api = api_enter(req);

    if (!api)
        return;
    int rc = refusal(api, req, &err);
    if (rc != ERR_OK) {
        reply_err(req, &err);
        return;
    }
    struct backup *b = calloc(1, sizeof(*b));
    if (!b) {
        slot_give(api);
        no_memory(&err);
        reply_err(req, &err);
        return;
    }
    *b = (struct backup){.api = api,
                         .req = req,
                         .dir = api->backup_dir,
                         .began_us = api->clock.boot_us(api->clock.self),
                         .blobs_fd = -1,
                         .fd = -1};
    b->snapshot = (struct snapshot){.dir = b->dir, .alive = wanted, .whole = copied, .owner = b};
    go_on(b, prepare_task);
}
