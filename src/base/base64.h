#pragma once
/* Base64 (RFC 4648, section 4), padded. */
#include <stddef.h>
#include <stdint.h>

struct buf;

/** @param ret  of `max` bytes; what is longer is only looked at. @return length, -1: not base64 */
int64_t base64_read(const char *s, size_t n, void *ret, size_t max);
void base64_write(struct buf *buf, const uint8_t *p, size_t n);
