#include "api/tus.h"
#include "base/auto.h"
#include "base/base64.h"
#include "base/sha256.h"
#include <ctype.h>
#include <inttypes.h>

#define METADATA      "Upload-Metadata"
#define METADATA_KEYS 32

int tus_bytes_parse(const char *text, const char *name, int64_t *ret, struct err *err)
{
    int64_t n = 0;
    if (!text)
        return err_field(err, name, "is required: a number of bytes");
    bool good = *text != '\0';
    for (const char *s = text; good && *s; s++)
        good = isdigit((unsigned char)*s) && !__builtin_mul_overflow(n, 10, &n) &&
               !__builtin_add_overflow(n, *s - '0', &n);
    if (!good)
        return err_field(err, name, "must be a number of bytes from 0 to %" PRId64 ", in digits", INT64_MAX);
    *ret = n;
    return ERR_OK;
}

static int read_hash(const char *value, size_t n, uint8_t ret_sha256[32], struct err *err)
{
    char hex[SHA256_HEX_MAX] = "";
    int64_t len = base64_read(value, n, hex, SHA256_HEX_MAX - 1);
    if (len != SHA256_HEX_MAX - 1 || hex_parse(hex, ret_sha256, 32) != 0)
        return err_field(err, METADATA, "sha256 must be 64 hexadecimal digits, in base64");
    return ERR_OK;
}

static bool key_good(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f)
            return false;
    return n > 0;
}

struct keys {
    struct {
        const char *s;
        size_t n;
    } seen[METADATA_KEYS];
    size_t n;
};

static int note_key(struct keys *keys, const char *s, size_t n, struct err *err)
{
    if (!key_good(s, n))
        return err_field(err, METADATA, "must be pairs of a key and base64, like 'filename Y2xpcC5tcDQ=,lang ZW4='");
    if (keys->n == METADATA_KEYS)
        return err_field(err, METADATA, "must have at most %d keys", METADATA_KEYS);
    for (size_t i = 0; i < keys->n; i++)
        if (keys->seen[i].n == n && memcmp(keys->seen[i].s, s, n) == 0)
            return err_field(err, METADATA, "has the key '%.*s' twice", (int)MIN(n, (size_t)64), s);
    keys->seen[keys->n].s = s;
    keys->seen[keys->n++].n = n;
    return ERR_OK;
}

int tus_metadata_parse(const char *text, bool *ret_hashed, uint8_t ret_sha256[32], struct err *err)
{
    struct keys keys = {.n = 0};
    int rc = ERR_OK;
    *ret_hashed = false;
    if (!text || !*text)
        return ERR_OK;
    if (strlen(text) > TUS_METADATA_MAX)
        return err_field(err, METADATA, "must have at most %d bytes", TUS_METADATA_MAX);
    for (const char *s = text; rc == ERR_OK;) {
        s += strspn(s, " ");
        size_t pair = strcspn(s, ","), n_key = strcspn(s, " ,");
        const char *value = s + n_key + strspn(s + n_key, " ");
        size_t n_value = value < s + pair ? (size_t)(s + pair - value) : 0;
        while (n_value > 0 && value[n_value - 1] == ' ')
            n_value--;
        rc = note_key(&keys, s, n_key, err);
        if (rc == ERR_OK && n_key == 6 && memcmp(s, "sha256", 6) == 0) {
            *ret_hashed = true;
            rc = read_hash(value, n_value, ret_sha256, err);
        } else if (rc == ERR_OK && base64_read(value, n_value, NULL, 0) < 0) {
            rc = err_field(err, METADATA, "the value of '%.*s' is not base64", (int)MIN(n_key, (size_t)64), s);
        }
        s += pair;
        if (*s == '\0')
            break;
        s++;
    }
    return rc;
}
