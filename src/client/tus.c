/* Uploads that go on: the client's half of the tus protocol.
 *
 * There is one loop: ask where the upload stands, send from there. A cut, a server that was restarted, another writer, an answer that was
 * lost: each leads back to the question, whose answer may be that it is finished. The hash of what lies before is kept or made again from
 * the file, so that in the end all of the file was compared with what the server stored, whoever sent it. Where the server names a size of
 * parts, these go straight to the store that keeps its bytes (parts.c). */
#include "base/auto.h"
#include "base/uuid.h"
#include "client/internal.h"
#include <errno.h>

#define PATIENCE_MS    120000
#define STRANGER_TRIES 3 /* with a server that has not answered yet */
#define BEGINNINGS_MAX 5
#define PREFIX         "/v1/uploads/"

void resumable_forget(struct resumable *r)
{
    r->resume->upload[0] = '\0';
    r->at = 0;
}

static bool location_good(const char *location)
{
    struct uuid id;
    return strncmp(location, PREFIX, strlen(PREFIX)) == 0 && uuid_parse(location + strlen(PREFIX), &id);
}

int64_t resumable_patience_ms(const struct resumable *r)
{
    return r->resume->patience_ms > 0 ? r->resume->patience_ms : PATIENCE_MS;
}

int resumable_run(struct resumable *r, struct exchange *x, struct haul_error *err)
{
    exchange_header(x, "Tus-Resumable", "1.0.0");
    int rc = exchange_run(x, err);
    r->met = r->met || x->status > 0;
    if (x->read_back > r->read_back) {
        r->read_back = x->read_back;
        r->moved_ms = mono_ms();
    }
    if (x->blob_ref[0] && x->sha256[0]) {
        snprintf(r->ref, sizeof(r->ref), "%s", x->blob_ref);
        snprintf(r->sha256, sizeof(r->sha256), "%s", x->sha256);
    }
    return rc;
}

int haul_direct_offered(struct haul_client *c, bool *ret, struct haul_error *err)
{
    struct exchange x;
    *ret = false;
    if (!exchange_begin(&x, c, "OPTIONS", "/v1/uploads", err))
        return HAUL_LOCAL;
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    const int rc = exchange_run(&x, err);
    *ret = rc == HAUL_OK && x.part_size > 0;
    const bool unknown = rc == HAUL_REFUSED && (x.status == 404 || x.status == 405);
    exchange_end(&x);
    return unknown ? HAUL_OK : rc;
}

