/* Bytes up and down: hashed on the way, checked at the end, downloads resumed. */
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sha256_behind.h"
#include "base/uuid.h"
#include "client/internal.h"
#include <errno.h>
#include <strings.h>
#include <time.h>

#define RESUMES_MAX 5
#define PAGE        ((size_t)4096)
#define PIECE_BYTES ((size_t)512 << 10) /* of a download, written and hashed at once: libcurl hands out 16 KiB */
#define PIECES      (SHA256_BEHIND + 1)

/* ---- up ---- */

/* Copying from the page cache takes some processors (AMD's, whose kernel uses "rep movsb") five times as long when the
 * address lies a few bytes further into its page than the bytes lie in theirs; libcurl's buffer does, as malloc made it. So a
 * read ends where the file's offset and the buffer's agree, and the next ones are fast: by how much is it to be shorter? */
size_t upload_read_size(const char *p, size_t want, int64_t at)
{
    return want > 2 * PAGE ? want - ((size_t)at + want - (uintptr_t)p) % PAGE : want;
}

size_t upload_read(char *p, size_t size, size_t n, void *arg)
{
    struct upload *u = arg;
    size_t want = size * n;
    if (u->size >= 0 && (int64_t)want > u->size - u->done)
        want = (size_t)(u->size - u->done);
    if (want == 0)
        return 0;
    if (u->size >= 0)
        want = upload_read_size(p, want, u->done);
    ssize_t got;
    do
        got = u->size >= 0 ? pread(u->fd, p, want, u->done) : read(u->fd, p, want);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        u->sys = errno;
        return CURL_READFUNC_ABORT;
    }
    if (got == 0 && u->size >= 0) { /* fewer bytes than promised: the answer must never look like success */
        u->shrank = true;
        return CURL_READFUNC_ABORT;
    }
    if (u->summed)
        xxh128_add(u->sum, p, (size_t)got);
    else
        sha256_add(u->hash, p, (size_t)got);
    u->done += got;
    return (size_t)got;
}

/* A hash is what bounds a transfer within a machine, and the server makes one of what it stores. That what it stores is what we
 * sent is seen by a sum as well, if it got all of the file at once. */
bool upload_sum_begin(struct upload *u)
{
    if (!u->sum || u->size < 0 || upload_rehash(u) != HAUL_OK)
        return false;
    xxh128_reset(u->sum);
    return u->summed = true;
}

bool upload_sum_end(struct upload *u, const struct exchange *x)
{
    uint8_t sent[XXH128_BYTES], came[XXH128_BYTES];
    if (!u->summed)
        return false;
    xxh128_digest(u->sum, sent);
    u->summed = false;
    if (u->done == u->size && hex_parse(x->body_sum, came, sizeof(came)) == 0 && memcmp(sent, came, sizeof(sent)) == 0)
        return true;
    u->done = 0;
    return false;
}

int upload_hash_to(struct upload *u, int64_t at, struct haul_error *err)
{
    AUTO_FREE char *piece = malloc(UPLOAD_PIECE_BYTES);
    int rc = piece ? HAUL_OK : HAUL_LOCAL;
    u->no_memory = !piece;
    while (rc == HAUL_OK && u->done < at) {
        rc = upload_hash_on(u, piece, MIN(UPLOAD_PIECE_BYTES, (size_t)(at - u->done)), NULL);
        if (u->progress && u->progress(u->arg, u->done, u->size) != 0)
            return error_set(err, HAUL_ABORTED, "cancelled", "stopped on request");
    }
    return upload_trouble(u, rc, err);
}

