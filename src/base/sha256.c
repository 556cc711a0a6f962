/* OpenSSL's evp.h names parameters `rand`, which base/banned.h poisons; sha.h does not. Its streaming calls are marked
 * deprecated in favour of EVP, without a date. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/sha256.h"

#include <openssl/sha.h>

struct sha256 {
    SHA256_CTX ctx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *h = calloc(1, sizeof(*h));
    if (h)
        SHA256_Init(&h->ctx);
    return h;
}

void sha256_free(struct sha256 *h)
{
    free(h);
}

/* Numbers and names come in a few bytes each: what does not fill a block only waits in it, as OpenSSL would have it wait.
 * A digest that has begun cannot fail; if it did, a wrong hash would be worse than a dead process. */
void sha256_add(struct sha256 *h, const void *p, size_t n)
{
    SHA256_CTX *c = &h->ctx;

    if (n < SHA256_CBLOCK - c->num) {
        if (n == 0)
            return;
        memcpy((uint8_t *)c->data + c->num, p, n);
        c->num += (unsigned)n;
        c->Nl += (SHA_LONG)n << 3;
        c->Nh += c->Nl < (SHA_LONG)n << 3;
    } else if (SHA256_Update(c, p, n) != 1) {
        abort();
    }
}

void sha256_end(struct sha256 *h, uint8_t ret[32])
{
    if (SHA256_Final(ret, &h->ctx) != 1)
        abort();
}

/* Eight words of the chain, how many bits went in, how many bytes of a block wait, the block: big-endian, as FIPS 180-4 has them. */
static void put_be(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * (n - 1 - i));
}

static uint64_t get_be(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

void sha256_save(const struct sha256 *h, uint8_t ret[SHA256_STATE_BYTES])
{
    const SHA256_CTX *c = &h->ctx;
    for (size_t i = 0; i < 8; i++)
        put_be(ret + 4 * i, c->h[i], 4);
    put_be(ret + 32, (uint64_t)c->Nh << 32 | c->Nl, 8);
    put_be(ret + 40, c->num, 1);
    memset(ret + 41, 0, 64);
    memcpy(ret + 41, c->data, c->num);
}

struct sha256 *sha256_load(const uint8_t state[SHA256_STATE_BYTES])
{
    uint64_t bits = get_be(state + 32, 8);
    uint8_t waiting = state[40];
    struct sha256 *h = waiting < 64 && bits / 8 % 64 == waiting ? sha256_new() : NULL;
    if (!h)
        return NULL;
    SHA256_CTX *c = &h->ctx;
    for (size_t i = 0; i < 8; i++)
        c->h[i] = (SHA_LONG)get_be(state + 4 * i, 4);
    c->Nh = (SHA_LONG)(bits >> 32);
    c->Nl = (SHA_LONG)bits;
    c->num = waiting;
    memcpy(c->data, state + 41, waiting);
    return h;
}

void sha256_once(const void *p, size_t n, uint8_t ret[32])
{
    struct sha256 h;
    SHA256_Init(&h.ctx);
    sha256_add(&h, p, n);
    sha256_end(&h, ret);
}

void hex_format(const uint8_t *p, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * n] = '\0';
}

static void digest_of_two(const uint8_t block[SHA256_CBLOCK], const void *bytes, size_t len, uint8_t ret[32])
{
    SHA256_CTX ctx;

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, block, SHA256_CBLOCK);
    SHA256_Update(&ctx, bytes, len);
    SHA256_Final(ret, &ctx);
    explicit_bzero(&ctx, sizeof(ctx));
}

void hmac_sha256(const void *key, size_t n, const void *bytes, size_t len, uint8_t ret[32])
{
    uint8_t block[SHA256_CBLOCK] = {0}, inner[32];

    if (n > sizeof(block))
        sha256_once(key, n, block);
    else
        memcpy(block, key, n);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36;
    digest_of_two(block, bytes, len, inner);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] ^= 0x36 ^ 0x5c;
    digest_of_two(block, inner, sizeof(inner), ret);
    explicit_bzero(block, sizeof(block));
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int hex_parse(const char *s, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int hi = nibble(s[2 * i]);
        int lo = hi < 0 ? -1 : nibble(s[2 * i + 1]);
        if (lo < 0)
            return -1;
        ret[i] = (uint8_t)(hi << 4 | lo);
    }
    return s[2 * n] == '\0' ? 0 : -1;
}
