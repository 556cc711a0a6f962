#pragma once
/* What a submission is remembered by: its key and its content. Pure; made where it is parsed, so that the one thread that applies need not. */
#include "base/sha256.h"
#include "core/job.h"

struct submit_hashes {
    bool made;           /* what follows counts */
    uint8_t content[32]; /* of what was asked, */
    int64_t key;         /* of project and key; both 0 without a key */
};

/** Of a job that is whole, its key included; what the store sets is left out. Not made when it refers to blobs: what is in those the store
 * knows. One without a key is not remembered: there is nothing to make. */
int submit_hash(const char *project, const struct job *job, struct submit_hashes *ret, struct err *err);

/** The content but for what it refers to: that comes behind it. Of what the server's configuration fills in, nothing. */
void content_add(struct sha256 *h, const struct job *job);
void content_bytes(struct sha256 *h, const void *p, size_t n);
/** Nobody can choose keys that meet. */
int64_t key_hash(const char *project, const char *key);
