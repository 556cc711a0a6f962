/* Multipart uploads that nobody will finish: a server died in the midst of one. S3 keeps their parts, for money, until someone says
 * otherwise; its own list of them is the record. Resumable ones are named by their state, and go with it. */
#include "base/auto.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "blob/s3/internal.h"
#include "blob/s3/xml.h"
#include <string.h>
#include <time.h>

#define EVERY_US (INT64_C(3600) * USEC_PER_SEC)

struct found {
    struct blobs *s;
    usec before;
    size_t prefix_n;
    char key[S3_KEY_MAX], upload[S3_UPLOAD_MAX], next_key[S3_KEY_MAX], next_upload[S3_UPLOAD_MAX];
    usec at;
    bool more;
    struct err err;
};

static void give_up(struct found *f)
{
    struct uuid id;
    char named[S3_UPLOAD_MAX];
    size_t n = f->prefix_n + strlen("xx/");

    if (strlen(f->key) <= n || !uuid_parse(f->key + n, &id) || f->at == 0 || f->at > f->before)
        return;
    if (s3_resumable_upload_of(f->s, &id, named, &f->err) == ERR_OK && strcmp(named, f->upload) != 0)
        s3_multipart_abort(f->s, f->key, f->upload, &f->err);
}

static bool on_item(void *arg, const char *path, const char *text)
{
    struct found *f = arg;

    if (strcmp(path, "Upload/Key") == 0)
        snprintf(f->key, sizeof(f->key), "%s", text);
    else if (strcmp(path, "Upload/UploadId") == 0)
        snprintf(f->upload, sizeof(f->upload), "%s", text);
    else if (strcmp(path, "Upload/Initiated") == 0 && !rfc3339_parse(text, &f->at))
        f->at = 0;
    else if (strcmp(path, "Upload") == 0)
        give_up(f);
    else if (strcmp(path, "IsTruncated") == 0)
        f->more = strcmp(text, "true") == 0;
    else if (strcmp(path, "NextKeyMarker") == 0)
        snprintf(f->next_key, sizeof(f->next_key), "%s", text);
    else if (strcmp(path, "NextUploadIdMarker") == 0)
        snprintf(f->next_upload, sizeof(f->next_upload), "%s", text);
    return true;
}

int s3_sweep(struct blobs *s, struct err *err)
{
    char prefix[S3_KEY_MAX], root[64], key[S3_KEY_MAX] = "", upload[S3_UPLOAD_MAX] = "";
    struct found f = {.s = s, .more = true, .before = clock_real().wall_us(clock_real().self) - s->place.abandoned_us};
    int rc = ERR_OK;

    snprintf(prefix, sizeof(prefix), "%sblobs/", s->place.prefix);
    f.prefix_n = strlen(prefix);
    while (rc == ERR_OK && f.more) {
        struct s3_call c = {.method = "GET", .key = "", .answer_max = S3_LIST_MAX};
        struct s3_answer a;

        s3_query(&c, "uploads", "");
        s3_query(&c, "prefix", prefix);
        if (key[0]) {
            s3_query(&c, "key-marker", key);
            s3_query(&c, "upload-id-marker", upload);
        }
        f.more = false;
        rc = s3_call(s, &c, &a, err);
        if (rc == ERR_OK)
            rc = s3_xml(buf_str(&a.body), a.body.len, on_item, &f, root, err);
        s3_answer_release(&a);
        snprintf(key, sizeof(key), "%s", f.next_key);
        snprintf(upload, sizeof(upload), "%s", f.next_upload);
    }
    if (rc == ERR_OK && f.err.code != ERR_OK) {
        if (err)
            *err = f.err;
        rc = (int)f.err.code;
    }
    return rc;
}

/** Until the driver is closed. @return false: then it is */
static bool rest(struct blobs *s, usec for_us)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += for_us / USEC_PER_SEC;
    pthread_mutex_lock(&s->lock);
    while (!s->closing && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
        ;
    bool on = !s->closing;

    pthread_mutex_unlock(&s->lock);
    return on;
}

static void *sweeper_run(void *arg)
{
    struct blobs *s = arg;

    do {
        struct err err = {0};

        if (s3_sweep(s, &err) != ERR_OK)
            log_err("give up abandoned uploads in S3", &err);
    } while (rest(s, MIN(EVERY_US, s->place.abandoned_us)));
    return NULL;
}

int s3_sweeper_start(struct blobs *s, struct err *err)
{
    if (pthread_create(&s->sweeper, NULL, sweeper_run, s) != 0)
        return err_set(err, ERR_NO_MEMORY, 0, "start a thread");
    s->sweeping = true;
    return ERR_OK;
}

void s3_sweeper_stop(struct blobs *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->sweeping)
        pthread_join(s->sweeper, NULL);
}
