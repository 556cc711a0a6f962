#pragma once
/* Within the room: signatures as Standard Webhooks 1.0 has them (https://www.standardwebhooks.com): HMAC-SHA256 over "id.timestamp.body". */
#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

#define SIGNATURE_KEYS_MAX 4 /* more than one while they are changed */
#define SIGNATURE_KEY_MIN  24
#define SIGNATURE_KEY_MAX  64

struct signature_keys {
    struct {
        uint8_t bytes[SIGNATURE_KEY_MAX];
        size_t n;
    } keys[SIGNATURE_KEYS_MAX];
    size_t n;
};

/** One "whsec_BASE64" a line, or a blank between them; the prefix may be missing. ERR_INVALID says what to do, never the text. */
int signature_keys_read(const char *text, struct signature_keys *ret, struct err *err);
/** "v1,BASE64", one a key, blanks between them. */
void signature_write(const struct signature_keys *keys, const char *id, int64_t timestamp_s, const char *body, size_t n,
                     struct buf *ret);
