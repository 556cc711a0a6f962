#pragma once
/* A log as it lies in a blob: zstd frames of at most 256 KiB of text, each behind a skippable frame that tells where that text belongs.
 * So it can be read from any offset without unpacking what is before, with bounded memory, and `zstd -dc` of the blob is what was kept
 * of the log. */
#include "blob/blob.h"
#include "store/store.h"

#define PACKED_FRAME_MAX (256 * 1024) /* of text */

struct packed_writer;
/** @param write  takes the blob's bytes in order */
int packed_writer_new(int (*write)(void *arg, const void *p, size_t n, struct err *err), void *arg,
                      struct packed_writer **ret, struct err *err);
/** The log's bytes at `at`: not before the end of the last ones. */
int packed_add(struct packed_writer *w, int64_t at, const void *p, size_t n, struct err *err);
int packed_end(struct packed_writer *w, struct err *err); /* writes what is left */
void packed_writer_free(struct packed_writer *w);         /* NULL accepted */

struct packed;
/** Takes the blob, also on error. */
int packed_open(struct blob_reader *blob, struct packed **ret, struct err *err);
/** As store_driver.log_read: up to `max` bytes from `offset`, or from where the log goes on; sets ret->at and ret->n, 0 at the end. */
int packed_read(struct packed *p, int64_t offset, void *buf, size_t max, struct log_part *ret, struct err *err);
void packed_close(struct packed *p); /* NULL accepted */
