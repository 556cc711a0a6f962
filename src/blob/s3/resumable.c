/* Uploads that go on after a cut, a restart and on another server. What sync() said yes to is in one object, PREFIXuploads/<uuid>:
 *
 *     haul-upload 1
 *     size <bytes, the tail's among them>
 *     hash <the digest on its way, in hex>
 *     upload <S3's id of the multipart upload, or ->
 *     part <bytes> <ETag>        a line for each
 *     tail <bytes>
 *     <the tail: what is too little for a part>
 *
 * It is written anew by each sync, whole or not at all, as S3 has it. Parts that are not in it are as good as not there: they are sent
 * again under their numbers. ListParts tells whether S3 still has those that are.
 *
 * Of an upload whose parts its client sends to S3 itself (direct.c) the state holds S3's id and no bytes: its parts are S3's to list.
 *
 * A commit makes the object and leaves the state; the blob's row comes next. If it never does (a crash just there), resume() finds the object,
 * and reads it once for its hash: what is left to do is the row. It never goes by this: another server may be about to write that row. */
#include "base/auto.h"
#include "blob/s3/internal.h"
#include "blob/s3/xml.h"
#include <inttypes.h>
#include <string.h>

#define HEAD        "haul-upload 1\n"
#define LOOK_BYTES  64 /* hold the first two lines */
#define WHOLE_PIECE ((size_t)1 << 20)

static int gone(struct err *err)
{
    return err_set(err, ERR_CORRUPT, 0, "the state of an upload in S3 is damaged");
}

/* --- writing --- */

static int state_put(struct blob_upload *u, struct err *err)
{
    uint8_t state[SHA256_STATE_BYTES];
    char hex[2 * SHA256_STATE_BYTES + 1], key[S3_KEY_MAX];
    struct buf b;

    sha256_save(u->hash, state);
    hex_format(state, sizeof(state), hex);
    buf_init(&b, S3_STATE_MAX);
    buf_printf(&b, HEAD "size %" PRId64 "\nhash %s\nupload %s\n", u->size, hex, u->upload[0] ? u->upload : "-");
    for (size_t i = 0; i < u->parts.n; i++)
        buf_printf(&b, "part %" PRId64 " %s\n", u->parts.at[i].size, u->parts.at[i].etag);
    buf_printf(&b, "tail %zu\n", u->fill_n);
    buf_add(&b, u->fill, u->fill_n);
    s3_state_key(u->s, &u->id, key);
    struct s3_call c = {.method = "PUT", .key = key, .body = b.data, .body_n = b.len};
    int rc = b.failed ? err_set(err, ERR_NO_MEMORY, 0, "keep an upload") : s3_do(u->s, &c, err);

    buf_release(&b);
    return rc;
}

int s3_resumable_sync(struct blob_upload *u, struct err *err)
{
    if (s3_upload_settle(u) == ERR_OK && !u->whole)
        state_put(u, &u->failed);
    if (err)
        *err = u->failed;
    return (int)u->failed.code;
}

void s3_resumable_leave(struct blob_upload *u)
{
    if (!u)
        return;
    s3_upload_settle(u);
    s3_upload_free(u);
}

/* --- reading --- */

/** The rest of a line that begins with `word`; cuts it off. NULL: it does not. */
static char *line_take(char **at, const char *end, const char *word)
{
    size_t n = strlen(word);
    char *line = *at, *stop = (size_t)(end - line) > n ? memchr(line, '\n', (size_t)(end - line)) : NULL;

    if (!stop || (size_t)(stop - line) <= n || memcmp(line, word, n) != 0 || line[n] != ' ')
        return NULL;
    *stop = '\0';
    *at = stop + 1;
    return line + n + 1;
}

static bool number(const char *text, int64_t *ret)
{
    char *end = NULL;

    if (!text || *text < '0' || *text > '9')
        return false;
    *ret = strtoll(text, &end, 10);
    return *ret >= 0 && (*end == '\0' || *end == ' ');
}

