/* The state file: JSON, small, replaced as a whole. */
#include "cli/batch_state.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sha256.h"
#include <errno.h>
#include <sys/stat.h>

#define STATE_BYTES_MAX (1 << 20)
#define HEAD_BYTES      (64 << 10)
#define VERSION         1

int batch_identity_read(int fd, struct batch_identity *ret, struct err *err)
{
    struct stat st;
    AUTO_FREE char *head = malloc(HEAD_BYTES);
    size_t n = 0;
    if (!head)
        return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
    if (fstat(fd, &st) != 0)
        return err_set(err, ERR_IO, errno, "stat");
    for (ssize_t got; n < HEAD_BYTES; n += (size_t)got) {
        got = pread(fd, head + n, HEAD_BYTES - n, (off_t)n);
        if (got < 0 && errno == EINTR) {
            got = 0;
            continue;
        }
        if (got < 0)
            return err_set(err, ERR_IO, errno, "read");
        if (got == 0)
            break;
    }
    uint8_t digest[32];
    sha256_once(head, n, digest);
    *ret = (struct batch_identity){.size = (int64_t)st.st_size,
                                   .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    hex_format(digest, sizeof(digest), ret->head_sha256);
    return ERR_OK;
}

bool batch_identity_equal(const struct batch_identity *a, const struct batch_identity *b)
{
    return a->size == b->size && a->mtime_ns == b->mtime_ns && strcmp(a->head_sha256, b->head_sha256) == 0;
}

static char *text_member(struct json_reader *r, const char *key, size_t max)
{
    const char *s = json_get_string(r, key, true, 1, max);
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        r->code = err_set(r->err, ERR_NO_MEMORY, 0, "out of memory");
    return copy;
}

static int read_members(const json_t *root, struct batch_state *s, struct err *err)
{
    struct json_reader r;
    json_reader_init(&r, (json_t *)(uintptr_t)root, "", err);
    (void)json_get_int(&r, "version", VERSION, VERSION, VERSION);
    s->file.size = json_get_int(&r, "file_bytes", 0, 0, INT64_MAX);
    s->file.mtime_ns = json_get_int(&r, "file_mtime_ns", 0, INT64_MIN, INT64_MAX);
    const char *head = json_get_string(&r, "file_head_sha256", true, 64, 64);
    const char *key = json_get_string(&r, "key", true, 1, BATCH_KEY_MAX);
    s->server = text_member(&r, "server", 2048);
    s->options = text_member(&r, "options", STATE_BYTES_MAX);
    s->defaults = text_member(&r, "defaults", STATE_BYTES_MAX);
    s->offset = json_get_int(&r, "offset_bytes", 0, 0, INT64_MAX);
    s->line = json_get_int(&r, "line", 0, 0, INT64_MAX);
    s->created = json_get_int(&r, "created", 0, 0, INT64_MAX);
    s->duplicates = json_get_int(&r, "duplicates", 0, 0, INT64_MAX);
    s->refused = json_get_int(&r, "refused", 0, 0, INT64_MAX);
    s->ids_bytes = json_get_int(&r, "ids_bytes", 0, 0, INT64_MAX);
    s->rejects_bytes = json_get_int(&r, "rejects_bytes", 0, 0, INT64_MAX);
    s->under_way = json_get_bool(&r, "under_way", true);
    s->saved_at = json_get_time(&r, "saved_at", 0);
    int rc = json_reader_end(&r);
    if (rc == ERR_OK) {
        snprintf(s->file.head_sha256, sizeof(s->file.head_sha256), "%s", head);
        snprintf(s->key, sizeof(s->key), "%s", key);
    }
    return rc;
}

int batch_state_load(const char *path, struct batch_state *ret, struct err *err)
{
    struct buf text;
    json_t *root = NULL;
    *ret = (struct batch_state){0};
    buf_init(&text, STATE_BYTES_MAX);
    int rc = fs_read(path, &text, err);
    if (rc == ERR_OK) {
        rc = json_parse(buf_str(&text), text.len, &root, err);
        if (rc == ERR_OK)
            rc = read_members(root, ret, err);
        if (rc != ERR_OK && rc != ERR_NO_MEMORY) {
            struct err why = *err;
            rc = err_set(err, ERR_CORRUPT, 0, "'%s' is damaged, or not of a batch: %s%s%s", path, why.field,
                         *why.field ? ": " : "", why.msg);
        }
    }
    json_decref(root);
    buf_release(&text);
    if (rc != ERR_OK)
        batch_state_release(ret);
    return rc;
}

int batch_state_save(const char *path, const struct batch_state *s, struct err *err)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, STATE_BYTES_MAX);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_int(&w, "version", VERSION);
    jw_int(&w, "file_bytes", s->file.size);
    jw_int(&w, "file_mtime_ns", s->file.mtime_ns);
    jw_string(&w, "file_head_sha256", s->file.head_sha256);
    jw_string(&w, "key", s->key);
    jw_string(&w, "server", s->server);
    jw_string(&w, "options", s->options);
    jw_string(&w, "defaults", s->defaults);
    jw_int(&w, "offset_bytes", s->offset);
    jw_int(&w, "line", s->line);
    jw_int(&w, "created", s->created);
    jw_int(&w, "duplicates", s->duplicates);
    jw_int(&w, "refused", s->refused);
    jw_int(&w, "ids_bytes", s->ids_bytes);
    jw_int(&w, "rejects_bytes", s->rejects_bytes);
    jw_bool(&w, "under_way", s->under_way);
    jw_time(&w, "saved_at", s->saved_at);
    jw_object_end(&w);
    buf_addc(&b, '\n');
    int rc = b.failed ? err_set(err, ERR_TOO_LARGE, 0, "the options are too long to be remembered")
                      : fs_write_durable(path, b.data, b.len, 0600, err);
    buf_release(&b);
    return rc;
}

void batch_state_release(struct batch_state *s)
{
    free(s->server);
    free(s->options);
    free(s->defaults);
    *s = (struct batch_state){0};
}
