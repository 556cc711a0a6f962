/* Reading an object: by ranges that grow while one follows the other, so that a look at a few bytes is cheap and a whole object comes in
 * few requests. All of one version: If-Match. */
#include "base/auto.h"
#include "base/sha256.h"
#include "blob/s3/internal.h"
#include <inttypes.h>
#include <string.h>

#define WINDOW_MIN ((int64_t)256 << 10)
#define WINDOW_MAX ((int64_t)8 << 20)

struct s3_reader {
    struct blob_reader reader;
    struct blobs *s; /* borrowed */
    char key[S3_KEY_MAX], etag[S3_ETAG_MAX];
    struct s3_answer have; /* the bytes at `at` */
    int64_t at, window;
};

static int fetch(struct s3_reader *r, int64_t at, struct err *err)
{
    struct s3_call c = {.method = "GET", .key = r->key};
    char range[64];
    bool goes_on = at == r->at + (int64_t)r->have.body.len && at > 0;
    int64_t n;

    r->window = goes_on ? MIN(4 * r->window, WINDOW_MAX) : WINDOW_MIN;
    n = MIN(r->window, r->reader.size - at);
    snprintf(range, sizeof(range), "bytes=%" PRId64 "-%" PRId64, at, at + n - 1);
    s3_header(&c, "range", range);
    if (r->etag[0])
        s3_header(&c, "if-match", r->etag);
    c.answer_max = (size_t)n;
    r->at = at;
    int rc = s3_call_into(r->s, &c, &r->have, err);

    if (rc == ERR_OK && (int64_t)r->have.body.len != n)
        rc = err_set(err, ERR_UNAVAILABLE, 0, "S3 sent %zu bytes of '%.200s' in place of %lld", r->have.body.len,
                     r->key, (long long)n);
    else if (rc == ERR_CONFLICT || rc == ERR_RANGE)
        rc = err_set(err, ERR_CORRUPT, 0, "'%.200s' in S3 was overwritten by somebody else", r->key);
    if (rc != ERR_OK)
        buf_reset(&r->have.body);
    return rc;
}

static int64_t reader_read(struct blob_reader *b, int64_t at, void *p, size_t n, struct err *err)
{
    struct s3_reader *r = (struct s3_reader *)b;
    struct err own = {0};

    if (at >= b->size || n == 0)
        return 0;
    if ((at < r->at || at >= r->at + (int64_t)r->have.body.len) && fetch(r, at, &own) != ERR_OK) {
        if (err)
            *err = own;
        return -1;
    }
    size_t skip = (size_t)(at - r->at), take = MIN(n, r->have.body.len - skip);

    memcpy(p, r->have.body.data + skip, take);
    return (int64_t)take;
}

static void reader_close(struct blob_reader *b)
{
    struct s3_reader *r = (struct s3_reader *)b;

    s3_answer_release(&r->have);
    free(r);
}

int s3_reader_open(struct blobs *s, const struct uuid *id, struct blob_reader **ret, struct err *err)
{
    struct s3_reader *r = calloc(1, sizeof(*r));
    struct s3_call c = {.method = "HEAD"};
    struct s3_answer a;
    char text[S3_ETAG_MAX + 40];
    uint8_t hash[32];

    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "open a blob");
    s3_blob_key(s, id, r->key);
    c.key = r->key;
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK && a.length < 0)
        rc = err_set(err, ERR_UNAVAILABLE, 0, "S3 does not say how large '%.200s' is", r->key);
    if (rc == ERR_OK) {
        r->s = s;
        r->reader = (struct blob_reader){.size = a.length, .read = reader_read, .close = reader_close, .fd = -1};
        snprintf(r->etag, sizeof(r->etag), "%s", a.etag);
        snprintf(text, sizeof(text), "%s %s", a.etag, a.modified);
        sha256_once(text, strlen(text), hash);
        memcpy(r->reader.stamp, hash, sizeof(r->reader.stamp));
        *ret = &r->reader;
    } else {
        free(r);
    }
    s3_answer_release(&a);
    return rc;
}
