/* The end of an archive: complete.json, and the check of everything before it. */
#include "backup/format.h"
#include "base/auto.h"
#include "base/json.h"
#include <string.h>

int backup_tail_init(struct backup_tail *t, struct err *err)
{
    *t = (struct backup_tail){.hash = sha256_new()};
    return t->hash ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "backup");
}

void backup_tail_release(struct backup_tail *t)
{
    sha256_free(t->hash);
    t->hash = NULL;
}

void backup_tail_add(struct backup_tail *t, const void *p, size_t n)
{
    size_t old = 0, fresh = 0; /* how much goes to the hash: from what is held, from what comes */

    t->bytes += (int64_t)n;
    if (t->n_held + n > BACKUP_TAIL_BYTES) {
        size_t over = t->n_held + n - BACKUP_TAIL_BYTES;
        old = MIN(over, t->n_held);
        fresh = over - old;
    }
    sha256_add(t->hash, t->held, old);
    sha256_add(t->hash, p, fresh);
    memmove(t->held, t->held + old, t->n_held - old);
    t->n_held -= old;
    memcpy(t->held + t->n_held, (const char *)p + fresh, n - fresh);
    t->n_held += n - fresh;
}

static int cut(const struct backup_tail *t, struct err *err)
{
    return err_set(err, ERR_CORRUPT, 0, "the backup is cut or damaged: its %lld bytes do not end with %s",
                   (long long)t->bytes, BACKUP_COMPLETE);
}

static bool zeroes(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static int read_end(const json_t *doc, const char *hex, int64_t bytes, struct backup_end *ret, struct err *err)
{
    const char *failure = json_string_value(json_object_get(doc, "error"));
    const char *sha = json_string_value(json_object_get(doc, "sha256"));
    const json_t *said = json_object_get(doc, "bytes"), *damaged = json_object_get(doc, "damaged_blobs");

    if (failure)
        return err_set(err, ERR_IO, 0, "the server could not go on: %s", failure);
    if (!sha || !json_is_integer(said) || !json_is_integer(damaged))
        return err_set(err, ERR_CORRUPT, 0, "%s lacks something: the backup is damaged", BACKUP_COMPLETE);
    if (json_integer_value(said) != bytes || strcmp(sha, hex) != 0)
        return err_set(
            err, ERR_CORRUPT, 0,
            "the backup is damaged: it has %lld bytes with SHA-256 %.16s..., it should have %lld with %.16s...",
            (long long)bytes, hex, (long long)json_integer_value(said), sha);
    *ret = (struct backup_end){.bytes = bytes, .damaged = (int64_t)json_integer_value(damaged)};
    return ERR_OK;
}

int backup_tail_end(struct backup_tail *t, struct backup_end *ret, struct err *err)
{
    uint8_t digest[32];
    char hex[SHA256_HEX_MAX];
    json_t *doc = NULL;
    const char *text = t->held + BACKUP_BLOCK;

    sha256_end(t->hash, digest);
    hex_format(digest, sizeof(digest), hex);
    if (t->n_held < BACKUP_TAIL_BYTES || strncmp(t->held, BACKUP_COMPLETE, sizeof(BACKUP_COMPLETE)) != 0 ||
        !zeroes(text + BACKUP_BLOCK, BACKUP_TAIL_BYTES - 2 * BACKUP_BLOCK) ||
        json_parse(text, BACKUP_BLOCK, &doc, NULL) != ERR_OK)
        return cut(t, err);
    int rc = read_end(doc, hex, t->bytes - BACKUP_TAIL_BYTES, ret, err);
    json_decref(doc);
    return rc;
}
