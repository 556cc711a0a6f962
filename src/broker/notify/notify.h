#pragma once
/* Hints between servers over one PostgreSQL, by its LISTEN and NOTIFY (ADR 23). Needs no server beside the database; has no intake. */
#include "broker/broker.h"

/** config.url is the store's. Where it cannot listen (behind a pooler) it says so in its state and does nothing. */
const struct broker_driver *broker_notify(void);
