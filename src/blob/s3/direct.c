/* Uploads whose parts go from their client to S3 by presigned URLs. Whose upload it is in S3 stands in the state object (resumable.c), which is
 * written before the first URL is given: so a sweep finds it. Everything else is S3's: which parts there are, how large, with what MD5. */
#include "base/auto.h"
#include "blob/s3/internal.h"
#include <inttypes.h>
#include <string.h>

#define DIRECT_PART_MIN  (INT64_C(16) << 20)
#define DIRECT_PART_MAX  (INT64_C(5) << 30) /* S3's */
#define DIRECT_PART_UNIT (INT64_C(1) << 20)

/* Of the size alone: whoever goes on with an upload, on any server, cuts it as it was cut. */
static int64_t part_size(int64_t size)
{
    int64_t least = (size / S3_PARTS_MAX + DIRECT_PART_UNIT) / DIRECT_PART_UNIT * DIRECT_PART_UNIT;

    return MAX(least, DIRECT_PART_MIN);
}

int64_t s3_direct_part_size(struct blobs *s, int64_t size)
{
    return s->place.direct_up && size > 0 && part_size(size) <= DIRECT_PART_MAX ? part_size(size) : 0;
}

/* --- URLs --- */

/** S3's upload for it, made where there is none that S3 still knows. */
static int upload_of(struct blobs *s, const struct uuid *id, const char *key, char ret[S3_UPLOAD_MAX], struct err *err)
{
    struct err own = {0};
    int rc = s3_resumable_direct(s, id, ret, &own);

    if (rc == ERR_OK) { /* the object first: of an upload that became one some still list the parts */
        rc = s3_look(s, key, NULL, &own);
        if (rc == ERR_OK)
            rc = err_set(&own, ERR_CONFLICT, 0, "all parts of the upload are there: complete it");
        else if (rc == ERR_NOT_FOUND)
            rc = s3_multipart_look(s, key, ret, &(struct s3_parts){.n = 0}, &own);
    }
    if (rc == ERR_NOT_FOUND) {
        err_clear(&own);
        rc = s3_multipart_begin(s, key, ret, &own);
        if (rc == ERR_OK && (rc = s3_resumable_direct_put(s, id, ret, &own)) != ERR_OK)
            s3_multipart_abort(s, key, ret, NULL); /* a failure leaves it to the sweep */
    }
    if (rc != ERR_OK && err)
        *err = own;
    return rc;
}

static int url_make(struct blobs *s, const char *key, const char *upload, struct blob_part_url *p, struct err *err)
{
    char number[16], length[24];
    struct s3_call c = {.method = "PUT", .key = key};

    snprintf(number, sizeof(number), "%u", p->number);
    snprintf(length, sizeof(length), "%" PRId64, p->size);
    s3_query(&c, "partNumber", number);
    s3_query(&c, "uploadId", upload);
    s3_header(&c, "content-length", length);
    s3_header(&c, "content-md5", p->md5);
    return s3_url(s, &c, BLOB_URL_S, &p->url, err);
}

int s3_direct_urls(struct blobs *s, const struct uuid *id, struct blob_part_url *parts, size_t n, struct err *err)
{
    char key[S3_KEY_MAX], upload[S3_UPLOAD_MAX];

    s3_blob_key(s, id, key);
    int rc = upload_of(s, id, key, upload, err);

    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        rc = url_make(s, key, upload, &parts[i], err);
    return rc;
}

/* --- what is there --- */

struct telling {
    void (*each)(void *arg, const struct blob_part *part);
    void *arg;
};

static int tell(void *arg, unsigned number, const struct s3_part *part, struct err *err)
{
    const struct telling *t = arg;
    struct blob_part p = {.number = number, .size = part->size};
    const char *etag = part->etag + (part->etag[0] == '"');
    size_t n = strspn(etag, "0123456789abcdef");

    if (n == 32 &&
        strspn(etag + n, "\"") == strlen(etag + n)) /* as S3 makes it, where it does not encrypt by other keys */
        memcpy(p.md5, etag, n);
    t->each(t->arg, &p);
    return ERR_OK;
}

