#include "base/arena.h"

#include "base/auto.h"

#include <stdint.h>

#define ALIGNMENT ((size_t)16)
#define BLOCK_MIN ((size_t)4096)
#define BLOCK_MAX ((size_t)65536)

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

struct arena {
    struct block *blocks; /* newest first */
    size_t used, limit, next_size;
};

struct arena *arena_new(size_t limit_bytes)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    if (!arena)
        return NULL;
    arena->limit = limit_bytes;
    arena->next_size = BLOCK_MIN;
    return arena;
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    while (arena->blocks) {
        struct block *b = arena->blocks;
        arena->blocks = b->next;
        free(b);
    }
    free(arena);
}

void arena_reset(struct arena *arena)
{
    struct block *kept = NULL;
    while (arena->blocks) {
        struct block *b = arena->blocks;
        arena->blocks = b->next;
        if (!kept && b->size <= BLOCK_MAX)
            kept = b;
        else
            free(b);
    }
    if (kept) {
        kept->used = 0;
        kept->next = NULL;
    }
    arena->blocks = kept;
    arena->used = 0;
}

/* A block with room for `n`, never more than the limit still allows. */
static struct block *add_block(struct arena *arena, size_t n)
{
    size_t size = MAX(n, MIN(arena->next_size, arena->limit - arena->used));
    struct block *b = malloc(sizeof(*b) + size);
    if (!b)
        return NULL;
    b->used = 0;
    b->size = size;
    b->next = arena->blocks;
    arena->blocks = b;
    arena->next_size = MIN(arena->next_size * 2, BLOCK_MAX);
    return b;
}

/* Not zeroed: a request asks for little, and blocks are large. */
static void *take(struct arena *arena, size_t n)
{
    if (n == 0)
        n = 1;
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (n > arena->limit - arena->used)
        return NULL;
    struct block *b = arena->blocks;
    if (!b || n > b->size - b->used)
        b = add_block(arena, n);
    if (!b)
        return NULL;
    void *p = b->bytes + b->used;
    b->used += n;
    arena->used += n;
    return p;
}

void *arena_alloc(struct arena *arena, size_t n)
{
    void *p = take(arena, n);
    if (p)
        memset(p, 0, n);
    return p;
}

void *arena_array(struct arena *arena, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

static char *copy_text(struct arena *arena, const char *s, size_t n)
{
    char *copy = take(arena, n + 1);
    if (copy) {
        memcpy(copy, s, n);
        copy[n] = '\0';
    }
    return copy;
}

char *arena_strndup(struct arena *arena, const char *s, size_t n)
{
    return s ? copy_text(arena, s, strnlen(s, n)) : NULL;
}

char *arena_strdup(struct arena *arena, const char *s)
{
    return s ? copy_text(arena, s, strlen(s)) : NULL;
}

void *arena_memdup(struct arena *arena, const void *p, size_t n)
{
    void *copy = take(arena, n);
    if (copy && n)
        memcpy(copy, p, n);
    return copy;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
    char shorter[128]; /* most are: formatted once */
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(shorter, sizeof(shorter), fmt, ap);
    va_end(ap);
    char *s = n < 0 ? NULL : take(arena, (size_t)n + 1);
    if (s && (size_t)n < sizeof(shorter))
        memcpy(s, shorter, (size_t)n + 1);
    else if (s)
        vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}
