#include "bench/form.h"
#include "base/auto.h"
#include "base/json.h"
#include <stdbool.h>

#define NUMBER_DIGITS 10
#define STAMP_DIGITS  19
#define KEY_DIGITS    16
#define NOTHING       "0000000000000000000"

/* ---- submissions ---- */

void request_head(struct buf *b, const char *host, const char *path, const char *extra, size_t n)
{
    buf_printf(b,
               "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: haul-bench/%s\r\nAccept: application/json\r\n"
               "Content-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n",
               path, host, HAUL_VERSION, extra, n);
}

void request_get(struct buf *b, const char *host, const char *path)
{
    buf_reset(b);
    buf_printf(b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: haul-bench/%s\r\nAccept: application/json\r\n\r\n", path,
               host, HAUL_VERSION);
}

/* The places that change are known from the first item; all items are of the same length. */
static size_t item_write(struct buf *b, struct form *f, const struct names *names)
{
    size_t begin = b->len;
    buf_printf(b, "{\"task_type\":\"%s\",\"queue\":\"%s\",\"payload\":{\"url\":\"s3://bucket/clip-", names->type,
               names->queue);
    f->number_in_item = b->len - begin;
    buf_printf(b, "%.*s.mov\",\"bench\":\"%s-", NUMBER_DIGITS, NOTHING, names->run);
    f->stamp_in_item = b->len - begin;
    buf_printf(b, "%.*s\"},\"labels\":{\"customer\":\"acme\"}}", STAMP_DIGITS, NOTHING);
    return b->len - begin;
}

int form_init(struct form *f, const struct names *names, unsigned batch, struct err *err)
{
    struct buf body;
    char extra[96];
    size_t body_item_at;
    *f = (struct form){.batch = batch};
    buf_init(&f->text, 4096 + (size_t)batch * FORM_ITEM_BYTES);
    buf_init(&body, 4096 + (size_t)batch * FORM_ITEM_BYTES);
    if (batch > 1)
        buf_adds(&body, "{\"jobs\":[");
    body_item_at = body.len;
    for (unsigned i = 0; i < batch; i++) {
        if (i > 0)
            buf_addc(&body, ',');
        f->stride = item_write(&body, f, names) + 1;
    }
    if (batch > 1)
        buf_adds(&body, "]}");
    snprintf(extra, sizeof(extra), "Idempotency-Key: %s%.*s\r\n", names->run, KEY_DIGITS, NOTHING);
    request_head(&f->text, names->host, batch > 1 ? "/v1/jobs:batch" : "/v1/jobs", extra, body.len);
    f->item_at = f->text.len + body_item_at;
    buf_add(&f->text, buf_str(&body), body.len);
    bool failed = body.failed || f->text.failed;
    buf_release(&body);
    if (failed) {
        form_release(f);
        return err_set(err, ERR_NO_MEMORY, 0, "requests");
    }
    const char *key = strstr(f->text.data, "Idempotency-Key: ");
    f->key_at = (size_t)(key - f->text.data) + strlen("Idempotency-Key: ") + strlen(names->run);
    return ERR_OK;
}

void form_release(struct form *f)
{
    buf_release(&f->text);
}

static void digits(char *at, unsigned width, uint64_t v)
{
    for (unsigned i = width; i-- > 0; v /= 10)
        at[i] = (char)('0' + v % 10);
}

void form_fill(struct form *f, uint64_t first, uint64_t stamp_ns)
{
    char stamp[STAMP_DIGITS];
    digits(stamp, STAMP_DIGITS, stamp_ns);
    digits(f->text.data + f->key_at, KEY_DIGITS, first);
    for (unsigned i = 0; i < f->batch; i++) {
        char *item = f->text.data + f->item_at + i * f->stride;
        digits(item + f->number_in_item, NUMBER_DIGITS, first + i);
        memcpy(item + f->stamp_in_item, stamp, STAMP_DIGITS);
    }
}

/* ---- a worker's calls ---- */

void lease_write(struct buf *b, const struct names *names, const char *worker_id, uint64_t poll, unsigned slots,
                 const char *wait)
{
    char body[1024];
    int n =
        snprintf(body, sizeof(body),
                 "{\"worker_id\":\"%s\",\"poll_id\":\"%s%016llu\",\"name\":\"bench\",\"host\":\"bench\","
                 "\"version\":\"%s\",\"isolation\":\"none\",\"handlers\":{\"%s\":\"1\"},\"queues\":[\"%s\"],"
                 "\"slots\":%u,\"slots_total\":64,\"slots_busy\":0,\"wait\":\"%s\"}",
                 worker_id, names->run, (unsigned long long)poll, HAUL_VERSION, names->type, names->queue, slots, wait);
    buf_reset(b);
    request_head(b, names->host, "/v1/lease", "", (size_t)n);
    buf_add(b, body, (size_t)n);
}