static bool state_head(char **at, const char *end, int64_t *ret_size)
{
    size_t n = sizeof(HEAD) - 1;

    if ((size_t)(end - *at) <= n || memcmp(*at, HEAD, n) != 0)
        return false;
    *at += n;
    return number(line_take(at, end, "size"), ret_size);
}

static int state_parts(struct blob_upload *u, char **at, const char *end, struct err *err)
{
    int rc = ERR_OK;

    for (char *line; rc == ERR_OK && (line = line_take(at, end, "part"));) {
        int64_t size;
        char *etag = strchr(line, ' ');

        rc = etag && number(line, &size) && strlen(etag + 1) < S3_ETAG_MAX
                 ? s3_parts_add(&u->parts, size, etag + 1, err)
                 : gone(err);
    }
    return rc;
}

/** Into an upload that is new. */
static int state_read(struct blob_upload *u, char *p, size_t n, struct err *err)
{
    char *at = p, *end = p + n;
    uint8_t state[SHA256_STATE_BYTES];
    int64_t tail = -1;

    if (!state_head(&at, end, &u->size))
        return gone(err);
    const char *hash = line_take(&at, end, "hash"), *upload = line_take(&at, end, "upload");

    if (!hash || !upload || hex_parse(hash, state, sizeof(state)) != 0 || strlen(upload) >= sizeof(u->upload))
        return gone(err);
    sha256_free(u->hash);
    u->hash = sha256_load(state);
    snprintf(u->upload, sizeof(u->upload), "%s", strcmp(upload, "-") == 0 ? "" : upload);
    int rc = state_parts(u, &at, end, err);

    if (rc != ERR_OK)
        return rc;
    if (!u->hash || !number(line_take(&at, end, "tail"), &tail) || tail != end - at || u->parts.size + tail != u->size)
        return gone(err);
    u->fill = malloc((size_t)tail + 1);
    if (!u->fill)
        return err_set(err, ERR_NO_MEMORY, 0, "go on with an upload");
    memcpy(u->fill, at, (size_t)tail);
    u->fill_n = (size_t)tail;
    u->fill_cap = (size_t)tail + 1;
    return ERR_OK;
}

/** Its parts are known to S3 alone: no bytes of it ever came through us. */
static bool is_direct(const struct blob_upload *u)
{
    return u->upload[0] && u->size == 0;
}

static int state_get(struct blobs *s, const struct uuid *id, const char *range, struct s3_answer *a, struct err *err)
{
    char key[S3_KEY_MAX];
    struct s3_call c = {.method = "GET", .key = key, .answer_max = S3_STATE_MAX};

    s3_state_key(s, id, key);
    if (range)
        s3_header(&c, "range", range);
    return s3_call(s, &c, a, err);
}

int s3_resumable_offset(struct blobs *s, const struct uuid *id, int64_t *ret, struct err *err)
{
    struct s3_answer a;
    int rc = state_get(s, id, "bytes=0-63", &a, err);
    char *at = a.body.data;

    if (rc == ERR_OK && !(at && state_head(&at, at + MIN(a.body.len, (size_t)LOOK_BYTES), ret)))
        rc = gone(err);
    s3_answer_release(&a);
    return rc;
}

/* --- going on --- */

/** From the beginning. */
static int start(struct blob_upload *u, struct err *err)
{
    sha256_free(u->hash);
    u->hash = sha256_new();
    u->size = u->parts.size = 0;
    u->parts.n = u->fill_n = 0;
    u->upload[0] = '\0';
    return u->hash ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "go on with an upload");
}

