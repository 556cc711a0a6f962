/* Answers that are files: whole, in part, or not at all, as the request's conditions say. */
#include "base/auto.h"
#include "http/condition.h"
#include "http/internal.h"
#include "http/range.h"
#include <inttypes.h>
#include <strings.h>
#include <sys/sendfile.h>

#define HTTP_PASS_MAX ((size_t)512 << 10) /* in one call */

struct file_reader {
    struct http_file file;
    int64_t at, end;
    struct http_file_check check;
};

static void check_release(struct http_file_check *c)
{
    if (c->free)
        c->free(c->arg);
}
#define AUTO_CHECK __attribute__((cleanup(check_release)))

static void file_close(const struct http_file *f)
{
    if (f->close)
        f->close(f->arg);
}
#define AUTO_FILE_CLOSE __attribute__((cleanup(file_close)))

/** Whoever has it now releases it. */
static struct http_file_check check_take(struct http_file_check *c)
{
    const struct http_file_check taken = *c;
    *c = (struct http_file_check){0};
    return taken;
}

static int64_t read_file(void *arg, void *buf, size_t max)
{
    struct file_reader *f = arg;
    if (f->at >= f->end)
        return -1;
    const int64_t n = f->file.read(f->file.arg, f->at, buf, MIN(max, (size_t)(f->end - f->at)));
    if (n <= 0)
        return -2; /* shorter than it was said to be: the client must not take it for whole */
    f->at += n;
    return !f->check.add || f->check.add(f->check.arg, buf, (size_t)n, f->at == f->end) ? n : -2;
}

/** What we do not look at we need not read. */
static ssize_t pass_file(void *arg, int socket)
{
    struct file_reader *f = arg;
    off_t at = f->at;
    const ssize_t n = sendfile(socket, f->file.fd, &at, MIN(HTTP_PASS_MAX, (size_t)(f->end - f->at)));
    f->at = at;
    return n;
}

static int64_t read_nothing(void *arg, void *buf, size_t max)
{
    return -1;
}

static void free_file(void *arg)
{
    struct file_reader *f = arg;
    file_close(&f->file);
    check_release(&f->check);
    free(f);
}

static void set_disposition(struct http_request *req, const char *filename)
{
    struct buf value;
    buf_init(&value, 4096);
    buf_adds(&value, "attachment; filename=\"");
    for (const char *s = filename; *s; s++)
        buf_addc(&value, *s == '"' || *s == '\\' || (unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f ? '_' : *s);
    buf_adds(&value, "\"; filename*=UTF-8''");
    for (const char *s = filename; *s; s++) {
        bool plain =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr("-._~", *s);
        if (plain)
            buf_addc(&value, *s);
        else
            buf_printf(&value, "%%%02X", (unsigned)(unsigned char)*s);
    }
    http_set_header(req, "Content-Disposition", value.failed ? "attachment" : buf_str(&value));
    buf_release(&value);
}

static void refuse_range(struct http_request *req, int64_t size)
{
    char value[48];
    struct err err = {0};
    snprintf(value, sizeof value, "bytes */%" PRId64, size);
    http_set_header(req, "Content-Range", value);
    err_set(&err, ERR_RANGE, 0, "there are %" PRId64 " bytes", size);
    http_reply_err(req, &err);
}

/* A field that stands there several times is one list (RFC 9110, 5.3); what must not be a list is then unreadable, and ignored. */
static const char *field(struct http_request *req, const char *name)
{
    const char *all = NULL;
    for (size_t i = 0; i < req->header.n; i++)
        if (strcasecmp(req->header.items[i].name, name) == 0) {
            const char *value = req->header.items[i].value;
            all = all ? arena_printf(req->arena, "%s, %s", all, value) : value;
        }
    return all;
}

static void refuse_condition(struct http_request *req, const struct http_conditions *asked, const char *etag)
{
    struct err err = {0};
    err_set(&err, ERR_PRECONDITION, 0, "%s does not hold: the ETag is %s",
            asked->if_match ? "If-Match" : "If-Unmodified-Since", etag ? etag : "not known");
    http_reply_err(req, &err);
}

int64_t http_wall_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec;
}

static void set_validators(struct http_request *req, struct http_validators *is)
{
    char date[HTTP_DATE_MAX];
    if (is->etag)
        http_set_header(req, "ETag", is->etag);
    if (is->modified_s > http_wall_s()) /* must not be later than `Date`: the wall clock was set back */
        is->modified_s = 0;
    if (is->modified_s > 0) {
        http_date_format(is->modified_s, date);
        http_set_header(req, "Last-Modified", date);
    }
}

