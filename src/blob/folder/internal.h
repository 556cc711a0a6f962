#pragma once
/* What the files of the folder share. */
#include "base/sha256_behind.h"
#include "blob/blob.h"

#define UPLOADS_DIR "uploads"

struct blobs {
    int dir_fd;
    bool alone;              /* nobody else has the folder open */
    struct pool *write_back; /* one thread */
    struct pool *hash;       /* takes no more than its threads can do at once */
};

struct blob_upload {
    struct blobs *blobs; /* borrowed */
    int fd;
    int mark_fd; /* of a resumable upload; -1: of one that leaves nothing */
    uint64_t marks;
    bool whole;          /* a commit named it: nothing is left to be written */
    struct sha256 *hash; /* after upload_settle() */
    struct xxh128 *sum;
    struct sha256_behind behind;
    struct buf taken[SHA256_BEHIND + 1]; /* by their number: the next one comes where the oldest is hashed by then */
    size_t n_taken;
    int64_t size, started; /* bytes written; bytes whose write-back was begun */
    int64_t allocated;     /* room up to here was allocated ahead; 0: none */
    char tmp[sizeof(UPLOADS_DIR) + UUID_STR_MAX];
    char path[3 + UUID_STR_MAX];
    char id[UUID_STR_MAX];
    struct err failed; /* the first write that failed; sticks */
};

/** Its bytes are hashed from here on. false: no memory. */
bool upload_hashes(struct blob_upload *u);
void blob_path(const struct uuid *id, char ret_id[UUID_STR_MAX], char ret_path[3 + UUID_STR_MAX]);
/** Waits until all that was written is hashed. */
void upload_settle(struct blob_upload *u);
/** Gives back the room that was allocated ahead. */
void upload_trim(struct blob_upload *u);
/** Closes and frees. @param unlink_tmp  false when the file is under its final name, or stays */
void upload_free(struct blob_upload *u, bool unlink_tmp);

/* partial.c: as in blob.h */
int partial_resume(struct blobs *b, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                   struct err *err);
int partial_sync(struct blob_upload *u, struct err *err);
void partial_leave(struct blob_upload *u);
int partial_offset(struct blobs *b, const struct uuid *id, int64_t *ret, struct err *err);
int partial_discard(struct blobs *b, const struct uuid *id, struct err *err);
int partial_unfinished(struct blobs *b, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err);
