/* An upload whose parts go straight to the store that keeps the server's bytes, by URLs that the server signs.
 *
 * The caller's thread reads the file once, in order: the whole's SHA-256, and each part's MD5, which the store checks. A part that the store has
 * with that MD5 is passed over; the others are sent by four threads, which read it again (from the page cache). A part that failed is signed
 * anew, whatever was wrong: its URL may have been too old. So no part and no URL is kept for long, and what a cut leaves is in the store's list.
 *
 * Whether the store can be reached from here is found by trying. If nothing could be sent, the upload is ended and another one begun, whose
 * bytes go through the server. */
#include "base/auto.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/rng.h"
#include "client/internal.h"

#define AHEAD        4 /* parts that were hashed, and wait for a thread */
#define COUNT_MAX    10000
#define LOOK_MS      200 /* at least so often progress is told */
#define STRANGE_MAX  5   /* failures in a row, until a store that never took a part is given up */
#define BAD_MAX      3   /* a part whose bytes are not those that were hashed */
#define PAUSE_MS     200
#define PAUSE_MAX_MS 5000
#define READ_RATE    (INT64_C(2) << 20) /* bytes a second at which the server reads back, at the slowest */

enum part_state {
    PART_NEW,   /* not hashed, or not compared yet */
    PART_READY, /* to be sent */
    PART_AWAY,
    PART_THERE
};
struct part {
    uint8_t md5[MD5_BYTES];
    uint8_t listed[MD5_BYTES]; /* as the store has it */
    int64_t listed_size;       /* 0: it has none */
    char *url;
    struct curl_slist *headers;
    unsigned char state, bad;
};
struct parts {
    struct resumable *r;
    char upload[HAUL_UPLOAD_MAX];
    int64_t size;
    size_t count, hashed, there;
    struct part *at;
    struct md5 *md5;
    char *piece;
    struct part_puts *puts; /* while it runs */
    size_t listed, sent;    /* of the store's; in this call */
    unsigned failures;      /* in a row */
    int64_t pause_until_ms;
    char why[200];
    bool untrusted; /* the store's certificate is none for us */
};

static void url_drop(struct part *part)
{
    free(part->url);
    curl_slist_free_all(part->headers);
    part->url = NULL;
    part->headers = NULL;
}

void parts_free(struct parts *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->at && i < p->count; i++)
        url_drop(&p->at[i]);
    md5_free(p->md5);
    free(p->piece);
    free(p->at);
    free(p);
}

static int no_memory(struct haul_error *err)
{
    return error_set(err, HAUL_LOCAL, "no_memory", "out of memory");
}

static int64_t part_bytes(const struct parts *p, size_t i)
{
    const int64_t at = (int64_t)i * p->r->part_size;
    return MIN(p->r->part_size, p->r->up.size - at);
}

/* --- the server --- */

