#pragma once
/* The archive that `GET /v1/backup` streams and `haul restore` reads: one tar (pax) of the data folder as it was at one commit.
 *
 *     manifest.json        what it is, and how much (struct backup_manifest)
 *     haul.db              the database
 *     blobs/folder-id      whose blobs these are
 *     blobs/xx/<uuid> ...  every blob that the database names, in the order of their ids
 *     complete.json        the last entry: bytes and SHA-256 of everything before it, or why there is not more
 *
 * complete.json's content is padded to one block, so that the tail (its header, its content, the end of the tar) always is
 * BACKUP_TAIL_BYTES long: who only passes the bytes on can check them without knowing tar (struct backup_tail). */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/sha256.h"
#include "base/uuid.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKUP_FORMAT     1
#define BACKUP_TAIL_BYTES 2048
#define BACKUP_MANIFEST   "manifest.json"
#define BACKUP_COMPLETE   "complete.json"
#define BACKUP_FOLDER_ID  "blobs/folder-id"
#define BACKUP_BLOBS      "blobs/" /* and the path that the blob driver gives it */
#define BACKUP_NAME_MAX   128

struct backup_manifest {
    int64_t format; /* BACKUP_FORMAT; a reader refuses a larger one */
    char haul_version[32];
    usec created_at;
    char database[64]; /* its entry's name */
    int64_t schema;    /* the store's version of its tables */
    int64_t jobs, blobs;
    int64_t missing_blobs; /* named by the database, but not (or not with their size) in the blob folder */
    int64_t database_bytes, blob_bytes;
    int64_t archive_bytes; /* about how many there are in all: for a progress bar */
    char blob_folder_id[UUID_STR_MAX];
};
void backup_manifest_render(const struct backup_manifest *m, struct buf *out);
/** ERR_UNSUPPORTED when a newer haul wrote it. */
int backup_manifest_parse(const char *text, size_t n, struct backup_manifest *ret, struct err *err);
/** From the first bytes of an archive. false: they are not enough, or not that. */
bool backup_manifest_peek(const char *head, size_t n, struct backup_manifest *ret);
#define BACKUP_PEEK_BYTES 4096 /* enough for it */
/** Bytes that an entry of `size` takes in the archive. */
int64_t backup_entry_bytes(int64_t size);

/* --- writer.c --- */

struct backup_writer; /* opaque */

/** @param created_at  the entries' date */
int backup_writer_new(usec created_at, struct backup_writer **ret, struct err *err);
void backup_writer_free(struct backup_writer *w); /* NULL accepted */
int backup_writer_entry(struct backup_writer *w, const char *name, int64_t size, unsigned mode, struct err *err);
/** Of the entry: exactly as many as it said. */
int backup_writer_data(struct backup_writer *w, const void *p, size_t n, struct err *err);
/** The last entry. @param damaged  blobs whose bytes were not those that the database names
 * @param failure  NULL, or why the archive is not whole */
int backup_writer_end(struct backup_writer *w, int64_t damaged, const char *failure, struct err *err);
/** What was made and not yet taken: buf_drop_front what was sent. Borrowed. */
struct buf *backup_writer_out(struct backup_writer *w);

/* --- tail.c --- */

/** What the end says. */
struct backup_end {
    int64_t bytes; /* before the tail */
    int64_t damaged;
};

struct backup_tail {
    struct sha256 *hash;
    int64_t bytes;
    char held[BACKUP_TAIL_BYTES];
    size_t n_held;
};
int backup_tail_init(struct backup_tail *t, struct err *err);
void backup_tail_add(struct backup_tail *t, const void *p, size_t n);
/** After the last byte. ERR_CORRUPT: cut, or changed on the way; ERR_IO: the server says why there is not more. Once. */
int backup_tail_end(struct backup_tail *t, struct backup_end *ret, struct err *err);
void backup_tail_release(struct backup_tail *t);

/* --- reader.c --- */

struct backup_reader; /* opaque */

/** @param fd  borrowed; need not be seekable */
int backup_reader_new(int fd, struct backup_reader **ret, struct err *err);
void backup_reader_free(struct backup_reader *r); /* NULL accepted */
/** The next entry: a plain file, or ERR_CORRUPT. *ret_name is NULL at complete.json: then the whole archive was read and agreed
 * with it. *ret_name is borrowed until the next call, and as somebody wrote it: to be compared with what is expected, never to
 * be used as a path. */
int backup_reader_next(struct backup_reader *r, const char **ret_name, int64_t *ret_size, struct err *err);
/** *ret_n is 0 at the entry's end. */
int backup_reader_read(struct backup_reader *r, void *buf, size_t max, size_t *ret_n, struct err *err);
int64_t backup_reader_bytes(const struct backup_reader *r); /* read so far */
/** After backup_reader_next gave NULL. */
const struct backup_end *backup_reader_end(const struct backup_reader *r);
