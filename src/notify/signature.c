#include "notify/signature.h"
#include "base/base64.h"
#include "base/sha256.h"
#include <string.h>

#define PREFIX   "whsec_"
#define BLANKS   " \t\r\n"
#define HOW      "make one with: (printf whsec_; openssl rand -base64 32) > FILE"
#define BODY_MAX ((size_t)1 << 20)

static int read_one(const char *text, size_t n, struct signature_keys *keys, struct err *err)
{
    const size_t prefix = strlen(PREFIX);

    if (keys->n == SIGNATURE_KEYS_MAX)
        return err_set(err, ERR_INVALID, 0, "at most %d keys, one a line", SIGNATURE_KEYS_MAX);
    if (n > prefix && memcmp(text, PREFIX, prefix) == 0) {
        text += prefix;
        n -= prefix;
    }
    int64_t bytes = base64_read(text, n, keys->keys[keys->n].bytes, SIGNATURE_KEY_MAX);
    if (bytes < SIGNATURE_KEY_MIN || bytes > SIGNATURE_KEY_MAX)
        return err_set(err, ERR_INVALID, 0, "a key must be %d to %d bytes in base64; " HOW, SIGNATURE_KEY_MIN,
                       SIGNATURE_KEY_MAX);
    keys->keys[keys->n++].n = (size_t)bytes;
    return ERR_OK;
}

int signature_keys_read(const char *text, struct signature_keys *ret, struct err *err)
{
    ret->n = 0;
    for (text += strspn(text, BLANKS); *text; text += strspn(text, BLANKS)) {
        const size_t n = strcspn(text, BLANKS);
        int rc = read_one(text, n, ret, err);
        if (rc)
            return rc;
        text += n;
    }
    return ret->n ? ERR_OK : err_set(err, ERR_INVALID, 0, "there is no key in it; " HOW);
}

void signature_write(const struct signature_keys *keys, const char *id, int64_t timestamp_s, const char *body, size_t n,
                     struct buf *ret)
{
    struct buf text;
    uint8_t mac[32];

    buf_init(&text, BODY_MAX);
    buf_printf(&text, "%s.%lld.", id, (long long)timestamp_s);
    buf_add(&text, body, n);
    ret->failed = ret->failed || text.failed;
    for (size_t i = 0; i < keys->n && !text.failed; i++) {
        hmac_sha256(keys->keys[i].bytes, keys->keys[i].n, text.data, text.len, mac);
        buf_adds(ret, i ? " v1," : "v1,");
        base64_write(ret, mac, sizeof(mac));
    }
    buf_release(&text);
}
