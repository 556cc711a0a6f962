#include "base/buf.h"

#include "base/auto.h"

#include <stdarg.h>
#include <stdint.h>

#define CAP_MIN 256

void buf_init(struct buf *buf, size_t max_bytes)
{
    *buf = (struct buf){.max = MIN(max_bytes, SIZE_MAX / 4)};
}

void buf_release(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

/* Room for `n` more bytes and the NUL; false, and `failed` set, when there is none. */
bool buf_reserve(struct buf *buf, size_t n)
{
    if (buf->failed)
        return false;
    if (n > buf->max - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + n + 1;
    if (need <= buf->cap)
        return true;
    size_t cap = MIN(MAX(MAX(buf->cap * 2, need), (size_t)CAP_MIN), buf->max + 1);
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_add(struct buf *buf, const void *p, size_t n)
{
    if (!buf_reserve(buf, n))
        return;
    if (n)
        memcpy(buf->data + buf->len, p, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void buf_adds(struct buf *buf, const char *s)
{
    buf_add(buf, s, strlen(s));
}

void buf_addc(struct buf *buf, char c)
{
    if ((buf->failed || buf->cap - buf->len < 2) && !buf_reserve(buf, 1))
        return;
    buf->data[buf->len++] = c;
    buf->data[buf->len] = '\0';
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        buf->failed = true;
    else if (buf_reserve(buf, (size_t)n)) {
        vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void buf_drop_front(struct buf *buf, size_t n)
{
    if (!buf->data || n == 0)
        return;
    n = MIN(n, buf->len);
    memmove(buf->data, buf->data + n, buf->len - n + 1);
    buf->len -= n;
}

char *buf_take(struct buf *buf)
{
    buf_add(buf, "", 0); /* an empty buffer gives "" */
    if (buf->failed)
        return NULL;
    char *data = buf->data;
    buf_init(buf, buf->max);
    return data;
}

const char *buf_str(const struct buf *buf)
{
    return buf->data ? buf->data : "";
}
