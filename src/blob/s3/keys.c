/* Where in the bucket what is:
 *     PREFIXhaul-blobs         the id by which the store knows its bucket
 *     PREFIXblobs/xx/<uuid>    whole blobs; xx: the id's last two hex digits
 *     PREFIXuploads/<uuid>     resumable uploads on their way (resumable.c) */
#include "blob/s3/internal.h"

void s3_blob_key(const struct blobs *s, const struct uuid *id, char ret[S3_KEY_MAX])
{
    char name[UUID_STR_MAX];

    uuid_format(id, name);
    snprintf(ret, S3_KEY_MAX, "%sblobs/%02x/%s", s->place.prefix, id->b[15], name);
}

void s3_state_key(const struct blobs *s, const struct uuid *id, char ret[S3_KEY_MAX])
{
    char name[UUID_STR_MAX];

    uuid_format(id, name);
    snprintf(ret, S3_KEY_MAX, "%suploads/%s", s->place.prefix, name);
}

int s3_look(struct blobs *s, const char *key, int64_t *ret_size, struct err *err)
{
    struct s3_call c = {.method = "HEAD", .key = key};
    struct s3_answer a;
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK && ret_size)
        *ret_size = a.length;
    s3_answer_release(&a);
    return rc;
}

int s3_delete(struct blobs *s, const char *key, struct err *err)
{
    struct s3_call c = {.method = "DELETE", .key = key};

    return s3_do_if_there(s, &c, err);
}
