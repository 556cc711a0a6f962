#pragma once
/* SHA-256, streaming, by OpenSSL. */
#include <stddef.h>
#include <stdint.h>

#define SHA256_HEX_MAX 65

struct sha256; /* opaque */

struct sha256 *sha256_new(void); /* NULL on ENOMEM */
void sha256_free(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *p, size_t n);
void sha256_end(struct sha256 *h, uint8_t ret[32]); /* may be called once */
/* A digest on its way, as bytes that any later version of any machine reads: for what goes on after a restart. */
#define SHA256_STATE_BYTES 105
void sha256_save(const struct sha256 *h, uint8_t ret[SHA256_STATE_BYTES]);
struct sha256 *sha256_load(const uint8_t state[SHA256_STATE_BYTES]); /* NULL on ENOMEM, or when it is none */
void sha256_once(const void *p, size_t n, uint8_t ret[32]);

/** HMAC (RFC 2104). @param ret  may be `key` */
void hmac_sha256(const void *key, size_t n, const void *bytes, size_t len, uint8_t ret[32]);

/** Lower-case hex of n bytes; ret holds 2n+1. */
void hex_format(const uint8_t *p, size_t n, char *ret);
/** Exactly 2n hex digits; 0 on success, -1 otherwise. */
int hex_parse(const char *s, uint8_t *ret, size_t n);
