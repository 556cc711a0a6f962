/* The stream of a backup: entries are made when the client has room for them. Runs on the bytes pool. What goes wrong once the stream
 * has begun is said in its last entry; a blob that cannot be read, or is not what the database says, is counted and does not end it. */
#include "api/backup.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/timefmt.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define PIECE ((size_t)64 << 10)

static int entry_of_text(struct backup *b, const char *name, const char *p, size_t n, struct err *err)
{
    int rc = backup_writer_entry(b->writer, name, (int64_t)n, 0600, err);

    return rc == ERR_OK ? backup_writer_data(b->writer, p, n, err) : rc;
}

static int send_manifest(struct backup *b, struct err *err)
{
    struct buf text;

    buf_init(&text, 16384);
    backup_manifest_render(&b->manifest, &text);
    int rc = text.failed ? no_memory(err) : entry_of_text(b, BACKUP_MANIFEST, text.data, text.len, err);
    buf_release(&text);
    b->stage = SEND_DATABASE;
    return rc;
}

static int send_folder_id(struct backup *b, struct err *err)
{
    char name[BACKUP_NAME_MAX], text[UUID_STR_MAX + 1];

    snprintf(name, sizeof(name), BACKUP_BLOBS "%s", b->api->blob_driver->id_file);
    snprintf(text, sizeof(text), "%s\n", b->manifest.blob_folder_id);
    b->stage = SEND_BLOBS;
    return entry_of_text(b, name, text, strlen(text), err);
}

/** @param name  below the folder that `at` is; also the entry's, behind `prefix` */
static int begin_file(struct backup *b, int at, const char *prefix, const char *name, unsigned mode, int64_t size,
                      struct err *err)
{
    char entry[BACKUP_NAME_MAX];

