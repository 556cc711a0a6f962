#pragma once
#include "store/postgres/postgres.h"
#include <libpq-fe.h>

/** The URL of HAUL_TEST_POSTGRES, whose database is emptied. */
const char *fresh_postgres(void);
/** Attempts lie where their jobs do: no other place is looked into when those are deleted. */
void check_postgres(void);

/* By hand, as another program would. What fails fails the test. */
PGconn *connect_other(void); /* caller: PQfinish */
/** The first value it gives, as a number, or 0. */
int64_t ask_on(PGconn *pg, const char *sql);
/** On a connection of its own. */
int64_t ask(const char *format, ...) __attribute__((format(printf, 1, 2)));
