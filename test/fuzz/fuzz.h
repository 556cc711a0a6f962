#pragma once
/* Fuzz targets: each file here checks one edge where bytes of strangers become values. libFuzzer drives them (`make fuzz T=...`); in
 * every ordinary build replay.c feeds them the corpus, as a test. What a target asserts must hold for every input. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/** libFuzzer's entry, once an input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* assert() would vanish with NDEBUG. */
#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #x);                                         \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/** A refusal explains itself: a code, and words for a person. */
static inline void must_explain(int rc, const struct err *err)
{
    MUST(rc == (int)err->code);
    MUST(rc == ERR_OK || err->msg[0]);
}
