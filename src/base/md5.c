/* As sha256.c: OpenSSL's low-level calls, since evp.h names a parameter that base/banned.h poisons. They are there whatever the machine's
 * configuration thinks of MD5. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/md5.h"

#include <openssl/md5.h>
#include <stdlib.h>

struct md5 {
    MD5_CTX ctx;
};

struct md5 *md5_new(void)
{
    struct md5 *h = calloc(1, sizeof(*h));

    if (h)
        MD5_Init(&h->ctx);
    return h;
}

void md5_free(struct md5 *h)
{
    free(h);
}

/* A digest that has begun cannot fail; if it did, a wrong hash would be worse than a dead process. */
void md5_add(struct md5 *h, const void *p, size_t n)
{
    if (MD5_Update(&h->ctx, p, n) != 1)
        abort();
}

void md5_end(struct md5 *h, uint8_t ret[MD5_BYTES])
{
    if (MD5_Final(ret, &h->ctx) != 1)
        abort();
    MD5_Init(&h->ctx);
}
