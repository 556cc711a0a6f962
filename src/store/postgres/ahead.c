/* Looks that are wished for while a batch is guessed at, and what was found. */
#include "store/postgres/ahead.h"
#include <stdlib.h>

#define KEYS_MAX (64u * 1024 * 1024)

struct ahead *ahead_new(void)
{
    struct ahead *a = calloc(1, sizeof(*a));

    if (!a || !(a->shapes = shapes_new())) {
        free(a);
        return NULL;
    }
    buf_init(&a->keys, KEYS_MAX);
    return a;
}

static void asked_free(struct asked *q)
{
    arrays_release(&q->arrays);
    PQclear(q->res);
    free(q->rows);
    free(q->first);
    free(q);
}

void ahead_clear(struct ahead *a)
{
    for (size_t i = 0; i < a->n_asked; i++)
        asked_free(a->asked[i]);
    if (a->n_wishes > 0)
        memset(a->places, 0, a->n_places * sizeof(*a->places));
    a->n_asked = a->n_wishes = a->n_wished = 0;
    a->guessing = a->gathering = a->stale = false;
    buf_reset(&a->keys);
    traces_clear(&a->traces);
    traces_clear(&a->first);
    gather_clear(a);
}

void ahead_free(struct ahead *a)
{
    if (!a)
        return;
    ahead_clear(a);
    shapes_free(a->shapes);
    traces_release(&a->traces);
    traces_release(&a->first);
    buf_release(&a->keys);
    free(a->wishes);
    free(a->places);
    free(a);
}

/** Appends what tells this look from others of its text. */
static void key_put(struct buf *keys, const struct params *p)
{
    for (int i = 0; i < p->n; i++) {
        const int32_t n = p->values[i] ? p->lengths[i] : -1;
        buf_add(keys, &n, sizeof(n));
        if (n > 0)
            buf_add(keys, p->values[i], (size_t)n);
    }
}

/** Its place; a free one when it is not there. `key` is the end of keys. */
static uint32_t *look_up(const struct ahead *a, const struct shape *s, uint64_t hash, size_t key_at)
{
    const size_t n = a->keys.len - key_at;
    size_t i = (hash ^ ((uintptr_t)s >> 4)) & (a->n_places - 1);

    for (; a->places[i]; i = (i + 1) & (a->n_places - 1)) {
        const struct wish *w = &a->wishes[a->places[i] - 1];
        if (w->hash == hash && w->asked->shape == s && w->key_n == n &&
            memcmp(a->keys.data + w->key_at, a->keys.data + key_at, n) == 0)
            break;
    }
    return &a->places[i];
}

static bool grow(struct ahead *a)
{
    size_t max = a->wishes_max ? a->wishes_max * 2 : 512;

    if (a->n_wishes < a->wishes_max)
        return true;
    struct wish *wishes = realloc(a->wishes, max * sizeof(*wishes));
    if (wishes)
        a->wishes = wishes;
    uint32_t *places = wishes ? calloc(max * 2, sizeof(*places)) : NULL;
    if (!places)
        return false;
    free(a->places);
    a->places = places;
    a->n_places = max * 2;
    a->wishes_max = max;
    for (size_t k = 0; k < a->n_wishes; k++) {
        size_t i = (a->wishes[k].hash ^ ((uintptr_t)a->wishes[k].asked->shape >> 4)) & (a->n_places - 1);
        while (a->places[i])
            i = (i + 1) & (a->n_places - 1);
        a->places[i] = (uint32_t)k + 1;
    }
    return true;
}

/** Those of this text that are not made yet. */
static struct asked *asked_of(struct ahead *a, const struct shape *s)
{
    for (size_t i = a->n_asked; i > 0 && !a->asked[i - 1]->done; i--)
        if (a->asked[i - 1]->shape == s)
            return a->asked[i - 1];
    if (a->n_asked == ARRAY_LEN(a->asked))
        return NULL;
    struct asked *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->shape = s;
    a->asked[a->n_asked++] = q;
    return q;
}

void ahead_wish(struct ahead *a, const struct shape *s, const struct params *p)
{
    const size_t key_at = a->keys.len;

    if (!s || !s->many || !s->look || !grow(a))
        return;
    key_put(&a->keys, p);
    if (a->keys.failed)
        return;
    const uint64_t hash = pg_hash(a->keys.data + key_at, a->keys.len - key_at);
    uint32_t *place = look_up(a, s, hash, key_at);
    struct asked *q = *place ? NULL : asked_of(a, s);
    if (!q) {
        a->keys.len = key_at;
        return;
    }
    a->wishes[a->n_wishes] = (struct wish){hash, q, q->arrays.rows, key_at, a->keys.len - key_at};
    *place = (uint32_t)++a->n_wishes;
    arrays_add(&q->arrays, p);
    a->n_wished++;
}

bool ahead_find(struct ahead *a, const struct shape *s, const struct params *p, struct pg_query *ret)
{
    const size_t key_at = a->keys.len;

    if (!s || a->n_wishes == 0)
        return false;
    key_put(&a->keys, p);
    uint32_t at = a->keys.failed ? 0 : *look_up(a, s, pg_hash(a->keys.data + key_at, a->keys.len - key_at), key_at);
    a->keys.len = key_at;
    const struct wish *w = at ? &a->wishes[at - 1] : NULL;
    if (!w || !w->asked->done)
        return false;
    ret->res = w->asked->res;
    ret->borrowed = true;
    ret->rows = w->asked->rows + w->asked->first[w->number];
    ret->n_rows = w->asked->first[w->number + 1] - w->asked->first[w->number];
    ret->shift = 1;
    return true;
}

bool ahead_find_fresh(struct ahead *a, const struct shape *s, const struct params *p, struct pg_query *ret)
{
    if (!ahead_find(a, s, p, ret))
        return false;
    if (a->stale)
        return true;
    if (traces_meet(&a->traces, s, p))
        return false;
    for (int i = 0; i < ret->n_rows; i++) /* what they begin with is whose they are, if it is a uuid */
        if (PQgetlength(ret->res, ret->rows[i], 1) == 16 && (a->traces.touched & s->tables) &&
            traces_has(&a->traces, PQgetvalue(ret->res, ret->rows[i], 1), 16, s->tables))
            return false;
    return true;
}

static uint64_t number_of(const PGresult *res, int row)
{
    uint64_t v = 0;

    for (int i = 0; i < PQgetlength(res, row, 0); i++)
        v = v << 8 | (unsigned char)PQgetvalue(res, row, 0)[i];
    return v;
}

bool asked_take(struct asked *q, PGresult *res)
{
    const int n = PQntuples(res);
    const uint32_t wishes = q->arrays.rows;

    q->res = res;
    q->rows = calloc((size_t)n + 1, sizeof(*q->rows));
    q->first = calloc((size_t)wishes + 2, sizeof(*q->first));
    if (!q->rows || !q->first)
        return false;
    for (int i = 0; i < n; i++) {
        uint64_t w = number_of(res, i); /* from 1 */
        if (w == 0 || w > wishes)
            return false;
        q->first[w + 1]++;
    }
    for (uint32_t w = 1; w <= wishes + 1; w++)
        q->first[w] += q->first[w - 1];
    for (int i = 0; i < n; i++) /* first[w] moves on to where the next wish's begin */
        q->rows[q->first[number_of(res, i)]++] = i;
    q->done = true;
    return true;
}
