#pragma once
/* MD5, streaming, by OpenSSL: what S3 checks a part by on its way. It finds what a line or a disk changed; it withstands no attack. */
#include <stddef.h>
#include <stdint.h>

#define MD5_BYTES   16
#define MD5_HEX_MAX 33

struct md5; /* opaque */

/** NULL on ENOMEM. */
struct md5 *md5_new(void);
void md5_free(struct md5 *h); /* NULL accepted */
void md5_add(struct md5 *h, const void *p, size_t n);
/** Then it begins anew. */
void md5_end(struct md5 *h, uint8_t ret[MD5_BYTES]);
