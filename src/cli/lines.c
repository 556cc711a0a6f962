/* Lines in bounded memory: the buffer holds one line at its longest and a piece more. */
#include "cli/lines.h"
#include "base/auto.h"
#include "cli/term.h"
#include <errno.h>

#define PIECE    (256 << 10)
#define IDLE_MS  1000
#define SKIP_MAX (INT64_C(64) << 20)

void lines_init(struct lines *l, int fd, int64_t offset, int64_t number)
{
    *l = (struct lines){.fd = fd, .offset = offset, .number = number};
}

void lines_release(struct lines *l)
{
    free(l->data);
    l->data = NULL;
}

static bool make_room(struct lines *l)
{
    if (l->at > 0) {
        memmove(l->data, l->data + l->at, l->len - l->at);
        l->len -= l->at;
        l->at = 0;
    }
    if (l->cap - l->len >= PIECE)
        return true;
    char *more = realloc(l->data, l->len + PIECE);
    if (!more)
        return false;
    l->data = more;
    l->cap = l->len + PIECE;
    return true;
}

/* LINE_TEXT: bytes came, or the end was seen. */
static enum line_kind fill(struct lines *l, struct err *err)
{
    if (!make_room(l)) {
        err_set(err, ERR_NO_MEMORY, 0, "out of memory");
        return LINE_FAILED;
    }
    int ready = interrupt_poll(l->fd, l->impatient ? IDLE_MS : -1);
    if (ready == 0)
        return LINE_IDLE;
    if (ready < 0) {
        l->interrupted = true;
        return LINE_END;
    }
    ssize_t got;
    do
        got = read(l->fd, l->data + l->len, PIECE);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        err_set(err, ERR_IO, errno, "read");
        return LINE_FAILED;
    }
    l->len += (size_t)got;
    l->eof = got == 0;
    if (l->offset == 0 && l->at == 0 && l->len >= 3 && memcmp(l->data, "\xEF\xBB\xBF", 3) == 0) {
        l->at = 3;
        l->offset = 3;
    }
    return LINE_TEXT;
}

static bool blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", s[i]) || s[i] == '\0')
            return false;
    return true;
}

/* Throws away what is held of a line that is too long, and what follows up to its end. */
static enum line_kind skip_long(struct lines *l, struct line *ret, struct err *err)
{
    int64_t bytes = 0;
    for (;;) {
        const char *end = memchr(l->data + l->at, '\n', l->len - l->at);
        size_t n = end ? (size_t)(end - (l->data + l->at)) : l->len - l->at;
        bytes += (int64_t)n;
        l->at += n + (end != NULL);
        l->offset += (int64_t)n + (end != NULL);
        if (end || l->eof)
            break;
        if (bytes > SKIP_MAX) {
            err_set(err, ERR_TOO_LARGE, 0,
                    "line %lld does not end within %lld MiB: is this a file with one JSON object a line?",
                    (long long)l->number + 1, (long long)(SKIP_MAX >> 20));
            return LINE_FAILED;
        }
        enum line_kind k = fill(l, err);
        if (k == LINE_FAILED || k == LINE_END)
            return k;
    }
    *ret = (struct line){.bytes = bytes, .number = ++l->number};
    return LINE_TOO_LONG;
}

enum line_kind lines_next(struct lines *l, struct line *ret, struct err *err)
{
    size_t scanned = 0;
    for (;;) {
        size_t have = l->len - l->at;
        const char *from = l->data ? l->data + l->at : NULL;
        const char *end = have > scanned ? memchr(from + scanned, '\n', have - scanned) : NULL;
        if (!end && have > LINE_BYTES_MAX + 1)
            return skip_long(l, ret, err);
        if (!end && l->eof && have == 0)
            return LINE_END;
        if (!end && !l->eof) {
            scanned = have;
            int64_t offset = l->offset;
            enum line_kind k = fill(l, err);
            if (k != LINE_TEXT)
                return k;
            if (l->offset != offset) /* the byte order mark went */
                scanned = 0;
            continue;
        }
        size_t n = end ? (size_t)(end - from) : have;
        size_t text_n = n > 0 && from[n - 1] == '\r' ? n - 1 : n;
        if (text_n > LINE_BYTES_MAX)
            return skip_long(l, ret, err);
        l->at += n + (end != NULL);
        l->offset += (int64_t)n + (end != NULL);
        l->number++;
        scanned = 0;
        if (blank(from, text_n))
            continue;
        *ret = (struct line){.text = from, .bytes = (int64_t)text_n, .number = l->number, .crlf = text_n < n};
        return LINE_TEXT;
    }
}
