#pragma once
/* The store on PostgreSQL (13 and newer), through libpq: config->url is a connection string (postgres://...). Takes one batch at a time and
 * decides it before apply() returns. Any number of servers share a database (servers.c). No state of a session is
 * used: it works behind a pooler in transaction mode. */
#include "store/store.h"

const struct store_driver *store_postgres(void);
/** How often the connection that writes waited for the database, since the store was opened. On the thread that applies. */
uint64_t store_postgres_round_trips(struct store *s);
