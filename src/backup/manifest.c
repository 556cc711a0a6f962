/* The first entry. Strict in what it needs, forgiving to members it does not know: within one format they may be added. */
#include "backup/format.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/timefmt.h"
#include <string.h>

int64_t backup_entry_bytes(int64_t size)
{
    return BACKUP_BLOCK + (size + BACKUP_BLOCK - 1) / BACKUP_BLOCK * BACKUP_BLOCK;
}

void backup_manifest_render(const struct backup_manifest *m, struct buf *out)
{
    struct json_writer w;

    jw_init(&w, out);
    jw_object(&w, NULL);
    jw_int(&w, "format", m->format);
    jw_string(&w, "haul_version", m->haul_version);
    jw_time(&w, "created_at", m->created_at);
    jw_string(&w, "database", m->database);
    jw_int(&w, "schema", m->schema);
    jw_int(&w, "jobs", m->jobs);
    jw_int(&w, "blobs", m->blobs);
    jw_int(&w, "missing_blobs", m->missing_blobs);
    jw_int(&w, "database_bytes", m->database_bytes);
    jw_int(&w, "blob_bytes", m->blob_bytes);
    jw_int(&w, "archive_bytes", m->archive_bytes);
    jw_string(&w, "blob_folder_id", m->blob_folder_id);
    jw_object_end(&w);
    buf_addc(out, '\n');
}

static bool text_member(const json_t *doc, const char *key, char *ret, size_t size)
{
    const char *s = json_string_value(json_object_get(doc, key));

    if (!s || strlen(s) >= size)
        return false;
    snprintf(ret, size, "%s", s);
    return true;
}

static bool count_member(const json_t *doc, const char *key, int64_t *ret)
{
    const json_t *v = json_object_get(doc, key);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = (int64_t)json_integer_value(v);
    return true;
}

static bool members(const json_t *doc, struct backup_manifest *m)
{
    char created[RFC3339_MAX];

    return text_member(doc, "haul_version", m->haul_version, sizeof(m->haul_version)) &&
           text_member(doc, "created_at", created, sizeof(created)) && rfc3339_parse(created, &m->created_at) &&
           text_member(doc, "database", m->database, sizeof(m->database)) && count_member(doc, "schema", &m->schema) &&
           count_member(doc, "jobs", &m->jobs) && count_member(doc, "blobs", &m->blobs) &&
           count_member(doc, "missing_blobs", &m->missing_blobs) &&
           count_member(doc, "database_bytes", &m->database_bytes) && count_member(doc, "blob_bytes", &m->blob_bytes) &&
           count_member(doc, "archive_bytes", &m->archive_bytes) &&
           text_member(doc, "blob_folder_id", m->blob_folder_id, sizeof(m->blob_folder_id));
}

int backup_manifest_parse(const char *text, size_t n, struct backup_manifest *ret, struct err *err)
{
    json_t *doc = NULL;
    int rc = json_parse(text, n, &doc, err);

    *ret = (struct backup_manifest){0};
    if (rc != ERR_OK)
        return err_set(err, ERR_CORRUPT, 0, "%s cannot be read: this is not a haul backup", BACKUP_MANIFEST);
    /* The format first: what a newer one looks like is not known here. */
    if (!count_member(doc, "format", &ret->format) || ret->format == 0)
        rc = err_set(err, ERR_CORRUPT, 0, "%s names no format: this is not a haul backup", BACKUP_MANIFEST);
    else if (ret->format > BACKUP_FORMAT)
        rc = err_set(err, ERR_UNSUPPORTED, 0,
                     "the backup has format %lld, this program knows up to %d: restore it with a newer haul",
                     (long long)ret->format, BACKUP_FORMAT);
    else if (!members(doc, ret))
        rc = err_set(err, ERR_CORRUPT, 0, "%s lacks something, or holds what cannot be: the backup is damaged",
                     BACKUP_MANIFEST);
    json_decref(doc);
    return rc;
}

bool backup_manifest_peek(const char *head, size_t n, struct backup_manifest *ret)
{
    const char *text = head + BACKUP_BLOCK;

    if (n <= BACKUP_BLOCK || strncmp(head, BACKUP_MANIFEST, sizeof(BACKUP_MANIFEST)) != 0)
        return false;
    const char *end = memchr(text, '\n', n - BACKUP_BLOCK); /* it is one line */
    return end && backup_manifest_parse(text, (size_t)(end - text), ret, NULL) == ERR_OK;
}
