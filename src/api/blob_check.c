#include "api/blob_check.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/xxh128.h"

#define PIECE    ((size_t)256 << 10)
#define STALE_US (3600 * USEC_PER_SEC)

void blob_checks_init(struct blob_checks *c, struct clock clock)
{
    c->clock = clock;
    pthread_mutex_init(&c->lock, NULL);
}

void blob_checks_release(struct blob_checks *c)
{
    pthread_mutex_destroy(&c->lock);
}

static bool same(const struct blob_checked *a, const struct uuid *id, const uint64_t stamp[2])
{
    return uuid_equal(&a->blob_id, id) && a->stamp[0] == stamp[0] && a->stamp[1] == stamp[1];
}

static bool known_good(struct blob_checks *c, const struct uuid *id, const uint64_t stamp[2])
{
    bool good = false;
    const usec now = c->clock.boot_us(c->clock.self);
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < BLOB_CHECKS_KEPT && !good; i++)
        good = c->kept[i].at_us && now - c->kept[i].at_us < STALE_US && same(&c->kept[i], id, stamp);
    pthread_mutex_unlock(&c->lock);
    return good;
}

/* @param stamp  from before the bytes were read: what was written since has another one */
static void remember(struct blob_checks *c, const struct uuid *id, const uint64_t stamp[2])
{
    pthread_mutex_lock(&c->lock);
    c->kept[c->next] =
        (struct blob_checked){.blob_id = *id, .stamp = {stamp[0], stamp[1]}, .at_us = c->clock.boot_us(c->clock.self)};
    c->next = (c->next + 1) % BLOB_CHECKS_KEPT;
    pthread_mutex_unlock(&c->lock);
}

static int damage(struct blob_checks *c, const struct uuid *id, const char *what, struct err *err)
{
    char name[UUID_STR_MAX];
    uuid_format(id, name);
    atomic_fetch_add(&c->damaged, 1);
    err_set(err, ERR_CORRUPT, 0, "blob %s is damaged: %s; restore it from a backup", name, what);
    return (int)err->code;
}

bool blob_sum_counts(const struct blob_reader *r, const struct blob_row *row)
{
    return row->summed && r->fd >= 0;
}

/* Bytes, and what they are held against: one of the two. */
struct held {
    struct xxh128 *sum;
    struct sha256 *hash;
};

/** @return false: no memory */
static bool held_begin(struct held *h, const struct blob_reader *r, const struct blob_row *row)
{
    const bool by_sum = blob_sum_counts(r, row);
    *h = (struct held){.sum = by_sum ? xxh128_new() : NULL, .hash = by_sum ? NULL : sha256_new()};
    return h->sum || h->hash;
}

static void held_free(struct held *h)
{
    xxh128_free(h->sum);
    sha256_free(h->hash);
}

static void held_add(struct held *h, const void *p, size_t n)
{
    if (h->sum)
        xxh128_add(h->sum, p, n);
    else
        sha256_add(h->hash, p, n);
}

/** All of them were added. @return what is wrong, or NULL */
static const char *held_wrong(struct held *h, const struct blob_row *row)
{
    uint8_t sum[XXH128_BYTES], hash[32];
    if (h->sum) {
        xxh128_digest(h->sum, sum);
        return memcmp(sum, row->xxh128, sizeof sum) != 0 ? "its bytes have another sum than was stored" : NULL;
    }
    sha256_end(h->hash, hash);
    return memcmp(hash, row->sha256, sizeof hash) != 0 ? "its bytes have another SHA-256 than was stored" : NULL;
}

static int add_all(struct held *h, struct blob_reader *r, struct err *err)
{
    AUTO_FREE char *piece = malloc(PIECE);
    int64_t at = 0;
    int rc = piece ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "check a blob");
    for (int64_t n = 1; !rc && n;) {
        n = r->read(r, at, piece, PIECE, err);
        if (n > 0) {
            held_add(h, piece, (size_t)n);
            at += n;
        } else if (n < 0)
            rc = (int)err->code;
    }
    return rc;
}

int blob_check_all(struct blob_checks *c, struct blob_reader *r, const struct blob_row *row, struct err *err)
{
    struct held h;
    if (r->size != row->size)
        return damage(c, &row->blob_id, "it has another size than was stored", err);
    if (known_good(c, &row->blob_id, r->stamp))
        return ERR_OK;
    int rc = held_begin(&h, r, row) ? add_all(&h, r, err) : err_set(err, ERR_NO_MEMORY, 0, "check a blob");
    const char *wrong = rc ? NULL : held_wrong(&h, row);
    held_free(&h);
    if (rc)
        return rc;
    if (wrong)
        return damage(c, &row->blob_id, wrong, err);
    remember(c, &row->blob_id, r->stamp);
    return ERR_OK;
}

struct sent {
    struct blob_checks *checks;
    struct blob_row row;
    struct held held;
    uint64_t stamp[2];
};

static bool sent_add(void *arg, const void *p, size_t n, bool last)
{
    struct sent *s = arg;
    struct err err;
    err_clear(&err);
    held_add(&s->held, p, n);
    if (!last)
        return true;
    const char *wrong = held_wrong(&s->held, &s->row);
    if (wrong) {
        damage(s->checks, &s->row.blob_id, wrong, &err);
        log_err("a download was cut", &err);
        return false;
    }
    remember(s->checks, &s->row.blob_id, s->stamp);
    return true;
}

static void sent_free(void *arg)
{
    struct sent *s = arg;
    held_free(&s->held);
    free(s);
}

struct http_file_check blob_check_sent(struct blob_checks *c, const struct blob_reader *r, const struct blob_row *row)
{
    struct sent *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct sent){.checks = c, .row = *row, .stamp = {r->stamp[0], r->stamp[1]}};
    if (s && held_begin(&s->held, r, row))
        return (struct http_file_check){.add = sent_add, .free = sent_free, .arg = s};
    if (s)
        sent_free(s);
    return (struct http_file_check){0};
}
