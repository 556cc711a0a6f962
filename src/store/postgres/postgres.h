#pragma once
/* The store on PostgreSQL (13 and newer), through libpq: config->url is a connection string (postgres://...). Takes one batch at a time and
 * decides it before apply() returns. Any number of servers share a database (servers.c). No state of a session is
 * used: it works behind a pooler in transaction mode. */
#include "store/store.h"

const struct store_driver *store_postgres(void);
/** How often the connection that writes waited for the database, since the store was opened. On the thread that applies. */
uint64_t store_postgres_round_trips(struct store *s);
/** What a thread of the store does once a minute: makes history's tables of the coming days, drops those of past ones that are empty.
 * ERR_BUSY: somebody had what must be locked for it. */
int store_postgres_days(struct store *s, struct err *err);
