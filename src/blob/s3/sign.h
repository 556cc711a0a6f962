#pragma once
/* AWS Signature Version 4, for S3. Pure: the time is given. Tested with AWS's published examples. */
#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

#define S3_UNSIGNED "UNSIGNED-PAYLOAD"

struct s3_pair {
    const char *name, *value;
};

struct s3_keys {
    char id[256], secret[256];
    char token[4096]; /* of a session; "": none */
};

struct s3_signing {
    const char *method, *host;
    const char *path;            /* from '/' on, not encoded */
    const struct s3_pair *query; /* not encoded, in any order */
    size_t n_query;
    const struct s3_pair
        *headers; /* in any order, names in lower case; for s3_sign with host, x-amz-date and the like */
    size_t n_headers;
    const char *payload_sha256; /* hex, or S3_UNSIGNED */
    const char *region;
    const struct s3_keys *keys;
    const char *date; /* s3_date */
};

#define S3_DATE_MAX  17
#define S3_PAIRS_MAX 24 /* of a query, of headers */
/** "20130524T000000Z". @param wall_s  since the epoch */
void s3_date(int64_t wall_s, char ret[S3_DATE_MAX]);
/** The value of the header Authorization. A buffer that overflows is `failed`. */
void s3_sign(const struct s3_signing *s, struct buf *ret);
/** The whole query of a URL that anyone may use for `valid_s` (1..604800) from `date` on, signature at its end. Of the headers it signs
 * `host`, and `headers` beside it. */
void s3_presign(const struct s3_signing *s, int64_t valid_s, struct buf *ret);
/** As SigV4 writes them and URLs take them. */
void s3_encode_path(struct buf *b, const char *path);
void s3_encode_query(struct buf *b, const struct s3_pair *query, size_t n);