/* curl goes back to the start when a kept connection turns out to be dead. */
static int upload_seek(void *arg, curl_off_t offset, int origin)
{
    struct upload *u = arg;
    if (origin != SEEK_SET || offset != 0 || (u->size < 0 && u->done > 0))
        return CURL_SEEKFUNC_CANTSEEK;
    if (u->summed)
        xxh128_reset(u->sum);
    struct sha256 *fresh = sha256_load(u->base_hash);
    if (!fresh) {
        u->no_memory = true;
        return CURL_SEEKFUNC_FAIL;
    }
    sha256_free(u->hash);
    u->hash = fresh;
    u->done = u->base;
    return CURL_SEEKFUNC_OK;
}

bool upload_say(struct upload *u, int64_t sent)
{
    return !u->progress || u->progress(u->arg, sent, u->size) == 0;
}

static int upload_progress(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
    struct upload *u = arg;
    return !upload_say(u, u->base + (int64_t)ul_now);
}

static int upload_check(struct exchange *x, struct upload *u, char *ret_ref, char *ret_sha256, struct haul_error *err)
{
    uint8_t digest[32];
    char hex[SHA256_HEX_MAX];
    json_t *doc = NULL;
    const bool summed = u->summed, same = upload_sum_end(u, x);
    int rc = summed && !same ? upload_hash_to(u, u->size, err) : HAUL_OK;
    if (rc != HAUL_OK)
        return rc;
    sha256_end(u->hash, digest);
    hex_format(digest, sizeof(digest), hex);
    if (json_parse(buf_str(&x->body), x->body.len, &doc, NULL) != ERR_OK)
        doc = NULL;
    const char *ref = json_string_value(json_object_get(doc, "ref"));
    const char *sha = json_string_value(json_object_get(doc, "sha256"));
    const json_t *size = json_object_get(doc, "size");
    if (!ref || !sha || !json_is_integer(size) || strlen(ref) >= 64)
        rc = error_set(err, HAUL_REFUSED, "corrupt",
                       "the server's answer to an upload has no ref, size and sha256: is %s a haul server?",
                       client_server(x->client)->url);
    else if ((!same && strcmp(sha, hex) != 0) || (int64_t)json_integer_value(size) != u->done)
        rc = error_set(err, HAUL_REFUSED, "corrupt",
                       "the server stored %lld bytes with SHA-256 %.64s, but %lld bytes with %s were sent",
                       (long long)json_integer_value(size), sha, (long long)u->done, hex);
    else {
        if (ret_ref)
            snprintf(ret_ref, 64, "%s", ref);
        if (ret_sha256)
            snprintf(ret_sha256, SHA256_HEX_MAX, "%s", sha);
    }
    json_decref(doc);
    return rc;
}

static void transfer_options(CURL *e)
{
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
}

void upload_options(struct exchange *x, struct upload *u)
{
    CURL *e = x->client->easy;
    if (u->size >= 0)
        x->upload = u;
    sha256_save(u->hash, u->base_hash);
    transfer_options(e);
    curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(u->size < 0 ? -1 : u->size - u->base));
    curl_easy_setopt(e, CURLOPT_READFUNCTION, upload_read);
    curl_easy_setopt(e, CURLOPT_READDATA, u);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, upload_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, u);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, upload_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, u);
}

int upload_trouble(const struct upload *u, int rc, struct haul_error *err)
{
    if (u->shrank)
        return error_set(err, HAUL_LOCAL, "io",
                         "the file became shorter while it was sent: %lld of %lld bytes were there", (long long)u->done,
                         (long long)u->size);
    if (u->sys)
        return error_set(err, HAUL_LOCAL, "io", "reading the file to send: %s", strerror(u->sys));
    if (u->no_memory)
        return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    return rc;
}

int upload_whole(struct haul_client *c, const char *path, const char *token, struct upload *u, char *ret_ref,
                 char *ret_sha256, struct haul_error *err)
{
    struct exchange x;
    if (!exchange_begin(&x, c, path ? "PUT" : "POST", path ? path : "/v1/blobs", err))
        return HAUL_LOCAL;
    upload_sum_begin(u);
    upload_options(&x, u);
    exchange_header(&x, "Content-Type", "application/octet-stream");
    exchange_header(&x, "Haul-Token", token);
    int rc = exchange_run(&x, err);
    rc = rc == HAUL_OK ? upload_check(&x, u, ret_ref, ret_sha256, err) : upload_trouble(u, rc, err);
    exchange_end(&x);
    return rc;
}

