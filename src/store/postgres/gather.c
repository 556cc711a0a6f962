/* Writes of one text go out as one statement. They keep their order where it matters: a write joins the latest statement of its text
 * unless it would pass one that is about the same rows, and no row is written twice by one statement. */
#include "store/postgres/ahead.h"
#include <stdlib.h>

#define BYTES_MAX (8u * 1024 * 1024)

/* the first uuid, which is the row's; the others; all parameters; all of one that went out first */
enum { OWN = 1, OTHERS = 2, WHOLE_SET = 4, FIRST = 8 };

static void group_free(struct group *g)
{
    arrays_release(&g->arrays);
    traces_release(&g->own);
    free(g);
}

void gather_clear(struct ahead *a)
{
    for (size_t i = 0; i < a->n_groups; i++)
        group_free(a->groups[i]);
    a->n_groups = 0;
}

static int first_uuid(const struct shape *s)
{
    const char *at = strchr(s->types, 'u');

    return at ? (int)(at - s->types) : -1;
}

static bool has(const struct group *g, const struct params *p, int i, uint32_t marks)
{
    return p->values[i] && traces_has(&g->own, p->values[i], (size_t)p->lengths[i], marks);
}

static bool same_rows(const struct group *g, const struct shape *s, const struct params *p)
{
    for (int i = 0; i < p->n; i++)
        if (s->types[i] == 'u' && has(g, p, i, OWN | OTHERS))
            return true;
    return false;
}

static uint64_t set_hash(const struct params *p)
{
    uint64_t h = 1;

    for (int i = 0; i < p->n; i++)
        h = h * 31 + (p->values[i] ? pg_hash(p->values[i], (size_t)p->lengths[i]) : 0);
    return h;
}

/** The latest of this text, if the write may join it. */
static struct group *joined(struct ahead *a, const struct shape *s, const struct params *p, bool *ret_said)
{
    const uint64_t set = set_hash(p);
    const int own = first_uuid(s);

    *ret_said = false;
    for (size_t i = a->n_groups; i > 0; i--) {
        struct group *g = a->groups[i - 1];
        if (g->shape == s) {
            *ret_said = s->once && traces_has(&g->own, &set, sizeof(set), WHOLE_SET);
            return *ret_said || (g->arrays.bytes < BYTES_MAX && (s->inserts || !has(g, p, own, OWN))) ? g : NULL;
        }
        if ((g->shape->tables & s->tables) && same_rows(g, s, p))
            return NULL;
    }
    return NULL;
}

bool gather_add(struct ahead *a, const struct shape *s, const struct params *p)
{
    const int own = s ? first_uuid(s) : -1;
    bool said;

    if (!s || !s->many || s->look || own < 0 || !p->values[own])
        return false;
    struct group *g = joined(a, s, p, &said);
    if (said)
        return true;
    if (!g) {
        if (a->n_groups == ARRAY_LEN(a->groups) || !(g = calloc(1, sizeof(*g))))
            return false;
        g->shape = s;
        a->groups[a->n_groups++] = g;
    }
    for (int i = 0; i < p->n; i++)
        if (s->types[i] == 'u' && p->values[i])
            traces_put(&g->own, p->values[i], (size_t)p->lengths[i], i == own ? OWN : OTHERS);
    if (s->once) {
        const uint64_t set = set_hash(p);
        traces_put(&g->own, &set, sizeof(set), WHOLE_SET);
    }
    arrays_add(&g->arrays, p);
    return true;
}

bool gather_was_first(const struct ahead *a, const struct shape *s, const struct params *p)
{
    const uint64_t set = set_hash(p);

    return s->first && traces_has(&a->first, &set, sizeof(set), FIRST);
}

void gather_first(struct ahead *a, const struct shape *s, const struct params *p)
{
    const uint64_t set = set_hash(p);

    if (!gather_was_first(a, s, p) && gather_add(a, s, p))
        traces_put(&a->first, &set, sizeof(set), FIRST);
}
