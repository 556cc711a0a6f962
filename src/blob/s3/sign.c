#include "blob/s3/sign.h"
#include "base/auto.h"
#include "base/sha256.h"
#include <string.h>
#include <time.h>

#define TEXT_MAX 32768

void s3_date(int64_t wall_s, char ret[S3_DATE_MAX])
{
    time_t t = (time_t)wall_s;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(ret, S3_DATE_MAX, "%Y%m%dT%H%M%SZ", &tm);
}

static void encode(struct buf *b, const char *s, const char *plain)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(plain, c))
            buf_addc(b, *s);
        else
            buf_printf(b, "%%%02X", c);
    }
}

void s3_encode_path(struct buf *b, const char *path)
{
    encode(b, path, "-._~/");
}

static int by_name(const void *a, const void *b)
{
    const struct s3_pair *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->value, y->value);
}

/** A sorted copy. No name that we use needs encoding, so that the order is that of the encoded ones. */
static size_t sorted(const struct s3_pair *from, size_t n, struct s3_pair ret[S3_PAIRS_MAX])
{
    size_t kept = 0;

    for (; kept < n && kept < S3_PAIRS_MAX; kept++)
        ret[kept] = from[kept];
    if (kept > 0)
        qsort(ret, kept, sizeof(*ret), by_name);
    return kept;
}

void s3_encode_query(struct buf *b, const struct s3_pair *query, size_t n)
{
    struct s3_pair pairs[S3_PAIRS_MAX];

    n = sorted(query, n, pairs);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(b, '&');
        encode(b, pairs[i].name, "-._~");
        buf_addc(b, '=');
        encode(b, pairs[i].value, "-._~");
    }
}

static void hmac(const void *key, size_t n, const char *text, uint8_t ret[32])
{
    hmac_sha256(key, n, text, strlen(text), ret);
}

/** "20130524/us-east-1/s3/aws4_request" */
static void scope(struct buf *b, const struct s3_signing *s)
{
    buf_printf(b, "%.8s/%s/s3/aws4_request", s->date, s->region);
}

static void signed_names(struct buf *b, const struct s3_pair *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%s", i > 0 ? ";" : "", headers[i].name);
}

/** Of the request as it is written for signing. @param headers  sorted */
static void request_hash(const struct s3_signing *s, const struct s3_pair *query, size_t n_query,
                         const struct s3_pair *headers, size_t n_headers, char ret[SHA256_HEX_MAX])
{
    struct buf b;
    uint8_t hash[32];

    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "%s\n", s->method);
    s3_encode_path(&b, s->path);
    buf_addc(&b, '\n');
    s3_encode_query(&b, query, n_query);
    buf_addc(&b, '\n');
    for (size_t i = 0; i < n_headers; i++)
        buf_printf(&b, "%s:%s\n", headers[i].name, headers[i].value);
    buf_addc(&b, '\n');
    signed_names(&b, headers, n_headers);
    buf_printf(&b, "\n%s", s->payload_sha256);
    sha256_once(buf_str(&b), b.len, hash);
    hex_format(hash, sizeof(hash), ret);
    buf_release(&b);
}

static void signature(const struct s3_signing *s, const char *hash, char ret[SHA256_HEX_MAX])
{
    char day[9], key[4 + sizeof(s->keys->secret)];
    uint8_t h[32];
    struct buf text;

    buf_init(&text, TEXT_MAX);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n", s->date);
    scope(&text, s);
    buf_printf(&text, "\n%s", hash);
    snprintf(day, sizeof(day), "%.8s", s->date);
    int n = snprintf(key, sizeof(key), "AWS4%s", s->keys->secret);
    hmac(key, (size_t)n, day, h);
    hmac(h, sizeof(h), s->region, h);
    hmac(h, sizeof(h), "s3", h);
    hmac(h, sizeof(h), "aws4_request", h);
    hmac(h, sizeof(h), buf_str(&text), h);
    hex_format(h, sizeof(h), ret);
    buf_release(&text);
    explicit_bzero(key, sizeof(key));
}

void s3_sign(const struct s3_signing *s, struct buf *ret)
{
    struct s3_pair headers[S3_PAIRS_MAX] = {{0}};
    size_t n = sorted(s->headers, s->n_headers, headers);
    char hash[SHA256_HEX_MAX], sig[SHA256_HEX_MAX];

    request_hash(s, s->query, s->n_query, headers, n, hash);
    signature(s, hash, sig);
    buf_printf(ret, "AWS4-HMAC-SHA256 Credential=%s/", s->keys->id);
    scope(ret, s);
    buf_adds(ret, ",SignedHeaders=");
    signed_names(ret, headers, n);
    buf_printf(ret, ",Signature=%s", sig);
}

void s3_presign(const struct s3_signing *s, int64_t valid_s, struct buf *ret)
{
    struct s3_pair headers[S3_PAIRS_MAX] = {{"host", s->host}}, query[S3_PAIRS_MAX];
    size_t n_headers = 1, n = 0;
    char valid[24], hash[SHA256_HEX_MAX], sig[SHA256_HEX_MAX];
    struct buf credential, names;

    for (size_t i = 0; i < s->n_headers && n_headers < S3_PAIRS_MAX; i++)
        headers[n_headers++] = s->headers[i];
    qsort(headers, n_headers, sizeof(*headers), by_name);
    buf_init(&credential, 1024);
    buf_init(&names, 1024);
    buf_printf(&credential, "%s/", s->keys->id);
    scope(&credential, s);
    signed_names(&names, headers, n_headers);
    snprintf(valid, sizeof(valid), "%lld", (long long)valid_s);
    for (; n < s->n_query && n < S3_PAIRS_MAX - 6; n++)
        query[n] = s->query[n];
    query[n++] = (struct s3_pair){"X-Amz-Algorithm", "AWS4-HMAC-SHA256"};
    query[n++] = (struct s3_pair){"X-Amz-Credential", buf_str(&credential)};
    query[n++] = (struct s3_pair){"X-Amz-Date", s->date};
    query[n++] = (struct s3_pair){"X-Amz-Expires", valid};
    query[n++] = (struct s3_pair){"X-Amz-SignedHeaders", buf_str(&names)};
    if (s->keys->token[0])
        query[n++] = (struct s3_pair){"X-Amz-Security-Token", s->keys->token};
    request_hash(s, query, n, headers, n_headers, hash);
    signature(s, hash, sig);
    s3_encode_query(ret, query, n);
    buf_printf(ret, "&X-Amz-Signature=%s", sig);
    buf_release(&credential);
    buf_release(&names);
}