    b->fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (b->fd < 0)
        return err_set(err, ERR_IO, errno, "open '%s' of the snapshot", name);
    posix_fadvise(b->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    snprintf(entry, sizeof(entry), "%s%s", prefix, name);
    b->left = size;
    b->stage = SEND_BYTES;
    return backup_writer_entry(b->writer, entry, size, mode, err);
}

static int send_database(struct backup *b, struct err *err)
{
    AUTO_FD int at = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (at < 0)
        return err_set(err, ERR_IO, errno, "open '%s'", b->dir);
    b->then = SEND_FOLDER_ID;
    return begin_file(b, at, "", b->manifest.database, 0600, b->manifest.database_bytes, err);
}

static int send_blob(struct backup *b, struct err *err)
{
    char path[BLOB_PATH_MAX];
    struct stat st;
    bool more;
    int rc = b->api->store_driver->snapshots->next_blob(b->copy, &b->blob, &more, err);

    if (rc != ERR_OK)
        return rc;
    if (!more) {
        b->stage = SEND_END;
        return ERR_OK;
    }
    b->api->blob_driver->path(&b->blob.blob_id, path);
    if (fstatat(b->blobs_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size != b->blob.size)
        return ERR_OK; /* counted when it could not be linked */
    sha256_free(b->hash);
    b->hash = sha256_new();
    b->then = SEND_BLOBS;
    return b->hash ? begin_file(b, b->blobs_fd, BACKUP_BLOBS, path, 0400, b->blob.size, err) : no_memory(err);
}

static void end_file(struct backup *b)
{
    uint8_t digest[32];

    close(TAKE_FD(b->fd));
    b->stage = b->then;
    if (!b->hash)
        return;
    sha256_end(b->hash, digest);
    sha256_free(b->hash);
    b->hash = NULL;
    if (memcmp(digest, b->blob.sha256, sizeof(digest)) != 0)
        backup_note_damage(b, &b->blob.blob_id, "another SHA-256");
}

/* An entry has as many bytes as its header said: what cannot be read is sent as zeros, and said at the end. */
static int send_bytes(struct backup *b, struct err *err)
{
    size_t want = (size_t)MIN((int64_t)PIECE, b->left);
    ssize_t n;

    do
        n = want ? read(b->fd, b->piece, want) : 0;
    while (n < 0 && errno == EINTR);
    if (want && n <= 0) {
        if (!b->hash) {
            err_set(err, ERR_IO, n < 0 ? errno : 0, "read the copy of the database");
            snprintf(b->failure, sizeof(b->failure), "%s", err->msg);
            b->then = SEND_END;
        }
        memset(b->piece, 0, want);
        n = (ssize_t)want;
    }
    if (b->hash)
        sha256_add(b->hash, b->piece, (size_t)n);
    int rc = backup_writer_data(b->writer, b->piece, (size_t)n, err);
    b->left -= n;
    if (b->left == 0)
        end_file(b);
    return rc;
}

static void log_sent(struct backup *b)
{
    char blobs[32], damaged[32], bytes[32], took[48];

    snprintf(blobs, sizeof(blobs), "%lld", (long long)b->manifest.blobs);
    snprintf(damaged, sizeof(damaged), "%lld", (long long)b->damaged);
    snprintf(bytes, sizeof(bytes), "%lld", (long long)b->sent);
    duration_format(b->api->clock.boot_us(b->api->clock.self) - b->began_us, took);
    log_event(b->failure[0] || b->damaged ? LOG_ERROR : LOG_INFO, "backup sent", "blobs", blobs, "damaged_blobs",
              damaged, "bytes", bytes, "took", took, b->failure[0] ? "error" : NULL, b->failure, NULL);
}

/* The folder goes first: who has the last byte may ask for the next backup. */
static int send_end(struct backup *b, struct err *err)
{
    backup_clean(b, true);
    b->stage = SEND_NOTHING;
    log_sent(b);
    return backup_writer_end(b->writer, b->damaged, b->failure[0] ? b->failure : NULL, err);
}

static int advance(struct backup *b, struct err *err)
{
    switch (b->stage) {
    case SEND_MANIFEST:
        return send_manifest(b, err);
    case SEND_DATABASE:
        return send_database(b, err);
    case SEND_FOLDER_ID:
        return send_folder_id(b, err);
    case SEND_BLOBS:
        return send_blob(b, err);
    case SEND_BYTES:
        return send_bytes(b, err);
    default:
        return send_end(b, err);
    }
}

static int64_t read_archive(void *arg, void *buf, size_t max)
{
    struct backup *b = arg;
    struct buf *out = backup_writer_out(b->writer);
    struct err err;

    while (out->len < max / 2 && b->stage != SEND_NOTHING)
        if (advance(b, &err) != ERR_OK) {
            if (b->stage == SEND_NOTHING)
                return -2; /* not even the end could be written */
            snprintf(b->failure, sizeof(b->failure), "%s", err.msg);
            b->stage = SEND_END;
        }
    if (out->len == 0)
        return -1;
    size_t n = MIN(max, out->len);
    memcpy(buf, out->data, n);
    buf_drop_front(out, n);
    b->sent += (int64_t)n;
    return (int64_t)n;
}

static void free_task(void *arg)
{
    backup_clean(arg, true);
    backup_free(arg);
}

/* When everything was sent, or the client has gone: on whatever thread, so not the place to remove a folder. */
static void free_archive(void *arg)
{
    struct backup *b = arg;

    if (!b->cleaned) {
        bool stopping = atomic_load(&b->api->draining);
        log_event(LOG_WARN, "a backup ended before its end", "reason",
                  stopping ? "the server is stopping" : "the client went away", NULL);
        if (pool_run(b->api->bytes, free_task, b, NULL) == ERR_OK)
            return;
        backup_clean(b, stopping); /* a pool that ends takes nothing more, and nobody waits for this thread then */
    }
    backup_free(b);
}

static void set_filename(struct backup *b)
{
    char when[RFC3339_MAX], value[96];

    rfc3339_format(b->manifest.created_at / USEC_PER_SEC * USEC_PER_SEC, when);
    for (char *c = when; *c; c++)
        if (*c == ':')
            *c = '-';
    snprintf(value, sizeof(value), "attachment; filename=\"haul-%s.tar\"", when);
    http_set_header(b->req, "Content-Disposition", value);
}

void backup_send(struct backup *b)
{
    struct http_request *req = b->req;
    struct http_stream stream = {.read = read_archive, .free = free_archive, .arg = b, .retry_ms = 1};

    b->piece = malloc(PIECE);
    int rc = b->piece ? backup_writer_new(b->manifest.created_at, &b->writer, &b->err) : no_memory(&b->err);
    if (rc != ERR_OK) {
        struct err err = b->err;
        backup_clean(b, false);
        backup_free(b);
        reply_err(req, &err);
        return;
    }
    set_filename(b);
    b->req = NULL;
    reply_stream(req, 200, "application/x-tar", stream);
}
