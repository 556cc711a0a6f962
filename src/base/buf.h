#pragma once
/* A growable byte buffer with a maximum. Errors stick: write on, and look at `failed` once at the end. */
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NUL-terminated after `len` bytes once anything was added; NULL before */
    size_t len, cap, max;
    bool failed; /* over `max` or out of memory: contents are incomplete */
};

void buf_init(struct buf *buf, size_t max_bytes);
void buf_release(struct buf *buf);
void buf_reset(struct buf *buf); /* keeps the memory, clears `failed` */
/** Room for `n` more bytes at once; false, and `failed` set, when there is none. */
bool buf_reserve(struct buf *buf, size_t n);
void buf_add(struct buf *buf, const void *p, size_t n);
void buf_adds(struct buf *buf, const char *s);
void buf_addc(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_drop_front(struct buf *buf, size_t n);
/** Hands the bytes to the caller (free()), leaves `buf` empty. NULL when `failed`. */
char *buf_take(struct buf *buf);
const char *buf_str(const struct buf *buf); /* "" when empty */
