/* S3's multipart uploads, one call each. */
#include "base/auto.h"
#include "blob/s3/internal.h"
#include "blob/s3/xml.h"
#include <inttypes.h>
#include <string.h>

/** One text of an answer, by its path. */
struct wanted {
    const char *path;
    char *ret;
    size_t size;
    bool found;
};

static bool take(void *arg, const char *path, const char *text)
{
    struct wanted *w = arg;

    if (strcmp(path, w->path) == 0 && strlen(text) < w->size) {
        snprintf(w->ret, w->size, "%s", text);
        w->found = true;
    }
    return true;
}

static int read_one(const struct s3_answer *a, const char *root, const char *path, char *ret, size_t size,
                    struct err *err)
{
    struct wanted w = {.path = path, .ret = ret, .size = size};
    char got[64];
    int rc = s3_xml(buf_str(&a->body), a->body.len, take, &w, got, err);

    if (rc == ERR_OK && (strcmp(got, root) != 0 || !w.found))
        rc = err_set(err, ERR_CORRUPT, 0, "S3 answered with <%s> in place of <%s> with %s", got, root, path);
    return rc;
}

int s3_parts_add(struct s3_parts *p, int64_t size, const char *etag, struct err *err)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 16;
        struct s3_part *more = realloc(p->at, cap * sizeof(*more));

        if (!more)
            return err_set(err, ERR_NO_MEMORY, 0, "parts of an upload");
        p->at = more;
        p->cap = cap;
    }
    p->at[p->n].size = size;
    snprintf(p->at[p->n++].etag, S3_ETAG_MAX, "%s", etag);
    p->size += size;
    return ERR_OK;
}

int s3_multipart_begin(struct blobs *s, const char *key, char ret_upload[S3_UPLOAD_MAX], struct err *err)
{
    struct s3_call c = {.method = "POST", .key = key};
    struct s3_answer a;

    s3_query(&c, "uploads", "");
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK)
        rc = read_one(&a, "InitiateMultipartUploadResult", "UploadId", ret_upload, S3_UPLOAD_MAX, err);
    if (rc != ERR_OK)
        ret_upload[0] = '\0';
    s3_answer_release(&a);
    return rc;
}

/** @param number  room for the text */
static struct s3_call part_call(const char *key, const char *upload, unsigned n, char number[16])
{
    struct s3_call c = {.method = "PUT", .key = key};

    snprintf(number, 16, "%u", n);
    s3_query(&c, "partNumber", number);
    s3_query(&c, "uploadId", upload);
    return c;
}

int s3_multipart_part(struct blobs *s, const char *key, const char *upload, unsigned number, const void *p, size_t n,
                      char ret_etag[S3_ETAG_MAX], struct err *err)
{
    char text[16];
    struct s3_call c = part_call(key, upload, number, text);
    struct s3_answer a;

    c.body = p;
    c.body_n = n;
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK && !a.etag[0])
        rc = err_set(err, ERR_CORRUPT, 0, "S3 took a part and gave it no ETag");
    if (rc == ERR_OK)
        snprintf(ret_etag, S3_ETAG_MAX, "%s", a.etag);
    s3_answer_release(&a);
    return rc;
}

/** An answer that was lost: the upload is gone because it became the object. */
static int ended_already(struct blobs *s, const char *key, const struct s3_parts *parts, struct err *err)
{
    int64_t size = -1;
    int rc = s3_look(s, key, &size, err);

    return rc == ERR_OK && size != parts->size ? err_set(err, ERR_UNAVAILABLE, 0, "'%.200s' in S3 has other bytes", key)
                                               : rc;
}

int s3_multipart_end(struct blobs *s, const char *key, const char *upload, const struct s3_parts *parts,
                     struct err *err)
{
    struct s3_call c = {.method = "POST", .key = key};
    struct s3_answer a;
    struct buf body;
    char etag[S3_ETAG_MAX];

    buf_init(&body, 4u << 20);
    buf_adds(&body, "<CompleteMultipartUpload>");
    for (size_t i = 0; i < parts->n; i++)
        buf_printf(&body, "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>", i + 1, parts->at[i].etag);
    buf_adds(&body, "</CompleteMultipartUpload>");
    s3_query(&c, "uploadId", upload);
    c.body = body.data;
    c.body_n = body.len;
    int rc = body.failed ? err_set(err, ERR_NO_MEMORY, 0, "end an upload") : s3_call(s, &c, &a, err);