/** What a commit made, in place of what the state says: it is read for its hash. ERR_NOT_FOUND: it made nothing, and `u` is as it was. */
static int whole_read(struct blob_upload *u, struct err *err)
{
    AUTO_FREE char *piece = malloc(WHOLE_PIECE);
    struct blob_reader *r = NULL;
    int rc = piece ? s3_reader_open(u->s, &u->id, &r, err) : err_set(err, ERR_NO_MEMORY, 0, "go on with an upload");

    if (rc == ERR_OK)
        rc = start(u, err);
    while (rc == ERR_OK && u->size < r->size) {
        const int64_t n = r->read(r, u->size, piece, WHOLE_PIECE, err);
        if (n < 0) {
            rc = (int)err->code;
        } else {
            sha256_add(u->hash, piece, (size_t)n);
            u->size += n;
        }
    }
    blob_reader_close(r);
    u->whole = rc == ERR_OK;
    return rc;
}

/** What its state object says, into an upload that is new. ERR_NOT_FOUND: there is none. */
static int state_load(struct blob_upload *u, struct err *err)
{
    struct s3_answer a;
    int rc = state_get(u->s, &u->id, NULL, &a, err);

    if (rc == ERR_OK)
        rc = state_read(u, a.body.data, a.body.len, err);
    s3_answer_release(&a);
    return rc;
}

/** What a commit made; else what its state says, if that is all there. *ret_kept: either is; else the state is to be written. */
static int find(struct blob_upload *u, bool *ret_kept, struct err *err)
{
    int rc = state_load(u, err);
    const bool said = rc == ERR_OK;

    if (said && is_direct(u))
        return err_set(err, ERR_CONFLICT, 0,
                       "the upload's parts go to S3 directly: go on with those, or end it and begin another one");
    if (!said && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
        return rc;
    err_clear(err);
    /* The object before the parts: of an upload that became one some still list them. */
    rc = whole_read(u, err);
    *ret_kept = rc == ERR_OK;
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (said) {
        err_clear(err);
        rc = u->upload[0] ? s3_multipart_look(u->s, u->key, u->upload, &u->parts, err) : ERR_OK;
        *ret_kept = rc == ERR_OK;
    }
    if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT) { /* never begun, or damaged, or given up by S3 under our hands */
        err_clear(err);
        rc = start(u, err);
    }
    return rc;
}

int s3_resumable_resume(struct blobs *s, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                        struct err *err)
{
    struct blob_upload *u = s3_upload_new(s, id, true, err);
    struct err own = {0};
    bool kept = false;

    if (!u)
        return ERR_NO_MEMORY;
    int rc = find(u, &kept, &own);

    if (rc == ERR_OK && !kept)
        rc = state_put(u, &own);
    if (rc != ERR_OK) {
        if (err)
            *err = own;
        s3_upload_free(u);
        return err_wrap(err, rc, "go on with an upload");
    }
    *ret_offset = u->size;
    *ret = u;
    return ERR_OK;
}