int s3_direct_parts(struct blobs *s, const struct uuid *id, void (*each)(void *arg, const struct blob_part *part),
                    void *arg, bool *ret_assembled, struct err *err)
{
    struct telling t = {.each = each, .arg = arg};
    char key[S3_KEY_MAX], upload[S3_UPLOAD_MAX];
    struct err own = {0};

    *ret_assembled = false;
    s3_blob_key(s, id, key);
    int rc = s3_resumable_direct(s, id, upload, &own);

    if (rc == ERR_OK) { /* the object first: of an upload that became one some still list the parts */
        rc = s3_look(s, key, NULL, &own);
        *ret_assembled = rc == ERR_OK;
        if (rc == ERR_NOT_FOUND)
            rc = s3_multipart_list(s, key, upload, tell, &t, &own);
    }
    if (rc != ERR_OK && rc != ERR_NOT_FOUND && err)
        *err = own;
    return rc == ERR_NOT_FOUND ? ERR_OK : rc; /* then none is there */
}

/* --- the end --- */

struct counting {
    struct s3_parts parts;
    int64_t size, part_size;
    unsigned count; /* parts that it has */
};

static int missing(const struct counting *c, struct err *err)
{
    return err_set(err, ERR_CONFLICT, 0, "part %zu of %u is not there: send it, and complete then", c->parts.n + 1,
                   c->count);
}

static int count(void *arg, unsigned number, const struct s3_part *part, struct err *err)
{
    struct counting *c = arg;
    int64_t want = MIN(c->part_size, c->size - c->parts.size);

    if (number > c->count) /* cut otherwise once; it is not named, and so dropped */
        return ERR_OK;
    if (number != c->parts.n + 1)
        return missing(c, err);
    if (part->size != want)
        return err_set(err, ERR_CONFLICT, 0,
                       "part %u of %u has %" PRId64 " bytes in place of %" PRId64 ": send it again", number, c->count,
                       part->size, want);
    return s3_parts_add(&c->parts, part->size, part->etag, err);
}

static int join(struct blobs *s, const char *key, const char *upload, int64_t size, struct err *err)
{
    const int64_t part = part_size(size);
    struct counting c = {.size = size, .part_size = part, .count = (unsigned)((size + part - 1) / part)};
    int rc = s3_multipart_list(s, key, upload, count, &c, err);

    if (rc == ERR_OK && c.parts.n < c.count)
        rc = missing(&c, err);
    if (rc == ERR_OK)
        rc = s3_multipart_end(s, key, upload, &c.parts, err);
    free(c.parts.at);
    return rc;
}

int s3_direct_assemble(struct blobs *s, const struct uuid *id, int64_t size, struct err *err)
{
    char key[S3_KEY_MAX], upload[S3_UPLOAD_MAX];
    int64_t there = size;
    struct err own = {0};

    s3_blob_key(s, id, key);
    int rc = s3_resumable_direct(s, id, upload, &own);

    if (rc == ERR_NOT_FOUND)
        rc = err_set(&own, ERR_CONFLICT, 0, "no part of the upload was sent");
    if (rc == ERR_OK) {
        rc = s3_look(s, key, &there, &own); /* by an earlier try, or another server's */
        if (rc == ERR_NOT_FOUND)
            rc = join(s, key, upload, size, &own);
        if (rc == ERR_NOT_FOUND) /* while this one was looking */
            rc = s3_look(s, key, &there, &own);
        if (rc == ERR_NOT_FOUND)
            rc = err_set(&own, ERR_CONFLICT, 0, "S3 gave up the upload, and its parts: send them again");
    }
    if (rc == ERR_OK && there != size)
        rc = err_set(&own, ERR_CORRUPT, 0, "'%.200s' in S3 has %" PRId64 " bytes in place of %" PRId64, key, there,
                     size);
    if (rc != ERR_OK && err)
        *err = own;
    return rc;
}
