#pragma once
/* A Range header over something of known size (RFC 9110, 14.2). Pure. */
#include <stdbool.h>
#include <stdint.h>

enum http_range { HTTP_RANGE_ALL, HTTP_RANGE_PART, HTTP_RANGE_BAD };
/** "bytes=a-b", "bytes=a-", "bytes=-n": one range. NULL, several or unreadable: ALL (to be ignored). BAD: 416.
 * @param ret_end  exclusive */
enum http_range http_range_parse(const char *header, int64_t total, int64_t *ret_from, int64_t *ret_end);
