#pragma once
/* What the handler writes, kept on disk: the first 8 MiB and, in a ring, the latest 9. Offsets count bytes as they were written. Always
 * drained: a handler must never block on its log, nor die of a closed pipe. Thread-safe. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_HEAD_MAX  (INT64_C(8) << 20)
#define LOG_TAIL_MAX  (INT64_C(8) << 20)
#define LOG_RING_MAX  (INT64_C(9) << 20) /* more than the tail: who reads along has a mebibyte before he is overtaken */
#define LOG_CHUNK_MAX 65536

struct logs;
int logs_open(const char *dir, int64_t total, struct logs **ret,
              struct err *err); /* total: 0, or what completion.json says */
void logs_free(struct logs *l);
void logs_add(struct logs *l, const void *p, size_t n);
/** A line of the worker's own, from any thread: on a line of its own whatever the handler was writing. */
void logs_say(struct logs *l, const char *text);
int64_t logs_total(struct logs *l);
/** Nothing more will be added: of what lies behind the head, only the last 8 MiB count now. */
void logs_seal(struct logs *l);
/** Bytes from `*at` on. When those are not to be had any more, `*at` moves up to the last 8 MiB.
 * @return how many; 0 when there is nothing (yet). */
size_t logs_read(struct logs *l, int64_t *at, char *p, size_t n);
/** The last bytes written. */
size_t logs_last(struct logs *l, char *p, size_t n);
