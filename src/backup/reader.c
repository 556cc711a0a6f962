/* Reading, by libarchive: tar only, no compression (a small file cannot become a large one), nothing is ever unpacked by
 * libarchive itself. */
#include "backup/format.h"
#include "base/auto.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

#define PIECE ((size_t)256 << 10)

struct backup_reader {
    struct archive *archive;
    int fd; /* borrowed */
    struct backup_tail tail;
    struct backup_end end;
    char name[BACKUP_NAME_MAX];
    struct err failed; /* of a read; libarchive would make a text of it */
    char piece[PIECE];
};

static la_ssize_t give(struct archive *a, void *arg, const void **ret)
{
    struct backup_reader *r = arg;
    ssize_t n;

    do
        n = read(r->fd, r->piece, sizeof(r->piece));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        err_set(&r->failed, ERR_IO, errno, "read the backup");
        archive_set_error(a, errno, "read");
        return ARCHIVE_FATAL;
    }
    backup_tail_add(&r->tail, r->piece, (size_t)n);
    *ret = r->piece;
    return n;
}

static int archive_err(struct backup_reader *r, struct err *err)
{
    const char *text = archive_error_string(r->archive);

    if (r->failed.code != ERR_OK) {
        if (err)
            *err = r->failed;
        return (int)r->failed.code;
    }
    return err_set(err, ERR_CORRUPT, 0, "the backup is cut or damaged near byte %lld (%s)", (long long)r->tail.bytes,
                   text ? text : "libarchive");
}

int backup_reader_new(int fd, struct backup_reader **ret, struct err *err)
{
    struct backup_reader *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "backup");
    r->fd = fd;
    r->archive = archive_read_new();
    rc = r->archive ? backup_tail_init(&r->tail, err) : err_set(err, ERR_NO_MEMORY, 0, "backup");
    if (rc == ERR_OK && (archive_read_support_format_tar(r->archive) != ARCHIVE_OK ||
                         archive_read_open(r->archive, r, NULL, give, NULL) != ARCHIVE_OK))
        rc = archive_err(r, err);
    if (rc != ERR_OK) {
        backup_reader_free(r);
        return rc;
    }
    *ret = r;
    return ERR_OK;
}

void backup_reader_free(struct backup_reader *r)
{
    if (!r)
        return;
    archive_read_free(r->archive);
    backup_tail_release(&r->tail);
    free(r);
}

/* complete.json must be the last entry, and be right about all that came before it. */
static int finish(struct backup_reader *r, struct err *err)
{
    struct archive_entry *entry;
    const void *piece;
    la_ssize_t n;
    int rc = archive_read_next_header(r->archive, &entry);

    if (rc == ARCHIVE_OK)
        return err_set(err, ERR_CORRUPT, 0, "the backup goes on after %s", BACKUP_COMPLETE);
    if (rc != ARCHIVE_EOF)
        return archive_err(r, err);
    while ((n = give(r->archive, r, &piece)) > 0) /* libarchive stops at the end of the tar; the file may have more */
        ;
    if (n < 0)
        return archive_err(r, err);
    return backup_tail_end(&r->tail, &r->end, err);
}

int backup_reader_next(struct backup_reader *r, const char **ret_name, int64_t *ret_size, struct err *err)
{
    struct archive_entry *entry;
    int rc = archive_read_next_header(r->archive, &entry);

    if (rc == ARCHIVE_EOF)
        return err_set(err, ERR_CORRUPT, 0, "the backup is cut or damaged: it ends without %s", BACKUP_COMPLETE);
    if (rc != ARCHIVE_OK) /* warnings too: nothing that we wrote gives one */
        return archive_err(r, err);
    const char *name = archive_entry_pathname(entry);
    if (!name || strlen(name) >= sizeof(r->name))
        return err_set(err, ERR_CORRUPT, 0, "the backup holds an entry whose name is none of ours");
    snprintf(r->name, sizeof(r->name), "%s", name);
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
        archive_entry_sparse_count(entry) > 0 || !archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
        return err_set(err, ERR_CORRUPT, 0, "'%.100s' in the backup is no plain file", r->name);
    *ret_size = archive_entry_size(entry);
    *ret_name = r->name;
    if (strcmp(r->name, BACKUP_COMPLETE) != 0)
        return ERR_OK;
    *ret_name = NULL;
    return finish(r, err);
}

int backup_reader_read(struct backup_reader *r, void *buf, size_t max, size_t *ret_n, struct err *err)
{
    la_ssize_t n = archive_read_data(r->archive, buf, max);

    if (n < 0)
        return archive_err(r, err);
    *ret_n = (size_t)n;
    return ERR_OK;
}

int64_t backup_reader_bytes(const struct backup_reader *r)
{
    return r->tail.bytes;
}

const struct backup_end *backup_reader_end(const struct backup_reader *r)
{
    return &r->end;
}