/* @return false when the answer was given */
static bool settle_range(struct http_request *req, const struct http_conditions *asked,
                         const struct http_validators *is, int64_t size, int64_t *ret_first, int64_t *ret_end,
                         bool *ret_part)
{
    char value[80];
    enum http_range kind = HTTP_RANGE_ALL;
    const char *range = field(req, "Range");
    *ret_first = 0;
    *ret_end = size;
    *ret_part = false;
    if (range && !req->head && http_condition_range(asked, is)) /* a range means nothing to a HEAD */
        kind = http_range_parse(range, size, ret_first, ret_end);
    if (kind == HTTP_RANGE_BAD) {
        refuse_range(req, size);
        return false;
    }
    if (kind == HTTP_RANGE_PART) {
        *ret_part = true;
        snprintf(value, sizeof value, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, *ret_first, *ret_end - 1, size);
        http_set_header(req, "Content-Range", value);
    }
    return true;
}

/* A 304 has the length of what it stands for, or none: libmicrohttpd gives it the length of its body, and then sends none of it. */
static void reply_not_modified(struct http_request *req, int64_t size)
{
    struct http_reply reply = {
        .status = 304,
        .is_stream = true,
        .stream_size = (uint64_t)size,
        .stream = {.read = read_nothing, .free = NULL, .arg = NULL, .retry_ms = 1},
    };
    http_reply_commit(req, &reply);
}

static struct http_conditions conditions(struct http_request *req)
{
    return (struct http_conditions){
        .if_match = field(req, "If-Match"),
        .if_none_match = field(req, "If-None-Match"),
        .if_modified_since = field(req, "If-Modified-Since"),
        .if_unmodified_since = field(req, "If-Unmodified-Since"),
        .if_range = field(req, "If-Range"),
    };
}

/* @return false when the answer was given */
static bool settle_conditions(struct http_request *req, const struct http_conditions *asked, struct http_validators *is,
                              int64_t size)
{
    set_validators(req, is);
    switch (http_condition(asked, is)) {
    case HTTP_FAILED:
        refuse_condition(req, asked, is->etag);
        return false;
    case HTTP_NOT_MODIFIED:
        reply_not_modified(req, size);
        return false;
    case HTTP_HOLDS:
        break;
    }
    return true;
}

void http_reply_bytes(struct http_request *req, const char *content_type, const char *etag, const void *p, size_t n)
{
    struct http_validators is = {.etag = etag};
    struct http_conditions asked = conditions(req);
    if (settle_conditions(req, &asked, &is, (int64_t)n))
        http_reply_text(req, 200, content_type, p, n);
}

void http_reply_file(struct http_request *req, struct http_file file, const char *content_type, const char *etag,
                     int64_t modified_s, const char *filename, struct http_file_check check)
{
    AUTO_FILE_CLOSE struct http_file own = file;
    const int64_t size = file.size;
    AUTO_CHECK struct http_file_check mine = check;
    int64_t first, end;
    bool part;
    struct http_validators is = {.etag = etag, .modified_s = modified_s};
    struct http_conditions asked = conditions(req);
    http_set_header(req, "Accept-Ranges", "bytes");
    if (!settle_conditions(req, &asked, &is, size))
        return;
    if (!settle_range(req, &asked, &is, size, &first, &end, &part))
        return;
    struct file_reader *reader = malloc(sizeof *reader);
    if (!reader) {
        http_reply_err(req, &(struct err){.code = ERR_NO_MEMORY, .msg = "no memory for the answer"});
        return;
    }
    if (filename)
        set_disposition(req, filename);
    http_set_header(req, "Content-Type", content_type);
    *reader = (struct file_reader){.file = own, .at = first, .end = end};
    own.close = NULL; /* the reader's now */
    if (!part)
        reader->check = check_take(&mine);
    struct http_reply reply = {.status = part ? 206 : 200,
                               .is_stream = true,
                               .stream_size = (uint64_t)(end - first),
                               .direct = end - first >= HTTP_DIRECT_BYTES && !req->head,
                               .stream = {.read = read_file, .free = free_file, .arg = reader, .retry_ms = 1}};
    if (reply.direct && own.fd >= 0 && !reader->check.add)
        reply.stream.pass = pass_file;
    if (reply.direct)
        http_set_header(req, "Connection", "close");
    http_reply_commit(req, &reply);
}
