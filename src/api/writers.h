#pragma once
/* Within the room (and a member of struct api): who writes which resumable upload at the moment.
 *
 * An upload has one writer, the PATCH that began last with leave to do so. Another one is refused while bytes come from the first; once
 * it was silent for a few seconds, or its client hung up, the newcomer takes over: a client whose network went away comes back long before
 * the server's TCP notices, and must not find its own upload locked. Whoever was taken over learns it with its next piece, and has
 * changed nothing since.
 *
 * Locks: open_upload.io is held over reading and writing its bytes, writers.lock never; io before lock. */
#include "base/clock.h"
#include "base/err.h"
#include "base/uuid.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct api;
struct blob_upload;
struct http_request;

#define WRITERS_BUCKETS  256
#define WRITER_SILENT_US (3 * USEC_PER_SEC)

/** An upload that is being written, or put away. */
struct open_upload {
    struct uuid id;
    struct api *api;
    struct open_upload *next;
    pthread_mutex_t io; /* guards: */
    struct blob_upload *blob;
    int64_t size;   /* of the whole */
    int64_t synced; /* bytes */
    usec synced_at; /* boot clock */
    usec kept_at;   /* store's time: when its expiry was put off */

    /* writers.lock */
    unsigned refs;
    struct http_request *writer; /* NULL: nobody */
    int64_t offset;              /* -1: not known yet */
    usec moved_at;               /* boot clock: when the latest bytes were written */
    bool finishing;              /* its last byte is there: nobody else comes in */
};

struct writers {
    struct api *api;
    pthread_mutex_t lock;
    struct open_upload *buckets[WRITERS_BUCKETS];
};

void writers_init(struct writers *w, struct api *api);
void writers_release(struct writers *w);

/** Makes `req` the writer. ERR_LOCKED: another one is at work. ERR_BUSY: the last byte is there, and being seen to.
 * @param now_us  boot clock  @param ret  writers_put */
int writers_enter(struct writers *w, const struct uuid *id, struct http_request *req, usec now_us,
                  struct open_upload **ret, struct err *err);
/** Is it still the writer? */
bool writers_has(struct writers *w, const struct open_upload *u, const struct http_request *req);
/** Bytes were written, or are known to be there. */
void writers_moved(struct writers *w, struct open_upload *u, int64_t offset, usec now_us);
/** The last byte is there. From here on nobody comes in, until its writer leaves. @return false: it is not the writer any more */
bool writers_finish(struct writers *w, struct open_upload *u, const struct http_request *req);
/** It writes no more, if it still did. */
void writers_leave(struct writers *w, struct open_upload *u, const struct http_request *req);
bool writers_none(struct writers *w, const struct open_upload *u);
/** Whoever writes this upload writes no more; but what is finishing goes on. */
void writers_evict(struct writers *w, const struct uuid *id);
/** What an upload that is being written stands at; false: nobody writes it. @param ret_offset -1: being finished */
bool writers_offset(struct writers *w, const struct uuid *id, int64_t *ret_offset);
/** Is its last byte there, and being seen to? @param ret_offset  how far that came, or -1 */
bool writers_finishing(struct writers *w, const struct uuid *id, int64_t *ret_offset);
/** The last one frees it; nobody writes it then, and its bytes were left. */
void writers_put(struct writers *w, struct open_upload *u);
