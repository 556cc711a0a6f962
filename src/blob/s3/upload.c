/* Bytes on their way into an object. They gather until a part is full; then that part goes to S3 on a thread of the driver's own while the
 * next one gathers. So an upload holds three parts at most, and all uploads one each and as many as there are threads. What is no longer
 * than one part goes as one plain PUT at the end, and needs no multipart upload. Each part is signed with its SHA-256, which S3 checks. */
#include "base/auto.h"
#include "base/pool.h"
#include "blob/s3/internal.h"
#include <semaphore.h>
#include <string.h>

struct s3_sending {
    struct blob_upload *u; /* `key` and `upload` are read; they stay as they are */
    char *p;
    size_t n, cap;
    unsigned number;
    sem_t done;
    int rc;
    char etag[S3_ETAG_MAX];
    struct err err;
};

struct blob_upload *s3_upload_new(struct blobs *s, const struct uuid *id, bool resumable, struct err *err)
{
    struct blob_upload *u = calloc(1, sizeof(*u));

    if (u) {
        u->s = s;
        u->id = *id;
        u->resumable = resumable;
        u->hash = sha256_new();
        u->sum = xxh128_new();
        uuid_format(id, u->name);
        s3_blob_key(s, id, u->key);
    }
    if (!u || !u->hash || !u->sum) {
        if (u)
            s3_upload_free(u);
        err_set(err, ERR_NO_MEMORY, 0, "begin a blob");
        return NULL;
    }
    return u;
}

void s3_upload_free(struct blob_upload *u)
{
    sha256_free(u->hash);
    xxh128_free(u->sum);
    free(u->parts.at);
    free(u->fill);
    free(u);
}

int s3_upload_begin(struct blobs *s, const struct uuid *id, struct blob_upload **ret, struct err *err)
{
    *ret = s3_upload_new(s, id, false, err);
    return *ret ? ERR_OK : ERR_NO_MEMORY;
}

static int fail(const struct blob_upload *u, struct err *err)
{
    if (err)
        *err = u->failed;
    return (int)u->failed.code;
}

/* --- a part --- */

/** Those that are there and those on their way. */
static size_t part_count(const struct blob_upload *u)
{
    return u->parts.n + u->n_sending;
}

/** Parts grow, so that as many as S3 allows are enough: 10000 of them hold 440 GiB, and memory stays bounded. */
static size_t part_size(const struct blob_upload *u)
{
    return S3_PART_MIN * (1 + part_count(u) / 1000);
}

static void send_task(void *arg)
{
    struct s3_sending *w = arg;

    w->rc = s3_multipart_part(w->u->s, w->u->key, w->u->upload, w->number, w->p, w->n, w->etag, &w->err);
    sem_post(&w->done);
}

/** Waits for the oldest part that is on its way. */
static void settle_one(struct blob_upload *u)
{
    struct s3_sending *w = u->sending[0];

    u->n_sending--;
    memmove(u->sending, u->sending + 1, u->n_sending * sizeof(u->sending[0]));
    while (sem_wait(&w->done) < 0)
        ;
    if (u->failed.code == ERR_OK && w->rc == ERR_OK)
        s3_parts_add(&u->parts, (int64_t)w->n, w->etag, &u->failed);
    else if (u->failed.code == ERR_OK)
        u->failed = w->err;
    sem_destroy(&w->done);
    if (u->fill_cap == 0) { /* its room serves the next part */
        u->fill = TAKE_PTR(w->p);
        u->fill_cap = w->cap;
    }
    free(w->p);
    free(w);
}

int s3_upload_settle(struct blob_upload *u)
{
    while (u->n_sending > 0)
        settle_one(u);
    return (int)u->failed.code;
}

/** What gathered, taken out of `u`. */
static struct s3_sending *part_take(struct blob_upload *u)
{
    struct s3_sending *w = calloc(1, sizeof(*w));

    if (!w) {
        err_set(&u->failed, ERR_NO_MEMORY, 0, "send a part");
        return NULL;
    }
    *w = (struct s3_sending){.u = u, .p = u->fill, .n = u->fill_n, .cap = u->fill_cap};
    u->fill = NULL;
    u->fill_n = u->fill_cap = 0;
    return w;
}