int s3_resumable_upload_of(struct blobs *s, const struct uuid *id, char ret[S3_UPLOAD_MAX], struct err *err)
{
    struct blob_upload *u = s3_upload_new(s, id, true, err);
    struct s3_answer a;

    ret[0] = '\0';
    if (!u)
        return ERR_NO_MEMORY;
    int rc = state_get(s, id, NULL, &a, err);

    if (rc == ERR_OK && state_read(u, a.body.data, a.body.len, err) == ERR_OK)
        snprintf(ret, S3_UPLOAD_MAX, "%s", u->upload);
    s3_answer_release(&a);
    s3_upload_free(u);
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

int s3_resumable_direct(struct blobs *s, const struct uuid *id, char ret[S3_UPLOAD_MAX], struct err *err)
{
    struct blob_upload *u = s3_upload_new(s, id, true, err);

    ret[0] = '\0';
    if (!u)
        return ERR_NO_MEMORY;
    int rc = state_load(u, err);

    if (rc == ERR_OK && is_direct(u))
        snprintf(ret, S3_UPLOAD_MAX, "%s", u->upload);
    else if (rc == ERR_OK && u->size > 0)
        rc = err_set(err, ERR_CONFLICT, 0,
                     "%" PRId64 " bytes of the upload came by PATCH: go on with that, or end it and begin another one",
                     u->size);
    else if (rc == ERR_OK || rc == ERR_CORRUPT) /* nothing of it came yet; or what did is lost */
        rc = err_set(err, ERR_NOT_FOUND, 0, "no part of the upload was begun");
    s3_upload_free(u);
    return rc;
}

int s3_resumable_direct_put(struct blobs *s, const struct uuid *id, const char *upload, struct err *err)
{
    struct blob_upload *u = s3_upload_new(s, id, true, err);

    if (!u)
        return ERR_NO_MEMORY;
    snprintf(u->upload, sizeof(u->upload), "%s", upload);
    int rc = state_put(u, err);

    s3_upload_free(u);
    return rc;
}

int s3_resumable_discard(struct blobs *s, const struct uuid *id, struct err *err)
{
    char upload[S3_UPLOAD_MAX], key[S3_KEY_MAX];
    struct err own = {0};
    int rc = s3_resumable_upload_of(s, id, upload, &own);

    s3_blob_key(s, id, key);
    if (rc == ERR_OK && upload[0])
        rc = s3_multipart_abort(s, key, upload, &own);
    s3_state_key(s, id, key);
    if (rc == ERR_OK) /* last: while it is there, unfinished() names the upload */
        rc = s3_delete(s, key, &own);
    if (rc != ERR_OK && err)
        *err = own;
    return rc;
}

/* --- all of them --- */

struct ids {
    struct arena *arena;
    struct uuid *at;
    size_t n, cap, prefix_n;
    char next[2048];
    bool more;
};

static bool id_add(struct ids *ids, const struct uuid *id)
{
    if (ids->n == ids->cap) {
        size_t more = ids->cap ? 2 * ids->cap : 64;
        struct uuid *grown = arena_array(ids->arena, more, sizeof(*grown));

        if (!grown)
            return false;
        if (ids->n > 0)
            memcpy(grown, ids->at, ids->n * sizeof(*grown));
        ids->at = grown;
        ids->cap = more;
    }
    ids->at[ids->n++] = *id;
    return true;
}

static bool on_item(void *arg, const char *path, const char *text)
{
    struct ids *ids = arg;
    struct uuid id;

    if (strcmp(path, "Contents/Key") == 0)
        return strlen(text) <= ids->prefix_n || !uuid_parse(text + ids->prefix_n, &id) || id_add(ids, &id);
    if (strcmp(path, "IsTruncated") == 0)
        ids->more = strcmp(text, "true") == 0;
    else if (strcmp(path, "NextContinuationToken") == 0)
        snprintf(ids->next, sizeof(ids->next), "%s", text);
    return true;
}

int s3_resumable_unfinished(struct blobs *s, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err)
{
    char prefix[S3_KEY_MAX], root[64];
    struct ids ids = {.arena = arena, .more = true};
    int rc = ERR_OK;

    snprintf(prefix, sizeof(prefix), "%suploads/", s->place.prefix);
    ids.prefix_n = strlen(prefix);
    while (rc == ERR_OK && ids.more) {
        struct s3_call c = {.method = "GET", .key = "", .answer_max = S3_LIST_MAX};
        struct s3_answer a;
        char token[sizeof(ids.next)];

        snprintf(token, sizeof(token), "%s", ids.next);
        s3_query(&c, "list-type", "2");
        s3_query(&c, "prefix", prefix);
        if (token[0])
            s3_query(&c, "continuation-token", token);
        ids.more = false;
        rc = s3_call(s, &c, &a, err);
        if (rc == ERR_OK)
            rc = s3_xml(buf_str(&a.body), a.body.len, on_item, &ids, root, err);
        s3_answer_release(&a);
    }
    *ret = ids.at;
    *ret_n = ids.n;
    return rc;
}