    if (!body.failed) {
        if (rc == ERR_OK)
            rc = read_one(&a, "CompleteMultipartUploadResult", "ETag", etag, sizeof(etag), err);
        else if (strcmp(a.code, "NoSuchUpload") == 0 && a.tries > 1)
            rc = ended_already(s, key, parts, err);
        s3_answer_release(&a);
    }
    buf_release(&body);
    return rc;
}

int s3_multipart_abort(struct blobs *s, const char *key, const char *upload, struct err *err)
{
    struct s3_call c = {.method = "DELETE", .key = key};

    s3_query(&c, "uploadId", upload);
    return s3_do_if_there(s, &c, err);
}

/* --- the list --- */

struct listing {
    int (*each)(void *arg, unsigned number, const struct s3_part *part, struct err *err);
    void *arg;
    struct err *err;
    int rc;
    unsigned number; /* of the part that is being read */
    struct s3_part part;
    bool more;
    char next[16];
};

static bool listing_take(void *arg, const char *path, const char *text)
{
    struct listing *l = arg;

    if (strcmp(path, "Part/PartNumber") == 0)
        l->number = (unsigned)strtoul(text, NULL, 10);
    else if (strcmp(path, "Part/Size") == 0)
        l->part.size = strtoll(text, NULL, 10);
    else if (strcmp(path, "Part/ETag") == 0 && !strpbrk(text, "<&")) /* it goes into XML */
        snprintf(l->part.etag, sizeof(l->part.etag), "%.*s", S3_ETAG_MAX - 1, text);
    else if (strcmp(path, "Part") == 0) {
        if (l->rc == ERR_OK)
            l->rc = l->each(l->arg, l->number, &l->part, l->err);
        snprintf(l->next, sizeof(l->next), "%u", l->number); /* some name no marker */
        l->part = (struct s3_part){.size = 0};
    } else if (strcmp(path, "IsTruncated") == 0)
        l->more = strcmp(text, "true") == 0;
    return true;
}

int s3_multipart_list(struct blobs *s, const char *key, const char *upload,
                      int (*each)(void *arg, unsigned number, const struct s3_part *part, struct err *err), void *arg,
                      struct err *err)
{
    struct listing l = {.each = each, .arg = arg, .err = err, .more = true};

    while (l.rc == ERR_OK && l.more) {
        struct s3_call c = {.method = "GET", .key = key, .answer_max = S3_LIST_MAX};
        struct s3_answer a;
        char root[64], after[sizeof(l.next)];

        snprintf(after, sizeof(after), "%s", l.next);
        s3_query(&c, "uploadId", upload);
        if (after[0])
            s3_query(&c, "part-number-marker", after);
        l.more = false;
        int rc = s3_call(s, &c, &a, err);

        if (rc == ERR_OK)
            rc = s3_xml(buf_str(&a.body), a.body.len, listing_take, &l, root, err);
        if (rc != ERR_OK)
            l.rc = rc;
        l.more = l.more && strcmp(l.next, after) != 0; /* a list that does not go on ends */
        s3_answer_release(&a);
    }
    return l.rc;
}

int s3_multipart_look(struct blobs *s, const char *key, const char *upload, const struct s3_parts *parts,
                      struct err *err)
{
    struct s3_call c = {.method = "GET", .key = key, .answer_max = S3_LIST_MAX};
    struct s3_answer a;
    char before[24], number[16] = "", root[64];
    struct wanted w = {.path = "Part/PartNumber", .ret = number, .size = sizeof(number)};

    snprintf(before, sizeof(before), "%zu", parts->n > 0 ? parts->n - 1 : 0);
    s3_query(&c, "uploadId", upload);
    s3_query(&c, "max-parts", "1");
    s3_query(&c, "part-number-marker", before);
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK)
        rc = s3_xml(buf_str(&a.body), a.body.len, take, &w, root, err);
    if (rc == ERR_OK && parts->n > 0 && strtoull(number, NULL, 10) != parts->n)
        rc = err_set(err, ERR_NOT_FOUND, 0, "S3 lacks part %zu of an upload", parts->n);
    s3_answer_release(&a);
    return rc;
}