int haul_upload(struct haul_client *c, const char *path, const char *token, int fd, int64_t size,
                haul_progress progress, void *arg, char *ret_ref, char *ret_sha256, struct haul_error *err)
{
    struct haul_error own;
    if (!err)
        err = &own;
    if (!path && size >= 0) /* which sees to the small ones, too */
        return haul_upload_file(c, fd, size, NULL, progress, arg, ret_ref, ret_sha256, err);
    struct upload u = {
        .fd = fd, .size = size, .progress = progress, .arg = arg, .hash = sha256_new(), .sum = xxh128_new()};
    int rc = u.hash ? upload_whole(c, path, token, &u, ret_ref, ret_sha256, err)
                    : error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    sha256_free(u.hash);
    xxh128_free(u.sum);
    return rc;
}

/* ---- down ---- */

struct download {
    int fd;
    int64_t done;    /* bytes that came, over all tries; but for those held they are written and hashed */
    int64_t total;   /* -1 until an answer told */
    int64_t skip;    /* bytes of this answer that we have already */
    bool begun;      /* this answer's headers were looked at */
    bool direct;     /* it is the answer of a store that the server sent us to: its ETag is none of ours */
    bool redirected; /* the server sends us to a store */
    bool through;    /* a store did not answer well: bytes come through the server from now on */
    char etag[80];
    bool summed; /* the server told a sum of all bytes: what comes is summed, and not hashed */
    uint8_t told[XXH128_BYTES];
    struct xxh128 *sum;
    struct sha256 *hash;
    haul_progress progress;
    void *arg;
    const char *bad; /* why this answer cannot be used */
    struct err io;
    char *room;         /* of all pieces, PIECE_BYTES each */
    size_t piece, held; /* the number of the one that is filled, and how far */
    struct sha256_behind behind;
    struct pool *hasher; /* one thread, from the first full piece on. NULL: does without */
};

static char *download_piece(const struct download *d)
{
    return d->room + d->piece % PIECES * PIECE_BYTES;
}

/* Each piece is hashed while it is written and the next ones come. */
static void download_hash(struct download *d, const char *p, size_t n)
{
    if (n == PIECE_BYTES && !d->hasher && pool_new("hash", 1, 0, &d->hasher, NULL) == ERR_OK)
        d->behind.pool = d->hasher;
    sha256_behind_add(&d->behind, p, n);
    d->piece++;
}

static bool download_flush(struct download *d)
{
    const char *p = download_piece(d);
    const size_t n = d->held;
    if (n == 0)
        return true;
    if (d->summed)
        xxh128_add(d->sum, p, n);
    else
        download_hash(d, p, n);
    d->held = 0;
    return fs_write_all(d->fd, p, n, &d->io) == ERR_OK;
}

static int download_io_err(const struct download *d, struct haul_error *err)
{
    return error_set(err, HAUL_LOCAL, err_name(d->io.code), "writing what was downloaded: %s", d->io.msg);
}

/* The first bytes of an answer: does it go on from where we are? */
static bool download_begin(struct download *d, struct exchange *x)
{
    d->begun = true;
    if (!d->direct && d->etag[0] && x->etag[0] && strcmp(d->etag, x->etag) != 0) {
        d->bad = "the contents changed between two parts of the download";
        return false;
    }
    if (!d->direct && x->etag[0])
        snprintf(d->etag, sizeof(d->etag), "%s", x->etag);
    if (d->done == 0)
        d->summed = !d->direct && hex_parse(x->sum, d->told, sizeof(d->told)) == 0;
    if (x->status == 206) {
        if (x->range_from != d->done) {
            d->bad = "the server answered with another range than was asked for";
            return false;
        }
        d->skip = 0;
        d->total = x->range_total;
    } else { /* all of it, again: what is here already is passed over, so that a pipe can be resumed too */
        d->skip = d->done;
        d->total = x->length;
    }
    return true;
}