void complete_write(struct buf *b, const struct names *names, const struct claim *c)
{
    static const char body[] = "{\"outputs\":[],\"exit_code\":0,\"cpu_s\":0.25,\"peak_memory_bytes\":4194304}";
    char path[128], extra[128];
    snprintf(path, sizeof(path), "/v1/jobs/%s/attempts/%u/complete", c->job_id, c->attempt);
    snprintf(extra, sizeof(extra), "Haul-Token: %s\r\n", c->token);
    buf_reset(b);
    request_head(b, names->host, path, extra, sizeof(body) - 1);
    buf_adds(b, body);
}

/* ---- claims: read in one pass, without a tree ---- */

/* Behind the string that begins at p ('"'). NULL: it has no end. */
static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return NULL;
}

/* Behind the value that begins at p. */
static const char *value_end(const char *p, const char *end)
{
    int depth = 0;
    while (p && p < end) {
        if (*p == '"') {
            p = string_end(p, end);
            if (depth == 0)
                return p;
            continue;
        }
        if (depth == 0 && (*p == ',' || *p == '}' || *p == ']'))
            return p;
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
        p++;
        if (depth == 0 && (p[-1] == '}' || p[-1] == ']'))
            return p;
    }
    return NULL;
}

static bool is_key(const char *key, const char *key_end, const char *name)
{
    size_t n = strlen(name);
    return (size_t)(key_end - key) == n + 2 && memcmp(key + 1, name, n) == 0;
}

static void keep_text(char *ret, size_t size, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (n < 2 || n - 2 >= size || *p != '"')
        n = 2;
    memcpy(ret, p + 1, n - 2);
    ret[n - 2] = '\0';
}

static uint64_t stamp_of(const char *p, const char *end, const char *run)
{
    const char *at = memmem(p, (size_t)(end - p), run, strlen(run));
    size_t skip = strlen(run) + 1;
    uint64_t v = 0;
    if (!at || (size_t)(end - at) < skip + STAMP_DIGITS)
        return 0;
    for (unsigned i = 0; i < STAMP_DIGITS; i++) {
        if (at[skip + i] < '0' || at[skip + i] > '9')
            return 0;
        v = v * 10 + (uint64_t)(at[skip + i] - '0');
    }
    return v;
}

static void member(struct claim *c, const struct names *names, const char *key, const char *key_end, const char *value,
                   const char *end)
{
    if (is_key(key, key_end, "job_id"))
        keep_text(c->job_id, sizeof(c->job_id), value, end);
    else if (is_key(key, key_end, "token"))
        keep_text(c->token, sizeof(c->token), value, end);
    else if (is_key(key, key_end, "payload"))
        c->stamp_ns = stamp_of(value, end, names->run);
    else if (is_key(key, key_end, "attempt"))
        for (c->attempt = 0; value < end && *value >= '0' && *value <= '9' && c->attempt < 100000000; value++)
            c->attempt = c->attempt * 10 + (unsigned)(*value - '0');
}

static const char *object(const char *p, const char *end, const struct names *names, struct claim *c)
{
    for (p++; p < end && *p != '}';) {
        const char *key = p, *key_end = *p == '"' ? string_end(p, end) : NULL;
        const char *value = key_end && key_end < end && *key_end == ':' ? key_end + 1 : NULL;
        const char *after = value ? value_end(value, end) : NULL;
        if (!after || after >= end)
            return NULL;
        member(c, names, key, key_end, value, after);
        p = *after == ',' ? after + 1 : after;
        if (*after != ',' && *after != '}')
            return NULL;
    }
    return p < end ? p + 1 : NULL;
}

int claim_next(const char *text, size_t n, const struct names *names, size_t *pos, struct claim *ret)
{
    static const char begin[] = "{\"jobs\":[";
    const char *end = text + n;
    if (*pos == 0) {
        if (n < sizeof(begin) || memcmp(text, begin, sizeof(begin) - 1) != 0)
            return -1;
        *pos = sizeof(begin) - 1;
    }
    const char *p = text + *pos;
    if (p < end && *p == ']')
        return 0;
    if (p < end && *p == ',')
        p++;
    if (p >= end || *p != '{')
        return -1;
    *ret = (struct claim){.attempt = 0};
    p = object(p, end, names, ret);
    if (!p || strlen(ret->job_id) != 36 || !ret->token[0] || ret->attempt == 0)
        return -1;
    *pos = (size_t)(p - text);
    return 1;
}