static int call(struct resumable *r, const char *method, const char *what, const char *body, int64_t wait_ms,
                json_t **ret, struct haul_error *err)
{
    struct exchange x;
    char path[HAUL_UPLOAD_MAX + 16];
    struct err bad = {0};
    snprintf(path, sizeof(path), "%s%s", r->resume->upload, what);
    if (!exchange_begin(&x, r->c, method, path, err))
        return HAUL_LOCAL;
    curl_easy_setopt(r->c->easy, CURLOPT_TIMEOUT_MS, (long)(r->c->timeout_ms + wait_ms));
    if (body) {
        curl_easy_setopt(r->c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
        curl_easy_setopt(r->c->easy, CURLOPT_POSTFIELDS, body);
        exchange_header(&x, "Content-Type", "application/json");
    }
    int rc = resumable_run(r, &x, err);
    if (rc == HAUL_OK && ret && json_parse(buf_str(&x.body), x.body.len, ret, &bad) != ERR_OK)
        rc = error_set(err, HAUL_REFUSED, "corrupt", "the server's answer is not what it should be: %.200s", bad.msg);
    exchange_end(&x);
    return rc;
}

static void listed_take(struct parts *p, const json_t *part)
{
    const int64_t number = json_integer_value(json_object_get(part, "number"));
    const char *md5 = json_string_value(json_object_get(part, "md5"));
    if (number < 1 || number > (int64_t)p->count)
        return;
    struct part *own = &p->at[number - 1];
    if (!md5 || hex_parse(md5, own->listed, sizeof(own->listed)) != 0)
        return; /* it is sent again: whose bytes these are cannot be told */
    own->listed_size = json_integer_value(json_object_get(part, "size"));
    p->listed++;
}

/** Is it there, by what is known of it? */
static void compare(struct parts *p, size_t i)
{
    struct part *part = &p->at[i];
    const bool there = part->listed_size == part_bytes(p, i) && memcmp(part->listed, part->md5, sizeof(part->md5)) == 0;
    part->state = there ? PART_THERE : PART_READY;
    p->there += there;
}

static int list(struct parts *p, bool *ret_assembled, struct haul_error *err)
{
    json_t *doc = NULL, *part;
    size_t n;
    const int rc = call(p->r, "GET", "/parts", NULL, 0, &doc, err);
    if (rc != HAUL_OK)
        return rc;
    for (size_t i = 0; i < p->count; i++)
        p->at[i].listed_size = 0;
    p->listed = p->there = 0;
    json_array_foreach (json_object_get(doc, "parts"), n, part)
        listed_take(p, part);
    for (size_t i = 0; i < p->hashed; i++)
        compare(p, i);
    *ret_assembled = json_is_true(json_object_get(doc, "assembled"));
    json_decref(doc);
    return HAUL_OK;
}

static bool url_take(struct part *part, const json_t *answer)
{
    const char *url = json_string_value(json_object_get(answer, "url")), *name;
    json_t *value;
    bool good = url != NULL;
    url_drop(part);
    part->url = url ? strdup(url) : NULL;
    part->headers = curl_slist_append(NULL, "Expect:");
    json_object_foreach (json_object_get(answer, "headers"), name, value) {
        AUTO_FREE char *line = NULL;
        const char *text = json_string_value(value);
        if (!text || strpbrk(text, "\r\n") || strpbrk(name, "\r\n:") || asprintf(&line, "%s: %s", name, text) < 0) {
            line = NULL; /* undefined after a failure */
            good = false;
            break;
        }
        struct curl_slist *more = curl_slist_append(part->headers, line);
        good = good && more;
        part->headers = more ? more : part->headers;
    }
    return good && part->url && part->headers;
}

/** For all that wait for one. */
static int urls_get(struct parts *p, struct haul_error *err)
{
    struct buf b;
    struct json_writer w;
    json_t *doc = NULL, *answer;
    size_t asked = 0, got = 0, n;
    buf_init(&b, 64 << 10);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_array(&w, "parts");
    for (size_t i = 0; i < p->hashed && asked < AHEAD + PART_PUTS; i++) {
        char hex[MD5_HEX_MAX];
        if (p->at[i].state != PART_READY || p->at[i].url)
            continue;
        hex_format(p->at[i].md5, MD5_BYTES, hex);
        jw_object(&w, NULL);
        jw_int(&w, "number", (int64_t)i + 1);
        jw_string(&w, "md5", hex);
        jw_object_end(&w);
        asked++;
    }
    jw_array_end(&w);
    jw_object_end(&w);
    int rc = b.failed ? no_memory(err) : asked > 0 ? call(p->r, "POST", "/parts", buf_str(&b), 0, &doc, err) : HAUL_OK;
    buf_release(&b);
    json_array_foreach (json_object_get(doc, "parts"), n, answer) {
        const int64_t number = json_integer_value(json_object_get(answer, "number"));
        if (number >= 1 && number <= (int64_t)p->hashed && url_take(&p->at[number - 1], answer))
            got++;
    }
    json_decref(doc);
    if (rc == HAUL_OK && got != asked)
        rc = error_set(err, HAUL_REFUSED, "corrupt", "the server gave %zu URLs for %zu parts", got, asked);
    return rc;
}

/* --- the file --- */

static int64_t bytes_done(const struct parts *p)
{
    const int64_t whole = (int64_t)p->there * p->r->part_size + (p->puts ? part_puts_bytes(p->puts) : 0);
    return MIN(whole, p->r->up.size);
}

static int told(const struct parts *p, struct haul_error *err)
{
    const struct upload *u = &p->r->up;
    if (u->progress && u->progress(u->arg, bytes_done(p), u->size) != 0)
        return error_set(err, HAUL_ABORTED, "cancelled", "stopped on request");
    return HAUL_OK;
}

/** The next part, whose state is known then. */
static int hash_next(struct parts *p, struct haul_error *err)
{
    struct upload *u = &p->r->up;
    struct part *part = &p->at[p->hashed];
    const int64_t end = u->done + part_bytes(p, p->hashed);
    int rc = HAUL_OK;
    while (rc == HAUL_OK && u->done < end) {
        rc = upload_hash_on(u, p->piece, MIN(UPLOAD_PIECE_BYTES, (size_t)(end - u->done)), p->md5);
        if (rc == HAUL_OK)
            rc = told(p, err);
        else
            rc = upload_trouble(u, rc, err);
    }
    if (rc != HAUL_OK) { /* the part begins anew, and the hash with the file */
        md5_end(p->md5, part->md5);
        return rc;
    }
    md5_end(p->md5, part->md5);
    compare(p, p->hashed++);
    return HAUL_OK;
}

/* --- sending --- */

static struct part *next_ready(struct parts *p, bool with_url, size_t *ret_i)
{
    for (size_t i = 0; i < p->hashed; i++)
        if (p->at[i].state == PART_READY && (!with_url || p->at[i].url)) {
            *ret_i = i;
            return &p->at[i];
        }
    return NULL;
}

static size_t count_ready(const struct parts *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->hashed; i++)
        n += p->at[i].state == PART_READY;
    return n;
}

