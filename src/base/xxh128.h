#pragma once
/* XXH3, 128 bits, streaming (xxhash): ten times as fast as SHA-256. Tells whether bytes arrived as they were sent; nobody's promise against
 * someone who wants two to look the same. */
#include <stddef.h>
#include <stdint.h>

#define XXH128_BYTES   16
#define XXH128_HEX_MAX (2 * XXH128_BYTES + 1)

struct xxh128; /* opaque */

struct xxh128 *xxh128_new(void);    /* NULL on ENOMEM */
void xxh128_free(struct xxh128 *x); /* NULL accepted */
void xxh128_reset(struct xxh128 *x);
void xxh128_add(struct xxh128 *x, const void *p, size_t n);
/** Of what was added since it was new or reset: the bytes in the order in which `xxhsum -H2` prints them. */
void xxh128_digest(const struct xxh128 *x, uint8_t ret[XXH128_BYTES]);
