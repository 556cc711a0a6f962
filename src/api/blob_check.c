#include "api/blob_check.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/sha256.h"

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

static int bytes_hash(struct blob_reader *r, uint8_t ret[32], struct err *err)
{
    AUTO_FREE char *piece = malloc(PIECE);
    struct sha256 *hash = sha256_new();
    int64_t at = 0;
    int rc = piece && hash ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "check a blob");
    for (int64_t n = 1; !rc && n;) {
        n = r->read(r, at, piece, PIECE, err);
        if (n > 0) {
            sha256_add(hash, piece, (size_t)n);
            at += n;
        } else if (n < 0)
            rc = (int)err->code;
    }
    if (!rc)
        sha256_end(hash, ret);
    sha256_free(hash);
    return rc;
}

int blob_check_all(struct blob_checks *c, struct blob_reader *r, const struct blob_row *row, struct err *err)
{
    uint8_t digest[32];
    if (r->size != row->size)
        return damage(c, &row->blob_id, "it has another size than was stored", err);
    if (known_good(c, &row->blob_id, r->stamp))
        return ERR_OK;
    const int rc = bytes_hash(r, digest, err);
    if (rc)
        return rc;
    if (memcmp(digest, row->sha256, sizeof digest) != 0)
        return damage(c, &row->blob_id, "its bytes have another SHA-256 than was stored", err);
    remember(c, &row->blob_id, r->stamp);
    return ERR_OK;
}

struct sent {
    struct blob_checks *checks;
    struct blob_row row;
    struct sha256 *hash;
    uint64_t stamp[2];
};

static bool sent_add(void *arg, const void *p, size_t n, bool last)
{
    struct sent *s = arg;
    uint8_t digest[32];
    struct err err;
    err_clear(&err);
    sha256_add(s->hash, p, n);
    if (!last)
        return true;
    sha256_end(s->hash, digest);
    if (memcmp(digest, s->row.sha256, sizeof digest) != 0) {
        damage(s->checks, &s->row.blob_id, "its bytes have another SHA-256 than was stored, the answer was cut", &err);
        log_err("send a blob", &err);
        return false;
    }
    remember(s->checks, &s->row.blob_id, s->stamp);
    return true;
}

static void sent_free(void *arg)
{
    struct sent *s = arg;
    sha256_free(s->hash);
    free(s);
}

struct http_file_check blob_check_sent(struct blob_checks *c, const struct blob_reader *r, const struct blob_row *row)
{
    struct sent *s = calloc(1, sizeof *s);
    if (s)
        *s = (struct sent){.checks = c, .row = *row, .hash = sha256_new(), .stamp = {r->stamp[0], r->stamp[1]}};
    if (s && s->hash)
        return (struct http_file_check){.add = sent_add, .free = sent_free, .arg = s};
    if (s)
        sent_free(s);
    return (struct http_file_check){0};
}
