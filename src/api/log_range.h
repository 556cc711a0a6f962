#pragma once
/* Within the room: a Range header over a text of known size. Pure. */
#include <stdbool.h>
#include <stdint.h>

enum range_kind { RANGE_ALL, RANGE_PART, RANGE_BAD };
/** "bytes=a-b", "bytes=a-", "bytes=-n": one range. NULL, several or unreadable: RANGE_ALL (RFC 9110: ignore). RANGE_BAD: 416. */
enum range_kind range_parse(const char *header, int64_t total, int64_t *ret_from, int64_t *ret_end);