static int download_take(void *arg, struct exchange *x, const char *p, size_t n)
{
    struct download *d = arg;
    if (!d->begun && !download_begin(d, x))
        return 1;
    if (d->skip > 0) {
        size_t drop = (int64_t)n < d->skip ? n : (size_t)d->skip;
        d->skip -= (int64_t)drop;
        p += drop;
        n -= drop;
    }
    while (n > 0) {
        size_t part = MIN(n, PIECE_BYTES - d->held);
        memcpy(download_piece(d) + d->held, p, part);
        d->held += part;
        d->done += (int64_t)part;
        p += part;
        n -= part;
        if (d->held == PIECE_BYTES && !download_flush(d))
            return 1;
    }
    return 0;
}

static int download_progress(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
    struct download *d = arg;
    return d->progress && d->progress(d->arg, d->done - (int64_t)d->held, d->total) != 0;
}

static int download_run(struct download *d, struct exchange *x, struct haul_error *err)
{
    CURL *e = x->client->easy;
    d->begun = false;
    x->sink = download_take;
    x->sink_arg = d;
    transfer_options(e);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, download_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, d);
    if (d->done > 0) {
        char text[100];
        snprintf(text, sizeof(text), "bytes=%lld-", (long long)d->done);
        exchange_header(x, "Range", text);
    }
    int rc = exchange_run(x, err);
    if (rc == HAUL_OK && !d->begun && !download_begin(d, x)) /* an empty answer never came to the sink */
        rc = HAUL_ABORTED;
    if (d->io.code != ERR_OK)
        rc = download_io_err(d, err);
    else if (d->bad)
        rc = error_set(err, HAUL_REFUSED, "corrupt", "%s", d->bad);
    return rc;
}

/* From the store that the server sent us to. A URL that is too old, a store that cannot be reached from here: the next try asks the
 * server, and for the bytes themselves. */
static int download_direct(struct haul_client *c, const char *url, struct download *d, struct haul_error *err)
{
    struct exchange x;
    if (!exchange_begin_at(&x, c, url, err))
        return HAUL_LOCAL;
    d->direct = true;
    const int rc = download_run(d, &x, err);
    const long status = x.status;
    d->direct = false;
    exchange_end(&x);
    if (rc == HAUL_OK || rc == HAUL_LOCAL || rc == HAUL_ABORTED || d->bad)
        return rc;
    d->through = true;
    char why[sizeof(err->message)];
    snprintf(why, sizeof(why), "%s", err->message);
    return status >= 300
               ? error_set(err, HAUL_NETWORK, "network", "the store that the server names answers with %ld", status)
               : error_set(err, HAUL_NETWORK, "network", "%s", why);
}

/** Where a 307 leads, if it says whose bytes are there; its ETag is theirs. NULL: nowhere. Owned. */
static char *redirection(struct download *d, const struct exchange *x)
{
    char *url = NULL;
    if (x->status != 307 || !x->etag[0] || d->through)
        return NULL;
    if (d->etag[0] && strcmp(d->etag, x->etag) != 0) {
        d->bad = "the contents changed between two parts of the download";
        return NULL;
    }
    snprintf(d->etag, sizeof(d->etag), "%s", x->etag);
    d->redirected = true;
    curl_easy_getinfo(x->client->easy, CURLINFO_REDIRECT_URL, &url);
    return url ? strdup(url) : NULL;
}

