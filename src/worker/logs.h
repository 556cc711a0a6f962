#pragma once
/* What the handler writes, kept on disk: the first 8 MiB and the last 8, with a marked cut. Always drained: a handler must never block on
 * its log, nor die of a closed pipe. Thread-safe. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_HEAD_MAX  (INT64_C(8) << 20)
#define LOG_TAIL_MAX  (INT64_C(8) << 20)
#define LOG_CHUNK_MAX 65536

struct logs;
int logs_open(const char *dir, int64_t total, struct logs **ret,
              struct err *err); /* total: 0, or what completion.json says */
void logs_free(struct logs *l);
void logs_add(struct logs *l, const void *p, size_t n);
int64_t logs_total(struct logs *l);
/** Nothing more will be added: the cut, if there is one, is decided. */
void logs_seal(struct logs *l);
/** Bytes of the log as the server shall have it, from `offset`. While not sealed only the head is given.
 * @return how many; 0 when there is nothing (yet). */
size_t logs_read(struct logs *l, int64_t offset, char *p, size_t n);
/** The last bytes written. */
size_t logs_last(struct logs *l, char *p, size_t n);
