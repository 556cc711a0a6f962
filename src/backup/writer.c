/* Writing, by libarchive, into a buffer that the caller empties. */
#include "backup/format.h"
#include "base/auto.h"
#include "base/json.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

#define OUT_MAX ((size_t)4 << 20) /* a piece of data and the headers around it are far less */

struct backup_writer {
    struct archive *archive;
    struct archive_entry *entry;
    struct sha256 *hash; /* of all that was made; NULL once complete.json was begun */
    int64_t bytes;       /* likewise */
    usec created_at;
    bool abandoned;
    struct buf out;
};

static la_ssize_t take(struct archive *a, void *arg, const void *p, size_t n)
{
    struct backup_writer *w = arg;

    if (!w->abandoned)
        buf_add(&w->out, p, n);
    if (w->abandoned || w->out.failed) {
        archive_set_error(a, ENOMEM, "out of memory");
        return -1;
    }
    if (w->hash) {
        sha256_add(w->hash, p, n);
        w->bytes += (int64_t)n;
    }
    return (la_ssize_t)n;
}

static int archive_err(struct backup_writer *w, const char *what, struct err *err)
{
    const char *text = archive_error_string(w->archive);

    return err_set(err, w->out.failed ? ERR_NO_MEMORY : ERR_INTERNAL, 0, "%s: %s", what, text ? text : "libarchive");
}

static int start(struct backup_writer *w, struct err *err)
{
    struct archive *a = w->archive;

    /* Restricted: pax headers only where a plain one cannot say it. Unbuffered: what was written is in `out`. */
    if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK || archive_write_add_filter_none(a) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
        archive_write_open(a, w, NULL, take, NULL) != ARCHIVE_OK)
        return archive_err(w, "begin the archive", err);
    return ERR_OK;
}

int backup_writer_new(usec created_at, struct backup_writer **ret, struct err *err)
{
    struct backup_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return err_set(err, ERR_NO_MEMORY, 0, "backup");
    w->created_at = created_at;
    buf_init(&w->out, OUT_MAX);
    w->archive = archive_write_new();
    w->entry = archive_entry_new();
    w->hash = sha256_new();
    int rc = w->archive && w->entry && w->hash ? start(w, err) : err_set(err, ERR_NO_MEMORY, 0, "backup");
    if (rc != ERR_OK) {
        backup_writer_free(w);
        return rc;
    }
    *ret = w;
    return ERR_OK;
}

void backup_writer_free(struct backup_writer *w)
{
    if (!w)
        return;
    /* Freeing an archive finishes its entry first: stopped at its first byte, however large that is. archive_write_fail, which is
     * meant for this, leaks in 3.6.2. */
    w->abandoned = true;
    archive_write_free(w->archive);
    archive_entry_free(w->entry);
    sha256_free(w->hash);
    buf_release(&w->out);
    free(w);
}

int backup_writer_entry(struct backup_writer *w, const char *name, int64_t size, unsigned mode, struct err *err)
{
    archive_entry_clear(w->entry);
    archive_entry_set_pathname(w->entry, name);
    archive_entry_set_filetype(w->entry, AE_IFREG);
    archive_entry_set_perm(w->entry, (mode_t)mode);
    archive_entry_set_size(w->entry, size);
    /* Whole seconds: a fraction would need a pax header, and the tail's length must not depend on it. */
    archive_entry_set_mtime(w->entry, (time_t)(w->created_at / USEC_PER_SEC), 0);
    if (archive_write_header(w->archive, w->entry) != ARCHIVE_OK)
        return archive_err(w, name, err);
    return ERR_OK;
}

int backup_writer_data(struct backup_writer *w, const void *p, size_t n, struct err *err)
{
    if (archive_write_data(w->archive, p, n) != (la_ssize_t)n)
        return archive_err(w, "write the archive", err);
    return ERR_OK;
}

static void render_end(const struct backup_writer *w, const char *hex, int64_t damaged, const char *failure,
                       struct buf *text)
{
    struct json_writer j;

    buf_reset(text);
    jw_init(&j, text);
    jw_object(&j, NULL);
    jw_bool(&j, "complete", failure == NULL);
    if (failure)
        jw_string(&j, "error", failure);
    jw_int(&j, "bytes", w->bytes);
    jw_string(&j, "sha256", hex);
    jw_int(&j, "damaged_blobs", damaged);
    jw_object_end(&j);
}

/* Exactly one block, whatever the failure is called. */
static int make_end(struct backup_writer *w, int64_t damaged, const char *failure, struct buf *text, struct err *err)
{
    uint8_t digest[32];
    char hex[SHA256_HEX_MAX];

    sha256_end(w->hash, digest);
    sha256_free(w->hash);
    w->hash = NULL;
    hex_format(digest, sizeof(digest), hex);
    render_end(w, hex, damaged, failure, text);
    if (text->len >= BACKUP_BLOCK)
        render_end(w, hex, damaged, "its log says why", text);
    while (!text->failed && text->len < BACKUP_BLOCK)
        buf_addc(text, text->len == BACKUP_BLOCK - 1 ? '\n' : ' ');
    return text->failed ? err_set(err, ERR_NO_MEMORY, 0, "backup") : ERR_OK;
}

int backup_writer_end(struct backup_writer *w, int64_t damaged, const char *failure, struct err *err)
{
    struct buf text;

    if (archive_write_finish_entry(w->archive) != ARCHIVE_OK) /* its padding counts too */
        return archive_err(w, "finish an entry", err);
    buf_init(&text, 4096);
    int rc = make_end(w, damaged, failure, &text, err);
    if (rc == ERR_OK)
        rc = backup_writer_entry(w, BACKUP_COMPLETE, BACKUP_BLOCK, 0600, err);
    if (rc == ERR_OK)
        rc = backup_writer_data(w, text.data, text.len, err);
    buf_release(&text);
    if (rc == ERR_OK && archive_write_close(w->archive) != ARCHIVE_OK)
        rc = archive_err(w, "end the archive", err);
    return rc;
}

struct buf *backup_writer_out(struct backup_writer *w)
{
    return &w->out;
}