static int download_once(struct haul_client *c, const char *path, struct download *d, struct haul_error *err)
{
    struct exchange x;
    if (!exchange_begin(&x, c, "GET", path, err))
        return HAUL_LOCAL;
    exchange_header(&x, "Haul-Verify", "client");
    if (d->through)
        exchange_header(&x, "Haul-Direct", "no");
    if (d->done > 0 && d->etag[0] && (d->through || !d->redirected)) { /* else the ETag of the redirection tells */
        char text[100];
        snprintf(text, sizeof(text), "\"%s\"", d->etag);
        exchange_header(&x, "If-Range", text);
    }
    int rc = download_run(d, &x, err);
    AUTO_FREE char *url = redirection(d, &x);
    exchange_end(&x);
    return url ? download_direct(c, url, d, err) : rc;
}

/* We look at all of it, so the server need not do so as well. When we see another hash, it is asked to: then it knows, and says, whether its
 * bytes are damaged or were on the way. */
static int download_corrupt(struct haul_client *c, const char *path, const char *hash, const char *came,
                            const char *told, struct haul_error *err)
{
    struct exchange x;
    struct haul_error its;
    bool damaged = false;
    if (exchange_begin(&x, c, "GET", path, &its)) {
        transfer_options(c->easy);
        curl_easy_setopt(c->easy, CURLOPT_NOPROGRESS, 1L);
        exchange_header(&x, "Range", "bytes=0-0");
        exchange_header(&x, "Haul-Direct", "no");
        damaged = exchange_run(&x, &its) == HAUL_REFUSED && strcmp(its.code, "corrupt") == 0;
        exchange_end(&x);
    }
    if (!damaged)
        return error_set(err, HAUL_REFUSED, "corrupt", "what was downloaded has %s %s, but the server says %.64s", hash,
                         came, told);
    *err = its;
    return HAUL_REFUSED;
}

static int download_check_sum(struct haul_client *c, const char *path, const struct download *d, struct haul_error *err)
{
    uint8_t digest[XXH128_BYTES];
    char came[XXH128_HEX_MAX], told[XXH128_HEX_MAX];
    xxh128_digest(d->sum, digest);
    if (memcmp(digest, d->told, sizeof(digest)) == 0)
        return HAUL_OK;
    hex_format(digest, sizeof(digest), came);
    hex_format(d->told, sizeof(d->told), told);
    return download_corrupt(c, path, "XXH128", came, told, err);
}

static int download_check(struct haul_client *c, const char *path, struct download *d, struct haul_error *err)
{
    const bool must_hash = strncmp(path, "/v1/blobs/", 10) == 0;
    uint8_t digest[32], unused[32];
    char hex[SHA256_HEX_MAX];
    if (d->total >= 0 && d->done != d->total)
        return error_set(err, HAUL_NETWORK, "network", "%lld of %lld bytes came", (long long)d->done,
                         (long long)d->total);
    if (hex_parse(d->etag, unused, 32) != 0 || strlen(d->etag) != 64)
        return must_hash
                   ? error_set(err, HAUL_REFUSED, "corrupt", "the server gave no SHA-256 to check the download against")
                   : HAUL_OK;
    if (d->summed)
        return download_check_sum(c, path, d, err);
    sha256_end(d->hash, digest);
    hex_format(digest, sizeof(digest), hex);
    return strcasecmp(hex, d->etag) == 0 ? HAUL_OK : download_corrupt(c, path, "SHA-256", hex, d->etag, err);
}

static bool blob_path(const char *ref_or_path, char *ret, size_t size)
{
    struct uuid id;
    if (ref_or_path[0] == '/')
        return snprintf(ret, size, "%s", ref_or_path) < (int)size;
    if (strncmp(ref_or_path, "blob:", 5) != 0 || !uuid_parse(ref_or_path + 5, &id))
        return false;
    snprintf(ret, size, "/v1/blobs/%s", ref_or_path + 5);
    return true;
}