/** What gathered goes on its way, as the next part. */
static int part_send(struct blob_upload *u)
{
    struct s3_sending *w = part_take(u);

    if (!w)
        return ERR_NO_MEMORY;
    if (u->n_sending == S3_AHEAD_MAX) /* after the take: its room is the next one's */
        settle_one(u);
    if (u->failed.code == ERR_OK && part_count(u) == S3_PARTS_MAX)
        err_set(&u->failed, ERR_TOO_LARGE, 0, "S3 takes an object in at most %u parts: it is too large", S3_PARTS_MAX);
    if (u->failed.code == ERR_OK && !u->upload[0])
        s3_multipart_begin(u->s, u->key, u->upload, &u->failed);
    if (u->failed.code != ERR_OK) {
        free(w->p);
        free(w);
        return (int)u->failed.code;
    }
    w->number = (unsigned)part_count(u) + 1;
    sem_init(&w->done, 0, 0);
    u->sending[u->n_sending++] = w;
    if (pool_run(u->s->parts, send_task, w, NULL) != ERR_OK) /* all are busy: so is this one */
        send_task(w);
    return ERR_OK;
}

/** As much as comes, up to a part: most blobs are small. */
static int make_room(struct blob_upload *u, size_t n)
{
    size_t full = part_size(u), cap = MAX(u->fill_cap, (size_t)64 << 10);

    while (cap < full && cap < u->fill_n + n)
        cap *= 2;
    cap = part_count(u) > 0 ? full : MIN(cap, full);
    if (cap <= u->fill_cap)
        return ERR_OK;
    char *more = realloc(u->fill, cap);

    if (!more)
        return err_set(&u->failed, ERR_NO_MEMORY, 0, "gather a part");
    u->fill = more;
    u->fill_cap = cap;
    return ERR_OK;
}

int s3_upload_write(struct blob_upload *u, const void *p, size_t n, struct err *err)
{
    const char *from = p;

    if (u->whole && n > 0)
        return err_set(err, ERR_CONFLICT, 0, "upload %s is whole", u->name);
    while (n > 0 && u->failed.code == ERR_OK) {
        if (u->fill_n >= part_size(u) && part_send(u) != ERR_OK)
            break;
        if (make_room(u, n) != ERR_OK)
            break;
        size_t take = MIN(n, u->fill_cap - u->fill_n);

        memcpy(u->fill + u->fill_n, from, take);
        sha256_add(u->hash, from, take);
        xxh128_add(u->sum, from, take);
        u->fill_n += take;
        u->size += (int64_t)take;
        from += take;
        n -= take;
    }
    if (u->upload[0] && u->fill_n >= part_size(u)) /* now, so that a sync has less to keep */
        part_send(u);
    return fail(u, err);
}

void s3_upload_sum(struct blob_upload *u, uint8_t ret[XXH128_BYTES])
{
    xxh128_digest(u->sum, ret);
    xxh128_reset(u->sum);
}

/* --- the end --- */

static int put_whole(struct blob_upload *u)
{
    struct s3_call c = {.method = "PUT", .key = u->key, .body = u->fill, .body_n = u->fill_n};

    return s3_do(u->s, &c, &u->failed);
}

/** An id names the same bytes for ever; and of a resumable upload somebody may have taken the state away meanwhile. */
static int check_end(struct blob_upload *u)
{
    char state[S3_KEY_MAX];
    int rc = ERR_OK;

    if (u->resumable) {
        s3_state_key(u->s, &u->id, state);
        rc = s3_look(u->s, state, NULL, &u->failed);
    }
    if (rc == ERR_OK) {
        rc = s3_look(u->s, u->key, NULL, &u->failed);
        if (rc == ERR_OK)
            return err_set(&u->failed, ERR_CONFLICT, 0, "blob %s exists already", u->name);
        if (rc == ERR_NOT_FOUND)
            err_clear(&u->failed);
    }
    return (int)u->failed.code;
}

static void finish(struct blob_upload *u)
{
    if (s3_upload_settle(u) != ERR_OK || check_end(u) != ERR_OK)
        return;
    if (!u->upload[0]) {
        put_whole(u);
        return;
    }
    if (u->fill_n > 0 && (part_send(u) != ERR_OK || s3_upload_settle(u) != ERR_OK))
        return;
    s3_multipart_end(u->s, u->key, u->upload, &u->parts, &u->failed);
}

int s3_upload_commit(struct blob_upload *u, int64_t *ret_size, uint8_t ret_sha256[32], struct err *err)
{
    if (!u->whole)
        finish(u);
    int rc = fail(u, err);

    if (rc == ERR_OK) {
        *ret_size = u->size;
        sha256_end(u->hash, ret_sha256);
    } else if (!u->resumable) {
        s3_upload_abort(u);
        return rc;
    }
    s3_upload_free(u);
    return rc;
}

void s3_upload_abort(struct blob_upload *u)
{
    if (!u)
        return;
    s3_upload_settle(u);
    if (u->upload[0])
        s3_multipart_abort(u->s, u->key, u->upload, NULL); /* a failure leaves it to the sweep */
    s3_upload_free(u);
}
