#include "blob/s3/s3.h"
#include "base/auto.h"
#include "base/pool.h"
#include "base/rng.h"
#include "blob/s3/internal.h"
#include <string.h>

#define PART_THREADS 8
#define OPEN_US      (3 * USEC_PER_SEC)  /* tries begin for so long: whoever starts a server waits */
#define PATIENCE_US  (20 * USEC_PER_SEC) /* and later: whoever is answered waits */
#define ID_MAX       64

static int id_get(struct blobs *s, const char *key, char ret_id[UUID_STR_MAX], struct err *err)
{
    struct s3_call c = {.method = "GET", .key = key, .answer_max = ID_MAX};
    struct s3_answer a;
    struct uuid id;
    int rc = s3_call(s, &c, &a, err);

    if (rc == ERR_OK) {
        const char *text = buf_str(&a.body);
        char name[UUID_STR_MAX];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "\r\n"), text);
        if (uuid_parse(name, &id))
            uuid_format(&id, ret_id);
        else
            rc = err_set(
                err, ERR_CORRUPT, 0,
                "'%.100s' in S3 does not hold an id: an endpoint that is no S3 server, or other people's object there",
                key);
    }
    s3_answer_release(&a);
    return rc;
}

/** Whoever comes second finds the first one's, where S3 knows If-None-Match; whatever it says, the object is what counts. */
static int id_put(struct blobs *s, const char *key, struct err *err)
{
    struct uuid id = uuid_v7(clock_real().wall_us(clock_real().self), rng_real());
    char name[UUID_STR_MAX], text[UUID_STR_MAX + 1];

    uuid_format(&id, name);
    snprintf(text, sizeof(text), "%s\n", name);
    struct s3_call c = {.method = "PUT", .key = key, .body = text, .body_n = UUID_STR_MAX};

    s3_header(&c, "if-none-match", "*");
    int rc = s3_do(s, &c, err);

    if (rc == ERR_UNSUPPORTED) { /* some know no conditions */
        c.n_headers = 0;
        rc = s3_do(s, &c, err);
    }
    if (rc == ERR_CONFLICT) {
        err_clear(err);
        rc = ERR_OK;
    }
    return rc;
}

static int identify(struct blobs *s, char ret_id[UUID_STR_MAX], struct err *err)
{
    char key[S3_KEY_MAX];

    snprintf(key, sizeof(key), "%shaul-blobs", s->place.prefix);
    int rc = id_get(s, key, ret_id, err);

    if (rc != ERR_NOT_FOUND)
        return rc;
    err_clear(err);
    rc = id_put(s, key, err);
    return rc == ERR_OK ? id_get(s, key, ret_id, err) : rc;
}

static void s3_close(struct blobs *s)
{
    if (!s)
        return;
    s3_sweeper_stop(s);
    pool_free(s->parts);
    for (size_t i = 0; i < s->n_idle; i++)
        curl_easy_cleanup(s->idle[i]);
    s3_credentials_release(&s->credentials);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static struct blobs *s3_new(const struct s3_place *place)
{
    struct blobs *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;

    if (!s)
        return NULL;
    s->place = *place;
    s3_credentials_init(&s->credentials, place->credentials);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    s->patience_us = OPEN_US;
    return s;
}

static int s3_open(const char *url, struct blobs **ret, char ret_id[UUID_STR_MAX], struct err *err)
{
    struct s3_place place;
    int rc = s3_place_parse(url, &place, err);

    if (rc != ERR_OK)
        return rc;
    pthread_once(&curl_once, curl_start);
    struct blobs *s = s3_new(&place);

    if (!s)
        return err_set(err, ERR_NO_MEMORY, 0, "S3");
    rc = identify(s, ret_id, err);
    s->patience_us = PATIENCE_US;
    if (rc == ERR_OK)
        rc = pool_new("s3-parts", PART_THREADS, 0, &s->parts, err);
    if (rc == ERR_OK)
        rc = s3_sweeper_start(s, err);
    if (rc != ERR_OK) {
        s3_close(s);
        return rc;
    }
    *ret = s;
    return ERR_OK;
}

static int s3_remove(struct blobs *s, const struct uuid *id, struct err *err)
{
    char key[S3_KEY_MAX];

    s3_blob_key(s, id, key);
    return s3_delete(s, key, err);
}

/** What a browser saves has the blob's name, as from our own server. */
static int s3_blob_url(struct blobs *s, const struct uuid *id, const char *filename, struct buf *ret, struct err *err)
{
    char key[S3_KEY_MAX], name[UUID_STR_MAX];
    struct buf disposition;

    if (!s->place.direct)
        return err_set(err, ERR_UNSUPPORTED, 0, "direct=no");
    uuid_format(id, name);
    buf_init(&disposition, 1024);
    buf_adds(&disposition, "attachment; filename*=UTF-8''");
    s3_encode_path(&disposition, filename ? filename : name);
    s3_blob_key(s, id, key);
    struct s3_call c = {.method = "GET", .key = key};

    s3_query(&c, "response-content-disposition", buf_str(&disposition));
    s3_query(&c, "response-content-type", "application/octet-stream");
    int rc = s3_url(s, &c, BLOB_URL_S, ret, err);

    buf_release(&disposition);
    return rc;
}

const struct blob_driver *blob_s3(void)
{
    static const struct blob_driver driver = {
        .name = "s3",
        .open = s3_open,
        .close = s3_close,
        .begin = s3_upload_begin,
        .write = s3_upload_write,
        .sum = s3_upload_sum,
        .commit = s3_upload_commit,
        .abort = s3_upload_abort,
        .open_read = s3_reader_open,
        .remove = s3_remove,
        .resume = s3_resumable_resume,
        .sync = s3_resumable_sync,
        .leave = s3_resumable_leave,
        .offset = s3_resumable_offset,
        .discard = s3_resumable_discard,
        .unfinished = s3_resumable_unfinished,
        .url = s3_blob_url,
        .part_size = s3_direct_part_size,
        .part_urls = s3_direct_urls,
        .parts = s3_direct_parts,
        .assemble = s3_direct_assemble,
        .examine = s3_examine,
    };

    return &driver;
}
