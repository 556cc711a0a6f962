#pragma once
/* XXH3, 128 bits, streaming (xxhash): ten times as fast as SHA-256. Tells whether bytes arrived as they were sent; nobody's promise against
 * someone who wants two to look the same. */
#include <stddef.h>

#define XXH128_HEX_MAX 33

struct xxh128; /* opaque */

struct xxh128 *xxh128_new(void);    /* NULL on ENOMEM */
void xxh128_free(struct xxh128 *x); /* NULL accepted */
void xxh128_reset(struct xxh128 *x);
void xxh128_add(struct xxh128 *x, const void *p, size_t n);
/** Of what was added since it was new or reset, as `xxhsum -H2` prints it. */
void xxh128_hex(const struct xxh128 *x, char ret[XXH128_HEX_MAX]);