static void start(struct parts *p, struct part_put *w, size_t i)
{
    struct part *part = &p->at[i];
    w->number = (unsigned)i + 1;
    w->fd = p->r->up.fd;
    w->at = (int64_t)i * p->r->part_size;
    w->size = part_bytes(p, i);
    w->url = TAKE_PTR(part->url);
    w->headers = TAKE_PTR(part->headers);
    part->state = PART_AWAY;
    part_put_start(w);
}

/** Full jitter, and for all parts: a store that is asked to do less is not asked by the next part. */
static void pause_all(struct parts *p)
{
    const int64_t most = MIN((int64_t)PAUSE_MS << MIN(p->failures, 8U), (int64_t)PAUSE_MAX_MS);
    p->pause_until_ms = mono_ms() + most / 2 + (int64_t)(rng_u64(rng_real()) % (uint64_t)(most / 2 + 1));
}

/** What became of one. */
static int settle(struct parts *p, const struct part_put *w, struct haul_error *err)
{
    struct part *part = &p->at[w->number - 1];
    struct upload *u = &p->r->up;
    if (w->code == CURLE_OK && w->status >= 200 && w->status < 300) {
        part->state = PART_THERE;
        p->there++;
        p->sent++;
        p->failures = 0;
        p->r->moved_ms = mono_ms();
        return HAUL_OK;
    }
    part->state = PART_READY;
    u->shrank = w->shrank;
    u->sys = w->sys;
    if (w->shrank || w->sys)
        return upload_trouble(u, HAUL_LOCAL, err);
    snprintf(p->why, sizeof(p->why), "%s", w->why);
    p->untrusted = p->untrusted || w->code == CURLE_PEER_FAILED_VERIFICATION || w->code == CURLE_SSL_CACERT_BADFILE;
    p->failures++;
    pause_all(p);
    if (w->status == 400 && strstr(w->why, "Digest") && ++part->bad >= BAD_MAX)
        return error_set(
            err, HAUL_REFUSED, "corrupt",
            "part %u is not what was read before (%.60s): the file changed while it was sent; send it again", w->number,
            w->why);
    return HAUL_OK;
}

/** Nothing goes any more: what now? A store that never took anything from us is left, the sooner where nothing is lost by it. */
static int judge(struct parts *p, struct haul_error *err)
{
    struct resumable *r = p->r;
    const int64_t waited_ms = mono_ms() - r->moved_ms;
    if (p->failures == 0)
        return HAUL_OK;
    if (p->sent == 0 &&
        (p->untrusted || (p->listed == 0 ? p->failures >= STRANGE_MAX : waited_ms > resumable_patience_ms(r) / 2)))
        r->through = true;
    else if (p->failures > PART_PUTS &&
             waited_ms > resumable_patience_ms(r)) /* a slow line's first part may take long */
        return error_set(err, HAUL_NETWORK, "network", "the store that the server names takes no parts: %.190s",
                         p->why);
    return HAUL_OK;
}

static int collect(struct parts *p, int64_t ms, struct haul_error *err)
{
    int rc = HAUL_OK;
    for (const struct part_put *w; rc == HAUL_OK && (w = part_puts_ended(p->puts, ms)); ms = 0)
        rc = settle(p, w, err);
    return rc == HAUL_OK ? judge(p, err) : rc;
}

