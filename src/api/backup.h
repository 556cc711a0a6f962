#pragma once
/* Within the room: one backup, from the request to the last byte sent. */
#include "api/request.h"
#include "backup/backup.h"
#include "store/snapshot.h"
#include <limits.h>

enum backup_stage { SEND_MANIFEST, SEND_DATABASE, SEND_FOLDER_ID, SEND_BLOBS, SEND_BYTES, SEND_END, SEND_NOTHING };

struct backup {
    struct api *api;
    struct http_request *req; /* until it was replied to */
    struct err err;           /* why it cannot be */
    usec began_us;            /* boot clock */

    /* backup.c: the snapshot */
    const char *dir; /* api->backup_dir */
    int blobs_fd;    /* DIR/blobs */
    struct snapshot snapshot;
    struct loop_letter letter; /* one at a time is on its way */
    struct store_copy *copy;
    struct backup_manifest manifest;

    /* backup_send.c: the stream */
    struct backup_writer *writer;
    enum backup_stage stage, then; /* what comes after SEND_BYTES */
    int fd;                        /* of the file whose bytes are sent */
    int64_t left;                  /* of it */
    struct sha256 *hash;           /* of the blob */
    struct store_copy_blob blob;
    int64_t damaged; /* blobs that are not there, or not what the database says */
    int64_t sent;    /* bytes */
    char failure[ERR_MSG_MAX];
    char *piece;
    bool cleaned;
};

/** From here on the bytes go out; frees `b` in the end. */
void backup_send(struct backup *b);
/** Takes the folder away and lets the next backup begin. Bytes pool; `remove` false elsewhere: the next one, or the next start, does. */
void backup_clean(struct backup *b, bool remove);
void backup_free(struct backup *b);
/** Tells the log, but not about every one of a million. */
void backup_note_damage(struct backup *b, const struct uuid *id, const char *what);
