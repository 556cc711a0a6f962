#pragma once
/* How a read is made. A read holds one of the connections, in one snapshot and under a deadline. */
#include "store/sql/internal.h"

struct reading {
    struct store *s;
    struct conn *c;
};
static inline int read_begin(struct store *s, usec deadline_us, struct reading *ret, struct err *err)
{
    return s->sql->read_begin(s, deadline_us, ret, err);
}
static inline void read_end(struct reading *r)
{
    if (r->c)
        r->s->sql->read_end(r);
}
/* Declared before any statement of its, so that it ends after them. */
#define AUTO_READING __attribute__((cleanup(read_end)))

/** An array in an arena that grows by doubling; what it outgrew stays until the arena goes. */
struct list {
    struct arena *arena;
    size_t item_size, n;
    void *items;
    const void *about; /* for whoever reads the rows */
};
void *list_add(struct list *l); /* a zeroed item behind the others; NULL: no memory */

/** All rows of a query, in a read of their own. `row` adds one to the list; false: no memory. */
int read_list(struct store *s, usec deadline_us, struct list *l, bool (*row)(struct list *l, struct query *st),
              struct err *err, const char *sql, const char *types, ...);

int read_no_memory(struct err *err);
