/* What `haul doctor` asks of a bucket beside writing, reading and removing a blob: the rights that large uploads and the sweep need, and
 * whose clock is off. */
#include "base/rng.h"
#include "blob/s3/internal.h"
#include <stdlib.h>

#define SKEW_WARN_S 5 /* a second is lost in the header, some on the way */

static int list(struct blobs *s, const char *what, const char *value, struct err *err)
{
    struct s3_call c = {.method = "GET", .key = "", .answer_max = S3_LIST_MAX};
    char prefix[S3_KEY_MAX];

    snprintf(prefix, sizeof(prefix), "%suploads/", s->place.prefix);
    s3_query(&c, what, value);
    s3_query(&c, "prefix", prefix);
    return s3_do(s, &c, err);
}

/** A multipart upload is begun, looked at and given up. */
static int try_multipart(struct blobs *s, const char **ret_step, struct err *err)
{
    struct clock clock = clock_real();
    struct uuid id = uuid_v7(clock.wall_us(clock.self), rng_real());
    char key[S3_KEY_MAX], upload[S3_UPLOAD_MAX];
    struct s3_parts none = {.n = 0};

    s3_blob_key(s, &id, key);
    *ret_step = "begin a multipart upload (s3:PutObject)";
    int rc = s3_multipart_begin(s, key, upload, err);

    if (rc != ERR_OK)
        return rc;
    *ret_step = "list the parts of an upload (s3:ListMultipartUploadParts)";
    rc = s3_multipart_look(s, key, upload, &none, err);
    if (rc == ERR_OK)
        *ret_step = "give up a multipart upload (s3:AbortMultipartUpload)";
    int aborted = s3_multipart_abort(s, key, upload, rc == ERR_OK ? err : NULL);

    return rc == ERR_OK ? aborted : rc;
}

static void examine_rights(struct blobs *s, struct findings *f)
{
    const char *step = "list objects (s3:ListBucket)";
    struct err err = {0};
    int rc = list(s, "list-type", "2", &err);

    if (rc == ERR_OK) {
        step = "list multipart uploads (s3:ListBucketMultipartUploads)";
        rc = list(s, "uploads", "", &err);
    }
    if (rc == ERR_OK)
        rc = try_multipart(s, &step, &err);
    if (rc == ERR_OK)
        finding_add(f, FINDING_OK, "bucket rights", NULL, "objects and uploads can be listed, begun and given up");
    else
        finding_add(f, FINDING_FAIL, "bucket rights",
                    "give the credentials this right: uploads of more than a part and the sweep need it",
                    "cannot %s: %s", step, err.msg);
}

static void examine_clock(struct blobs *s, struct findings *f)
{
    struct s3_call c = {.method = "GET", .key = "", .answer_max = S3_LIST_MAX};
    struct s3_answer a;

    s3_query(&c, "list-type", "2");
    s3_query(&c, "max-keys", "1");
    s3_call(s, &c, &a, NULL);
    const time_t theirs = a.date[0] ? curl_getdate(a.date, NULL) : -1;
    const int64_t ahead = theirs < 0 ? 0 : theirs - clock_real().wall_us(clock_real().self) / USEC_PER_SEC;

    if (llabs(ahead) > SKEW_WARN_S)
        finding_add(f, FINDING_WARN, "bucket clock",
                    "synchronise this machine's clock (chrony, systemd-timesyncd): S3 refuses what is 15 minutes off",
                    "S3's clock is %lld s %s this machine's", llabs(ahead), ahead > 0 ? "ahead of" : "behind");
    else if (theirs >= 0)
        finding_add(f, FINDING_OK, "bucket clock", NULL, "S3's clock agrees with this machine's");
    s3_answer_release(&a);
}

void s3_examine(struct blobs *s, struct findings *f)
{
    examine_rights(s, f);
    examine_clock(s, f);
}
