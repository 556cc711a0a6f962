#pragma once
#include "store/postgres/postgres.h"

/** The URL of HAUL_TEST_POSTGRES, whose database is emptied. */
const char *fresh_postgres(void);