int haul_download(struct haul_client *c, const char *ref_or_path, int fd, haul_progress progress, void *arg,
                  int64_t *ret_size, struct haul_error *err)
{
    struct haul_error own;
    char path[1024];
    if (!err)
        err = &own;
    if (!blob_path(ref_or_path, path, sizeof(path)))
        return error_set(err, HAUL_LOCAL, "invalid",
                         "'%.100s' is not a blob: it looks like blob:0198c0de-0000-7000-8000-000000000000",
                         ref_or_path);
    AUTO_FREE char *room = aligned_alloc(PAGE, PIECES * PIECE_BYTES);
    struct download d = {.fd = fd,
                         .total = -1,
                         .progress = progress,
                         .arg = arg,
                         .room = room,
                         .hash = sha256_new(),
                         .sum = xxh128_new()};
    if (!d.hash || !d.sum || !room) {
        sha256_free(d.hash);
        xxh128_free(d.sum);
        return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
    }
    sha256_behind_init(&d.behind, d.hash, NULL);
    int rc;
    for (unsigned n = 1;; n++) {
        rc = download_once(c, path, &d, err);
        if (rc != HAUL_OK && d.total >= 0 && d.done == d.total && rc == HAUL_NETWORK)
            rc = HAUL_OK; /* cut after the last byte */
        if (rc == HAUL_OK || n > RESUMES_MAX || !error_passing(err))
            break;
        if (!err->elsewhere)
            backoff_sleep(n, err->retry_after_s);
    }
    if (d.io.code == ERR_OK && !download_flush(&d) &&
        rc == HAUL_OK) /* what came is handed over, whatever happened then */
        rc = download_io_err(&d, err);
    sha256_behind_wait(&d.behind);
    pool_free(d.hasher);
    sha256_behind_release(&d.behind);
    if (rc == HAUL_OK)
        rc = download_check(c, path, &d, err);
    if (rc == HAUL_OK && ret_size)
        *ret_size = d.done;
    sha256_free(d.hash);
    xxh128_free(d.sum);
    return rc;
}

/* ---- whatever it is ---- */

struct fetch {
    int (*sink)(void *arg, const char *p, size_t n);
    haul_progress progress;
    void *arg;
    int64_t done;
    int64_t last_ms; /* when the latest byte came */
    bool silent;
};

int64_t mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int fetch_take(void *arg, struct exchange *x, const char *p, size_t n)
{
    struct fetch *f = arg;
    if (f->sink(f->arg, p, n) != 0)
        return 1;
    f->done += (int64_t)n;
    f->last_ms = mono_ms();
    return 0;
}

static int fetch_progress(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
    struct fetch *f = arg;
    f->silent = f->done > 0 && mono_ms() - f->last_ms > (int64_t)SILENCE_S * 1000;
    return f->silent || (f->progress && f->progress(f->arg, f->done, -1) != 0);
}

int haul_fetch(struct haul_client *c, const char *path, int (*sink)(void *arg, const char *p, size_t n),
               haul_progress progress, void *arg, struct haul_error *err)
{
    struct haul_error own;
    struct exchange x;
    if (!err)
        err = &own;
    if (!exchange_begin(&x, c, "GET", path, err))
        return HAUL_LOCAL;
    struct fetch f = {.sink = sink, .progress = progress, .arg = arg};
    x.sink = fetch_take;
    x.sink_arg = &f;
    transfer_options(c->easy);
    curl_easy_setopt(c->easy, CURLOPT_LOW_SPEED_LIMIT, 0L); /* it counts the wait for the first byte too */
    curl_easy_setopt(c->easy, CURLOPT_XFERINFOFUNCTION, fetch_progress);
    curl_easy_setopt(c->easy, CURLOPT_XFERINFODATA, &f);
    int rc = exchange_run(&x, err);
    if (rc == HAUL_ABORTED && f.silent)
        rc = error_set(err, HAUL_NETWORK, "timeout", "%s sent nothing for %d s", client_server(c)->url, SILENCE_S);
    exchange_end(&x);
    return rc;
}
