#pragma once
/* Zstandard, one frame at a time: pieces that fit into memory. Frames carry a checksum. */
#include "base/err.h"
#include <stddef.h>

struct zstd_packer;
struct zstd_packer *zstd_packer_new(void); /* NULL: no memory */
void zstd_packer_free(struct zstd_packer *z);
size_t zstd_bound(size_t n); /* what n bytes become at the most */
int zstd_pack(struct zstd_packer *z, void *to, size_t room, const void *from, size_t n, size_t *ret_n, struct err *err);
/** Exactly n bytes come out, or ERR_CORRUPT. */
int zstd_unpack(void *to, size_t n, const void *from, size_t from_n, struct err *err);
