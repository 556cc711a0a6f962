/* What a batch wrote. A look that was made before is good still when nothing it speaks of was written since. Ops address rows by uuids, or
 * by names: so a statement's parameters tell; where they do not, all of a table counts as written. */
#include "store/postgres/ahead.h"
#include <stdlib.h>

uint64_t pg_hash(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < n; i++)
        h = (h ^ s[i]) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    return h ? h : 1;
}

void traces_release(struct traces *t)
{
    free(t->places);
    *t = (struct traces){0};
}

void traces_clear(struct traces *t)
{
    if (t->n > 0)
        memset(t->places, 0, t->n_places * sizeof(*t->places));
    t->n = 0;
    t->touched = t->unnamed = t->whole = 0;
}

static struct trace *place(const struct traces *t, uint64_t hash)
{
    size_t i = hash & (t->n_places - 1);

    while (t->places[i].hash && t->places[i].hash != hash)
        i = (i + 1) & (t->n_places - 1);
    return &t->places[i];
}

static bool grow(struct traces *t)
{
    struct traces more = {.n_places = t->n_places ? t->n_places * 2 : 1024};

    if (t->n * 2 < t->n_places)
        return true;
    more.places = calloc(more.n_places, sizeof(*more.places));
    if (!more.places)
        return false;
    for (size_t i = 0; i < t->n_places; i++)
        if (t->places[i].hash)
            *place(&more, t->places[i].hash) = t->places[i];
    free(t->places);
    t->places = more.places;
    t->n_places = more.n_places;
    return true;
}

void traces_put(struct traces *t, const void *p, size_t n, uint32_t marks)
{
    if (!grow(t)) {
        t->whole = UINT32_MAX;
        return;
    }
    const uint64_t hash = pg_hash(p, n);
    struct trace *at = place(t, hash);
    t->n += at->hash == 0;
    at->hash = hash;
    at->tables |= marks;
}

void traces_add(struct traces *t, const struct shape *s, const struct params *p)
{
    bool uuid = false, text = false;

    if (!s) {
        t->whole = t->touched = UINT32_MAX;
        return;
    }
    t->touched |= s->tables;
    for (int i = 0; i < p->n; i++) {
        if (!p->values[i] || (s->types[i] != 'u' && s->types[i] != 't'))
            continue;
        traces_put(t, p->values[i], (size_t)p->lengths[i], s->tables);
        uuid |= s->types[i] == 'u';
        text |= s->types[i] == 't';
    }
    t->unnamed |= uuid ? 0 : s->tables;
    t->whole |= uuid || text ? 0 : s->tables;
}

bool traces_has(const struct traces *t, const void *p, size_t n, uint32_t tables)
{
    return (t->whole & tables) || (t->n > 0 && (place(t, pg_hash(p, n))->tables & tables));
}

static bool traced(const struct traces *t, const struct shape *s, const struct params *p, int i)
{
    return p->values[i] && traces_has(t, p->values[i], (size_t)p->lengths[i], s->tables);
}

bool traces_meet(const struct traces *t, const struct shape *s, const struct params *p)
{
    bool all = true;

    if (!(t->touched & s->tables))
        return false;
    if (t->whole & s->tables)
        return true;
    if (s->has_uuid && !s->of_all && (t->unnamed & s->tables))
        return true;
    for (int i = 0; i < p->n; i++) {
        if ((s->types[i] != 'u' && s->types[i] != 't') || !p->values[i])
            continue;
        const bool its = traced(t, s, p, i);
        if (its && s->types[i] == 'u' && !s->of_all)
            return true;
        all &= its;
    }
    return all && (!s->has_uuid || s->of_all);
}