/** Starts what can be, hashes a part ahead, or waits. */
static int turn(struct parts *p, struct haul_error *err)
{
    struct part_put *idle = part_puts_idle(p->puts);
    const bool paused = mono_ms() < p->pause_until_ms;
    size_t i = 0;
    int rc = HAUL_OK;
    if (idle && !paused && next_ready(p, false, &i)) {
        if (!next_ready(p, true, &i))
            rc = urls_get(p, err);
        if (rc == HAUL_OK && !p->r->ref[0] && next_ready(p, true, &i))
            start(p, idle, i);
        return rc == HAUL_OK ? collect(p, 0, err) : rc;
    }
    if (p->hashed < p->count && count_ready(p) < AHEAD) {
        rc = hash_next(p, err);
        return rc == HAUL_OK ? collect(p, 0, err) : rc;
    }
    rc = collect(p, LOOK_MS, err);
    return rc == HAUL_OK ? told(p, err) : rc;
}

static int send_all(struct parts *p, struct haul_error *err)
{
    struct part_puts puts;
    int rc = part_puts_init(&puts, p->r->c->user_agent, err);
    if (rc != HAUL_OK)
        return rc;
    p->puts = &puts;
    while (rc == HAUL_OK && p->there < p->count && !p->r->through && !p->r->ref[0])
        rc = turn(p, err);
    /* The server is away, say: what is on its way need not be sent again. */
    while (rc != HAUL_OK && rc != HAUL_ABORTED && part_puts_busy(&puts) > 0 && told(p, NULL) == HAUL_OK) {
        const struct part_put *w = part_puts_ended(&puts, LOOK_MS);
        if (w)
            settle(p, w, NULL);
    }
    p->puts = NULL;
    part_puts_release(&puts);
    for (size_t i = 0; i < p->hashed; i++)
        if (p->at[i].state == PART_AWAY)
            p->at[i].state = PART_READY;
    return rc;
}

/* --- all of it --- */

static int prepare(struct resumable *r, struct haul_error *err)
{
    const int64_t count = (r->up.size + r->part_size - 1) / r->part_size;
    struct parts *p = r->parts;
    if (p && (strcmp(p->upload, r->resume->upload) != 0 || p->size != r->part_size)) {
        parts_free(p);
        r->parts = p = NULL;
    }
    if (count > COUNT_MAX)
        return error_set(err, HAUL_REFUSED, "corrupt", "the server names parts of %lld bytes, which are too many",
                         (long long)r->part_size);
    if (!p) {
        r->parts = p = calloc(1, sizeof(*p));
        if (!p)
            return no_memory(err);
        *p = (struct parts){.r = r, .size = r->part_size, .count = (size_t)count};
        snprintf(p->upload, sizeof(p->upload), "%s", r->resume->upload);
        p->at = calloc(p->count, sizeof(*p->at));
        p->md5 = md5_new();
        p->piece = malloc(UPLOAD_PIECE_BYTES);
        if (!p->at || !p->md5 || !p->piece)
            return no_memory(err);
    }
    p->failures = 0;
    p->pause_until_ms = 0;
    if (r->up.done != MIN((int64_t)p->hashed * r->part_size, r->up.size)) {
        p->hashed = 0;
        return upload_trouble(&r->up, upload_rehash(&r->up), err);
    }
    return HAUL_OK;
}

/** By PATCH, then, which takes another upload. */
static int give_up(struct resumable *r)
{
    struct haul_error none;
    call(r, "DELETE", "", NULL, 0, NULL, &none); /* if it was not heard: it expires */
    resumable_forget(r);
    r->moved_ms = mono_ms();
    return HAUL_OK;
}

int parts_send(struct resumable *r, struct haul_error *err)
{
    bool assembled = false;
    int rc = prepare(r, err);
    if (rc == HAUL_OK)
        rc = list(r->parts, &assembled, err);
    if (rc == HAUL_OK && !assembled && !r->ref[0])
        rc = send_all(r->parts, err);
    if (rc != HAUL_OK || r->ref[0])
        return rc;
    if (r->through)
        return give_up(r);
    rc = call(r, "POST", "/complete", "{}", r->up.size / READ_RATE * 1000, NULL, err);
    if (rc == HAUL_OK && !r->ref[0])
        rc = error_set(err, HAUL_REFUSED, "corrupt", "the server does not say what the upload became");
    return rc;
}
