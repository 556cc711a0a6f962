#pragma once
/* How a batch costs a fixed number of round trips (ADR 22): what its ops will look at is found out by running them in guess, and read at
 * once; what they write is gathered. ahead.c, gather.c, traces.c. The writing connection's only. */
#include "store/postgres/statement.h"

/** What a batch wrote, as its statements tell. */
struct traces {
    struct trace {
        uint64_t hash; /* of a uuid or a text; 0: free */
        uint32_t tables;
    } * places;
    size_t n, n_places; /* a power of two */
    uint32_t touched;   /* tables that were written */
    uint32_t unnamed;   /* by a statement without a uuid */
    uint32_t whole;     /* by one with neither uuid nor text */
};

void traces_release(struct traces *t);
void traces_clear(struct traces *t);
void traces_put(struct traces *t, const void *p, size_t n, uint32_t marks);
/** shape NULL: nothing is known of the statement. */
void traces_add(struct traces *t, const struct shape *s, const struct params *p);
/** Was this uuid or text written of, in these tables? */
bool traces_has(const struct traces *t, const void *p, size_t n, uint32_t tables);
/** May what this look found have changed? */
bool traces_meet(const struct traces *t, const struct shape *s, const struct params *p);

/** Looks of one text that were wished for, and once they were made, what was found. */
struct asked {
    const struct shape *shape;
    struct arrays arrays;
    bool done;
    PGresult *res;
    int *rows;  /* of res, in the order of the wishes */
    int *first; /* in `rows`, of each wish; one more than there are wishes */
};
struct wish {
    uint64_t hash;
    struct asked *asked;
    uint32_t number; /* its place there, from 0 */
    size_t key_at, key_n;
};

/** Writes of one text, in the order in which they came. */
struct group {
    const struct shape *shape;
    struct arrays arrays;
    struct traces own; /* its parameters' uuids and sets, marked as gather.c says */
};

struct ahead {
    struct shapes *shapes;
    bool gathering;
    bool guessing;      /* looks are wished for, writes are nothing */
    bool open_question; /* the last look has no answer yet */
    bool stale;         /* what was found is wanted as it was */
    size_t n_wished;    /* in the round of guesses at work */
    struct wish *wishes;
    size_t n_wishes, wishes_max;
    uint32_t *places; /* by hash: the wish's number from 1; 0: free */
    size_t n_places;  /* a power of two */
    struct buf keys;
    struct asked *asked[128]; /* in the order of making */
    size_t n_asked;
    struct traces traces;
    struct traces first; /* writes that went out before the looks */
    struct group *groups[64];
    size_t n_groups;
};

struct ahead *ahead_new(void);
void ahead_free(struct ahead *a);
/** Forgets wishes, what was found, traces and what was gathered. */
void ahead_clear(struct ahead *a);
/** Notes a wish, unless there is one like it. */
void ahead_wish(struct ahead *a, const struct shape *s, const struct params *p);
/** What was found, if this look was made; it may be stale. false: it was not made. */
bool ahead_find(struct ahead *a, const struct shape *s, const struct params *p, struct pg_query *ret);
/** The same, and nothing of it was written since. */
bool ahead_find_fresh(struct ahead *a, const struct shape *s, const struct params *p, struct pg_query *ret);

/** Takes the result of all of its looks, which is freed with it. false: out of memory, or it is none. */
bool asked_take(struct asked *q, PGresult *res);

/** Puts a write to those of its text. false: there is no room or memory, and it must be sent. */
bool gather_add(struct ahead *a, const struct shape *s, const struct params *p);
/** While guessing: a write that goes out before the looks (shape.first) is put there, once. */
void gather_first(struct ahead *a, const struct shape *s, const struct params *p);
bool gather_was_first(const struct ahead *a, const struct shape *s, const struct params *p);
void gather_clear(struct ahead *a);
