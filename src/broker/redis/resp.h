#pragma once
/* Commands as Redis reads them. Pure. */
#include "base/buf.h"
#include <string.h>

/** A command is begun with the number of its words; each is added behind. */
static inline void resp_command(struct buf *out, size_t n_words)
{
    buf_printf(out, "*%zu\r\n", n_words);
}

static inline void resp_word(struct buf *out, const void *p, size_t n)
{
    buf_printf(out, "$%zu\r\n", n);
    buf_add(out, p, n);
    buf_adds(out, "\r\n");
}

static inline void resp_text(struct buf *out, const char *text)
{
    resp_word(out, text, strlen(text));
}

static inline void resp_int(struct buf *out, long long value)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%lld", value);
    resp_word(out, text, (size_t)n);
}
