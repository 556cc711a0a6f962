#pragma once
/* The lines of a file or pipe of any length, one at a time, in bounded memory. */
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define LINE_BYTES_MAX (1 << 20) /* what the server takes for one submission */

enum line_kind {
    LINE_TEXT,     /* without its end (LF or CRLF); never blank */
    LINE_TOO_LONG, /* passed over; only its size is known */
    LINE_IDLE,     /* nothing came for a second; not the end */
    LINE_END,
    LINE_FAILED /* err tells */
};

struct line {
    const char *text; /* borrowed until the next call */
    int64_t bytes;
    int64_t number; /* from 1 */
    bool crlf;
};

struct lines {
    int fd; /* borrowed */
    /* Where the next line begins: what a later run needs to go on. Blank lines before it are passed over. */
    int64_t offset, number;
    bool impatient; /* may tell LINE_IDLE */
    char *data;
    size_t at, len, cap;
    bool eof, interrupted;
};

/** @param offset, number  0 and 0, or those of an earlier run: the descriptor stands there already */
void lines_init(struct lines *l, int fd, int64_t offset, int64_t number);
void lines_release(struct lines *l);
/** A byte order mark at the start of the file is no text. A line that does not end within 64 MiB is LINE_FAILED: it is no file of
 * lines. An interrupt (interrupt_catch) is LINE_END with `interrupted` set. */
enum line_kind lines_next(struct lines *l, struct line *ret, struct err *err);
