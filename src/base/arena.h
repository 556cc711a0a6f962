#pragma once
/* An arena: memory with one lifetime (a request, a batch, a run) and a byte limit. */
#include <stdarg.h>
#include <stddef.h>

struct arena;

/** @param limit_bytes  most that may ever be allocated from it; allocations beyond it return NULL. NULL on ENOMEM. */
struct arena *arena_new(size_t limit_bytes);
/** Frees everything allocated from it. NULL accepted. */
void arena_free(struct arena *arena);
/** Zeroed, 16-byte aligned; NULL over the limit or out of memory. n = 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t n);
/** Array of `n` zeroed elements; NULL on overflow, over the limit or out of memory. */
void *arena_array(struct arena *arena, size_t n, size_t size);
char *arena_strdup(struct arena *arena, const char *s);            /* NULL in, NULL out */
char *arena_strndup(struct arena *arena, const char *s, size_t n); /* always NUL-terminated */
void *arena_memdup(struct arena *arena, const void *p, size_t n);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** As new, but for a block of memory that it keeps: for a scratch that is used over and over. */
void arena_reset(struct arena *arena);
size_t arena_used(const struct arena *arena);
