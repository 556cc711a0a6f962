#pragma once
/* The store on PostgreSQL (13 and newer), through libpq: config->url is a connection string (postgres://...). Takes one batch at a time and
 * decides it before apply() returns. One server at a time holds a database, by a lease that it renews (owner.c). No state of a session is
 * used: it works behind a pooler in transaction mode. */
#include "store/store.h"

const struct store_driver *store_postgres(void);
