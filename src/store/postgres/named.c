/* Statements that the database keeps under a name, for as long as a connection lasts: parsed and planned once, and not for every batch.
 * Their plans are made for any parameters (apply.c asks for that). Only where the connection is to the database itself: behind a pooler the
 * next transaction may be another session's, which knows none of them. */
#include "store/postgres/statement.h"
#include <stdlib.h>

#define PLACES 1024 /* a power of two */
#define MOST   512  /* statements; those that come later go unnamed */

struct named {
    struct place {
        char *text; /* NULL: free */
        uint64_t hash;
        int n;
        Oid types[PARAMS_MAX];
        bool known; /* to the database */
    } places[PLACES];
    unsigned n;
};

struct named *named_new(void)
{
    return calloc(1, sizeof(struct named));
}

void named_free(struct named *n)
{
    for (size_t i = 0; n && i < PLACES; i++)
        free(n->places[i].text);
    free(n);
}

static bool same(const struct place *at, uint64_t hash, const char *text, const struct params *p)
{
    return at->hash == hash && at->n == p->n && strcmp(at->text, text) == 0 &&
           (p->n == 0 || memcmp(at->types, p->types, (size_t)p->n * sizeof(*p->types)) == 0);
}

unsigned named_number(struct named *n, const char *text, const struct params *p)
{
    const size_t len = strlen(text);
    const uint64_t hash = pg_hash(text, len);
    unsigned i = hash & (PLACES - 1);

    while (n->places[i].text && !same(&n->places[i], hash, text, p))
        i = (i + 1) & (PLACES - 1);
    struct place *at = &n->places[i];
    if (at->text)
        return i + 1;
    if (n->n == MOST || !(at->text = strdup(text)))
        return 0;
    at->hash = hash;
    at->n = p->n;
    if (p->n > 0)
        memcpy(at->types, p->types, (size_t)p->n * sizeof(*p->types));
    n->n++;
    return i + 1;
}

void named_name(unsigned number, char ret[NAME_MAX_PG])
{
    snprintf(ret, NAME_MAX_PG, "haul_%u", number);
}

bool named_known(const struct named *n, unsigned number)
{
    return n->places[number - 1].known;
}

void named_set(struct named *n, unsigned number, bool known)
{
    n->places[number - 1].known = known;
}

void named_forget(struct named *n)
{
    for (size_t i = 0; i < PLACES; i++)
        n->places[i].known = false;
}
