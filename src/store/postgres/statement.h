#pragma once
/* A statement on its way: its parameters, and what can be told from its text. params.c, shape.c. */
#include "store/postgres/driver.h"
#include "base/buf.h"

#define PARAMS_MAX 40
#define SQL_MAX    8192

struct params {
    int n;
    Oid types[PARAMS_MAX];
    const char *values[PARAMS_MAX];
    int lengths[PARAMS_MAX], formats[PARAMS_MAX];
    uint64_t numbers[PARAMS_MAX];
};

/** By `types` as in sql/query.h; values are borrowed. false: too many, or a type there is not. */
bool params_read(struct params *p, const char *types, va_list ap);
/** The text as PostgreSQL has it; `locks`: with SQL_LOCK in force. false: longer than SQL_MAX. */
bool pg_words(const char *sql, bool locks, char ret[SQL_MAX]);

/** What can be told from a statement's text: made once, kept. */
struct shape {
    char *sql;  /* as it came */
    char *many; /* the text for many sets of parameters, each an array; NULL: it must go one by one */
    char types[PARAMS_MAX + 1];
    uint32_t tables; /* a bit or more for each that it names; two may share a bit */
    bool of_all; /* only a write that names all of its uuids and texts can change what it finds, or one of those rows */
    bool look;   /* a SELECT */
    bool inserts;  /* plain INSERT ... VALUES: rows of one statement cannot meet */
    bool once;     /* the same parameters again change nothing */
    bool first;    /* looks wait for the lock that this write takes: it goes out before them */
    bool later;    /* a look that is not worth making while the one before it has no answer */
    bool has_uuid; /* among its parameters */
};

struct shapes;
struct shapes *shapes_new(void);
void shapes_free(struct shapes *s);
/** make: of a text that stays where it is, should it not be known yet. NULL: not known, no room, no memory, a text that is too long. */
const struct shape *shape_of(struct shapes *s, const char *sql, const char *types, bool make);

/** Many sets of parameters of one type each, as arrays. */
struct arrays {
    int n; /* parameters of a set */
    uint32_t rows;
    size_t bytes;
    Oid types[PARAMS_MAX];
    struct buf column[PARAMS_MAX];
};

void arrays_release(struct arrays *a);
void arrays_add(struct arrays *a, const struct params *p);
/** Borrowed. false: out of memory, or too much. */
bool arrays_params(struct arrays *a, struct params *ret);

/* --- named.c --- */

#define NAME_MAX_PG 24

struct named *named_new(void);
void named_free(struct named *n); /* NULL accepted */
/** A statement's number, from 1; it is kept. 0: no room or no memory, and it has none. */
unsigned named_number(struct named *n, const char *text, const struct params *p);
void named_name(unsigned number, char ret[NAME_MAX_PG]);
/** Has the database prepared it, on the connection at work? It is told to, and what came of it is set. */
bool named_known(const struct named *n, unsigned number);
void named_set(struct named *n, unsigned number, bool known);
/** A new connection. */
void named_forget(struct named *n);

uint64_t pg_hash(const void *p, size_t n);