static int begin(struct resumable *r, struct haul_error *err)
{
    struct exchange x;
    char text[24];
    if (++r->beginnings > BEGINNINGS_MAX)
        return error_set(err, HAUL_REFUSED, "not_found",
                         "the server forgot the upload %d times: how long does it keep "
                         "unfinished ones (upload_keep)?",
                         BEGINNINGS_MAX);
    if (!exchange_begin(&x, r->c, "POST", "/v1/uploads", err))
        return HAUL_LOCAL;
    snprintf(text, sizeof(text), "%lld", (long long)r->up.size);
    curl_easy_setopt(r->c->easy, CURLOPT_TIMEOUT_MS, (long)r->c->timeout_ms);
    curl_easy_setopt(r->c->easy, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(r->c->easy, CURLOPT_POSTFIELDS, "");
    exchange_header(&x, "Content-Type", ""); /* which curl would make one of a form */
    exchange_header(&x, "Upload-Length", text);
    int rc = resumable_run(r, &x, err);
    r->unknown = rc == HAUL_REFUSED && (x.status == 404 || x.status == 405);
    if (rc == HAUL_OK && !location_good(x.location)) {
        rc = error_set(err, HAUL_REFUSED, "corrupt", "the server's answer names no upload: is %s a haul server?",
                       client_server(r->c)->url);
    } else if (rc == HAUL_OK) {
        snprintf(r->resume->upload, sizeof(r->resume->upload), "%s", x.location);
        r->at = r->farthest = r->read_back = 0;
        r->part_size = MAX(x.part_size, 0);
        if (r->resume->begun)
            r->resume->begun(r->resume->arg, r->resume->upload);
    }
    exchange_end(&x);
    return rc;
}

/** Where does it stand? */
static int ask(struct resumable *r, struct haul_error *err)
{
    struct exchange x;
    if (!exchange_begin(&x, r->c, "HEAD", r->resume->upload, err))
        return HAUL_LOCAL;
    curl_easy_setopt(r->c->easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(r->c->easy, CURLOPT_TIMEOUT_MS, (long)r->c->timeout_ms);
    int rc = resumable_run(r, &x, err);
    if (rc == HAUL_OK && (x.upload_offset < 0 || x.upload_offset > r->up.size))
        rc = error_set(err, HAUL_REFUSED, "corrupt",
                       "the server says that %lld of %lld bytes are there: is %s a haul server?",
                       (long long)x.upload_offset, (long long)r->up.size, client_server(r->c)->url);
    else if (rc == HAUL_OK) {
        r->at = x.upload_offset;
        r->part_size = MAX(x.part_size, 0);
    }
    exchange_end(&x);
    return rc;
}

static int hash_from(struct upload *u, int64_t at, struct sha256 *fresh)
{
    if (!fresh) {
        u->no_memory = true;
        return HAUL_LOCAL;
    }
    sha256_free(u->hash);
    u->hash = fresh;
    u->done = at;
    return HAUL_OK;
}

int upload_rehash(struct upload *u)
{
    return hash_from(u, 0, sha256_new());
}

int upload_hash_on(struct upload *u, char *piece, size_t n, struct md5 *also)
{
    ssize_t got;
    do
        got = pread(u->fd, piece, n, u->done);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        u->shrank = got == 0;
        u->sys = got < 0 ? errno : 0;
        return HAUL_LOCAL;
    }
    sha256_add(u->hash, piece, (size_t)got);
    if (also)
        md5_add(also, piece, (size_t)got);
    u->done += got;
    return HAUL_OK;
}

/** Brings the hash to `at`: back to where the last request began, or to the beginning; then on by reading the file. */
static int wind(struct resumable *r, int64_t at, struct haul_error *err)
{
    struct upload *u = &r->up;
    int rc = HAUL_OK;
    if (at < u->done)
        rc = at >= u->base && u->base > 0 ? hash_from(u, u->base, sha256_load(u->base_hash)) : upload_rehash(u);
    return rc == HAUL_OK ? upload_hash_to(u, at, err) : upload_trouble(u, rc, err);
}

/** The rest of the file, in one request. */
static int send_rest(struct resumable *r, struct haul_error *err)
{
    struct exchange x;
    char text[24];
    const bool summed = r->at == 0 && !r->sent && upload_sum_begin(&r->up);
    int rc = summed ? HAUL_OK : wind(r, r->at, err);
    if (rc != HAUL_OK)
        return rc;
    if (!exchange_begin(&x, r->c, "PATCH", r->resume->upload, err))
        return HAUL_LOCAL;
    r->up.base = r->at;
    r->sent = true;
    upload_options(&x, &r->up);
    snprintf(text, sizeof(text), "%lld", (long long)r->at);
    exchange_header(&x, "Upload-Offset", text);
    exchange_header(&x, "Content-Type", "application/offset+octet-stream");
    rc = resumable_run(r, &x, err);
    if (rc != HAUL_OK)
        rc = upload_trouble(&r->up, rc, err);
    r->same = upload_sum_end(&r->up, &x) && rc == HAUL_OK;
    exchange_end(&x);
    return rc;
}

/** Is what the server stored what the file holds? */
static int check(struct resumable *r, char *ret_ref, char *ret_sha256, struct haul_error *err)
{
    uint8_t digest[32];
    char hex[SHA256_HEX_MAX];
    int rc = r->same ? HAUL_OK : wind(r, r->up.size, err);
    if (rc != HAUL_OK)
        return rc;
    sha256_end(r->up.hash, digest);
    hex_format(digest, sizeof(digest), hex);
    if (!r->same && strcmp(hex, r->sha256) != 0)
        return error_set(
            err, HAUL_REFUSED, "corrupt",
            "the server stored bytes with SHA-256 %.64s, but the file has %s: it changed while it was sent; send "
            "it again",
            r->sha256, hex);
    if (ret_ref)
        snprintf(ret_ref, 64, "%s", r->ref);
    if (ret_sha256)
        snprintf(ret_sha256, SHA256_HEX_MAX, "%s", r->sha256);
    return HAUL_OK;
}

static int step(struct resumable *r, bool *asked, struct haul_error *err)
{
    if (!r->resume->upload[0]) {
        *asked = true; /* a new one stands at 0 */
        return begin(r, err);
    }
    if (!*asked) {
        int rc = ask(r, err);
        *asked = rc == HAUL_OK;
        return rc;
    }
    *asked = false;
    return r->part_size > 0 && r->at == 0 && !r->through ? parts_send(r, err) : send_rest(r, err);
}

/** After a step that went wrong. @return whether another one may help; it was waited for */
static bool try_again(struct resumable *r, unsigned n, const struct haul_error *err)
{
    if (err->rc == HAUL_REFUSED && err->status == 404 && r->resume->upload[0]) { /* it rested too long, or was ended */
        resumable_forget(r);
        return true;
    }
    bool moved = err->status == 409; /* it stands elsewhere, or another one writes */
    if (r->unknown || !(moved || error_passing(err)) || mono_ms() - r->moved_ms > resumable_patience_ms(r) ||
        (!r->met && n >= STRANGER_TRIES))
        return false;
    if (!err->elsewhere)
        backoff_sleep(n, err->retry_after_s);
    return true;
}

static int upload_resumed(struct resumable *r, char *ret_ref, char *ret_sha256, struct haul_error *err)
{
    bool asked = false;
    int rc = HAUL_OK;
    r->moved_ms = mono_ms();
    for (unsigned n = 1; !r->ref[0];) {
        rc = step(r, &asked, err);
        if (r->at > r->farthest) { /* also when another one sends it */
            r->farthest = r->at;
            r->moved_ms = mono_ms();
            n = 1;
        }
        if (rc == HAUL_OK || r->ref[0])
            continue;
        asked = false;
        if (!try_again(r, n++, err))
            return rc;
    }
    rc = check(r, ret_ref, ret_sha256, err);
    resumable_forget(r);
    return rc;
}

int haul_upload_file(struct haul_client *c, int fd, int64_t size, struct haul_resume *resume, haul_progress progress,
                     void *arg, char *ret_ref, char *ret_sha256, struct haul_error *err)
{
    struct haul_error own_err;
    struct haul_resume own = {.upload = ""};
    if (!err)
        err = &own_err;
    error_clear(err);
    if (!resume)
        resume = &own;
    struct resumable r = {
        .c = c,
        .resume = resume,
        .up = {.fd = fd, .size = size, .progress = progress, .arg = arg, .hash = sha256_new(), .sum = xxh128_new()},
    };
    if (!r.up.hash)
        return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    if (resume->upload[0] && !location_good(resume->upload))
        resumable_forget(&r);
    bool small = size < (resume->at_least > 0 ? resume->at_least : HAUL_RESUME_BYTES);
    int rc = small ? HAUL_OK : upload_resumed(&r, ret_ref, ret_sha256, err);
    if (small || r.unknown)
        rc = upload_whole(c, NULL, NULL, &r.up, ret_ref, ret_sha256, err);
    parts_free(r.parts);
    sha256_free(r.up.hash);
    xxh128_free(r.up.sum);
    return rc;
}
